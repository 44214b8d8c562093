//! Stores the schedules of active launch plans: when each fires next, fired last, and what went wrong.
//!
//! Invariants: a launch plan's name has at most one row, written and removed in the transaction that changes which
//! version is active. Whoever changes a row raises its revision; the scheduler's changes name the revision they were
//! decided on, so that one that was overtaken changes nothing.

use model::{EntityId, EntityKind, Timestamp};

use crate::dialect::Tx;
use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::{Result, Scope, Store, Wake};

/// Row key of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleKey(pub i64);

/// When a launch plan fires. The scheduler room writes and reads these texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Cron expression, word or rate.
    pub expression: String,
    /// IANA time zone; empty: that of the configuration.
    pub timezone: String,
    /// Input that is given the time of the tick; empty: none.
    pub kickoff: String,
}

/// The schedule that comes with the activation of a launch plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSchedule {
    /// When it fires.
    pub timing: Timing,
    /// What becomes of missed ticks; empty: what the configuration says.
    pub catch_up: String,
}

/// A schedule as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Row key.
    pub key: ScheduleKey,
    /// Raised by every change.
    pub revision: i64,
    /// The launch plan, at its active version.
    pub plan: EntityId,
    /// When it fires.
    pub timing: Timing,
    /// What becomes of missed ticks; empty: what the configuration says.
    pub catch_up: String,
    /// From when ticks at a fixed rate are counted.
    pub anchor: Timestamp,
    /// No tick up to this time is fired.
    pub not_before: Timestamp,
    /// The tick to fire next; `None` while it is not worked out, or when there is none.
    pub next_at: Option<Timestamp>,
    /// When to look next; `None`: not until something changes.
    pub due_at: Option<Timestamp>,
    /// The tick fired last.
    pub last_at: Option<Timestamp>,
    /// Execution of the tick fired last.
    pub last_execution: String,
    /// How often the next tick was tried in vain.
    pub tries: u32,
    /// What went wrong last.
    pub error: String,
    /// The tick with which it went wrong.
    pub error_at: Option<Timestamp>,
    /// Ticks fired.
    pub n_fired: i64,
    /// Ticks that could not be fired.
    pub n_failed: i64,
    /// Ticks that were missed and left out.
    pub n_skipped: i64,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
    /// Who paused it.
    pub paused_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Whether all schedules rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleGate {
    /// Since when they do.
    pub paused_at: Option<Timestamp>,
    /// Who paused them.
    pub paused_by: String,
    /// No tick of any schedule up to this time is fired.
    pub not_before: Timestamp,
}

const READ: &str = "s.id, s.revision, s.project, s.domain, s.name, s.version, s.expression, s.timezone, \
                    s.kickoff, s.catch_up, s.anchor, s.not_before, s.next_at, s.due_at, s.last_at, \
                    s.last_execution, s.tries, s.error, s.error_at, s.n_fired, s.n_failed, s.n_skipped, \
                    s.paused_at, s.paused_by, s.created_at, s.updated_at";

fn select() -> Sql {
    let mut sql = Sql::new("select ");
    sql.push(READ).push(" from schedule s where ");
    sql
}

fn read(record: &Record) -> Result<ScheduleRow> {
    let mut c = record.cursor();
    Ok(ScheduleRow {
        key: ScheduleKey(c.i64()?),
        revision: c.i64()?,
        plan: c.entity_id(EntityKind::LaunchPlan)?,
        timing: Timing { expression: c.text()?, timezone: c.text()?, kickoff: c.text()? },
        catch_up: c.text()?,
        anchor: c.time()?,
        not_before: c.time()?,
        next_at: c.opt_time()?,
        due_at: c.opt_time()?,
        last_at: c.opt_time()?,
        last_execution: c.text()?,
        tries: c.u32()?,
        error: c.text()?,
        error_at: c.opt_time()?,
        n_fired: c.i64()?,
        n_failed: c.i64()?,
        n_skipped: c.i64()?,
        paused_at: c.opt_time()?,
        paused_by: c.text()?,
        created_at: c.time()?,
        updated_at: c.time()?,
    })
}

fn push_name(sql: &mut Sql, project: &str, domain: &str, name: &str) {
    sql.push("project = ").push_arg(project).push(" and domain = ").push_arg(domain);
    sql.push(" and name = ").push_arg(name);
}

