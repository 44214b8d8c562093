//! Runs backfills: launches their ticks side by side, waits for their executions, and ends them.
//!
//! Everything is read from the rows each time a backfill is looked at, so that a crash anywhere is a look more. A tick
//! whose execution was created before the crash finds it there, because its name says backfill and time.

pub(crate) mod start;
mod tick;

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt as _;
use model::Timestamp;
use store::{BackfillRow, BackfillState, TickCounts, TickRow, TickState};

use crate::clock::after;
use crate::ear::Ear;
use crate::{Error, Inner, Step, metric};

/// Shortest time between two looks, in milliseconds: an execution changes often, and only its end counts.
const REST: u64 = 100;

/// Rounds of launches in one look, so that a long backfill does not keep others waiting.
const MAX_ROUNDS: usize = 16;

/// Backfills looked at side by side.
const SIDE_BY_SIDE: usize = 16;

/// Runs until an error that a test asked for.
pub(crate) async fn run(cx: &Arc<Inner>, ear: &Ear) -> Result<(), Error> {
    let mut sweep_at = cx.now();
    // When there is more to do though nothing happens: ticks that were put off, say.
    let mut retry_at: Option<Timestamp> = None;
    loop {
        let now = cx.now();
        let mut due = ear.take_due();
        if now >= sweep_at || retry_at.is_some_and(|at| now >= at) {
            due = None;
        }
        if due.is_none() {
            sweep_at = after(now, cx.config.safety_sweep.get());
            prune(cx, now).await;
        }
        retry_at = match look(cx, ear, due.as_ref()).await {
            Ok(next) if due.is_none() => next,
            Ok(next) => earlier(retry_at, next),
            Err(Error::Store(error)) => {
                cx.note_store_error(&error);
                Some(after(now, cx.config.backoff_base.get()))
            }
            Err(error) => return Err(error),
        };
        let rested = after(cx.now(), std::time::Duration::from_millis(REST));
        let next = earlier(Some(sweep_at), retry_at).unwrap_or(sweep_at).max(rested);
        tokio::select! {
            () = async {
                ear.backfills.notified().await;
                cx.deps.clock.sleep_until(rested).await;
            } => {}
            () = cx.deps.clock.sleep_until(next) => {}
        }
    }
}

