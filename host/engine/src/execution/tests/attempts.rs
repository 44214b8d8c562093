//! Budgets, timeouts and clean-up of attempts.

use model::Timestamp;
use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::testing::{Driver, boom, enduring, task_metadata, workflow};
use crate::{AttemptChangeKind, NodePhase, Observation, Phase, Report, Settings, Step};

const SECOND: i64 = 1_000_000;

fn one_node(retries: u32, timeout_seconds: i64) -> core::CompiledWorkflowClosure {
    let mut closure = workflow(&[("a", &[])]);
    let metadata = task_metadata(&mut closure);
    metadata.retries = Some(core::RetryStrategy { retries });
    metadata.timeout = Some(model::time::duration_to_proto(timeout_seconds * SECOND));
    closure
}

/// Fails attempt after attempt; answers the attempts made and the final error.
fn exhaust(closure: &core::CompiledWorkflowClosure, kinds: &[ErrorKind]) -> (u32, u32, core::ExecutionError) {
    let mut d = Driver::started(closure);
    d.run_up_to(&["a"]);
    for kind in kinds {
        d.failed("a", *kind, true);
        d.plan();
        d.cleaned("a");
        if d.state("a").phase == NodePhase::Failed {
            break;
        }
        assert_eq!(d.state("a").phase, NodePhase::Running);
        d.plan();
    }
    let state = d.state("a");
    (state.attempt, state.system_failures, state.error.as_deref().unwrap().clone())
}

#[test]
fn budgets_are_counted_apart() {
    use ErrorKind::{System as S, Unknown as O, User as U};
    let cases: &[(u32, &[ErrorKind], u32, u32, &str)] = &[
        (0, &[U], 0, 0, "[1/1] currentAttempt done. Last Error: USER::it broke"),
        (2, &[U, U, U], 2, 0, "[3/3] currentAttempt done. Last Error: USER::it broke"),
        (0, &[S, S, S, S], 3, 4, "[3/3] currentAttempt done. Last Error: SYSTEM::it broke"),
        (0, &[S, S, U], 2, 2, "[1/1] currentAttempt done. Last Error: USER::it broke"),
        (1, &[S, U, S, S, S], 4, 4, "[3/3] currentAttempt done. Last Error: SYSTEM::it broke"),
        (1, &[O, O], 1, 0, "[2/2] currentAttempt done. Last Error: UNKNOWN::it broke"),
    ];
    for (retries, kinds, attempt, system_failures, message) in cases {
        let (last, system, error) = exhaust(&one_node(*retries, 0), kinds);
        assert_eq!((last, system), (*attempt, *system_failures), "{kinds:?}");
        assert_eq!(error.message, *message, "{kinds:?}");
        assert_eq!((error.code.as_str(), error.kind()), ("RetriesExhausted|Boom", ErrorKind::User));
    }
}

#[test]
fn unrecoverable_failure_is_final() {
    let mut d = Driver::started(&one_node(5, 0));
    d.run_up_to(&["a"]);
    d.failed("a", ErrorKind::System, false);
    assert_eq!(d.state("a").error.as_deref(), Some(&boom(ErrorKind::System)));
    assert_eq!(d.state("a").system_failures, 1, "counted once");
    assert_eq!(d.state("a").wire_phase(), core::node_execution::Phase::Failed as i32);
}

#[test]
fn next_attempt_opens_when_the_last_is_cleaned_up() {
    let mut d = Driver::started(&one_node(1, 0));
    d.run_up_to(&["a"]);
    let node = d.idx("a");
    let changes = d.failed("a", ErrorKind::User, true);
    assert!(changes.attempts.is_empty(), "the report itself ends the attempt");
    assert_eq!(d.state("a").wire_phase(), core::node_execution::Phase::Running as i32);
    assert_eq!(d.plan(), [Step::Finalize { node, attempt: 0 }]);
    let changes = d.cleaned("a");
    let kinds: Vec<_> = changes.attempts.iter().map(|change| (change.attempt, &change.kind)).collect();
    assert_eq!(kinds, [(0, &AttemptChangeKind::Closed), (1, &AttemptChangeKind::Opened)]);
    assert_eq!(d.plan(), [Step::StartAttempt { node, attempt: 1, recovered: false }]);
    let late = Observation::TaskReported { node, attempt: 0, report: Report::Running };
    assert_eq!(d.apply(late), Default::default());
    d.succeeded("a");
    assert_eq!((d.state("a").phase, d.state("a").attempt), (NodePhase::Succeeded, 1));
    assert_eq!(d.state("a").error, None);
}

#[test]
fn asked_for_clean_up_aborts_first() {
    let mut d = Driver::started(&one_node(0, 0));
    d.run_up_to(&["a"]);
    d.report("a", Report::Failed { error: boom(ErrorKind::User), recoverable: false, cleanup: true });
    let node = d.idx("a");
    assert_eq!(d.plan(), [Step::Abort { node, attempt: 0, reason: "node failing".into() }]);
}

