//! Gates: a while, a value, an approval.

use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::testing::kinds::{approve, signal, sleep};
use crate::testing::{Driver, boom, closure, node};
use crate::{NodePhase, Observation, Phase, Step};

const SECOND: i64 = 1_000_000;

fn timeout(mut node: core::Node, micros: i64, retries: u32) -> core::Node {
    node.metadata = Some(core::NodeMetadata {
        timeout: Some(model::time::duration_to_proto(micros)),
        retries: Some(core::RetryStrategy { retries }),
        ..Default::default()
    });
    node
}

#[test]
fn sleep_is_a_deadline() {
    let mut d = Driver::started(&closure(vec![sleep(30 * SECOND, "g", &[]), node("y", &["g"])]));
    d.run_up_to(&["g"]);
    assert_eq!(d.state("g").phase, NodePhase::Running);
    assert!(d.plan().is_empty(), "the engine's own");
    let over = d.state("g").started_at.unwrap().plus(30 * SECOND);
    assert_eq!(d.run.next_deadline(), Some(over));
    d = d.reborn();
    assert_eq!(d.run.next_deadline(), Some(over), "counted from its start");
    d.now = over.plus(-2 * SECOND);
    d.apply(Observation::DeadlinePassed);
    assert_eq!(d.state("g").phase, NodePhase::Running);
    d.apply(Observation::DeadlinePassed);
    assert_eq!(d.state("g").phase, NodePhase::Succeeded);
    assert_eq!(d.resolving(), ["y"]);
}

#[test]
fn sleep_of_no_length_is_over_at_once() {
    let mut d = Driver::started(&closure(vec![sleep(0, "g", &[])]));
    d.run_up_to(&["g"]);
    assert_eq!(d.state("g").phase, NodePhase::Succeeded);
}

#[test]
fn sleeping_gate_is_aborted_without_a_step() {
    let mut d = Driver::started(&closure(vec![sleep(30 * SECOND, "g", &[])]));
    d.run_up_to(&["g"]);
    d.abort();
    assert_eq!((d.state("g").phase, d.run.phase()), (NodePhase::Aborted, Phase::Aborted));
    assert!(d.plan().is_empty() && d.run.is_done() && d.run.next_deadline().is_none());
}

#[test]
fn sleep_longer_than_its_timeout_times_out() {
    let mut d = Driver::started(&closure(vec![timeout(sleep(30 * SECOND, "g", &[]), 10 * SECOND, 3)]));
    d.run_up_to(&["g"]);
    d.now = d.now.plus(10 * SECOND);
    d.apply(Observation::DeadlinePassed);
    assert_eq!((d.state("g").phase, d.run.phase()), (NodePhase::TimedOut, Phase::Failed));
}

#[test]
fn signal_is_looked_at_until_it_is_there() {
    let mut d = Driver::started(&closure(vec![signal("g", &[]), node("y", &["g"])]));
    d.plan();
    d.resolved("g");
    assert_eq!(d.state("g").phase, NodePhase::Running, "a gate waits at once");
    let node = d.idx("g");
    assert_eq!(d.plan(), [Step::StartAttempt { node, attempt: 0, recovered: false }]);
    let mut later = d.reborn();
    assert_eq!(later.plan(), [Step::StartAttempt { node, attempt: 0, recovered: true }]);
    for d in [&mut d, &mut later] {
        d.succeeded("g");
        assert_eq!((d.state("g").phase, &*d.state("g").output_uri), (NodePhase::Succeeded, "out/g"));
        assert_eq!(d.resolving(), ["y"]);
        assert!(d.plan().iter().all(|step| !matches!(step, Step::Finalize { .. })), "nothing is left of it");
    }
}

#[test]
fn what_is_approved_passes_through() {
    let mut d = Driver::started(&closure(vec![approve("g", &[])]));
    d.run_up_to(&["g"]);
    d.succeeded("g");
    assert_eq!(&*d.state("g").output_uri, "in/g");
}

#[test]
fn refusal_fails_it_for_good() {
    let mut d = Driver::started(&closure(vec![timeout(approve("g", &[]), SECOND, 5)]));
    d.run_up_to(&["g"]);
    d.failed("g", ErrorKind::User, false);
    assert_eq!((d.state("g").phase, d.run.error()), (NodePhase::Failed, Some(&boom(ErrorKind::User))));
    assert_eq!((d.run.phase(), d.run.is_done(), d.plan()), (Phase::Failed, true, vec![]));
}

#[test]
fn gate_nobody_passes_expires() {
    let mut d = Driver::started(&closure(vec![timeout(signal("g", &[]), 10 * SECOND, 1)]));
    d.run_up_to(&["g"]);
    let first = d.state("g").started_at.unwrap();
    assert_eq!(d.run.next_deadline(), Some(first.plus(10 * SECOND)), "waiting counts");
    d.now = first.plus(9 * SECOND);
    d.apply(Observation::DeadlinePassed);
    let node = d.idx("g");
    assert_eq!(d.plan(), [Step::Abort { node, attempt: 0, reason: "retrying".into() }]);
    d.cleaned("g");
    assert_eq!((d.state("g").phase, d.state("g").attempt), (NodePhase::Running, 1));
    assert_eq!(d.run.next_deadline(), Some(first.plus(20 * SECOND)), "of both attempts together");
    d.now = first.plus(30 * SECOND);
    d.apply(Observation::DeadlinePassed);
    d.plan();
    d.cleaned("g");
    assert_eq!((d.state("g").phase, d.run.phase()), (NodePhase::TimedOut, Phase::Failed));
}

#[test]
fn waiting_gate_is_aborted() {
    let mut d = Driver::started(&closure(vec![signal("g", &[])]));
    d.run_up_to(&["g"]);
    d.abort();
    let node = d.idx("g");
    assert_eq!(d.plan(), [Step::Abort { node, attempt: 0, reason: "enough".into() }]);
    d = d.reborn();
    assert_eq!(d.plan().len(), 1, "asked for again");
    d.cleaned("g");
    assert_eq!((d.state("g").phase, d.run.phase()), (NodePhase::Aborted, Phase::Aborted));
}