/// Gives a launch plan that becomes active its schedule, or takes it away. A version that says the same as the one
/// before goes on with its ticks, so that a new release does not shift a rate; another one starts anew.
pub(crate) async fn replace(
    tx: &mut Tx,
    plan: &EntityId,
    new: Option<&NewSchedule>,
    now: Timestamp,
) -> Result<()> {
    tx.wakes.push(Wake::Scheduler);
    let Some(NewSchedule { timing, catch_up }) = new else {
        let mut sql = Sql::new("delete from schedule where ");
        push_name(&mut sql, &plan.project, &plan.domain, &plan.name);
        return tx.execute(sql).await.map(drop);
    };
    let mut same = Sql::new("update schedule set version = ");
    same.push_arg(&plan.version).push(", kickoff = ").push_arg(&timing.kickoff);
    same.push(", catch_up = ").push_arg(catch_up).push(", updated_at = ").push_arg(now);
    same.push(", due_at = case when paused_at is null then coalesce(next_at, ").push_arg(now);
    same.push(") end, tries = 0, revision = revision + 1 where ");
    push_name(&mut same, &plan.project, &plan.domain, &plan.name);
    same.push(" and expression = ").push_arg(&timing.expression);
    same.push(" and timezone = ").push_arg(&timing.timezone);
    if tx.execute(same).await? > 0 {
        return Ok(());
    }
    let sql = Sql::new(
        "insert into schedule (project, domain, name, version, expression, timezone, kickoff, catch_up, anchor,
         not_before, due_at, last_execution, tries, error, n_fired, n_failed, n_skipped, paused_by, revision,
         created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $9, '', 0, '', 0, 0, 0, '', 1, $9, $9)
         on conflict (project, domain, name) do update set version = excluded.version,
         expression = excluded.expression, timezone = excluded.timezone, kickoff = excluded.kickoff,
         catch_up = excluded.catch_up, anchor = excluded.anchor, not_before = excluded.not_before,
         next_at = null, due_at = case when schedule.paused_at is null then excluded.due_at end, tries = 0,
         revision = schedule.revision + 1, updated_at = excluded.updated_at",
    )
    .bind(&plan.project)
    .bind(&plan.domain)
    .bind(&plan.name)
    .bind(&plan.version)
    .bind(&timing.expression)
    .bind(&timing.timezone)
    .bind(&timing.kickoff)
    .bind(catch_up)
    .bind(now);
    tx.execute(sql).await.map(drop)
}

/// Takes the schedule of a version that is active no longer.
pub(crate) async fn remove_version(tx: &mut Tx, plan: &EntityId) -> Result<()> {
    let mut sql = Sql::new("delete from schedule where ");
    push_name(&mut sql, &plan.project, &plan.domain, &plan.name);
    sql.push(" and version = ").push_arg(&plan.version);
    if tx.execute(sql).await? > 0 {
        tx.wakes.push(Wake::Scheduler);
    }
    Ok(())
}

const UPDATE_TYPES: [Type; 13] = [
    Type::Int,
    Type::Int,
    Type::Int,
    Type::Int,
    Type::Int,
    Type::Text,
    Type::Int,
    Type::Text,
    Type::Int,
    Type::Int,
    Type::Int,
    Type::Int,
    Type::Int,
];

fn update_cells(row: &ScheduleRow) -> Vec<Arg> {
    vec![
        Arg::from(row.key.0),
        Arg::from(row.revision),
        Arg::from(row.next_at),
        Arg::from(row.due_at),
        Arg::from(row.last_at),
        Arg::from(&row.last_execution),
        Arg::from(row.tries),
        Arg::from(&row.error),
        Arg::from(row.error_at),
        Arg::from(row.n_fired),
        Arg::from(row.n_failed),
        Arg::from(row.n_skipped),
        Arg::from(row.updated_at),
    ]
}

async fn advance(tx: &mut Tx, mut rows: Vec<Vec<Arg>>) -> Result<u64> {
    let (mut rest, mut n_changed) = (rows.drain(..), 0);
    while rest.len() > 0 {
        let n_rows = tx.dialect().chunk(rest.len());
        let chunk: Vec<Vec<Arg>> = rest.by_ref().take(n_rows).collect();
        let mut sql = Sql::new(
            "with r (id, revision, next_at, due_at, last_at, last_execution, tries, error, error_at, n_fired,
             n_failed, n_skipped, updated_at) as (",
        );
        tx.dialect().push_rows(&mut sql, &UPDATE_TYPES, chunk.into_iter());
        sql.push(
            ") update schedule set next_at = r.next_at, due_at = r.due_at, last_at = r.last_at,
             last_execution = r.last_execution, tries = r.tries, error = r.error, error_at = r.error_at,
             n_fired = r.n_fired, n_failed = r.n_failed, n_skipped = r.n_skipped, updated_at = r.updated_at,
             revision = r.revision + 1 from r where schedule.id = r.id and schedule.revision = r.revision",
        );
        n_changed += tx.execute(sql).await?;
    }
    Ok(n_changed)
}

