//! Executions that take over what another achieved.

use std::sync::Arc;

use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::testing::kinds::{array, expansion, in_container, on_failure, sub, with_subs};
use crate::testing::{Driver, boom, closure, node, workflow};
use crate::{Detail, NodePhase, Observation, Outcome, Phase, Recalled, Settings, Step};

fn outcome(id: &str, phase: NodePhase) -> Outcome {
    Outcome {
        phase,
        input_uri: format!("old/in/{id}").into(),
        output_uri: format!("old/out/{id}").into(),
        deck_uri: format!("old/deck/{id}").into(),
        ..Outcome::default()
    }
}

fn recalled(outcomes: &[(&str, NodePhase)]) -> Arc<Recalled> {
    let by_id = outcomes.iter().map(|(id, phase)| ((*id).into(), outcome(id, *phase))).collect();
    Arc::new(Recalled { by_id })
}

fn recovering(closure: &core::CompiledWorkflowClosure, recalled: Arc<Recalled>) -> Driver {
    let mut d = Driver::new(closure, Settings { max_parallelism: 0, ..Settings::default() });
    d.run = d.run.with_recalled(recalled);
    d.apply(Observation::Start);
    d
}

#[test]
fn what_succeeded_is_taken_over_with_its_outputs() {
    let before = [("a", NodePhase::Succeeded), ("b", NodePhase::Recovered), ("c", NodePhase::Failed)];
    let mut d =
        recovering(&workflow(&[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("d", &["c"])]), recalled(&before));
    assert_eq!(
        d.phases(["a", "b", "c"]),
        [NodePhase::Recovered, NodePhase::Recovered, NodePhase::NotYetStarted]
    );
    let state = d.state("b");
    assert_eq!(
        (&*state.input_uri, &*state.output_uri, &*state.deck_uri),
        ("old/in/b", "old/out/b", "old/deck/b")
    );
    assert_eq!(state.wire_phase(), core::node_execution::Phase::Recovered as i32);
    assert!(state.started_at.is_some() && state.ended_at.is_some());
    assert_eq!(d.resolving(), ["c"]);
    assert_eq!(d.run.recalled(d.idx("c")).map(|before| before.phase), Some(NodePhase::Failed));
    d.pass("c");
    d.pass("d");
    d.run_up_to(&["end-node"]);
    assert_eq!((d.run.phase(), d.run.is_done()), (Phase::Succeeded, true));
}

#[test]
fn holders_that_failed_run_again_and_find_what_is_inside() {
    let outer = closure(vec![sub("inner", "s", &[])]);
    let outer = with_subs(outer, vec![("inner", workflow(&[("a", &[]), ("b", &["a"])]))]);
    let before = [
        ("s", NodePhase::Failed),
        ("s-0-start-node", NodePhase::Succeeded),
        ("s-0-a", NodePhase::Succeeded),
        ("s-0-end-node", NodePhase::Succeeded),
    ];
    let mut d = recovering(&outer, recalled(&before));
    assert_eq!(d.resolving(), ["s"]);
    d.run_up_to(&["s"]);
    assert_eq!(d.phases(["s-0-start-node", "s-0-a"]), [NodePhase::Succeeded, NodePhase::Recovered]);
    assert_eq!(&*d.state("s-0-start-node").output_uri, "in/s", "start nodes begin anew");
    d.run_up_to(&["s-0-b"]);
    d.succeeded("s-0-b");
    assert_eq!(d.resolving(), ["s-0-end-node"], "and outputs are made anew");
}

