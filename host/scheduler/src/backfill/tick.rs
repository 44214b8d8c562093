//! Launches one tick of a backfill, and reads off its execution how it ended.

use model::ExecutionId;
use proto::flyteidl::core::workflow_execution::Phase;
use store::{AbortOutcome, BackfillRow, BackfillState, TickRow, TickState};

use crate::clock::after;
use crate::decide::pause;
use crate::launching::{Outcome, Start};
use crate::{Error, Inner, name};

/// Tag of the executions of a backfill; its id follows.
pub(crate) const TAG: &str = "backfill:";

/// How a tick ended whose execution has this phase and error code; `None` while it runs.
pub(crate) fn ended(found: Option<&(i32, String)>, tick: &TickRow) -> Option<(TickState, String)> {
    let Some((phase, code)) = found else {
        return Some((TickState::Failed, format!("execution {} is gone", tick.execution)));
    };
    let failed = |what: &str| {
        let code = if code.is_empty() { String::new() } else { format!(": {code}") };
        Some((TickState::Failed, format!("execution {what}{code}")))
    };
    match Phase::try_from(*phase) {
        Ok(Phase::Succeeded) => Some((TickState::Succeeded, String::new())),
        Ok(Phase::Failed) => failed("failed"),
        Ok(Phase::Aborted) => failed("was aborted"),
        Ok(Phase::TimedOut) => failed("timed out"),
        _ => None,
    }
}

/// Launches a tick, unless it succeeded before.
pub(crate) async fn launch(cx: &Inner, row: &BackfillRow, mut tick: TickRow) -> Result<TickRow, Error> {
    tick.updated_at = cx.now();
    // Others may have paused or cancelled it since its ticks were read.
    match cx.deps.store.backfill_get(&row.id).await? {
        Some(row) if row.cancelled_at.is_some() => {
            return Ok(TickRow { state: TickState::Cancelled, ..tick });
        }
        Some(row) if row.state == BackfillState::Running => {}
        _ => return Ok(tick),
    }
    if !row.forced
        && let Some(earlier) = Box::pin(earlier(cx, row, &tick)).await?
    {
        return Ok(earlier);
    }
    let name = name::of_backfill_tick(&row.id, tick.scheduled_at);
    let start = Start {
        plan: row.plan.clone(),
        name: name.clone(),
        tick: tick.scheduled_at,
        kickoff: row.timing.kickoff.clone(),
        tags: vec![format!("{TAG}{}", row.id)],
        // Who asked is what a client said of itself, which proves nothing.
        principal: String::new(),
    };
    let outcome = cx.start(start).await?;
    tick.updated_at = cx.now();
    match outcome {
        Outcome::Started | Outcome::Duplicate => {
            let id = ExecutionId::new(&row.plan.project, &row.plan.domain, &name);
            let found = cx.deps.store.execution_get(&id).await?;
            tick.execution_key = found.map(|execution| execution.key);
            tick.state = TickState::Running;
            tick.execution = name;
            tick.error = String::new();
        }
        Outcome::Failed(error) => {
            tick.state = TickState::Failed;
            tick.error = error;
        }
        // Other ticks of the backfill may be what fills the limit: it waits, whatever the policy says.
        Outcome::PutOff(error) | Outcome::AtLimit { error, .. } => {
            tick.due_at = after(tick.updated_at, pause(&cx.config, tick.tries));
            tick.tries = tick.tries.saturating_add(1);
            tick.error = error;
        }
    }
    Ok(tick)
}

/// The tick when it needs no execution of its own: one that the schedule or another backfill started has succeeded, or
/// the schedule's still runs and is waited for.
async fn earlier(cx: &Inner, row: &BackfillRow, tick: &TickRow) -> Result<Option<TickRow>, Error> {
    let scheduled = name::of_tick(&row.plan, tick.scheduled_at);
    let (project, domain) = (&row.plan.project, &row.plan.domain);
    let names = std::slice::from_ref(&scheduled);
    let found = cx.deps.store.executions_named(project, domain, names).await?;
    let with = |state, execution: String, execution_key| {
        Some(TickRow { state, execution, execution_key, error: String::new(), ..tick.clone() })
    };
    if let Some((key, phase)) = found.get(&scheduled) {
        match ended(Some(&(*phase, String::new())), tick) {
            Some((TickState::Succeeded, _)) => return Ok(with(TickState::Skipped, scheduled, Some(*key))),
            Some(_) => {}
            None => return Ok(with(TickState::Running, scheduled, Some(*key))),
        }
    }
    let at = tick.scheduled_at;
    let mut successes = cx.deps.store.backfill_successes(&row.plan, at, at.plus(1)).await?;
    Ok(successes.remove(&at).and_then(|execution| with(TickState::Skipped, execution, None)))
}

/// Asks for the abort of a tick's execution, if it is the backfill's own.
pub(crate) async fn abort(cx: &Inner, row: &BackfillRow, tick: &TickRow) -> Result<(), Error> {
    if tick.execution != name::of_backfill_tick(&row.id, tick.scheduled_at) {
        return Ok(());
    }
    let id = ExecutionId::new(&row.plan.project, &row.plan.domain, &tick.execution);
    let cause = format!("backfill {} was cancelled", row.id);
    let asked = cx.deps.store.execution_request_abort(&id, &cause, &row.cancelled_by, cx.now()).await?;
    if asked == AbortOutcome::NotFound {
        tracing::debug!(execution = %id, "execution to abort is gone");
    }
    Ok(())
}
