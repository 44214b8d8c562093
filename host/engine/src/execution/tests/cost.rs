//! The cost of a node does not depend on how many there are, nor on the shape of the graph.

use std::mem::size_of;

use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::execution::scope::{Link, Scope};
use crate::testing::kinds::{array, in_container, sub, with_subs};
use crate::testing::{Driver, closure, enduring, node, plain, template, workflow};
use crate::{
    Detail, NodeKind, NodePhase, NodeState, Observation, Outcome, Phase, Recalled, Report, Resolved,
    Settings, Step, cost,
};

fn chain(n: usize) -> core::CompiledWorkflowClosure {
    let before = |i: usize| (i > 0).then(|| format!("n{}", i - 1));
    closure((0..n).map(|i| node(&format!("n{i}"), before(i).as_deref().as_slice())).collect())
}

fn fan(n: usize) -> core::CompiledWorkflowClosure {
    closure((0..n).map(|i| node(&format!("n{i}"), &[])).collect())
}

/// An array of elements that read its inputs.
fn map(change: impl FnOnce(&mut core::ArrayNode)) -> core::CompiledWorkflowClosure {
    in_container(closure(vec![array(node("of", &[]), "m", &[], change)]))
}

/// Workflows in each other, `depth` levels.
fn nest(depth: usize) -> core::CompiledWorkflowClosure {
    let names: Vec<_> = (0..=depth).map(|i| format!("w{i}")).collect();
    let holding = |i: usize| match names.get(i + 1) {
        Some(inner) => closure(vec![sub(inner, "s", &[])]),
        None => workflow(&[("a", &[])]),
    };
    with_subs(holding(0), (1..=depth).map(|i| (names[i].as_str(), holding(i))).collect())
}

/// Runs everything to success with the least number of calls; answers the core's operations.
fn operations(closure: &core::CompiledWorkflowClosure, max_parallelism: u32) -> u64 {
    run_all(Driver::new(closure, Settings { max_parallelism, ..Settings::default() }), 0)
}

/// The same with arrays of this size.
fn run_all(mut d: Driver, size: u32) -> u64 {
    cost::take();
    d.apply(Observation::Start);
    let mut steps = d.plan();
    while let Some(step) = steps.pop() {
        let observation = match step {
            Step::ResolveInputs { node } => {
                let is_array = matches!(d.run.graph_node(node).kind, NodeKind::Array { .. });
                let detail = if is_array { Detail::Size(size) } else { Detail::Plain };
                Observation::InputsResolved { node, result: Ok(Resolved { uri: String::new(), detail }) }
            }
            Step::StartAttempt { node, attempt, .. } => {
                let report = Report::Succeeded { output_uri: String::new(), deck_uri: String::new() };
                Observation::TaskReported { node, attempt, report }
            }
            Step::Finalize { node, attempt } | Step::Abort { node, attempt, .. } => {
                Observation::Cleaned { node, attempt }
            }
            Step::GatherOutputs { node } => Observation::OutputsWritten { node, result: Ok(String::new()) },
            Step::LoadExpansion { node, .. } => panic!("nothing is recalled for {node}"),
        };
        d.apply(observation);
        steps.extend(d.plan());
    }
    assert_eq!((d.run.phase(), d.run.is_done()), (Phase::Succeeded, true));
    cost::take()
}

#[test]
fn operations_per_node_are_flat() {
    for shape in [chain, fan] {
        for max_parallelism in [0, 7] {
            let small = operations(&shape(100), max_parallelism);
            let large = operations(&shape(50_000), max_parallelism);
            assert!(large <= small * 501, "{small} operations for 100 nodes, {large} for 50,000");
            assert!(small < 100 * 8, "{small}");
        }
    }
}

#[test]
fn failure_of_a_deep_chain_skips_it_in_one_go() {
    let mut closure = chain(50_000);
    let policy = core::workflow_metadata::OnFailurePolicy::FailAfterExecutableNodesComplete;
    template(&mut closure).metadata.as_mut().unwrap().on_failure = policy as i32;
    let mut d = Driver::started(&closure);
    d.run_up_to(&["n0"]);
    cost::take();
    let changes = d.failed("n0", ErrorKind::User, false);
    assert_eq!(changes.nodes.len(), 50_001, "itself, the chain and the end node");
    assert!(cost::take() < 100_000);
}

#[test]
fn abort_of_many_costs_what_runs() {
    let mut d = Driver::new(&fan(50_000), Settings { max_parallelism: 10, ..Settings::default() });
    d.apply(Observation::Start);
    for step in d.plan() {
        if let Step::ResolveInputs { node } = step {
            d.apply(Observation::InputsResolved { node, result: plain("") });
        }
    }
    cost::take();
    assert_eq!(d.abort().nodes.len(), 10);
    assert!(cost::take() < 100);
}

#[test]
fn stale_deadlines_are_dropped_in_passing() {
    let mut closure = fan(1_000);
    crate::testing::task_metadata(&mut closure).timeout = Some(model::time::duration_to_proto(3_600_000_000));
    // Finished nodes leave two deadlines each; each is touched once.
    assert!(operations(&closure, 0) < 1_000 * 10);
}

