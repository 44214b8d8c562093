//! What is under way is found again in the rows.

use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::testing::{Driver, boom, enduring, workflow};
use crate::{
    AttemptRow, Changes, Error, Execution, ExecutionSnapshot, Graph, NodePhase, NodeSnapshot, Observation,
    Phase, Settings, Step,
};

const CHAIN: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"]), ("c", &["b"])];
const REASON: &str = "Some node execution failed, auto-abort.";

fn execution(phase: Phase) -> ExecutionSnapshot {
    ExecutionSnapshot {
        phase,
        abort_cause: None,
        abort_forced: false,
        error: None,
        created_at: Timestamp(0),
        started_at: Some(Timestamp(1)),
        ended_at: None,
    }
}

fn row(id: &str, phase: NodePhase, attempt_row: AttemptRow) -> NodeSnapshot {
    let queued_at = Some(Timestamp(2));
    NodeSnapshot { id: id.into(), phase, attempt_row, queued_at, ..Default::default() }
}

fn start() -> NodeSnapshot {
    row("start-node", NodePhase::Succeeded, AttemptRow::Absent)
}

fn restore(
    closure: &core::CompiledWorkflowClosure,
    execution: ExecutionSnapshot,
    rows: Vec<NodeSnapshot>,
) -> (Driver, Changes) {
    let graph = Arc::new(Graph::build(closure).unwrap());
    let settings = Settings { max_parallelism: 0, ..Settings::default() };
    let run = Execution::restore(graph, settings, execution, rows.into_iter()).unwrap();
    let mut driver = Driver { run, now: Timestamp(10) };
    let changes = driver.apply(Observation::Start);
    (driver, changes)
}

#[test]
fn each_phase_plans_what_was_under_way() {
    use AttemptRow::{Closed, Ended, Live};
    let started = |recovered| vec![Step::StartAttempt { node: 2, attempt: 0, recovered }];
    let abort = |reason: &str| vec![Step::Abort { node: 2, attempt: 0, reason: reason.into() }];
    let finalize = || vec![Step::Finalize { node: 2, attempt: 0 }];
    let next = || vec![Step::ResolveInputs { node: 3 }];
    let cases = [
        (Phase::Running, NodePhase::Queued, Live, started(true)),
        (Phase::Running, NodePhase::Running, Live, started(true)),
        (Phase::Running, NodePhase::RetryableFailure, Live, abort("retrying")),
        (Phase::Running, NodePhase::RetryableFailure, Ended, finalize()),
        (Phase::Running, NodePhase::Succeeded, Ended, [finalize(), next()].concat()),
        (Phase::Running, NodePhase::Succeeded, Live, [finalize(), next()].concat()),
        (Phase::Running, NodePhase::Succeeded, Closed, next()),
        (Phase::Failing, NodePhase::Failing, Live, abort("node failing")),
        (Phase::Failing, NodePhase::Failing, Ended, finalize()),
        (Phase::Failing, NodePhase::TimingOut, Live, abort("node failing")),
        (Phase::Failing, NodePhase::Aborting, Live, abort(REASON)),
        (Phase::Aborting, NodePhase::Aborting, Live, abort(REASON)),
    ];
    for (phase, node_phase, attempt_row, steps) in cases {
        let rows = vec![start(), row("a", node_phase, attempt_row)];
        let (mut d, changes) = restore(&workflow(CHAIN), execution(phase), rows);
        assert_eq!(changes, Changes::default(), "{node_phase:?} {attempt_row:?}");
        assert_eq!(d.plan(), steps, "{node_phase:?} {attempt_row:?}");
        assert!(d.plan().is_empty());
    }
}

#[test]
fn abort_written_by_the_api_alone_is_carried_out() {
    for phase in [Phase::Running, Phase::Aborting, Phase::Failing] {
        let snapshot = ExecutionSnapshot { abort_cause: Some("enough".into()), ..execution(phase) };
        let rows = vec![start(), row("a", NodePhase::Running, AttemptRow::Live)];
        let (mut d, _) = restore(&workflow(CHAIN), snapshot, rows);
        assert_eq!((d.run.phase(), d.state("a").phase), (Phase::Aborting, NodePhase::Aborting), "{phase:?}");
        assert_eq!(d.plan(), [Step::Abort { node: 2, attempt: 0, reason: "enough".into() }]);
        assert_eq!(d.abort(), Changes::default());
        d.cleaned("a");
        assert_eq!((d.run.phase(), d.run.is_done()), (Phase::Aborted, true));
    }
}

#[test]
fn abort_asked_before_the_first_start_prevents_it() {
    let snapshot = ExecutionSnapshot {
        abort_cause: Some("enough".into()),
        started_at: None,
        ..execution(Phase::Queued)
    };
    let (mut d, changes) = restore(&workflow(CHAIN), snapshot, vec![]);
    assert!(changes.execution && changes.nodes.is_empty());
    assert_eq!((d.run.phase(), d.plan()), (Phase::Aborted, vec![]));
}

