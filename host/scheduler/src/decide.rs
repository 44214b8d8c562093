//! Decides what becomes of a schedule now: which tick is fired, which are left out, when to look next. Pure.

use model::Timestamp;
use store::ScheduleRow;

use crate::CatchUp;
use crate::Config;
use crate::clock::after;
use crate::timetable::Timetable;

/// Ticks that are left out are counted up to this many at a time.
const MAX_COUNTED: usize = 10_000;

/// First stretch of time in which the latest missed tick is looked for, in microseconds.
const FIRST_WINDOW: i64 = 3_600_000_000;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Fire this tick; the row says what was left out before it.
    Fire(Timestamp, ScheduleRow),
    /// Write the row: it says when to look next.
    Rest(ScheduleRow),
}

/// What counts beside the row.
pub(crate) struct Rules<'a> {
    pub(crate) table: &'a Timetable,
    pub(crate) config: &'a Config,
    /// No tick of any schedule up to this time is fired.
    pub(crate) not_before: Timestamp,
}

impl Rules<'_> {
    /// What becomes of the schedule at `now`.
    pub(crate) fn decide(&self, row: ScheduleRow, now: Timestamp) -> Decision {
        let floor = row.not_before.max(self.not_before);
        let next = match row.next_at.filter(|next| *next > floor) {
            Some(next) => Some(next),
            None => self.table.next_after(floor, row.anchor),
        };
        let Some(next) = next else { return Decision::Rest(rest(row, None, now)) };
        if next > now {
            return Decision::Rest(rest(row, Some(next), now));
        }
        let missed_until = now.plus(-micros(self.config.missed_after.get()));
        if next >= missed_until {
            return Decision::Fire(next, row);
        }
        let policy = CatchUp::parse(&row.catch_up).unwrap_or(self.config.catch_up);
        let tick = match policy {
            CatchUp::None => self.first_from(missed_until, row.anchor),
            CatchUp::Latest => self.latest(next, now, row.anchor),
            CatchUp::All => self.not_too_old(next, now, row.anchor),
        };
        let row = self.leave_out(row, next, tick);
        match tick {
            Some(tick) if tick <= now => Decision::Fire(tick, row),
            tick => Decision::Rest(rest(row, tick, now)),
        }
    }

    fn first_from(&self, from: Timestamp, anchor: Timestamp) -> Option<Timestamp> {
        self.table.next_after(from.plus(-1), anchor)
    }

    /// The latest tick that is due, in windows that reach back twice as far each time.
    fn latest(&self, first: Timestamp, now: Timestamp, anchor: Timestamp) -> Option<Timestamp> {
        self.last_ticks(1, first, now, anchor)
    }

    /// The first tick that is due, unless more than allowed are: then the oldest of those allowed.
    fn not_too_old(&self, first: Timestamp, now: Timestamp, anchor: Timestamp) -> Option<Timestamp> {
        let most = self.config.max_catch_up as usize;
        let n_due = self.table.ticks(first, now.plus(1), anchor).take(most + 1).count();
        if n_due <= most { Some(first) } else { self.last_ticks(most, first, now, anchor) }
    }

    /// The first of the last `n` ticks that are due, or of all when there are fewer.
    fn last_ticks(&self, n: usize, first: Timestamp, now: Timestamp, anchor: Timestamp) -> Option<Timestamp> {
        let mut window = FIRST_WINDOW;
        loop {
            let from = now.plus(-window).max(first);
            let found: Vec<Timestamp> = self.table.ticks(from, now.plus(1), anchor).collect();
            if found.len() >= n || from == first {
                return found.get(found.len().saturating_sub(n)).copied();
            }
            window = window.saturating_mul(2);
        }
    }

    /// Counts the ticks before the one that is fired. Of a tick that was tried in vain the error stays.
    fn leave_out(&self, mut row: ScheduleRow, first: Timestamp, tick: Option<Timestamp>) -> ScheduleRow {
        if tick == Some(first) {
            return row;
        }
        let until = tick.unwrap_or(Timestamp(i64::MAX));
        let n_left_out = self.table.ticks(first, until, row.anchor).take(MAX_COUNTED).count();
        row.n_skipped += i64::try_from(n_left_out).unwrap_or(i64::MAX);
        row.tries = 0;
        row
    }

    /// The row once the tick was fired.
    pub(crate) fn fired(
        &self,
        mut row: ScheduleRow,
        tick: Timestamp,
        execution: String,
        now: Timestamp,
    ) -> ScheduleRow {
        row.last_at = Some(tick);
        row.last_execution = execution;
        row.n_fired += 1;
        row.tries = 0;
        let next = self.table.next_after(tick, row.anchor);
        rest(row, next, now)
    }

    /// The row once it is known that the tick can't be fired.
    pub(crate) fn failed(
        &self,
        mut row: ScheduleRow,
        tick: Timestamp,
        error: String,
        now: Timestamp,
    ) -> ScheduleRow {
        row.n_failed += 1;
        self.given_up(row, tick, error, now)
    }

    fn given_up(&self, mut row: ScheduleRow, tick: Timestamp, error: String, now: Timestamp) -> ScheduleRow {
        row.error = error;
        row.error_at = Some(tick);
        row.tries = 0;
        let next = self.table.next_after(tick, row.anchor);
        rest(row, next, now)
    }

    /// The row of a tick that the launch plan's concurrency policy does not allow now: by the policy the tick is left
    /// out, or tried again until it has waited long enough.
    pub(crate) fn at_limit(
        &self,
        mut row: ScheduleRow,
        tick: Timestamp,
        error: String,
        skip: bool,
        now: Timestamp,
    ) -> ScheduleRow {
        if !skip && now < after(tick, self.config.limit_wait.get()) {
            return self.put_off(row, tick, format!("at its limit: {error}"), now);
        }
        row.n_skipped += 1;
        self.given_up(row, tick, format!("left out: {error}"), now)
    }

    /// The row when the tick is to be tried again.
    pub(crate) fn put_off(
        &self,
        mut row: ScheduleRow,
        tick: Timestamp,
        error: String,
        now: Timestamp,
    ) -> ScheduleRow {
        row.error = error;
        row.error_at = Some(tick);
        row.next_at = Some(tick);
        row.due_at = Some(after(now, pause(self.config, row.tries)));
        row.tries = row.tries.saturating_add(1);
        row.updated_at = now;
        row
    }
}

/// How long to wait after `tries` tries before this one.
pub(crate) fn pause(config: &Config, tries: u32) -> std::time::Duration {
    let doubled = config.backoff_base.get().checked_mul(1 << tries.min(20));
    doubled.unwrap_or(std::time::Duration::MAX).min(config.backoff_max.get())
}

/// The row of a schedule that waits for its next tick, if it has one.
fn rest(mut row: ScheduleRow, next: Option<Timestamp>, now: Timestamp) -> ScheduleRow {
    if row.next_at != next {
        row.tries = 0;
    }
    row.next_at = next;
    row.due_at = next;
    row.updated_at = now;
    row
}

/// The row of a schedule whose text this version can't read: it rests until something changes.
pub(crate) fn unreadable(mut row: ScheduleRow, error: String, now: Timestamp) -> ScheduleRow {
    row.error = error;
    row.error_at = None;
    row.due_at = None;
    row.updated_at = now;
    row
}

fn micros(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