#[test]
fn elements_that_succeeded_take_no_place() {
    let map = array(node("of", &[]), "m", &[], |array| {
        array.parallelism_option = Some(core::array_node::ParallelismOption::Parallelism(1));
    });
    let before = [
        ("m", NodePhase::Failed),
        ("m-0-n0", NodePhase::Succeeded),
        ("m-0-n1", NodePhase::Failed),
        ("m-0-n2", NodePhase::Succeeded),
        ("m-0-n3", NodePhase::Aborted),
    ];
    let mut d = recovering(&in_container(closure(vec![map])), recalled(&before));
    d.decide("m", Detail::Size(4));
    let ids = ["m-0-n0", "m-0-n1", "m-0-n2", "m-0-n3"];
    let (recovered, waits) = (NodePhase::Recovered, NodePhase::NotYetStarted);
    assert_eq!(d.phases(ids), [recovered, NodePhase::Queued, waits, waits]);
    d.plan();
    d.succeeded("m-0-n1");
    assert_eq!(d.phases(["m-0-n2", "m-0-n3"]), [NodePhase::Recovered, NodePhase::Queued]);
    d.plan();
    d.succeeded("m-0-n3");
    assert_eq!(d.state("m").phase, NodePhase::Succeeding, "what was taken over counts as a success");
}

#[test]
fn dynamic_node_runs_what_its_task_had_made() {
    let closure = workflow(&[("d", &[])]);
    let made = workflow(&[("a", &[]), ("b", &["a"])]);
    let mut before = Recalled::default();
    let dynamic =
        Outcome { spec_uri: Some("old/futures.pb".into()), attempt: 2, ..outcome("d", NodePhase::Failed) };
    before.by_id.insert("d".into(), dynamic);
    before.by_id.insert("d-2-a".into(), outcome("d-2-a", NodePhase::Succeeded));
    let before = Arc::new(before);
    let mut d = recovering(&closure, Arc::clone(&before));
    d.plan();
    let changes = d.resolved("d");
    assert!(changes.attempts.is_empty(), "its task does not run");
    let node = d.idx("d");
    assert_eq!(d.plan(), [Step::LoadExpansion { node, spec_uri: "old/futures.pb".into() }]);
    let mut loaded = d.run.clone();
    let result = Ok(crate::Expansion { spec_uri: "old/futures.pb".into(), ..expansion(&made) });
    d.apply(Observation::Expanded { node, result: result.clone() });
    assert_eq!(d.phases(["d", "d-2-a"]), [NodePhase::DynamicRunning, NodePhase::Recovered]);
    assert_eq!((d.state("d").attempt, d.state("d").open), (2, false));
    assert_eq!(d.resolving(), ["d-2-b"]);
    assert_eq!(d.apply(Observation::Expanded { node, result }), Default::default(), "said twice");
    let error = boom(ErrorKind::System);
    loaded.apply(Observation::Expanded { node, result: Err(error.clone()) }, d.now);
    assert_eq!((loaded.phase(), loaded.error()), (Phase::Failed, Some(&error)));
}

#[test]
fn failure_nodes_handle_the_failure_of_this_execution() {
    let closure = on_failure(workflow(&[("a", &[])]), node("efn", &[]));
    let before = [("a", NodePhase::Failed), ("efn", NodePhase::Succeeded)];
    let mut d = recovering(&closure, recalled(&before));
    d.run_up_to(&["a"]);
    d.failed("a", ErrorKind::User, false);
    d.plan();
    d.cleaned("a");
    assert_eq!(d.resolving(), ["efn"]);
    assert_eq!(d.run.recalled(d.idx("efn")), None);
}

#[test]
fn many_are_taken_over_in_several_calls() {
    let names: Vec<String> = (0..12_000).map(|i| format!("n{i}")).collect();
    let nodes = names.iter().map(|id| node(id, &[])).collect();
    let before: Vec<_> = names.iter().map(|id| (id.as_str(), NodePhase::Succeeded)).collect();
    let mut d = Driver::new(&closure(nodes), Settings::default());
    d.run = d.run.with_recalled(recalled(&before));
    let mut counts = vec![d.apply(Observation::Start).nodes.len()];
    while d.run.next_deadline().is_some() {
        assert_eq!(d.run.next_deadline(), Some(d.now), "at once");
        counts.push(d.apply(Observation::DeadlinePassed).nodes.len());
    }
    assert_eq!(counts, [5_001, 5_000, 2_000], "the start node with the first");
    assert_eq!(d.resolving(), ["end-node"]);
}

