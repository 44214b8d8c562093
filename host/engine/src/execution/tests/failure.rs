//! Failure nodes.

use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::testing::kinds::{on_failure, sub, with_subs};
use crate::testing::{Driver, boom, closure, enduring, node, workflow};
use crate::{Changes, NodePhase, Observation, Phase, Report, Settings, Step};

const TWO: &[(&str, &[&str])] = &[("a", &[]), ("b", &[])];

fn handled() -> core::CompiledWorkflowClosure {
    on_failure(workflow(TWO), node("efn", &[]))
}

/// `a` failed, and all is cleaned up.
fn failed(closure: &core::CompiledWorkflowClosure) -> Driver {
    let mut d = Driver::started(closure);
    d.run_up_to(&["a", "b"]);
    d.failed("a", ErrorKind::User, false);
    d.plan();
    d.cleaned("a");
    assert_eq!(d.resolving(), [""; 0], "b is not cleaned up");
    d.cleaned("b");
    d
}

#[test]
fn it_runs_when_all_is_cleaned_up_and_then_the_workflow_fails() {
    let mut d = failed(&handled());
    assert_eq!((d.run.phase(), d.run.is_done()), (Phase::Failing, false));
    assert_eq!(d.resolving(), ["efn"]);
    let efn = d.idx("efn");
    assert!(d.run.is_failure_node(efn));
    assert_eq!(d.run.failure_for(efn), Some((&boom(ErrorKind::User), "a".to_owned())));
    assert_eq!(d.run.failure_for(d.idx("a")), None);
    assert_eq!(d.reborn().resolving(), ["efn"], "found again before it has a row");
    d.run_up_to(&["efn"]);
    let mut later = d.reborn();
    let again = Step::StartAttempt { node: efn, attempt: 0, recovered: true };
    assert_eq!(later.plan(), [again], "and after");
    assert_eq!(later.run.failure_for(efn), Some((&boom(ErrorKind::User), "a".to_owned())));
    for d in [&mut d, &mut later] {
        d.succeeded("efn");
        assert_eq!(d.run.phase(), Phase::Failing, "it is not cleaned up");
        d.plan();
        d.cleaned("efn");
        assert_eq!((d.run.phase(), d.run.error()), (Phase::Failed, Some(&boom(ErrorKind::User))));
        assert!(d.run.is_done());
    }
}

#[test]
fn its_own_failure_takes_the_place_of_the_first() {
    let mut d = failed(&handled());
    d.run_up_to(&["efn"]);
    let own = core::ExecutionError { message: "worse".into(), ..boom(ErrorKind::System) };
    d.report("efn", Report::Failed { error: own.clone(), recoverable: false, cleanup: false });
    d.plan();
    d.cleaned("efn");
    assert_eq!((d.run.phase(), d.run.error()), (Phase::Failed, Some(&own)));
}

#[test]
fn without_inputs_it_fails() {
    let mut d = failed(&handled());
    d.plan();
    let node = d.idx("efn");
    let own = boom(ErrorKind::System);
    d.apply(Observation::InputsResolved { node, result: Err(own.clone()) });
    assert_eq!((d.run.phase(), d.run.error(), d.run.is_done()), (Phase::Failed, Some(&own), true));
}

#[test]
fn when_it_takes_too_long_the_workflow_says_so() {
    let mut efn = node("efn", &[]);
    efn.metadata = Some(core::NodeMetadata {
        timeout: Some(model::time::duration_to_proto(1_000_000)),
        ..Default::default()
    });
    let mut d = failed(&on_failure(workflow(TWO), efn));
    d.run_up_to(&["efn"]);
    d.now = d.now.plus(60_000_000);
    d.apply(Observation::DeadlinePassed);
    d.plan();
    d.cleaned("efn");
    assert_eq!((d.run.phase(), d.run.error().unwrap().code.as_str()), (Phase::Failed, "TimedOut"));
    assert_eq!(d.run.error().unwrap().kind(), ErrorKind::User);
}

#[test]
fn it_never_runs_without_a_failure() {
    let mut d = Driver::started(&handled());
    d.pass("a");
    d.pass("b");
    assert_eq!(d.reborn().resolving(), ["end-node"]);
    d.run_up_to(&["end-node"]);
    assert_eq!((d.run.phase(), d.run.is_done()), (Phase::Succeeded, true));
    assert_eq!(d.state("efn").phase, NodePhase::NotYetStarted);
}

