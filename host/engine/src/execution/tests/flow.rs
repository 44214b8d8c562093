//! Order, parallelism and failure policies.

use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::testing::{Driver, boom, enduring, plain, workflow};
use crate::{Changes, NodePhase, Observation, Phase, Report, Settings, Step};

const DIAMOND: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])];

#[test]
fn start_node_succeeds_with_the_first_change() {
    let settings = Settings { inputs_uri: "inputs.pb".into(), ..Settings::default() };
    let mut d = Driver::new(&workflow(DIAMOND), settings);
    assert_eq!(d.run.phase(), Phase::Queued);
    let changes = d.apply(Observation::Start);
    assert!(changes.execution);
    assert_eq!(changes.nodes, [d.run.graph().start]);
    assert_eq!(d.run.phase(), Phase::Running);
    assert_eq!(d.state("start-node").phase, NodePhase::Succeeded);
    assert_eq!(&*d.state("start-node").output_uri, "inputs.pb");
    assert_eq!(d.apply(Observation::Start), Changes::default(), "a second start is ignored");
}

#[test]
fn diamond_runs_in_order() {
    let mut d = Driver::started(&workflow(DIAMOND));
    assert_eq!(d.resolving(), ["a"]);
    d.pass("a");
    assert_eq!(d.run.phase(), Phase::Running);
    d.run_up_to(&["b", "c"]);
    d.succeeded("b");
    assert_eq!(d.resolving(), [""; 0], "d waits for c");
    d.succeeded("c");
    assert_eq!(d.resolving(), ["d"], "outputs are enough, clean-up runs behind");
    d.run_up_to(&["d"]);
    d.succeeded("d");
    assert_eq!(d.resolving(), ["end-node"]);
    d.plan();
    d.cleaned("d");
    let end = d.idx("end-node");
    let changes = d.apply(Observation::InputsResolved { node: end, result: plain("outputs.pb") });
    assert!(changes.execution && changes.nodes == [end]);
    assert_eq!((d.run.phase(), d.run.outputs_uri()), (Phase::Succeeded, "outputs.pb"));
    assert!(!d.run.is_done(), "b and c are not cleaned up");
    assert!(!d.cleaned("b").execution);
    assert!(d.cleaned("c").execution, "the row learns that nothing is left to do");
    assert!(d.run.is_done());
}

#[test]
fn empty_workflow_succeeds() {
    let mut d = Driver::started(&workflow(&[]));
    assert_eq!(d.plan(), [Step::ResolveInputs { node: d.run.graph().end }]);
    let changes = d.resolved("end-node");
    assert!(changes.execution && d.run.is_done());
}

#[test]
fn unresolvable_inputs_fail_the_node() {
    let mut d = Driver::started(&workflow(&[("a", &[])]));
    d.plan();
    let node = d.idx("a");
    let error = boom(ErrorKind::System);
    let changes = d.apply(Observation::InputsResolved { node, result: Err(error.clone()) });
    assert!(changes.execution && changes.attempts.is_empty());
    assert_eq!(d.state("a").phase, NodePhase::Failed);
    assert_eq!((d.run.phase(), d.run.error()), (Phase::Failed, Some(&error)));
    assert!(d.run.is_done());
}

#[test]
fn unresolvable_outputs_fail_the_execution() {
    for closure in [workflow(&[]), enduring(&[])] {
        let mut d = Driver::started(&closure);
        d.plan();
        let node = d.idx("end-node");
        d.apply(Observation::InputsResolved { node, result: Err(boom(ErrorKind::System)) });
        assert_eq!((d.run.phase(), d.run.is_done()), (Phase::Failed, true));
    }
}

#[test]
fn free_places_go_to_ready_nodes_in_order() {
    let nodes: &[(&str, &[&str])] = &[("a", &[]), ("b", &[]), ("c", &[]), ("d", &["a"]), ("e", &[])];
    let mut d = Driver::new(&workflow(nodes), Settings { max_parallelism: 2, ..Settings::default() });
    d.apply(Observation::Start);
    assert_eq!(d.resolving(), ["a", "b"]);
    d.run_up_to(&["a", "b"]);
    d.report("a", Report::Running);
    assert_eq!(d.resolving(), [""; 0]);
    d.succeeded("a");
    assert_eq!(d.resolving(), ["c"], "d became ready after c and e");
    d.run_up_to(&["c"]);
    d.succeeded("b");
    d.succeeded("c");
    assert_eq!(d.resolving(), ["e", "d"]);
}

#[test]
fn retry_keeps_its_place() {
    let mut closure = workflow(&[("a", &[]), ("b", &[])]);
    crate::testing::task_metadata(&mut closure).retries = Some(core::RetryStrategy { retries: 1 });
    let mut d = Driver::new(&closure, Settings { max_parallelism: 1, ..Settings::default() });
    d.apply(Observation::Start);
    d.run_up_to(&["a"]);
    d.failed("a", ErrorKind::User, true);
    assert_eq!(d.state("a").phase, NodePhase::RetryableFailure);
    assert_eq!(d.resolving(), [""; 0]);
    d.plan();
    d.cleaned("a");
    assert_eq!(d.resolving(), [""; 0]);
    d.plan();
    d.succeeded("a");
    assert_eq!(d.resolving(), ["b"]);
}