/// Forgets backfills that ended long ago. A store that does not answer is asked again with the next sweep.
async fn prune(cx: &Inner, now: Timestamp) {
    let keep = cx.config.keep_backfills.get();
    if keep.is_zero() {
        return;
    }
    let ended_until = now.plus(-i64::try_from(keep.as_micros()).unwrap_or(i64::MAX));
    loop {
        match cx.deps.store.backfill_prune(ended_until).await {
            Ok(Some(backfill)) => tracing::info!(backfill, "ended long ago and is forgotten"),
            Ok(None) => return,
            Err(error) => return cx.note_store_error(&error),
        }
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Looks at some backfills or at all, and says when to look again if nothing happens before.
async fn look(cx: &Arc<Inner>, ear: &Ear, due: Option<&HashSet<String>>) -> Result<Option<Timestamp>, Error> {
    if due.is_some_and(HashSet::is_empty) {
        return Ok(None);
    }
    let mut live = cx.deps.store.backfills_live().await?;
    live.retain(|row| due.is_none_or(|due| due.contains(&row.id)));
    let looks = live.into_iter().map(|row| Box::pin(advance(cx, ear, row)));
    let mut looks = futures::stream::iter(looks).buffer_unordered(SIDE_BY_SIDE);
    let mut next = None;
    while let Some(again) = looks.next().await {
        next = earlier(next, again?);
    }
    Ok(next)
}

/// Does all that can be done for a backfill now.
async fn advance(cx: &Arc<Inner>, ear: &Ear, mut row: BackfillRow) -> Result<Option<Timestamp>, Error> {
    for _ in 0..MAX_ROUNDS {
        let running = settle(cx, ear, &row).await?;
        let counts = counts(cx, &row.id).await?;
        if counts.failed > 0 && counts.pending > 0 && !row.keep_going && row.cancelled_at.is_none() {
            tracing::info!(backfill = row.id, "stops, because a tick failed");
            cx.deps.store.backfill_cancel(&row.id, "", false, cx.now()).await?;
            row = match cx.deps.store.backfill_get(&row.id).await? {
                Some(row) => row,
                None => return Ok(None),
            };
            continue;
        }
        if counts.pending == 0 && running == 0 {
            end(cx, &row, &counts).await?;
            return Ok(None);
        }
        if row.state == BackfillState::Paused || counts.pending == 0 {
            return Ok(None);
        }
        let room = u64::from(row.parallelism).saturating_sub(running);
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        if room == 0 {
            return Ok(None);
        }
        let pending = cx.deps.store.backfill_ticks(&row.id, Some(TickState::Pending), 0, room).await?;
        let now = cx.now();
        let (ready, put_off): (Vec<_>, Vec<_>) = pending.into_iter().partition(|tick| tick.due_at <= now);
        if ready.is_empty() {
            return Ok(put_off.iter().map(|tick| tick.due_at).min());
        }
        launch(cx, ear, &row, ready).await?;
        // Others may have paused or cancelled it meanwhile.
        row = match cx.deps.store.backfill_get(&row.id).await? {
            Some(row) if matches!(row.state, BackfillState::Running | BackfillState::Paused) => row,
            _ => return Ok(None),
        };
    }
    Ok(Some(cx.now()))
}

async fn counts(cx: &Inner, id: &str) -> Result<TickCounts, Error> {
    let found = cx.deps.store.backfill_counts(&[id.to_owned()]).await?;
    Ok(found.get(id).copied().unwrap_or_default())
}

/// Writes down which executions have ended, and says how many ticks still run.
async fn settle(cx: &Inner, ear: &Ear, row: &BackfillRow) -> Result<u64, Error> {
    let running = cx.deps.store.backfill_ticks(&row.id, Some(TickState::Running), 0, u32::MAX).await?;
    if running.is_empty() {
        return Ok(0);
    }
    let keys: Vec<_> = running.iter().filter_map(|tick| tick.execution_key).collect();
    // Before the look, so that an end right after it is heard.
    ear.wait_for(&row.id, keys.iter().copied());
    let phases = cx.deps.store.execution_phases(&keys).await?;
    let now = cx.now();
    let n_running = running.len();
    let mut ended = Vec::new();
    for tick in running {
        let phase = tick.execution_key.and_then(|key| phases.get(&key));
        match tick::ended(phase, &tick) {
            Some((state, error)) => ended.push(TickRow { state, error, updated_at: now, ..tick }),
            None if row.abort_running => tick::abort(cx, row, &tick).await?,
            None => {}
        }
    }
    if !ended.is_empty() {
        write(cx, &row.id, &ended).await?;
        ear.forget(ended.iter().filter_map(|tick| tick.execution_key));
    }
    Ok((n_running - ended.len()) as u64)
}

/// Launches ticks side by side.
async fn launch(cx: &Arc<Inner>, ear: &Ear, row: &BackfillRow, ticks: Vec<TickRow>) -> Result<(), Error> {
    let launches = ticks.into_iter().map(|tick| Box::pin(tick::launch(cx, row, tick)));
    let mut done = futures::stream::iter(launches)
        .buffer_unordered(cx.config.max_launches_at_once)
        .ready_chunks(cx.config.max_launches_at_once);
    while let Some(chunk) = done.next().await {
        let chunk: Vec<TickRow> = chunk.into_iter().collect::<Result<_, _>>()?;
        write(cx, &row.id, &chunk).await?;
        ear.wait_for(&row.id, chunk.iter().filter_map(|tick| tick.execution_key));
    }
    Ok(())
}

async fn write(cx: &Inner, id: &str, ticks: &[TickRow]) -> Result<(), Error> {
    cx.step(Step::Committing).await?;
    cx.deps.store.backfill_ticks_write(id, ticks).await?;
    cx.step(Step::Committed).await?;
    for (state, outcome) in
        [(TickState::Succeeded, "succeeded"), (TickState::Failed, "failed"), (TickState::Skipped, "skipped")]
    {
        let n = ticks.iter().filter(|tick| tick.state == state).count();
        if n > 0 {
            metrics::counter!(metric::BACKFILL_TICKS, "outcome" => outcome).increment(n as u64);
        }
    }
    Ok(())
}

/// Ends a backfill of which nothing is left to run.
async fn end(cx: &Inner, row: &BackfillRow, counts: &TickCounts) -> Result<(), Error> {
    let stopped_by_failure = row.cancelled_at.is_some() && row.cancelled_by.is_empty();
    let state = if row.cancelled_at.is_some() && !stopped_by_failure {
        BackfillState::Cancelled
    } else if counts.failed > 0 {
        BackfillState::Failed
    } else {
        BackfillState::Succeeded
    };
    cx.step(Step::Committing).await?;
    cx.deps.store.backfill_end(&row.id, state, cx.now()).await?;
    cx.step(Step::Committed).await?;
    tracing::info!(backfill = row.id, ?state, ?counts, "backfill ended");
    Ok(())
}
