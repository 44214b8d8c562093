//! Stores backfills: launch plans run over the ticks of a range, and how far they are.
//!
//! Invariant: a tick leaves [`crate::TickState::Pending`] once. What became of a backfill is read off its ticks; its own row
//! says only what it is, whether it rests or was cancelled, and that it ended.

use model::{EntityId, EntityKind, Timestamp};

use crate::backfill_tick::{TICK, tick_cells};
use crate::dialect::Tx;
use crate::record::Record;
use crate::sql::{Arg, Sql};
use crate::table::OnConflict;
use crate::{Error, Result, Scope, Store, TickRow, Timing, Wake};

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

fn backfill_state(number: i64) -> Result<BackfillState> {
    use BackfillState::{Cancelled, Failed, Paused, Running, Succeeded};
    [Running, Paused, Succeeded, Failed, Cancelled]
        .into_iter()
        .find(|state| *state as i64 == number)
        .ok_or_else(|| unknown("backfill state", number))
}

pub(crate) fn unknown(what: &'static str, number: i64) -> Error {
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

    /// Forgets one backfill that ended up to this time, the first of them, with its ticks. Returns its id.
    ///
    /// # Errors
    /// The database.
    pub async fn backfill_prune(&self, ended_until: Timestamp) -> Result<Option<String>> {
        let mut oldest = Sql::new("select b.id from backfill b where b.ended_at <= ");
        oldest.push_arg(ended_until).push(" order by b.ended_at, b.id limit 1");
        let Some(found) = self.fetch_optional(oldest).await? else { return Ok(None) };
        let id = found.cursor().text()?;
        let mut ticks = Sql::new("delete from backfill_tick where backfill_id = ");
        ticks.push_arg(&id);
        let mut own = Sql::new("delete from backfill where id = ");
        own.push_arg(&id);
        self.write(move |tx| {
            Box::pin(async move {
                tx.execute(ticks).await?;
                tx.execute(own).await.map(drop)
            })
        })
        .await?;
        Ok(Some(id))
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
}