#[test]
fn first_failure_aborts_what_runs() {
    let mut d = Driver::started(&workflow(&[("a", &[]), ("b", &[]), ("c", &[]), ("d", &["a"])]));
    d.plan();
    d.resolved("a");
    d.resolved("b");
    d.report("b", Report::Running);
    d.plan();
    let changes = d.failed("a", ErrorKind::User, false);
    assert_eq!(d.run.phase(), Phase::Failing);
    assert_eq!(d.run.error(), Some(&boom(ErrorKind::User)));
    assert_eq!(changes.nodes, [d.idx("a"), d.idx("b")]);
    let (a, b) = (d.idx("a"), d.idx("b"));
    let reason = "Some node execution failed, auto-abort.".to_owned();
    assert_eq!(
        d.plan(),
        [Step::Finalize { node: a, attempt: 0 }, Step::Abort { node: b, attempt: 0, reason: reason.clone() }]
    );
    assert_eq!(d.resolved("c"), Changes::default(), "what did not start never does");
    assert_eq!(d.succeeded("b"), Changes::default(), "too late");
    d.cleaned("a");
    assert_eq!((d.run.phase(), d.state("a").phase), (Phase::Failing, NodePhase::Failed));
    d.cleaned("b");
    assert_eq!((d.run.phase(), d.state("b").phase), (Phase::Failed, NodePhase::Aborted));
    let error = d.state("b").error.as_deref().unwrap();
    assert_eq!((error.code.as_str(), error.message.as_str()), ("NodeAborted", reason.as_str()));
    for absent in ["c", "d", "end-node"] {
        assert_eq!(d.state(absent).phase, NodePhase::NotYetStarted, "{absent}");
    }
    assert!(d.run.is_done());
}

#[test]
fn rest_runs_on_and_dependents_are_skipped() {
    let nodes: &[(&str, &[&str])] =
        &[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("x", &[]), ("y", &["x"]), ("z", &["y", "c"])];
    let mut d = Driver::started(&enduring(nodes));
    d.run_up_to(&["a", "x"]);
    let changes = d.failed("a", ErrorKind::User, false);
    assert_eq!(d.run.phase(), Phase::Running);
    assert_eq!(changes.nodes, [d.idx("a"), d.idx("b"), d.idx("c")], "the whole chain in one change");
    assert_eq!(d.state("z").phase, NodePhase::NotYetStarted, "y is not decided");
    d.plan();
    d.cleaned("a");
    d.succeeded("x");
    d.pass("y");
    assert_eq!(d.state("z").phase, NodePhase::Skipped);
    assert_eq!(d.state("end-node").phase, NodePhase::Skipped);
    assert_eq!(d.run.phase(), Phase::Failing, "x is not cleaned up");
    d.cleaned("x");
    assert_eq!(d.run.phase(), Phase::Failed);
    assert_eq!(d.run.error(), Some(&boom(ErrorKind::User)));
}

#[test]
fn last_failure_is_reported() {
    let mut d = Driver::started(&enduring(&[("a", &[]), ("b", &[]), ("c", &[])]));
    d.run_up_to(&["a", "b", "c"]);
    for (id, message) in [("c", "one"), ("a", "two"), ("b", "three")] {
        let error = core::ExecutionError { message: message.into(), ..boom(ErrorKind::User) };
        d.report(id, Report::Failed { error, recoverable: false, cleanup: false });
    }
    assert_eq!(d.run.error().unwrap().message, "three");
}

#[test]
fn nonsense_changes_nothing() {
    let mut d = Driver::started(&workflow(&[("a", &[])]));
    let node = d.idx("a");
    let running = |node, attempt| Observation::TaskReported { node, attempt, report: Report::Running };
    let input = |node| Observation::InputsResolved { node, result: plain("") };
    let early = [running(node, 0), Observation::Cleaned { node, attempt: 0 }, Observation::DeadlinePassed];
    let unknown = [running(99, 0), Observation::Cleaned { node: u32::MAX, attempt: 0 }, input(99), input(0)];
    for observation in early.into_iter().chain(unknown) {
        assert_eq!(d.apply(observation.clone()), Changes::default(), "{observation:?}");
    }
    d.run_up_to(&["a"]);
    for observation in [running(node, 1), Observation::Cleaned { node, attempt: 0 }, input(node)] {
        assert_eq!(d.apply(observation.clone()), Changes::default(), "{observation:?}");
    }
    assert!(d.plan().is_empty());
}

#[test]
fn nothing_counts_before_start() {
    let mut d = Driver::new(&workflow(&[("a", &[])]), Settings::default());
    let running = Observation::TaskReported { node: 2, attempt: 0, report: Report::Running };
    let input = Observation::InputsResolved { node: 2, result: plain("") };
    for observation in [running, input, Observation::Cleaned { node: 2, attempt: 0 }] {
        assert_eq!(d.apply(observation.clone()), Changes::default(), "{observation:?}");
    }
    assert!(d.plan().is_empty());
    assert_eq!(d.run.phase(), Phase::Queued);
}
