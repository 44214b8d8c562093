//! Abort converges from everywhere.

use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::testing::{Driver, task_metadata, workflow};
use crate::{AttemptChangeKind, Changes, NodePhase, Observation, Phase, Report, Settings, Step};

const TWO: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"])];

#[test]
fn queued_execution_aborts_at_once() {
    let mut d = Driver::new(&workflow(TWO), Settings::default());
    let changes = d.abort();
    assert!(changes.execution && changes.nodes.is_empty());
    assert_eq!((d.run.phase(), d.run.is_done(), d.run.started_at()), (Phase::Aborted, true, None));
    assert_eq!(d.apply(Observation::Start), Changes::default());
    assert!(d.plan().is_empty());
}

#[test]
fn resolving_node_never_gets_a_row() {
    let mut d = Driver::started(&workflow(TWO));
    d.plan();
    d.abort();
    assert_eq!((d.run.phase(), d.run.is_done()), (Phase::Aborted, true));
    assert_eq!(d.resolved("a"), Changes::default());
}

#[test]
fn live_attempt_is_aborted_and_then_closed() {
    let mut d = Driver::started(&workflow(TWO));
    d.run_up_to(&["a"]);
    d.report("a", Report::Running);
    let changes = d.abort();
    assert_eq!(d.run.phase(), Phase::Aborting);
    let aborted = AttemptChangeKind::Ended { phase: 4, reason: "enough".into() };
    assert_eq!(changes.attempts.iter().map(|change| &change.kind).collect::<Vec<_>>(), [&aborted]);
    assert_eq!(d.state("a").wire_phase(), core::node_execution::Phase::Running as i32);
    let node = d.idx("a");
    assert_eq!(d.plan(), [Step::Abort { node, attempt: 0, reason: "enough".into() }]);
    assert_eq!(d.succeeded("a"), Changes::default(), "too late to change the outcome");
    assert_eq!(d.failed("a", ErrorKind::User, false), Changes::default());
    assert_eq!(d.abort(), Changes::default(), "asked twice");
    d.cleaned("a");
    assert_eq!((d.run.phase(), d.run.error()), (Phase::Aborted, None));
    let error = d.state("a").error.as_deref().unwrap();
    assert_eq!((error.code.as_str(), error.message.as_str()), ("NodeAborted", "enough"));
    assert_eq!(d.state("a").wire_phase(), core::node_execution::Phase::Aborted as i32);
}

#[test]
fn attempt_not_yet_handed_out_never_starts() {
    let mut d = Driver::started(&workflow(TWO));
    d.plan();
    d.resolved("a");
    d.abort();
    let node = d.idx("a");
    assert_eq!(d.plan(), [Step::Abort { node, attempt: 0, reason: "enough".into() }]);
}

#[test]
fn clean_up_under_way_is_not_asked_for_again() {
    let mut closure = workflow(TWO);
    task_metadata(&mut closure).retries = Some(core::RetryStrategy { retries: 3 });
    let mut d = Driver::started(&closure);
    d.run_up_to(&["a"]);
    d.failed("a", ErrorKind::User, true);
    assert_eq!(d.plan().len(), 1);
    d.abort();
    assert_eq!(d.state("a").phase, NodePhase::Aborting);
    assert!(d.plan().is_empty());
    d.cleaned("a");
    assert_eq!((d.run.phase(), d.run.is_done()), (Phase::Aborted, true));
    assert_eq!(d.state("a").attempt, 0, "no further attempt");
}

#[test]
fn failing_execution_becomes_aborted() {
    let mut d = Driver::started(&workflow(&[("a", &[]), ("b", &[])]));
    d.run_up_to(&["a", "b"]);
    d.failed("a", ErrorKind::User, false);
    assert_eq!(d.run.phase(), Phase::Failing);
    assert!(d.abort().execution);
    d.cleaned("a");
    assert_eq!(d.state("a").phase, NodePhase::Failed, "it had failed before");
    d.cleaned("b");
    assert_eq!((d.run.phase(), d.run.error()), (Phase::Aborted, None));
}

#[test]
fn succeeded_node_is_only_finalized() {
    let mut d = Driver::started(&workflow(TWO));
    d.run_up_to(&["a"]);
    d.succeeded("a");
    d.abort();
    let node = d.idx("a");
    assert_eq!(d.plan(), [Step::Finalize { node, attempt: 0 }]);
    assert_eq!(d.run.phase(), Phase::Aborting);
    d.cleaned("a");
    assert_eq!((d.run.phase(), d.state("a").phase), (Phase::Aborted, NodePhase::Succeeded));
}

#[test]
fn ended_execution_cannot_be_aborted() {
    let mut d = Driver::started(&workflow(&[]));
    d.plan();
    d.resolved("end-node");
    assert_eq!(d.abort(), Changes::default());
    assert_eq!(d.run.phase(), Phase::Succeeded);
}

#[test]
fn abort_without_a_cause_still_gives_a_reason() {
    let mut d = Driver::started(&workflow(TWO));
    d.run_up_to(&["a"]);
    d.apply(Observation::AbortRequested { cause: String::new(), principal: String::new(), force: false });
    let node = d.idx("a");
    assert_eq!(d.plan(), [Step::Abort { node, attempt: 0, reason: "aborted on request".into() }]);
}