#[test]
fn abort_seen_before_start_counts() {
    let graph = Arc::new(Graph::build(&workflow(CHAIN)).unwrap());
    let rows = vec![start(), row("a", NodePhase::Running, AttemptRow::Live)];
    let run =
        Execution::restore(graph, Settings::default(), execution(Phase::Running), rows.into_iter()).unwrap();
    let mut d = Driver { run, now: Timestamp(10) };
    d.abort();
    assert_eq!(d.apply(Observation::Start), Changes::default());
    assert_eq!(d.plan(), [Step::Abort { node: 2, attempt: 0, reason: "enough".into() }]);
}

#[test]
fn ended_execution_finishes_its_clean_up() {
    let end = row("end-node", NodePhase::Succeeded, AttemptRow::Absent);
    let rows = vec![start(), row("a", NodePhase::Succeeded, AttemptRow::Ended), end];
    let (mut d, changes) = restore(&workflow(&[("a", &[])]), execution(Phase::Succeeded), rows);
    assert_eq!(changes, Changes::default());
    assert_eq!(d.plan(), [Step::Finalize { node: 2, attempt: 0 }]);
    assert!(!d.run.is_done());
    assert!(d.cleaned("a").execution);
    assert!(d.run.is_done());
}

#[test]
fn finished_execution_says_so_again() {
    let (mut d, changes) = restore(&workflow(&[]), execution(Phase::Failed), vec![start()]);
    assert!(changes.execution && d.run.is_done() && d.plan().is_empty());
}

#[test]
fn last_failure_survives_a_crash() {
    let failed = |id: &str, at: i64, message: &str| NodeSnapshot {
        ended_at: Some(Timestamp(at)),
        error: Some(core::ExecutionError { message: message.into(), ..boom(ErrorKind::User) }),
        ..row(id, NodePhase::Failed, AttemptRow::Closed)
    };
    let rows = vec![
        start(),
        failed("a", 9, "late"),
        failed("b", 5, "early"),
        row("c", NodePhase::Running, AttemptRow::Live),
    ];
    let (mut d, _) =
        restore(&enduring(&[("a", &[]), ("b", &[]), ("c", &[])]), execution(Phase::Running), rows);
    d.succeeded("c");
    assert_eq!(d.run.error().unwrap().message, "late");
}

#[test]
fn deadlines_survive_a_crash() {
    let mut closure = workflow(CHAIN);
    crate::testing::task_metadata(&mut closure).timeout = Some(model::time::duration_to_proto(100));
    let running = NodeSnapshot {
        attempt_started_at: Some(Timestamp(7)),
        ..row("a", NodePhase::Running, AttemptRow::Live)
    };
    let (mut d, _) = restore(&closure, execution(Phase::Running), vec![start(), running]);
    assert_eq!(d.run.next_deadline(), Some(Timestamp(107)));
    d.apply(Observation::DeadlinePassed);
    assert_eq!(d.state("a").error.as_ref().unwrap().code, "RetriesExhausted|TimeoutExpired");
}

#[test]
fn places_are_counted_again() {
    let graph = Arc::new(Graph::build(&workflow(&[("a", &[]), ("b", &[]), ("c", &[])])).unwrap());
    let settings = Settings { max_parallelism: 2, ..Settings::default() };
    let rows = vec![start(), row("a", NodePhase::Queued, AttemptRow::Live)];
    let run = Execution::restore(graph, settings, execution(Phase::Running), rows.into_iter()).unwrap();
    let mut d = Driver { run, now: Timestamp(10) };
    d.apply(Observation::Start);
    assert_eq!(d.resolving(), ["b"]);
}

#[test]
fn mended_rows_still_converge() {
    // Rows no commit writes: closed attempts in open phases, a failure nobody acted on.
    for (node_phase, attempt_row) in
        [(NodePhase::Running, AttemptRow::Closed), (NodePhase::RetryableFailure, AttemptRow::Closed)]
    {
        let rows = vec![start(), row("a", node_phase, attempt_row)];
        let (mut d, changes) = restore(&workflow(&[("a", &[])]), execution(Phase::Running), rows);
        assert_eq!(changes.attempts.len(), 1, "{node_phase:?}: an attempt is opened");
        assert_eq!(d.plan().len(), 1);
        d.succeeded("a");
        assert_eq!(d.state("a").phase, NodePhase::Succeeded);
    }
    for (node_phase, closure) in [(NodePhase::Failing, workflow(CHAIN)), (NodePhase::Failed, enduring(CHAIN))]
    {
        let rows = vec![start(), row("a", node_phase, AttemptRow::Closed)];
        let (d, _) = restore(&closure, execution(Phase::Running), rows);
        assert_eq!((d.run.phase(), d.state("a").phase), (Phase::Failed, NodePhase::Failed));
        assert!(d.run.is_done());
    }
}

#[test]
fn unknown_rows_are_refused() {
    let graph = Arc::new(Graph::build(&workflow(CHAIN)).unwrap());
    let rows = vec![row("nope", NodePhase::Queued, AttemptRow::Live)];
    let refused = Execution::restore(graph, Settings::default(), execution(Phase::Running), rows.into_iter());
    assert_eq!(refused.err(), Some(Error::UnknownNode { node: "nope".into() }));
}