#[test]
fn abort_leaves_the_rest_behind() {
    let names: Vec<String> = (0..6_000).map(|i| format!("n{i}")).collect();
    let before: Vec<_> = names.iter().map(|id| (id.as_str(), NodePhase::Succeeded)).collect();
    let closure = closure(names.iter().map(|id| node(id, &[])).collect());
    let mut d = recovering(&closure, recalled(&before));
    assert!(d.abort().nodes.is_empty());
    assert_eq!((d.run.phase(), d.run.is_done(), d.run.next_deadline()), (Phase::Aborted, true, None));
}

#[test]
fn elements_of_an_array_that_is_taken_over_are_shown_in_steps() {
    let closure = closure(vec![array(node("of", &[]), "m", &[], |_| {}), node("y", &["m"])]);
    let names: Vec<String> = (0..12_000).map(|i| format!("m-0-n{i}")).collect();
    let mut before: Vec<_> = names.iter().map(|id| (id.as_str(), NodePhase::Succeeded)).collect();
    before[7].1 = NodePhase::Failed;
    before.push(("m", NodePhase::Succeeded));
    let before = recalled(&before);
    let mut d = Driver::new(&closure, Settings::default());
    d.run = d.run.with_recalled(Arc::clone(&before));
    let mut shown = vec![d.apply(Observation::Start).nodes.len()];
    assert_eq!((d.state("m").phase, d.state("m").detail), (NodePhase::Recovered, 12_001));
    assert_eq!(d.resolving(), ["y"], "what follows does not wait");
    assert!(d.run.release().is_empty());
    while d.run.next_deadline().is_some() {
        shown.push(d.apply(Observation::DeadlinePassed).nodes.len());
    }
    assert_eq!(shown, [5_000, 5_000, 2_001], "the start node and the array too, but not the one that failed");
    assert_eq!(d.phases(["m-0-n0", "m-0-n7"]), [NodePhase::Recovered, NodePhase::NotYetStarted]);
    assert_eq!(&*d.state("m-0-n11999").output_uri, "old/out/m-0-n11999");
    assert_eq!((d.run.release().len(), d.run.n_kept()), (1, 4));
}

#[test]
fn a_crash_shows_the_rest_of_the_elements() {
    let closure = closure(vec![array(node("of", &[]), "m", &[], |_| {})]);
    let names: Vec<String> = (0..10).map(|i| format!("m-0-n{i}")).collect();
    let mut before: Vec<_> = names.iter().map(|id| (id.as_str(), NodePhase::Succeeded)).collect();
    before.push(("m", NodePhase::Succeeded));
    let before = recalled(&before);
    let settings = Settings { recovered_at_once: 4, ..Settings::default() };
    let mut d = Driver::new(&closure, settings);
    d.run = d.run.with_recalled(Arc::clone(&before));
    d.apply(Observation::Start);
    let rows: Vec<_> =
        d.run.nodes().filter(|(_, state)| state.ended_at.is_some()).map(|(n, _)| d.row(n)).collect();
    assert_eq!(rows.len(), 2 + 3);
    let (execution, graph) = (d.snapshot(), Arc::clone(d.run.graph()));
    let settings = d.run.settings().clone();
    let run = crate::Execution::restore(graph, settings, execution, rows.into_iter()).unwrap();
    let mut later = Driver { run: run.with_recalled(before), now: d.now };
    let mut n_shown = later.apply(Observation::Start).nodes.len();
    while later.run.next_deadline().is_some() {
        n_shown += later.apply(Observation::DeadlinePassed).nodes.len();
    }
    assert_eq!(n_shown, 7, "no row twice");
}
