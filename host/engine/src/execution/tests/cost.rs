//! The cost of a node does not depend on how many there are, nor on the shape of the graph.

use std::mem::size_of;

use crate::testing::{Driver, plain, closure, enduring, node, template, workflow};
use crate::{NodeState, Observation, Phase, Report, Settings, Step, cost};
use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

fn chain(n: usize) -> core::CompiledWorkflowClosure {
    let before = |i: usize| (i > 0).then(|| format!("n{}", i - 1));
    closure((0..n).map(|i| node(&format!("n{i}"), before(i).as_deref().as_slice())).collect())
}

fn fan(n: usize) -> core::CompiledWorkflowClosure {
    closure((0..n).map(|i| node(&format!("n{i}"), &[])).collect())
}

/// Runs everything to success with the least number of calls; answers the core's operations.
fn operations(closure: &core::CompiledWorkflowClosure, max_parallelism: u32) -> u64 {
    let mut d = Driver::new(closure, Settings { max_parallelism, ..Settings::default() });
    cost::take();
    d.apply(Observation::Start);
    let mut steps = d.plan();
    while let Some(step) = steps.pop() {
        let observation = match step {
            Step::ResolveInputs { node } => Observation::InputsResolved { node, result: plain("") },
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
fn node_state_is_small() {
    assert!(size_of::<NodeState>() < 200, "{}", size_of::<NodeState>());
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
