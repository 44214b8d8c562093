//! Stores backfills: launch plans run over the ticks of a range, and how far they are.
//!
//! Invariant: a tick leaves [`TickState::Pending`] once. What became of a backfill is read off its ticks; its own row
//! says only what it is, whether it rests or was cancelled, and that it ended.

use std::collections::HashMap;

use model::{EntityId, EntityKind, Timestamp};

use crate::dialect::Tx;
use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::table::{OnConflict, Table};
use crate::{Error, ExecutionKey, Result, Scope, Store, Timing, Wake};

/// What a backfill does now, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackfillState {
    /// It launches ticks, or waits for those that run.
    Running = 1,
    /// It launches nothing until it is resumed.
    Paused = 2,
    /// Every tick succeeded or was left out because it had.
    Succeeded = 3,
    /// Some tick did not succeed.
    Failed = 4,
    /// It was cancelled, and nothing of it runs any more.
    Cancelled = 5,
}

/// What became of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TickState {
    /// It was not launched yet.
    Pending = 0,
    /// Its execution runs.
    Running = 1,
    /// Its execution succeeded.
    Succeeded = 2,
    /// Its execution failed, was aborted, or could not be launched.
    Failed = 3,
    /// An earlier execution of this tick had succeeded.
    Skipped = 4,
    /// The backfill was cancelled or stopped before its turn.
    Cancelled = 5,
}

fn backfill_state(number: i64) -> Result<BackfillState> {
    use BackfillState::{Cancelled, Failed, Paused, Running, Succeeded};
    [Running, Paused, Succeeded, Failed, Cancelled]
        .into_iter()
        .find(|state| *state as i64 == number)
        .ok_or_else(|| unknown("backfill state", number))
}

fn tick_state(number: i64) -> Result<TickState> {
    use TickState::{Cancelled, Failed, Pending, Running, Skipped, Succeeded};
    [Pending, Running, Succeeded, Failed, Skipped, Cancelled]
        .into_iter()
        .find(|state| *state as i64 == number)
        .ok_or_else(|| unknown("state of a backfill's tick", number))
}

fn unknown(what: &'static str, number: i64) -> Error {
    Error::Corrupt { what, reason: format!("{number} is none") }
}

/// A backfill as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillRow {
    /// Its id.
    pub id: String,
    /// The launch plan it runs.
    pub plan: EntityId,
    /// The schedule whose ticks it runs.
    pub timing: Timing,
    /// First time of the range.
    pub from_at: Timestamp,
    /// End of the range, which is no part of it.
    pub to_at: Timestamp,
    /// Ticks that may run at once.
    pub parallelism: u32,
    /// Whether the latest tick runs first.
    pub backward: bool,
    /// Whether it goes on after a tick that failed.
    pub keep_going: bool,
    /// Whether ticks are run that succeeded before.
    pub forced: bool,
    /// Who asked for it.
    pub principal: String,
    /// What it does now.
    pub state: BackfillState,
    /// When it was cancelled, or stopped by a failure.
    pub cancelled_at: Option<Timestamp>,
    /// Who cancelled it; empty when a failure stopped it.
    pub cancelled_by: String,
    /// Whether its running executions are to be aborted.
    pub abort_running: bool,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// How many ticks of a backfill are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TickCounts {
    /// Not launched yet.
    pub pending: u64,
    /// Under way.
    pub running: u64,
    /// Succeeded.
    pub succeeded: u64,
    /// Failed.
    pub failed: u64,
    /// Left out, because they had succeeded.
    pub skipped: u64,
    /// Never to be launched.
    pub cancelled: u64,
}

impl TickCounts {
    /// All ticks.
    pub fn total(&self) -> u64 {
        self.pending + self.running + self.succeeded + self.failed + self.skipped + self.cancelled
    }

    fn add(&mut self, state: TickState, n: u64) {
        *match state {
            TickState::Pending => &mut self.pending,
            TickState::Running => &mut self.running,
            TickState::Succeeded => &mut self.succeeded,
            TickState::Failed => &mut self.failed,
            TickState::Skipped => &mut self.skipped,
            TickState::Cancelled => &mut self.cancelled,
        } += n;
    }
}

