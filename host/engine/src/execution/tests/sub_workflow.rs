//! Workflows inside workflows.

use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::testing::kinds::{sub, with_subs};
use crate::testing::{Driver, boom, closure, enduring, node, workflow};
use crate::{Changes, NodePhase, Observation, Phase, Settings, Step};

const INNER: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"])];

/// `x`, then the sub-workflow `s` of `a` and `b`, then `y`.
fn nested() -> core::CompiledWorkflowClosure {
    let outer = closure(vec![node("x", &[]), sub("inner", "s", &["x"]), node("y", &["s"])]);
    with_subs(outer, vec![("inner", workflow(INNER))])
}

fn in_sub() -> Driver {
    let mut d = Driver::started(&nested());
    d.pass("x");
    d.run_up_to(&["s"]);
    d
}

#[test]
fn its_inputs_become_those_of_the_workflow_and_its_outputs_come_back() {
    let mut d = Driver::started(&nested());
    d.pass("x");
    d.plan();
    let changes = d.resolved("s");
    assert_eq!(changes.nodes, [d.idx("s"), d.idx("s-0-start-node")], "both rows in one change");
    assert_eq!(d.phases(["s", "s-0-start-node"]), [NodePhase::Running, NodePhase::Succeeded]);
    assert_eq!(&*d.state("s-0-start-node").output_uri, "in/s");
    assert_eq!(d.resolving(), ["s-0-a"]);
    d.pass("s-0-a");
    d.pass("s-0-b");
    d.plan();
    let changes = d.resolved("s-0-end-node");
    assert_eq!(changes.nodes, [d.idx("s-0-end-node"), d.idx("s")]);
    assert_eq!((d.state("s").phase, &*d.state("s").output_uri), (NodePhase::Succeeded, "in/s-0-end-node"));
    assert_eq!(d.resolving(), ["y"]);
}

#[test]
fn clean_up_inside_runs_behind_its_success() {
    let mut d = in_sub();
    for id in ["s-0-a", "s-0-b"] {
        d.run_up_to(&[id]);
        d.succeeded(id);
    }
    d.run_up_to(&["s-0-end-node"]);
    d.pass("y");
    d.run_up_to(&["end-node"]);
    assert_eq!((d.run.phase(), d.run.is_done()), (Phase::Succeeded, false));
    let mut later = d.reborn();
    for d in [&mut d, &mut later] {
        assert!(!d.cleaned("s-0-b").execution && !d.run.is_done());
        assert!(d.cleaned("s-0-a").execution && d.run.is_done());
    }
}

#[test]
fn failure_inside_fails_it_once_all_is_cleaned_up() {
    let inner = workflow(&[("a", &[]), ("b", &[])]);
    let outer = enduring(&[("y", &[]), ("z", &[])]);
    let mut outer = with_subs(outer, vec![("inner", inner)]);
    crate::testing::template(&mut outer).nodes.push(sub("inner", "s", &[]));
    let mut d = Driver::started(&outer);
    d.run_up_to(&["s", "y"]);
    d.run_up_to(&["s-0-a", "s-0-b"]);
    d.failed("s-0-a", ErrorKind::User, false);
    assert_eq!(d.phases(["s", "s-0-b", "y"]), [NodePhase::Failing, NodePhase::Aborting, NodePhase::Queued]);
    assert_eq!(d.state("s").wire_phase(), core::node_execution::Phase::Failing as i32);
    assert_eq!(d.state("s-0-a").wire_phase(), core::node_execution::Phase::Failed as i32);
    let mut later = d.reborn();
    for d in [&mut d, &mut later] {
        d.plan();
        d.cleaned("s-0-a");
        assert_eq!(d.state("s").phase, NodePhase::Failing);
        d.cleaned("s-0-b");
        assert_eq!(d.phases(["s", "s-0-b"]), [NodePhase::Failed, NodePhase::Aborted]);
        assert_eq!(d.state("s").error.as_deref(), Some(&boom(ErrorKind::User)), "the error of what failed");
        assert_eq!(d.run.phase(), Phase::Running, "the rest runs on");
    }
}

#[test]
fn first_failure_outside_stops_what_is_inside() {
    let mut outer = nested();
    crate::testing::template(&mut outer).nodes.push(node("z", &[]));
    let mut d = Driver::started(&outer);
    d.run_up_to(&["x", "z"]);
    d.succeeded("x");
    d.run_up_to(&["s"]);
    d.run_up_to(&["s-0-a"]);
    let changes = d.failed("z", ErrorKind::User, false);
    assert_eq!(changes.nodes, [d.idx("z"), d.idx("s"), d.idx("s-0-a")]);
    assert_eq!(d.phases(["s", "s-0-a"]), [NodePhase::Aborting, NodePhase::Aborting]);
    for id in ["x", "z", "s-0-a"] {
        d.cleaned(id);
    }
    assert_eq!((d.run.phase(), d.state("s").phase), (Phase::Failed, NodePhase::Aborted));
    assert_eq!(d.state("s").error.as_ref().unwrap().code, "NodeAborted");
}