#[test]
fn attempt_that_runs_too_long_is_retried() {
    let mut d = Driver::started(&one_node(1, 100));
    d.run_up_to(&["a"]);
    let queued_at = d.state("a").queued_at.unwrap();
    assert_eq!(d.run.next_deadline(), Some(queued_at.plus(200 * SECOND)), "waiting does not count");
    d.report("a", Report::Waiting);
    d.report("a", Report::Running);
    let deadline = d.state("a").attempt_started_at.unwrap().plus(100 * SECOND);
    assert_eq!(d.run.next_deadline(), Some(deadline));
    d.now = deadline.plus(-2 * SECOND);
    assert_eq!(d.apply(Observation::DeadlinePassed), Default::default(), "too early");
    let changes = d.apply(Observation::DeadlinePassed);
    let reason = "task execution timeout [1m40s] expired";
    let ended = AttemptChangeKind::Ended { phase: 5, reason: reason.into() };
    assert_eq!(changes.attempts[0].kind, ended);
    assert_eq!(d.state("a").phase, NodePhase::RetryableFailure);
    let node = d.idx("a");
    assert_eq!(d.plan(), [Step::Abort { node, attempt: 0, reason: "retrying".into() }]);
    d.cleaned("a");
    assert_eq!(d.run.next_deadline(), Some(queued_at.plus(200 * SECOND)), "of the node, not of attempt 0");
    d.report("a", Report::Running);
    assert!(d.run.next_deadline() < Some(queued_at.plus(200 * SECOND + 1)));
    d.now = queued_at.plus(199 * SECOND);
    d.apply(Observation::DeadlinePassed);
    assert_eq!(d.state("a").phase, NodePhase::TimingOut);
    assert_eq!(d.run.error().unwrap().message, "Timeout in node");
    assert_eq!(d.run.error().unwrap().code, "Timeout");
    assert_eq!(d.state("a").error.as_ref().unwrap().message, "task active timeout [3m20s] expired");
    d.plan();
    d.cleaned("a");
    assert_eq!((d.run.phase(), d.state("a").phase), (Phase::Failed, NodePhase::TimedOut));
    assert_eq!(d.run.next_deadline(), None);
}

#[test]
fn last_attempt_that_runs_too_long_exhausts() {
    let mut d = Driver::started(&one_node(0, 10));
    d.run_up_to(&["a"]);
    d.report("a", Report::Running);
    d.now = d.now.plus(9 * SECOND);
    d.apply(Observation::DeadlinePassed);
    let error = d.state("a").error.as_deref().unwrap();
    assert_eq!(error.code, "RetriesExhausted|TimeoutExpired");
    assert_eq!(
        error.message,
        "[1/1] currentAttempt done. Last Error: USER::task execution timeout [10s] expired"
    );
}

#[test]
fn deadlines_that_passed_together_fire_in_order() {
    let mut d = Driver::started(&one_node(3, 10));
    d.run_up_to(&["a"]);
    d.report("a", Report::Running);
    d.now = Timestamp(1_000 * SECOND);
    d.apply(Observation::DeadlinePassed);
    assert_eq!(d.state("a").phase, NodePhase::TimingOut);
    assert_eq!(d.plan().len(), 1, "cleaned up once");
}

#[test]
fn node_waiting_for_a_retry_times_out() {
    let mut d = Driver::started(&one_node(3, 10));
    d.run_up_to(&["a"]);
    d.failed("a", ErrorKind::User, true);
    d.plan();
    d.now = Timestamp(1_000 * SECOND);
    let changes = d.apply(Observation::DeadlinePassed);
    assert!(changes.attempts.is_empty(), "that attempt had ended");
    assert!(d.plan().is_empty(), "its clean-up is under way");
    d.cleaned("a");
    assert_eq!((d.run.phase(), d.state("a").phase), (Phase::Failed, NodePhase::TimedOut));
}

#[test]
fn timed_out_node_skips_its_dependents() {
    let mut closure = enduring(&[("a", &[]), ("b", &["a"])]);
    task_metadata(&mut closure).timeout = Some(model::time::duration_to_proto(10 * SECOND));
    let mut d = Driver::started(&closure);
    d.run_up_to(&["a"]);
    d.now = Timestamp(1_000 * SECOND);
    d.apply(Observation::DeadlinePassed);
    assert_eq!(d.state("b").phase, NodePhase::Skipped);
    assert_eq!(d.run.error().unwrap().message, "Timeout in node");
}

#[test]
fn default_timeouts_apply_where_nothing_is_said() {
    let settings = Settings {
        default_execution_timeout_micros: 10 * SECOND,
        default_active_timeout_micros: 90 * SECOND,
        ..Settings::default()
    };
    let mut d = Driver::new(&workflow(&[("a", &[])]), settings);
    d.apply(Observation::Start);
    d.run_up_to(&["a"]);
    assert_eq!(d.run.next_deadline(), Some(d.state("a").queued_at.unwrap().plus(90 * SECOND)));
    d.report("a", Report::Running);
    assert_eq!(d.run.next_deadline(), Some(d.now.plus(10 * SECOND)));
}

#[test]
fn last_system_attempt_leaves_interruptible_machines() {
    let settings = Settings { interruptible: true, max_parallelism: 0, ..Settings::default() };
    let mut d = Driver::new(&one_node(0, 0), settings);
    d.apply(Observation::Start);
    d.run_up_to(&["a"]);
    for expected in [true, true, true, false] {
        assert_eq!(d.state("a").interruptible_now, expected, "attempt {}", d.state("a").attempt);
        d.failed("a", ErrorKind::System, true);
        d.plan();
        d.cleaned("a");
        d.plan();
    }
}

#[test]
fn report_without_running_still_gives_times() {
    let mut d = Driver::started(&one_node(0, 0));
    d.run_up_to(&["a"]);
    d.succeeded("a");
    let state = d.state("a");
    assert!(state.queued_at.is_some() && state.started_at == state.ended_at && state.ended_at == Some(d.now));
}
