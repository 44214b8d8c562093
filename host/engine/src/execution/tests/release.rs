//! Memory follows what is live: what came to rest inside a node that ended is forgotten.

use std::sync::{Arc, Weak};

use proto::flyteidl::core;

use crate::testing::kinds::{array, expansion, sub, with_subs};
use crate::testing::{Driver, closure, node, workflow};
use crate::{Detail, Graph, NodeKind, NodePhase, Observation, Phase, Report, Resolved, Settings, Step};

/// Runs everything to success; a task whose node is named `d..` makes `made`, arrays have `size` elements. `look` is
/// called after every change.
fn run_all(
    d: &mut Driver,
    size: u32,
    made: Option<&core::CompiledWorkflowClosure>,
    mut look: impl FnMut(&mut Driver, &[Weak<Graph>]),
) {
    let mut graphs = Vec::new();
    d.apply(Observation::Start);
    let mut steps: std::collections::VecDeque<Step> = d.plan().into();
    while let Some(step) = steps.pop_front() {
        let observation = match step {
            Step::ResolveInputs { node } => {
                let is_array = matches!(d.run.graph_node(node).kind, NodeKind::Array { .. });
                let detail = if is_array { Detail::Size(size) } else { Detail::Plain };
                Observation::InputsResolved { node, result: Ok(Resolved { uri: "in".into(), detail }) }
            }
            Step::StartAttempt { node, attempt, .. } => {
                let makes = d.run.graph_node(node).id.starts_with('d');
                let report = match made.filter(|_| makes) {
                    Some(made) => {
                        let expansion = expansion(made);
                        graphs.push(Arc::downgrade(&expansion.graph));
                        Report::Expanded { expansion, deck_uri: String::new() }
                    }
                    None => Report::Succeeded { output_uri: "out".into(), deck_uri: String::new() },
                };
                Observation::TaskReported { node, attempt, report }
            }
            Step::Finalize { node, attempt } | Step::Abort { node, attempt, .. } => {
                Observation::Cleaned { node, attempt }
            }
            Step::GatherOutputs { node } => Observation::OutputsWritten { node, result: Ok("all".into()) },
            Step::LoadExpansion { node, .. } => panic!("nothing is recalled for {node}"),
        };
        d.apply(observation);
        look(d, &graphs);
        steps.extend(d.plan());
    }
}

fn chain(prefix: &str, n: usize) -> core::CompiledWorkflowClosure {
    let before = |i: usize| (i > 0).then(|| format!("{prefix}{}", i - 1));
    closure((0..n).map(|i| node(&format!("{prefix}{i}"), before(i).as_deref().as_slice())).collect())
}

#[test]
fn dynamic_nodes_leave_neither_nodes_nor_graphs() {
    let (made, mut most, mut graphs) = (chain("a", 20), 0, 0);
    let mut d = Driver::new(&chain("d", 300), Settings::default());
    run_all(&mut d, 0, Some(&made), |d, made| {
        d.run.release();
        most = most.max(d.run.n_kept());
        graphs = graphs.max(made.iter().filter(|graph| graph.strong_count() > 0).count());
    });
    assert_eq!((d.run.phase(), d.run.is_done()), (Phase::Succeeded, true));
    assert_eq!((d.run.n_made(), d.run.n_kept()), (302 + 300 * 22, 302));
    // One attempt may still be cleaned up while the next node runs.
    assert!(most <= 302 + 2 * 22 && graphs <= 2, "{most} nodes, {graphs} graphs");
}

#[test]
fn elements_of_an_array_leave_what_they_held() {
    let inner =
        with_subs(closure(vec![array(sub("w", "s", &[]), "m", &[], |_| {})]), vec![("w", chain("a", 10))]);
    let settings = Settings { max_elements_in_flight: 4, ..Settings::default() };
    let (mut d, mut most) = (Driver::new(&inner, settings), 0);
    run_all(&mut d, 200, None, |d, _| {
        d.run.release();
        most = most.max(d.run.n_kept());
    });
    assert_eq!((d.run.phase(), d.run.n_kept()), (Phase::Succeeded, 3));
    assert!(most <= 3 + 200 + 8 * 12, "{most} nodes");
}