#[test]
fn abort_reaches_every_level() {
    let deepest = workflow(&[("a", &[])]);
    let middle = with_subs(closure(vec![sub("deepest", "m", &[])]), vec![("deepest", deepest)]);
    let outer = with_subs(closure(vec![sub("middle", "s", &[])]), vec![("middle", middle)]);
    let mut d = Driver::started(&outer);
    for id in ["s", "s-0-m", "s-0-m-0-a"] {
        d.run_up_to(&[id]);
    }
    d.abort();
    assert_eq!(d.phases(["s", "s-0-m", "s-0-m-0-a"]), [NodePhase::Aborting; 3]);
    let a = d.idx("s-0-m-0-a");
    assert_eq!(d.plan(), [Step::Abort { node: a, attempt: 0, reason: "enough".into() }]);
    let changes = d.cleaned("s-0-m-0-a");
    assert_eq!(changes.nodes.len(), 3);
    assert_eq!(d.phases(["s", "s-0-m", "s-0-m-0-a"]), [NodePhase::Aborted; 3]);
    assert_eq!((d.run.phase(), d.run.is_done()), (Phase::Aborted, true));
}

#[test]
fn places_are_shared_with_the_outside() {
    let inner = workflow(&[("a", &[]), ("b", &[])]);
    let outer = closure(vec![sub("inner", "s", &[]), node("y", &[]), node("z", &[])]);
    let outer = with_subs(outer, vec![("inner", inner)]);
    let mut d = Driver::new(&outer, Settings { max_parallelism: 2, ..Settings::default() });
    d.apply(Observation::Start);
    assert_eq!(d.resolving(), ["s", "y", "z"], "a sub-workflow takes no place");
    d.run_up_to(&["s", "y", "z"]);
    assert_eq!(d.resolving(), [""; 0]);
    d.succeeded("y");
    assert_eq!(d.resolving(), ["s-0-a"]);
}

#[test]
fn what_was_resolved_in_a_stopped_scope_gives_its_place_back() {
    let inner = workflow(&[("a", &[]), ("b", &[])]);
    let mut outer = enduring(&[("y", &[])]);
    crate::testing::template(&mut outer).nodes.push(sub("inner", "s", &[]));
    let outer = with_subs(outer, vec![("inner", inner)]);
    let mut d = Driver::new(&outer, Settings { max_parallelism: 3, ..Settings::default() });
    d.apply(Observation::Start);
    d.run_up_to(&["s", "y"]);
    d.run_up_to(&["s-0-a"]);
    d.failed("s-0-a", ErrorKind::User, false);
    d.plan();
    d.cleaned("s-0-a");
    assert_eq!(d.state("s").phase, NodePhase::Failed);
    assert_eq!(d.resolved("s-0-b"), Changes::default(), "it never starts");
    d.succeeded("y");
    d.plan();
    d.cleaned("y");
    assert_eq!((d.run.phase(), d.run.is_done()), (Phase::Failed, true));
}

#[test]
fn node_timeout_ends_all_of_it() {
    let mut s = sub("inner", "s", &[]);
    s.metadata = Some(core::NodeMetadata {
        timeout: Some(model::time::duration_to_proto(10_000_000)),
        ..Default::default()
    });
    let outer = with_subs(closure(vec![s]), vec![("inner", workflow(INNER))]);
    let mut d = Driver::started(&outer);
    d.run_up_to(&["s"]);
    d.run_up_to(&["s-0-a"]);
    assert_eq!(d.run.next_deadline(), Some(d.state("s").started_at.unwrap().plus(10_000_000)));
    d.now = d.run.next_deadline().unwrap();
    d.apply(Observation::DeadlinePassed);
    assert_eq!(d.phases(["s", "s-0-a"]), [NodePhase::TimingOut, NodePhase::Aborting]);
    assert_eq!(d.state("s").wire_phase(), core::node_execution::Phase::Failing as i32);
    let mut later = d.reborn();
    for d in [&mut d, &mut later] {
        d.plan();
        d.cleaned("s-0-a");
        assert_eq!(d.state("s").phase, NodePhase::TimedOut);
        assert_eq!(d.state("s").error.as_ref().unwrap().code, "TimeoutExpired");
        assert_eq!(
            (d.run.phase(), d.run.error().unwrap().message.as_str()),
            (Phase::Failed, "Timeout in node")
        );
    }
}
