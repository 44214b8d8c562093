//! Stores the ticks of backfills, and finds the executions that they wait for.

use std::collections::HashMap;

use model::{EntityId, Timestamp};

use crate::backfill::unknown;
use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::table::{OnConflict, Table};
use crate::{ExecutionKey, Result, Store};

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

fn tick_state(number: i64) -> Result<TickState> {
    use TickState::{Cancelled, Failed, Pending, Running, Skipped, Succeeded};
    [Pending, Running, Succeeded, Failed, Skipped, Cancelled]
        .into_iter()
        .find(|state| *state as i64 == number)
        .ok_or_else(|| unknown("state of a backfill's tick", number))
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

pub(crate) const TICK: Table = Table {
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

pub(crate) fn tick_cells(backfill: &str, tick: &TickRow) -> Vec<Arg> {
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

impl Store {
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
