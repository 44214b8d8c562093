//! Launch plan nodes: executions of their own.

use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::testing::kinds::launch_plan;
use crate::testing::{Driver, boom, closure, node};
use crate::{NodePhase, Observation, Phase, Report, Settings, Step};

fn started() -> Driver {
    let mut d = Driver::started(&closure(vec![launch_plan("p", &[]), node("y", &["p"])]));
    d.run_up_to(&["p"]);
    d
}

#[test]
fn child_is_started_found_and_its_outputs_taken() {
    let mut d = Driver::started(&closure(vec![launch_plan("p", &[]), node("y", &["p"])]));
    d.plan();
    d.resolved("p");
    let node = d.idx("p");
    assert_eq!(d.plan(), [Step::StartAttempt { node, attempt: 0, recovered: false }]);
    d.report("p", Report::Running);
    let mut later = d.reborn();
    assert_eq!(later.plan(), [Step::StartAttempt { node, attempt: 0, recovered: true }], "looked for");
    for d in [&mut d, &mut later] {
        d.succeeded("p");
        assert_eq!((d.state("p").phase, &*d.state("p").output_uri), (NodePhase::Succeeded, "out/p"));
        assert_eq!(d.resolving(), ["y"]);
        d.pass("y");
        d.run_up_to(&["end-node"]);
        assert!(d.run.is_done(), "a child that ended is not cleaned up");
    }
}

#[test]
fn failure_of_the_child_is_the_nodes_word_for_word() {
    let mut d = started();
    d.failed("p", ErrorKind::System, false);
    assert_eq!((d.state("p").phase, d.run.error()), (NodePhase::Failed, Some(&boom(ErrorKind::System))));
    assert_eq!((d.run.phase(), d.run.is_done()), (Phase::Failed, true));
}

#[test]
fn abort_cascades_once_more_after_a_crash() {
    let mut d = started();
    d.report("p", Report::Running);
    d.abort();
    let node = d.idx("p");
    let abort = Step::Abort { node, attempt: 0, reason: "enough".into() };
    assert_eq!(d.plan(), std::slice::from_ref(&abort));
    let mut d = d.reborn();
    assert!(matches!(d.plan().as_slice(), [Step::Abort { .. }]));
    d.cleaned("p");
    assert_eq!((d.state("p").phase, d.run.phase()), (NodePhase::Aborted, Phase::Aborted));
}

#[test]
fn child_that_takes_too_long_is_aborted_and_started_anew() {
    let mut plan = launch_plan("p", &[]);
    plan.metadata = Some(core::NodeMetadata {
        timeout: Some(model::time::duration_to_proto(10_000_000)),
        retries: Some(core::RetryStrategy { retries: 1 }),
        ..Default::default()
    });
    let mut d = Driver::started(&closure(vec![plan]));
    d.run_up_to(&["p"]);
    d.report("p", Report::Running);
    d.now = d.run.next_deadline().unwrap();
    d.apply(Observation::DeadlinePassed);
    let node = d.idx("p");
    assert_eq!(d.plan(), [Step::Abort { node, attempt: 0, reason: "retrying".into() }]);
    d.cleaned("p");
    assert_eq!(d.plan(), [Step::StartAttempt { node, attempt: 1, recovered: false }]);
}

#[test]
fn it_takes_a_place() {
    let nodes = vec![launch_plan("p", &[]), launch_plan("q", &[])];
    let mut d = Driver::new(&closure(nodes), Settings { max_parallelism: 1, ..Settings::default() });
    d.apply(Observation::Start);
    assert_eq!(d.resolving(), ["p"]);
    d.run_up_to(&["p"]);
    d.succeeded("p");
    assert_eq!(d.resolving(), ["q"]);
}