#[test]
fn an_attempt_that_is_cleaned_up_keeps_what_it_is_in() {
    let closure = with_subs(closure(vec![sub("w", "s", &[])]), vec![("w", workflow(&[("a", &[])]))]);
    let mut d = Driver::started(&closure);
    d.pass("s");
    d.plan();
    d.resolved("s-0-a");
    d.plan();
    d.succeeded("s-0-a");
    d.run_up_to(&["s-0-end-node"]);
    let (a, s) = (d.idx("s-0-a"), d.idx("s"));
    assert_eq!((d.run.node(s).phase, d.run.node(a).open), (NodePhase::Succeeded, true));
    assert!(d.run.release().is_empty());
    let mut later = d.reborn();
    assert!(later.run.release().is_empty() && later.run.n_kept() == d.run.n_kept());
    d.apply(Observation::Cleaned { node: a, attempt: 0 });
    let released = d.run.release();
    assert_eq!((released.len(), released[0].owner, released[0].nodes.len()), (1, s, 3));
    assert!(!d.run.knows(a) && d.run.knows(s));
    let again = d.apply(Observation::Cleaned { node: a, attempt: 0 });
    assert_eq!(again, Default::default(), "what is said of it changes nothing");
    assert_eq!(d.reborn().run.n_kept(), d.run.n_kept(), "a later life does not take it up");
}

#[test]
fn elements_share_one_budget_however_arrays_lie_in_each_other() {
    let inner = closure(vec![array(node("of", &[]), "m", &[], |_| {}), node("a", &["m"])]);
    let middle =
        with_subs(closure(vec![array(sub("inner", "s", &[]), "m", &[], |_| {})]), vec![("inner", inner)]);
    let outer =
        with_subs(closure(vec![array(sub("middle", "s", &[]), "m", &[], |_| {})]), vec![("middle", middle)]);
    for budget in [1, 2, 5, 17] {
        let settings = Settings { max_elements_in_flight: budget, ..Settings::default() };
        let (mut d, mut most) = (Driver::new(&outer, settings), 0);
        run_all(&mut d, 7, None, |d, _| {
            d.run.release();
            let is_leaf = |node| matches!(d.run.graph_node(node).kind, NodeKind::Task { .. });
            let leaves = d.run.nodes().filter(|(node, state)| {
                d.run.element(*node).is_some() && state.phase.is_in_flight() && is_leaf(*node)
            });
            most = most.max(leaves.count());
        });
        assert_eq!(d.run.phase(), Phase::Succeeded, "budget {budget}");
        assert_eq!(most, budget as usize, "all places are used, and no more");
    }
}

#[test]
fn too_many_nodes_fail_the_node_that_makes_them() {
    let error = |d: &Driver| {
        let error = d.run.error().unwrap();
        (error.code.clone(), error.message.clone(), error.kind())
    };
    let told = |actual: u32| {
        let message = format!(
            "the execution would have {actual} nodes, more than the limit of 30 (max-execution-nodes)"
        );
        ("WorkflowTooLarge".to_owned(), message, core::execution_error::ErrorKind::User)
    };
    let settings = Settings { max_nodes: 30, ..Settings::default() };
    let mut d = Driver::new(&chain("d", 5), settings.clone());
    run_all(&mut d, 0, Some(&chain("d", 5)), |_, _| {});
    assert_eq!((d.run.phase(), d.run.n_made()), (Phase::Failed, 28), "each makes itself again");
    assert_eq!(error(&d), told(35));
    assert!(d.run.is_done());

    let mut d = Driver::new(&closure(vec![array(node("of", &[]), "m", &[], |_| {})]), settings.clone());
    run_all(&mut d, 28, None, |_, _| {});
    assert_eq!(error(&d), told(31));
    let closure = with_subs(closure(vec![sub("w", "s", &[])]), vec![("w", chain("a", 26))]);
    let mut d = Driver::new(&closure, settings);
    run_all(&mut d, 0, None, |_, _| {});
    assert_eq!(error(&d), told(31));
}
