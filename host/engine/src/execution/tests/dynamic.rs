//! Dynamic nodes: tasks that make a workflow.

use std::sync::Arc;

use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::testing::kinds::{expansion, in_container};
use crate::testing::{Driver, boom, closure, node, task_metadata, workflow};
use crate::{
    AttemptRow, Error, Execution, ExecutionSnapshot, NodePhase, NodeSnapshot, Observation, Phase, Report,
    Settings, Step,
};

const INNER: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"])];

fn expanded() -> Driver {
    let mut d = Driver::started(&workflow(&[("d", &[]), ("y", &["d"])]));
    d.run_up_to(&["d"]);
    d.expanded("d", &workflow(INNER));
    d
}

#[test]
fn what_the_task_made_runs_while_its_attempt_is_cleaned_up() {
    let mut d = Driver::started(&workflow(&[("d", &[])]));
    d.run_up_to(&["d"]);
    let changes = d.expanded("d", &workflow(INNER));
    assert_eq!(changes.nodes, [d.idx("d"), d.idx("d-0-start-node")]);
    let state = d.state("d");
    assert_eq!((state.phase, state.spec_uri.as_deref()), (NodePhase::DynamicRunning, Some("futures.pb")));
    assert_eq!(state.wire_phase(), core::node_execution::Phase::DynamicRunning as i32);
    assert_eq!(&*d.state("d-0-start-node").output_uri, "in/d");
    let (dynamic, a) = (d.idx("d"), d.idx("d-0-a"));
    assert_eq!(d.plan(), [Step::Finalize { node: dynamic, attempt: 0 }, Step::ResolveInputs { node: a }]);
    assert_eq!((d.run.closure_node(dynamic), d.run.closure_node(a)), (None, Some(dynamic)));
    assert!(!Arc::ptr_eq(d.run.graph_of(a), d.run.graph()));
}

#[test]
fn its_outputs_are_checked_before_it_succeeds() {
    let mut d = expanded();
    d.plan();
    d.cleaned("d");
    d.pass("d-0-a");
    d.pass("d-0-b");
    d.run_up_to(&["d-0-end-node"]);
    assert_eq!(d.state("d").phase, NodePhase::Succeeding);
    let dynamic = d.idx("d");
    assert_eq!(d.run.end_of(dynamic), Some(d.idx("d-0-end-node")));
    let mut later = d.reborn();
    assert_eq!(later.plan(), [Step::GatherOutputs { node: later.idx("d") }]);
    for d in [&mut d, &mut later] {
        d.gathered("d");
        assert_eq!((d.state("d").phase, &*d.state("d").output_uri), (NodePhase::Succeeded, "gathered/d"));
        assert_eq!(d.resolving(), ["y"]);
    }
}

#[test]
fn failure_inside_is_final() {
    let mut closure = workflow(&[("d", &[])]);
    task_metadata(&mut closure).retries = Some(core::RetryStrategy { retries: 5 });
    let mut d = Driver::started(&closure);
    d.run_up_to(&["d"]);
    d.failed("d", ErrorKind::User, true);
    d.plan();
    d.cleaned("d");
    d.plan();
    d.expanded("d", &workflow(INNER));
    d.run_up_to(&["d-1-a"]);
    assert_eq!(&*d.state("d-1-a").input_uri, "in/d-1-a", "ids carry the attempt that made it");
    d.failed("d-1-a", ErrorKind::User, false);
    d.plan();
    d.cleaned("d-1-a");
    assert_eq!(d.state("d").phase, NodePhase::Failing, "its own attempt is not cleaned up");
    assert_eq!(d.state("d").wire_phase(), core::node_execution::Phase::Failing as i32);
    let mut later = d.reborn();
    let dynamic = later.idx("d");
    assert_eq!(later.plan(), [Step::Finalize { node: dynamic, attempt: 1 }]);
    for d in [&mut d, &mut later] {
        d.cleaned("d");
        assert_eq!((d.state("d").phase, d.run.phase()), (NodePhase::Failed, Phase::Failed));
        assert_eq!(d.run.error(), Some(&boom(ErrorKind::User)));
    }
}

#[test]
fn it_gives_its_place_to_what_it_made() {
    let mut d = Driver::new(
        &workflow(&[("d", &[]), ("y", &["d"])]),
        Settings { max_parallelism: 1, ..Settings::default() },
    );
    d.apply(Observation::Start);
    d.run_up_to(&["d"]);
    d.expanded("d", &workflow(INNER));
    assert_eq!(d.resolving(), ["d-0-a"]);
    assert_eq!(d.reborn().resolving(), ["d-0-a"]);
}