/// A tick of a backfill as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickRow {
    /// Its place in the order of the backfill, from 0.
    pub seq: u32,
    /// The time it stands for.
    pub scheduled_at: Timestamp,
    /// What became of it.
    pub state: TickState,
    /// Name of its execution; of a skipped tick the one that had succeeded; empty while there is none.
    pub execution: String,
    /// Row key of its execution, once it is known.
    pub execution_key: Option<ExecutionKey>,
    /// Before this time it is not tried again.
    pub due_at: Timestamp,
    /// How often its launch was tried in vain.
    pub tries: u32,
    /// What went wrong.
    pub error: String,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl TickRow {
    /// A tick at its beginning.
    pub fn new(seq: u32, scheduled_at: Timestamp, now: Timestamp) -> Self {
        Self {
            seq,
            scheduled_at,
            state: TickState::Pending,
            execution: String::new(),
            execution_key: None,
            due_at: now,
            tries: 0,
            error: String::new(),
            updated_at: now,
        }
    }
}

const TICK: Table = Table {
    name: "backfill_tick",
    n_key: 2,
    fixed: &["scheduled_at"],
    columns: &[
        ("backfill_id", Type::Text),
        ("seq", Type::Int),
        ("scheduled_at", Type::Int),
        ("state", Type::Int),
        ("execution", Type::Text),
        ("execution_id", Type::Int),
        ("due_at", Type::Int),
        ("tries", Type::Int),
        ("error", Type::Text),
        ("updated_at", Type::Int),
    ],
};

fn tick_cells(backfill: &str, tick: &TickRow) -> Vec<Arg> {
    vec![
        Arg::from(backfill),
        Arg::from(tick.seq),
        Arg::from(tick.scheduled_at),
        Arg::from(tick.state as i32),
        Arg::from(&tick.execution),
        Arg::from(tick.execution_key.map(|key| key.0)),
        Arg::from(tick.due_at),
        Arg::from(tick.tries),
        Arg::from(&tick.error),
        Arg::from(tick.updated_at),
    ]
}

const READ_TICK: &str = "select t.seq, t.scheduled_at, t.state, t.execution, t.execution_id, t.due_at, t.tries, \
                         t.error, t.updated_at from backfill_tick t where t.backfill_id = ";

fn read_tick(record: &Record) -> Result<TickRow> {
    let mut c = record.cursor();
    Ok(TickRow {
        seq: c.u32()?,
        scheduled_at: c.time()?,
        state: tick_state(c.i64()?)?,
        execution: c.text()?,
        execution_key: c.opt_i64()?.map(ExecutionKey),
        due_at: c.time()?,
        tries: c.u32()?,
        error: c.text()?,
        updated_at: c.time()?,
    })
}

const SELECT: &str = "select b.id, b.project, b.domain, b.name, b.version, b.expression, b.timezone, b.kickoff, \
                      b.from_at, b.to_at, b.parallelism, b.backward, b.keep_going, b.forced, b.principal, \
                      b.state, b.cancelled_at, b.cancelled_by, b.abort_running, b.created_at, b.updated_at, \
                      b.ended_at from backfill b where ";

fn read(record: &Record) -> Result<BackfillRow> {
    let mut c = record.cursor();
    Ok(BackfillRow {
        id: c.text()?,
        plan: c.entity_id(EntityKind::LaunchPlan)?,
        timing: Timing { expression: c.text()?, timezone: c.text()?, kickoff: c.text()? },
        from_at: c.time()?,
        to_at: c.time()?,
        parallelism: c.u32()?,
        backward: c.bool()?,
        keep_going: c.bool()?,
        forced: c.bool()?,
        principal: c.text()?,
        state: backfill_state(c.i64()?)?,
        cancelled_at: c.opt_time()?,
        cancelled_by: c.text()?,
        abort_running: c.bool()?,
        created_at: c.time()?,
        updated_at: c.time()?,
        ended_at: c.opt_time()?,
    })
}

async fn insert(tx: &mut Tx, row: &BackfillRow, ticks: Vec<Vec<Arg>>) -> Result<()> {
    let sql = Sql::new(
        "insert into backfill (id, project, domain, name, version, expression, timezone, kickoff, from_at, to_at,
         parallelism, backward, keep_going, forced, principal, state, cancelled_by, abort_running, created_at,
         updated_at, ended_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, '', 0, $17, $18, $19)",
    )
    .bind(&row.id)
    .bind(&row.plan.project)
    .bind(&row.plan.domain)
    .bind(&row.plan.name)
    .bind(&row.plan.version)
    .bind(&row.timing.expression)
    .bind(&row.timing.timezone)
    .bind(&row.timing.kickoff)
    .bind(row.from_at)
    .bind(row.to_at)
    .bind(row.parallelism)
    .bind(row.backward)
    .bind(row.keep_going)
    .bind(row.forced)
    .bind(&row.principal)
    .bind(row.state as i32)
    .bind(row.created_at)
    .bind(row.updated_at)
    .bind(row.ended_at);
    tx.execute(sql).await?;
    TICK.write(tx, ticks, OnConflict::Keep).await?;
    tx.wakes.push(Wake::Scheduler);
    Ok(())
}

