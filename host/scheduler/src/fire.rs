//! Fires schedules: looks at the rows that are due, starts their ticks side by side, and moves the rows on.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use model::Timestamp;
use store::{ScheduleKey, ScheduleRow};
use tokio::task::JoinSet;

use crate::clock::after;
use crate::decide::{Decision, Rules, unreadable};
use crate::ear::Ear;
use crate::launching::{Outcome, Start};
use crate::{Error, Inner, Step, metric, name};

/// Runs until an error that a test asked for.
pub(crate) async fn run(cx: &Arc<Inner>, ear: &Ear) -> Result<(), Error> {
    let mut firing = Firing {
        cx,
        waiting: VecDeque::new(),
        busy: HashSet::new(),
        launches: JoinSet::new(),
        decided: Vec::new(),
        retry_at: None,
    };
    loop {
        let wake_at = firing.turn().await?;
        tokio::select! {
            () = ear.schedules.notified() => {}
            () = cx.deps.clock.sleep_until(wake_at) => {}
            Some(ended) = firing.launches.join_next() => firing.note(ended)?,
        }
        while let Some(ended) = firing.launches.try_join_next() {
            firing.note(ended)?;
        }
    }
}

struct Firing<'a> {
    cx: &'a Arc<Inner>,
    /// Rows that are due and wait for their turn.
    waiting: VecDeque<ScheduleRow>,
    /// Schedules that wait for their turn or whose tick is being started.
    busy: HashSet<ScheduleKey>,
    launches: JoinSet<Result<ScheduleRow, Error>>,
    /// Rows to be moved on.
    decided: Vec<ScheduleRow>,
    /// Until then the store is left alone, because it did not answer.
    retry_at: Option<Timestamp>,
}

impl Firing<'_> {
    /// Does what there is to do now, and says when to look again if nothing happens before.
    async fn turn(&mut self) -> Result<Timestamp, Error> {
        let now = self.cx.now();
        if let Some(retry_at) = self.retry_at.filter(|at| *at > now) {
            return Ok(retry_at);
        }
        self.retry_at = None;
        // Changes are told; the sweep covers those that were not.
        let sweep_at = after(now, self.cx.config.safety_sweep.get());
        match self.look(now).await {
            Ok(next) => Ok(next.map_or(sweep_at, |next| next.min(sweep_at))),
            Err(Error::Store(error)) => {
                self.cx.note_store_error(&error);
                // Rows that were not moved on are due still; their ticks find their executions there.
                self.done();
                let retry_at = after(now, self.cx.config.backoff_base.get());
                self.retry_at = Some(retry_at);
                Ok(retry_at)
            }
            Err(error) => Err(error),
        }
    }

    async fn look(&mut self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.commit().await?;
        let store = &self.cx.deps.store;
        let gate = store.schedule_gate().await?;
        if gate.paused_at.is_some() {
            self.give_back();
            return Ok(None);
        }
        let most = self.cx.config.max_launches_at_once;
        // Asking for more only once half of what was asked for is done keeps the number of reads small.
        if self.waiting.len() + self.launches.len() > most / 2 {
            self.launch_waiting(gate.not_before, now).await?;
            return Ok(None);
        }
        let limit = u32::try_from(2 * most + self.busy.len()).unwrap_or(u32::MAX);
        let mut due = store.schedules_due(now, limit).await?;
        let is_all = due.len() < limit as usize;
        due.retain(|row| self.busy.insert(row.key));
        let n_new = due.len();
        self.waiting.extend(due);
        self.launch_waiting(gate.not_before, now).await?;
        if !is_all && n_new > 0 && self.launches.len() < most {
            // Rows that only had to be moved on made room for others.
            return Ok(Some(now));
        }
        Ok(store.schedule_next_due(now).await?)
    }

    /// Rows that wait are read again later.
    fn give_back(&mut self) {
        for row in self.waiting.drain(..) {
            self.busy.remove(&row.key);
        }
    }

    /// Starts ticks while there is room.
    async fn launch_waiting(&mut self, not_before: Timestamp, now: Timestamp) -> Result<(), Error> {
        while self.launches.len() < self.cx.config.max_launches_at_once {
            let Some(row) = self.waiting.pop_front() else { break };
            let table = match self.cx.table(&row.timing) {
                Ok(table) => table,
                Err(error) => {
                    tracing::warn!(launch_plan = %row.plan, %error, "schedule can't be read");
                    self.decided.push(unreadable(row, error.to_string(), now));
                    continue;
                }
            };
            let n_skipped = row.n_skipped;
            let decision = Rules { table: &table, config: &self.cx.config, not_before }.decide(row, now);
            match decision {
                Decision::Rest(row) => {
                    count_skipped(&row, n_skipped);
                    self.decided.push(row);
                }
                Decision::Fire(tick, row) => {
                    count_skipped(&row, n_skipped);
                    let cx = Arc::clone(self.cx);
                    self.launches.spawn(async move { Box::pin(fire(&cx, &table, row, tick)).await });
                }
            }
        }
        self.commit().await
    }

    fn note(
        &mut self,
        ended: Result<Result<ScheduleRow, Error>, tokio::task::JoinError>,
    ) -> Result<(), Error> {
        match ended {
            Ok(row) => self.decided.push(row?),
            Err(error) => {
                // The row is found due again once the rows in hand are read anew.
                tracing::error!(%error, "start of a tick panicked");
                self.busy = self.waiting.iter().map(|row| row.key).collect();
            }
        }
        Ok(())
    }

    /// Moves rows on.
    async fn commit(&mut self) -> Result<(), Error> {
        if self.decided.is_empty() {
            return Ok(());
        }
        self.cx.step(Step::Committing).await?;
        let n_changed = self.cx.deps.store.schedules_advance(&self.decided).await?;
        if n_changed < self.decided.len() as u64 {
            tracing::debug!(
                n_changed,
                n_decided = self.decided.len(),
                "some schedules were changed meanwhile"
            );
        }
        self.cx.step(Step::Committed).await?;
        self.done();
        Ok(())
    }

    /// The rows in hand are dealt with.
    fn done(&mut self) {
        for row in self.decided.drain(..) {
            self.busy.remove(&row.key);
        }
    }
}