#[test]
fn dynamic_nodes_nest() {
    let mut d = expanded();
    d.run_up_to(&["d-0-a"]);
    d.expanded("d-0-a", &workflow(&[("x", &[])]));
    d.run_up_to(&["d-0-a-0-x"]);
    let (outer, inner, x) = (d.idx("d"), d.idx("d-0-a"), d.idx("d-0-a-0-x"));
    assert_eq!(d.run.closure_node(x), Some(inner));
    assert_eq!(d.run.closure_node(inner), Some(outer));
    d.abort();
    assert_eq!(d.phases(["d", "d-0-a", "d-0-a-0-x"]), [NodePhase::Aborting; 3]);
    for id in ["d-0-a-0-x", "d-0-a", "d"] {
        assert_eq!(d.run.phase(), Phase::Aborting);
        d.cleaned(id);
    }
    assert_eq!((d.run.phase(), d.run.is_done()), (Phase::Aborted, true));
}

#[test]
fn empty_workflow_gives_its_outputs_at_once() {
    let mut d = Driver::started(&workflow(&[("d", &[])]));
    d.run_up_to(&["d"]);
    d.expanded("d", &workflow(&[]));
    assert_eq!(d.resolving(), ["d-0-end-node"]);
}

#[test]
fn node_inside_that_took_too_long_makes_it_do_so() {
    let mut d = Driver::started(&workflow(&[("d", &[])]));
    d.run_up_to(&["d"]);
    let mut inner = workflow(&[("a", &[])]);
    task_metadata(&mut inner).timeout = Some(model::time::duration_to_proto(5_000_000));
    d.expanded("d", &inner);
    d.plan();
    d.cleaned("d");
    d.run_up_to(&["d-0-a"]);
    d.now = d.run.next_deadline().unwrap().plus(60_000_000);
    d.apply(Observation::DeadlinePassed);
    assert_eq!(d.phases(["d", "d-0-a"]), [NodePhase::TimingOut; 2]);
    d.plan();
    d.cleaned("d-0-a");
    assert_eq!(d.phases(["d", "d-0-a"]), [NodePhase::TimedOut; 2]);
    assert_eq!(d.run.error().unwrap().message, "Timeout in node");
}

#[test]
fn only_tasks_expand() {
    let mut d = Driver::started(&closure(vec![crate::testing::kinds::launch_plan("p", &[])]));
    d.run_up_to(&["p"]);
    assert_eq!(d.expanded("p", &workflow(INNER)), Default::default());
    assert_eq!(d.state("p").phase, NodePhase::Queued);
}

#[test]
fn element_of_an_array_expands_and_keeps_its_place() {
    let map = crate::testing::kinds::array(node("of", &[]), "m", &[], |array| {
        array.parallelism_option = Some(core::array_node::ParallelismOption::Parallelism(1));
    });
    let mut d = Driver::started(&in_container(closure(vec![map])));
    d.decide("m", crate::Detail::Size(2));
    d.plan();
    d.expanded("m-0-n0", &workflow(&[("a", &[]), ("b", &[])]));
    assert_eq!(d.phases(["m-0-n0", "m-0-n1"]), [NodePhase::DynamicRunning, NodePhase::NotYetStarted]);
    assert_eq!(d.resolving(), ["m-0-n0-0-a", "m-0-n0-0-b"]);
    d.pass("m-0-n0-0-a");
    d.pass("m-0-n0-0-b");
    d.run_up_to(&["m-0-n0-0-end-node"]);
    assert_eq!(d.state("m-0-n1").phase, NodePhase::NotYetStarted);
    d.gathered("m-0-n0");
    assert_eq!(d.phases(["m-0-n0", "m-0-n1"]), [NodePhase::Succeeded, NodePhase::Queued]);
}

fn restored(d: &Driver, row: NodeSnapshot) -> Result<Execution, Error> {
    let execution = ExecutionSnapshot {
        phase: Phase::Running,
        abort_cause: None,
        abort_forced: false,
        error: None,
        created_at: d.now,
        started_at: None,
        ended_at: None,
    };
    let graph = Arc::clone(d.run.graph());
    Execution::restore(graph, Settings::default(), execution, [row].into_iter())
}

#[test]
fn restoring_one_asks_for_what_it_made() {
    let d = expanded();
    let row = NodeSnapshot { expansion: None, ..d.row(d.idx("d")) };
    let what = "what its task made";
    assert_eq!(restored(&d, row).err(), Some(Error::UnknownContent { node: "d".into(), what }));
}

#[test]
fn attempt_that_made_it_is_finalized_whatever_its_row_says() {
    let d = expanded();
    let row = NodeSnapshot { attempt_row: AttemptRow::Live, ..d.row(d.idx("d")) };
    let mut run = restored(&d, row).unwrap();
    run.apply(Observation::Start, d.now);
    assert!(run.plan(d.now).contains(&Step::Finalize { node: d.idx("d"), attempt: 0 }));
}

#[test]
fn repeated_answer_finds_the_attempt_ended() {
    let mut d = expanded();
    let again = Report::Expanded { expansion: expansion(&workflow(INNER)), deck_uri: String::new() };
    assert_eq!(d.report("d", again), Default::default());
}