#[test]
fn elements_cost_the_same_however_many_there_are() {
    let limited = |array: &mut core::ArrayNode| {
        array.parallelism_option = Some(core::array_node::ParallelismOption::Parallelism(7));
    };
    let individual = |array: &mut core::ArrayNode| {
        array.data_mode = core::array_node::DataMode::IndividualInputFiles as i32;
    };
    for closure in [map(|_| {}), map(limited), map(individual)] {
        let settings = Settings { max_elements_in_flight: 5, ..Settings::default() };
        let run = |size| run_all(Driver::new(&closure, settings.clone()), size);
        let (small, large) = (run(1_000), run(100_000));
        assert!(large <= small * 101, "{small} operations for 1,000 elements, {large} for 100,000");
        assert!(small < 1_000 * 12, "{small}");
    }
}

#[test]
fn levels_cost_the_same_however_deep() {
    let (shallow, deep) = (operations(&nest(10), 5), operations(&nest(900), 5));
    assert!(deep <= shallow * 91, "{shallow} operations for 10 levels, {deep} for 900");
}

#[test]
fn failure_deep_inside_costs_what_it_passes() {
    let mut d = Driver::started(&nest(900));
    let mut id = String::new();
    for _ in 0..900 {
        let steps = d.plan();
        let [Step::ResolveInputs { node }] = steps.as_slice() else { panic!("{steps:?}") };
        d.decided(*node, Detail::Plain);
        id = d.run.unique_id(*node).to_string();
    }
    let steps = d.plan();
    let [Step::ResolveInputs { node }] = steps.as_slice() else { panic!("{steps:?}") };
    let (node, mut aborted) = (*node, d.run.clone());
    d.decided(node, Detail::Plain);
    d.plan();
    cost::take();
    d.apply(Observation::TaskReported {
        node,
        attempt: 0,
        report: Report::Failed { error: Default::default(), recoverable: false, cleanup: false },
    });
    let changes = d.apply(Observation::Cleaned { node, attempt: 0 });
    assert_eq!((changes.nodes.len(), d.run.phase()), (901, Phase::Failed), "{id}");
    let abort = Observation::AbortRequested { cause: String::new(), principal: String::new(), force: false };
    assert_eq!(aborted.apply(abort, d.now).nodes.len(), 900);
    assert!(cost::take() < 901 * 12);
}

#[test]
fn stop_of_a_big_array_costs_what_runs() {
    let mut d = Driver::started(&map(|_| {}));
    d.decide("m", Detail::Size(100_000));
    d.plan();
    cost::take();
    let changes = d.abort();
    assert_eq!(changes.nodes.len(), 5_001, "those in flight and the array");
    assert!(cost::take() < 5_001 * 4);
}

#[test]
fn restored_rows_cost_the_same_however_many() {
    let operations = |n: usize| {
        let mut d = Driver::started(&fan(n));
        let steps = d.plan();
        for step in &steps {
            let Step::ResolveInputs { node } = step else { panic!("{step:?}") };
            d.apply(Observation::InputsResolved { node: *node, result: plain("") });
        }
        cost::take();
        let mut later = d.reborn();
        assert_eq!(later.plan().len(), n);
        cost::take()
    };
    let (small, large) = (operations(100), operations(10_000));
    assert!(large <= small * 101, "{small} operations for 100 rows, {large} for 10,000");
}

#[test]
fn recovered_nodes_cost_the_same_however_many() {
    let operations = |n: usize| {
        let outcome = Outcome { phase: NodePhase::Succeeded, ..Outcome::default() };
        let by_id = (0..n).map(|i| (format!("n{i}").into(), outcome.clone())).collect();
        let mut d = Driver::new(&chain(n), Settings::default());
        d.run = d.run.with_recalled(std::sync::Arc::new(Recalled { by_id }));
        cost::take();
        d.apply(Observation::Start);
        while d.run.next_deadline().is_some() {
            d.apply(Observation::DeadlinePassed);
        }
        assert_eq!(d.resolving(), ["end-node"]);
        cost::take()
    };
    let (small, large) = (operations(100), operations(20_000));
    assert!(large <= small * 201, "{small} operations for 100 nodes, {large} for 20,000");
}

#[test]
fn what_is_kept_of_a_node_is_small() {
    assert!(size_of::<NodeState>() <= 200, "{}", size_of::<NodeState>());
    assert!(size_of::<Link>() <= 24, "{}", size_of::<Link>());
    assert!(size_of::<Scope>() <= 192, "{}", size_of::<Scope>());
}

#[test]
fn wide_join_counts_each_edge_once() {
    let names: Vec<_> = (0..500).map(|i| format!("n{i}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut nodes: Vec<(&str, &[&str])> = all.iter().map(|id| (*id, [].as_slice())).collect();
    nodes.push(("join", &all));
    nodes.push(("join2", &all));
    let edges = 500 + 2 * 500 + 2;
    let n = operations(&workflow(&nodes), 0);
    assert!(n < edges + 502 * 7, "{n}");
    assert!(operations(&enduring(&nodes), 0) == n, "the policy costs nothing while nothing fails");
}