#[test]
fn abort_ends_it_too() {
    let mut d = failed(&handled());
    d.run_up_to(&["efn"]);
    d.abort();
    assert_eq!((d.run.phase(), d.state("efn").phase), (Phase::Aborting, NodePhase::Aborting));
    d.plan();
    d.cleaned("efn");
    assert_eq!((d.run.phase(), d.run.error()), (Phase::Aborted, None));
}

#[test]
fn abort_before_it_starts_keeps_it_from_starting() {
    let mut d = Driver::started(&handled());
    d.run_up_to(&["a"]);
    d.failed("a", ErrorKind::User, false);
    d.abort();
    d.plan();
    d.cleaned("a");
    assert_eq!((d.run.phase(), d.plan()), (Phase::Aborted, vec![]));
}

#[test]
fn sub_workflow_handles_its_failure_itself() {
    let inner = on_failure(workflow(&[("a", &[])]), node("efn", &[]));
    let outer = on_failure(closure(vec![sub("inner", "s", &[])]), node("efn", &[]));
    let mut d = Driver::started(&with_subs(outer, vec![("inner", inner)]));
    d.run_up_to(&["s"]);
    d.run_up_to(&["s-0-a"]);
    d.failed("s-0-a", ErrorKind::User, false);
    d.plan();
    d.cleaned("s-0-a");
    assert_eq!((d.run.phase(), d.state("s").phase), (Phase::Running, NodePhase::Failing));
    assert_eq!(d.resolving(), ["s-0-efn"]);
    let efn = d.idx("s-0-efn");
    assert_eq!(d.run.failure_for(efn), Some((&boom(ErrorKind::User), "s-0-a".to_owned())));
    d = d.reborn();
    d.pass("s-0-efn");
    assert_eq!((d.run.phase(), d.state("s").phase), (Phase::Failing, NodePhase::Failed));
    assert_eq!(d.resolving(), ["efn"], "and then the workflow around it");
    d.pass("efn");
    assert_eq!((d.run.phase(), d.run.error()), (Phase::Failed, Some(&boom(ErrorKind::User))));
}

#[test]
fn failure_outside_cuts_the_handling_inside_short() {
    let inner = on_failure(workflow(&[("a", &[])]), node("efn", &[]));
    let outer = with_subs(closure(vec![sub("inner", "s", &[]), node("z", &[])]), vec![("inner", inner)]);
    let mut d = Driver::started(&outer);
    d.run_up_to(&["s", "z"]);
    d.run_up_to(&["s-0-a"]);
    d.failed("s-0-a", ErrorKind::User, false);
    d.plan();
    d.cleaned("s-0-a");
    d.run_up_to(&["s-0-efn"]);
    d.failed("z", ErrorKind::System, false);
    assert_eq!(d.phases(["s", "s-0-efn"]), [NodePhase::Aborting; 2]);
    d.plan();
    d.cleaned("z");
    d.cleaned("s-0-efn");
    assert_eq!((d.run.phase(), d.state("s").phase), (Phase::Failed, NodePhase::Aborted));
    assert_eq!(d.run.error(), Some(&boom(ErrorKind::System)));
}

#[test]
fn it_waits_for_a_place_like_any_other() {
    let inner = on_failure(workflow(&[("a", &[])]), node("efn", &[]));
    let mut outer = enduring(&[("y", &[]), ("z", &[])]);
    crate::testing::template(&mut outer).nodes.push(sub("inner", "s", &[]));
    let outer = with_subs(outer, vec![("inner", inner)]);
    let mut d = Driver::new(&outer, Settings { max_parallelism: 2, ..Settings::default() });
    d.apply(Observation::Start);
    d.run_up_to(&["s", "y", "z"]);
    d.succeeded("y");
    d.run_up_to(&["s-0-a"]);
    d.failed("s-0-a", ErrorKind::User, false);
    d.plan();
    assert_ne!(d.cleaned("s-0-a"), Changes::default());
    assert_eq!(d.resolving(), ["s-0-efn"], "the place of a is free");
}