fn count_skipped(row: &ScheduleRow, before: i64) {
    let n_skipped = u64::try_from(row.n_skipped - before).unwrap_or(0);
    if n_skipped > 0 {
        metrics::counter!(metric::TICKS, "outcome" => "skipped").increment(n_skipped);
        tracing::warn!(launch_plan = %row.plan, n_skipped, "missed ticks are left out");
    }
}

/// Fires one tick; the row then says what comes next.
async fn fire(
    cx: &Inner,
    table: &crate::timetable::Timetable,
    row: ScheduleRow,
    tick: Timestamp,
) -> Result<ScheduleRow, Error> {
    let execution = name::of_tick(&row.plan, tick);
    let start = Start {
        plan: row.plan.clone(),
        name: execution.clone(),
        tick,
        kickoff: row.timing.kickoff.clone(),
        tags: Vec::new(),
        principal: String::new(),
    };
    let outcome = cx.start(start).await?;
    let now = cx.now();
    let rules = Rules { table, config: &cx.config, not_before: Timestamp(0) };
    let count = |outcome: &'static str| metrics::counter!(metric::TICKS, "outcome" => outcome).increment(1);
    Ok(match outcome {
        Outcome::Started => {
            count("fired");
            let late = std::time::Duration::from_micros(u64::try_from(now.since(tick)).unwrap_or(0));
            metrics::histogram!(metric::LATENESS_SECONDS).record(late);
            rules.fired(row, tick, execution, now)
        }
        Outcome::Duplicate => {
            count("duplicate");
            rules.fired(row, tick, execution, now)
        }
        Outcome::Failed(error) => {
            count("failed");
            rules.failed(row, tick, error, now)
        }
        Outcome::PutOff(error) => {
            metrics::counter!(metric::RETRIES).increment(1);
            rules.put_off(row, tick, error, now)
        }
        Outcome::AtLimit { error, skip } => {
            let n_skipped = row.n_skipped;
            let row = rules.at_limit(row, tick, error, skip, now);
            if row.n_skipped > n_skipped {
                count("skipped");
            } else {
                metrics::counter!(metric::RETRIES).increment(1);
            }
            row
        }
    })
}