/// Leaves out the ticks that were not launched.
async fn cancel(tx: &mut Tx, id: &str, by: &str, abort: bool, now: Timestamp) -> Result<()> {
    let mut own = Sql::new("update backfill set state = 1, cancelled_at = coalesce(cancelled_at, ");
    own.push_arg(now).push("), cancelled_by = case when cancelled_by = '' then ").push_arg(by);
    own.push(" else cancelled_by end, abort_running = case when abort_running = 1 then 1 else ");
    own.push_arg(abort).push(" end, updated_at = ").push_arg(now);
    own.push(" where state in (1, 2) and id = ").push_arg(id);
    if tx.execute(own).await? == 0 {
        return Ok(());
    }
    let mut ticks = Sql::new("update backfill_tick set state = 5, updated_at = ");
    ticks.push_arg(now).push(" where state = 0 and backfill_id = ").push_arg(id);
    tx.execute(ticks).await?;
    tx.wakes.push(Wake::Scheduler);
    Ok(())
}

impl Store {
    /// Stores a new backfill and its ticks, in the order of their `seq`.
    ///
    /// # Errors
    /// The database.
    pub async fn backfill_insert(&self, row: &BackfillRow, ticks: &[TickRow]) -> Result<()> {
        let cells: Vec<Vec<Arg>> = ticks.iter().map(|tick| tick_cells(&row.id, tick)).collect();
        let row = row.clone();
        self.write(move |tx| Box::pin(async move { insert(tx, &row, cells).await })).await
    }

    /// Reads a backfill.
    ///
    /// # Errors
    /// The database.
    pub async fn backfill_get(&self, id: &str) -> Result<Option<BackfillRow>> {
        let mut sql = Sql::new(SELECT);
        sql.push("b.id = ").push_arg(id);
        self.fetch_optional(sql).await?.as_ref().map(read).transpose()
    }