impl Store {
    /// Schedules that are due, the longest due first.
    ///
    /// # Errors
    /// The database.
    pub async fn schedules_due(&self, now: Timestamp, limit: u32) -> Result<Vec<ScheduleRow>> {
        let mut sql = select();
        sql.push("s.due_at <= ").push_arg(now).push(" order by s.due_at, s.id limit ").push_arg(limit);
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// When the next schedule is due that is not due at `now`.
    ///
    /// # Errors
    /// The database.
    pub async fn schedule_next_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let mut sql = Sql::new("select min(due_at) from schedule where due_at > ");
        sql.push_arg(now);
        let found = self.fetch_optional(sql).await?;
        Ok(found.map(|record| record.cursor().opt_time()).transpose()?.flatten())
    }

    /// Stores what the scheduler decided, where nobody changed the row in between: next and last tick, error and
    /// counts. Returns how many rows were changed.
    ///
    /// # Errors
    /// The database.
    pub async fn schedules_advance(&self, rows: &[ScheduleRow]) -> Result<u64> {
        let mut rows: Vec<&ScheduleRow> = rows.iter().collect();
        rows.sort_unstable_by_key(|row| row.key);
        let cells: Vec<Vec<Arg>> = rows.into_iter().map(update_cells).collect();
        self.write(move |tx| Box::pin(async move { advance(tx, cells).await })).await
    }

    /// The schedule of a launch plan's name.
    ///
    /// # Errors
    /// The database.
    pub async fn schedule_get(&self, project: &str, domain: &str, name: &str) -> Result<Option<ScheduleRow>> {
        let mut sql = select();
        push_name(&mut sql, project, domain, name);
        self.fetch_optional(sql).await?.as_ref().map(read).transpose()
    }

    /// Lists schedules by their names; empty texts of the scope stand for all.
    ///
    /// # Errors
    /// The database.
    pub async fn schedule_list(&self, scope: &Scope, limit: u32, offset: u64) -> Result<Vec<ScheduleRow>> {
        let mut sql = select();
        sql.push("true");
        scope.push(&mut sql, "s");
        sql.push(" order by s.project, s.domain, s.name limit ").push_arg(limit);
        sql.push(" offset ").push_arg(i64::try_from(offset).unwrap_or(i64::MAX));
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// Pauses a schedule, or lets it go on with the ticks after `now`. Safe to repeat. `None`: there is none.
    ///
    /// # Errors
    /// The database.
    pub async fn schedule_set_paused(
        &self,
        (project, domain, name): (&str, &str, &str),
        paused: bool,
        by: &str,
        now: Timestamp,
    ) -> Result<Option<ScheduleRow>> {
        let mut sql = Sql::new("update schedule set revision = revision + 1, updated_at = ");
        sql.push_arg(now);
        if paused {
            sql.push(", paused_at = ").push_arg(now).push(", paused_by = ").push_arg(by);
            sql.push(", due_at = null, tries = 0 where paused_at is null and ");
        } else {
            sql.push(", paused_at = null, paused_by = '', not_before = ").push_arg(now);
            sql.push(", due_at = ").push_arg(now).push(", next_at = null where paused_at is not null and ");
        }
        push_name(&mut sql, project, domain, name);
        let mut found = select();
        push_name(&mut found, project, domain, name);
        let record = self
            .write(move |tx| {
                Box::pin(async move {
                    if tx.execute(sql).await? > 0 {
                        tx.wakes.push(Wake::Scheduler);
                    }
                    tx.fetch_optional(found).await
                })
            })
            .await?;
        record.as_ref().map(read).transpose()
    }

    /// Whether all schedules rest.
    ///
    /// # Errors
    /// The database.
    pub async fn schedule_gate(&self) -> Result<ScheduleGate> {
        let sql = Sql::new("select paused_at, paused_by, not_before from schedule_gate where id = 1");
        let Some(record) = self.fetch_optional(sql).await? else { return Ok(ScheduleGate::default()) };
        let mut c = record.cursor();
        Ok(ScheduleGate { paused_at: c.opt_time()?, paused_by: c.text()?, not_before: c.time()? })
    }

    /// Pauses all schedules, or lets them go on with the ticks after `now`. Safe to repeat.
    ///
    /// # Errors
    /// The database.
    pub async fn schedule_gate_set_paused(&self, paused: bool, by: &str, now: Timestamp) -> Result<()> {
        let mut sql = Sql::new("update schedule_gate set ");
        if paused {
            sql.push("paused_at = ").push_arg(now).push(", paused_by = ").push_arg(by);
            sql.push(" where id = 1 and paused_at is null");
        } else {
            sql.push("paused_at = null, paused_by = '', not_before = ").push_arg(now);
            sql.push(" where id = 1 and paused_at is not null");
        }
        self.write(move |tx| {
            Box::pin(async move {
                if tx.execute(sql).await? > 0 {
                    tx.wakes.push(Wake::Scheduler);
                }
                Ok(())
            })
        })
        .await
    }
}