    /// Lists backfills, the newest first; empty texts of the scope stand for all.
    ///
    /// # Errors
    /// The database.
    pub async fn backfill_list(&self, scope: &Scope, limit: u32, offset: u64) -> Result<Vec<BackfillRow>> {
        let mut sql = Sql::new(SELECT);
        sql.push("true");
        scope.push(&mut sql, "b");
        sql.push(" order by b.created_at desc, b.id desc limit ").push_arg(limit);
        sql.push(" offset ").push_arg(i64::try_from(offset).unwrap_or(i64::MAX));
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// Backfills that have work to do: those that run. Paused ones only while something of them still runs.
    ///
    /// # Errors
    /// The database.
    pub async fn backfills_live(&self) -> Result<Vec<BackfillRow>> {
        let mut sql = Sql::new(SELECT);
        sql.push("b.state in (1, 2) order by b.id");
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// How many ticks of each of these backfills are in each state.
    ///
    /// # Errors
    /// The database.
    pub async fn backfill_counts(&self, ids: &[String]) -> Result<HashMap<String, TickCounts>> {
        let mut out: HashMap<String, TickCounts> = HashMap::with_capacity(ids.len());
        if ids.is_empty() {
            return Ok(out);
        }
        let mut sql =
            Sql::new("select backfill_id, state, count(*) from backfill_tick where backfill_id in (");
        for (n, id) in ids.iter().enumerate() {
            sql.push(if n > 0 { ", " } else { "" }).push_arg(id);
        }
        sql.push(") group by backfill_id, state");
        for record in self.fetch(sql).await? {
            let mut c = record.cursor();
            let (id, state) = (c.text()?, tick_state(c.i64()?)?);
            out.entry(id).or_default().add(state, u64::from(c.u32()?));
        }
        Ok(out)
    }

    /// Ticks of a backfill from `from_seq` on, in their order; those in one state or all.
    ///
    /// # Errors
    /// The database.
    pub async fn backfill_ticks(
        &self,
        id: &str,
        state: Option<TickState>,
        from_seq: u32,
        limit: u32,
    ) -> Result<Vec<TickRow>> {
        let mut sql = Sql::new(READ_TICK);
        sql.push_arg(id);
        if let Some(state) = state {
            sql.push(" and t.state = ").push_arg(state as i32);
        }
        sql.push(" and t.seq >= ").push_arg(from_seq).push(" order by t.seq limit ").push_arg(limit);
        self.fetch(sql).await?.iter().map(read_tick).collect()
    }

    /// Writes what became of ticks.
    ///
    /// # Errors
    /// The database.
    pub async fn backfill_ticks_write(&self, id: &str, ticks: &[TickRow]) -> Result<()> {
        let cells: Vec<Vec<Arg>> = ticks.iter().map(|tick| tick_cells(id, tick)).collect();
        self.write(move |tx| Box::pin(async move { TICK.write(tx, cells, OnConflict::Replace).await })).await
    }

    /// The ticks in `[from, to)` that some backfill of this launch plan has run to success, with their executions.
    ///
    /// # Errors
    /// The database.
    pub async fn backfill_successes(
        &self,
        plan: &EntityId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<HashMap<Timestamp, String>> {
        let sql = Sql::new(
            "select t.scheduled_at, t.execution from backfill b join backfill_tick t on t.backfill_id = b.id
             where b.project = $1 and b.domain = $2 and b.name = $3 and t.scheduled_at >= $4
             and t.scheduled_at < $5 and t.state = 2",
        )
        .bind(&plan.project)
        .bind(&plan.domain)
        .bind(&plan.name)
        .bind(from)
        .bind(to);
        let records = self.fetch(sql).await?;
        let read = |record: &Record| {
            let mut c = record.cursor();
            Ok((c.time()?, c.text()?))
        };
        records.iter().map(read).collect()
    }

    /// Ends a backfill that runs.
    ///
    /// # Errors
    /// The database.
    pub async fn backfill_end(&self, id: &str, state: BackfillState, now: Timestamp) -> Result<()> {
        let mut sql = Sql::new("update backfill set state = ");
        sql.push_arg(state as i32).push(", ended_at = ").push_arg(now).push(", updated_at = ").push_arg(now);
        sql.push(" where state in (1, 2) and id = ").push_arg(id);
        self.write(move |tx| Box::pin(async move { tx.execute(sql).await.map(drop) })).await
    }

    /// Lets a backfill launch nothing more, or go on. Safe to repeat; one that ended stays as it is.
    ///
    /// # Errors
    /// The database.
    pub async fn backfill_set_paused(&self, id: &str, paused: bool, now: Timestamp) -> Result<()> {
        let (from, to) = if paused { (1, 2) } else { (2, 1) };
        let mut sql = Sql::new("update backfill set state = ");
        sql.push_arg(to)
            .push(", updated_at = ")
            .push_arg(now)
            .push(" where cancelled_at is null and state = ");
        sql.push_arg(from).push(" and id = ").push_arg(id);
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

    /// Cancels a backfill: what was not launched never is, what runs ends by itself or is aborted. Safe to repeat;
    /// one that ended stays as it is.
    ///
    /// # Errors
    /// The database.
    pub async fn backfill_cancel(&self, id: &str, by: &str, abort: bool, now: Timestamp) -> Result<()> {
        let (id, by) = (id.to_owned(), by.to_owned());
        self.write(move |tx| Box::pin(async move { cancel(tx, &id, &by, abort, now).await })).await
    }

    /// The phases (`core.WorkflowExecution.Phase`) of these executions, with their errors' codes.
    ///
    /// # Errors
    /// The database.
    pub async fn execution_phases(
        &self,
        keys: &[ExecutionKey],
    ) -> Result<HashMap<ExecutionKey, (i32, String)>> {
        const MOST: usize = 500;
        let mut out = HashMap::with_capacity(keys.len());
        for chunk in keys.chunks(MOST) {
            let mut sql = Sql::new("select id, phase, error_code from execution where id in (");
            for (n, key) in chunk.iter().enumerate() {
                sql.push(if n > 0 { ", " } else { "" }).push_arg(*key);
            }
            sql.push(")");
            for record in self.fetch(sql).await? {
                let mut c = record.cursor();
                out.insert(c.key()?, (c.i32()?, c.text()?));
            }
        }
        Ok(out)
    }

    /// Of these names in one project and domain those that are executions, with key and phase.
    ///
    /// # Errors
    /// The database.
    pub async fn executions_named(
        &self,
        project: &str,
        domain: &str,
        names: &[String],
    ) -> Result<HashMap<String, (ExecutionKey, i32)>> {
        const MOST: usize = 500;
        let mut out = HashMap::with_capacity(names.len());
        for chunk in names.chunks(MOST) {
            let mut sql = Sql::new("select name, id, phase from execution where project = ");
            sql.push_arg(project).push(" and domain = ").push_arg(domain).push(" and name in (");
            for (n, name) in chunk.iter().enumerate() {
                sql.push(if n > 0 { ", " } else { "" }).push_arg(name);
            }
            sql.push(")");
            for record in self.fetch(sql).await? {
                let mut c = record.cursor();
                out.insert(c.text()?, (c.key()?, c.i32()?));
            }
        }
        Ok(out)
    }
}
