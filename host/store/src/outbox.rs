//! Keeps events between the commit that made them and the readers that hand them out.
//!
//! Events are written in the transaction of the rows they tell about. Each reader has a cursor; a row that all of
//! them have passed is removed. Invariant: the order that readers see is one in which no row ever appears behind a
//! cursor. On SQLite that is the order of `seq`. On Postgres a transaction that commits later may have drawn lower
//! numbers, so the order is that of transactions, and rows are held back while a transaction below them runs.

use std::sync::atomic::{AtomicU8, Ordering};

use model::{ExecutionId, Timestamp};
use prost::Message as _;
use proto::flyteidl::event::WorkflowExecutionEvent;
use proto::flyteidl::event::workflow_execution_event::OutputResult;

use crate::dialect::{Dialect, Tx};
use crate::outbox_lease::{OutboxLease, fence};
use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::{DeliveryRow, Error, ExecutionKey, Result, Store, Wake, outbox_delivery};

/// Who makes the events, as every event says.
pub const PRODUCER: &str = "pinion";

/// Which transitions are written to the outbox. By default none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventWish {
    /// All of executions.
    pub workflows: bool,
    /// All of nodes.
    pub nodes: bool,
    /// All of task executions.
    pub tasks: bool,
    /// The end of every execution.
    pub ends: bool,
    /// The end of executions that ask for notifications.
    pub notified_ends: bool,
}

impl EventWish {
    fn bits(self) -> u8 {
        u8::from(self.workflows)
            | u8::from(self.nodes) << 1
            | u8::from(self.tasks) << 2
            | u8::from(self.ends) << 3
            | u8::from(self.notified_ends) << 4
    }

    fn from_bits(bits: u8) -> Self {
        let has = |bit: u8| bits & (1 << bit) != 0;
        Self { workflows: has(0), nodes: has(1), tasks: has(2), ends: has(3), notified_ends: has(4) }
    }

    /// Whether anything at all is asked for.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// The wish as it is set now; read with every transition.
#[derive(Debug, Default)]
pub(crate) struct Switch(AtomicU8);

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// `flyteidl.event.WorkflowExecutionEvent`.
    Workflow,
    /// `flyteidl.event.NodeExecutionEvent`.
    Node,
    /// `flyteidl.event.TaskExecutionEvent`.
    Task,
}

impl EventKind {
    fn number(self) -> i32 {
        match self {
            Self::Workflow => 1,
            Self::Node => 2,
            Self::Task => 3,
        }
    }

    fn from_number(number: i32) -> Result<Self> {
        match number {
            1 => Ok(Self::Workflow),
            2 => Ok(Self::Node),
            3 => Ok(Self::Task),
            other => Err(Error::Corrupt { what: "event", reason: format!("{other} is no kind of event") }),
        }
    }
}

/// One event on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// The execution it belongs to; order is kept within one.
    pub execution: ExecutionKey,
    /// Which message it is.
    pub kind: EventKind,
    /// The phase that was entered, a number of the `flyteidl.core` enum of its kind.
    pub phase: i32,
    /// When.
    pub occurred_at: Timestamp,
    /// Tells this transition from all others, and is the same in every repeat.
    pub id: String,
    /// The encoded message.
    pub message: Vec<u8>,
}

impl OutboxRow {
    /// An execution entered a phase.
    pub fn of_workflow(
        execution: ExecutionKey,
        id: &ExecutionId,
        phase: i32,
        at: Timestamp,
        output_result: Option<OutputResult>,
    ) -> Self {
        use proto::flyteidl::core::workflow_execution::Phase;
        let name = Phase::try_from(phase).map_or("UNKNOWN", |phase| phase.as_str_name());
        let event = WorkflowExecutionEvent {
            execution_id: Some(id.to_proto()),
            producer_id: PRODUCER.to_owned(),
            phase,
            occurred_at: Some(at.to_proto()),
            output_result,
        };
        Self {
            execution,
            kind: EventKind::Workflow,
            phase,
            occurred_at: at,
            id: format!("{}/{}/{}:{name}@{}", id.project, id.domain, id.name, at.0),
            message: event.encode_to_vec(),
        }
    }
}

/// A place in the outbox. Readers start at the default, before everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxCursor {
    /// Transaction; 0 on SQLite.
    pub tx: i64,
    /// Number of the row.
    pub seq: i64,
}

/// A part of the outbox.
#[derive(Clone, Debug, Default)]
pub struct OutboxPage {
    /// Events in their order, each with its place.
    pub rows: Vec<(OutboxCursor, OutboxRow)>,
    /// Rows behind these are committed but held back until an older transaction ends; nothing wakes the reader then.
    pub held_back: bool,
}

const TYPES: [Type; 6] = [Type::Int, Type::Int, Type::Int, Type::Int, Type::Text, Type::Blob];

fn cells(row: OutboxRow) -> Vec<Arg> {
    vec![
        Arg::from(row.execution),
        Arg::from(row.kind.number()),
        Arg::from(row.phase),
        Arg::from(row.occurred_at),
        Arg::from(row.id),
        Arg::Blob(Some(row.message)),
    ]
}

/// Writes events; they get their numbers in this order. A phase that an execution went through after its abort was
/// asked for never showed, and neither does its event.
pub(crate) async fn write(tx: &mut Tx, events: Vec<OutboxRow>) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    metrics::counter!("pinion_store_rows_total", "table" => "outbox").increment(events.len() as u64);
    let mut rest = events.into_iter();
    while rest.len() > 0 {
        let n_rows = tx.dialect().chunk(rest.len());
        let chunk: Vec<Vec<Arg>> = rest.by_ref().take(n_rows).map(cells).collect();
        let mut sql = Sql::new("with r (execution_id, kind, phase, occurred_at, event_id, message) as (");
        tx.dialect().push_rows(&mut sql, &TYPES, chunk.into_iter());
        sql.push(
            ") insert into outbox (execution_id, kind, phase, occurred_at, event_id, message)
             select r.execution_id, r.kind, r.phase, r.occurred_at, r.event_id, r.message from r
             where r.kind <> 1 or r.phase not in (1, 2, 3, 5) or not exists (select 1 from execution e
             where e.id = r.execution_id and e.aborted_by is not null)",
        );
        tx.defer(sql).await?;
    }
    tx.wakes.push(Wake::Events);
    Ok(())
}

fn read(record: &Record) -> Result<(OutboxCursor, OutboxRow)> {
    let mut c = record.cursor();
    let cursor = OutboxCursor { tx: c.i64()?, seq: c.i64()? };
    let row = OutboxRow {
        execution: c.key()?,
        kind: EventKind::from_number(c.i32()?)?,
        phase: c.i32()?,
        occurred_at: c.time()?,
        id: c.text()?,
        message: c.blob()?,
    };
    Ok((cursor, row))
}

/// Rows whose order is settled: no transaction of the server below their own is under way.
const SETTLED: &str = " and tx < pg_snapshot_xmin(pg_current_snapshot())::text::bigint";

/// The same when transactions of other databases, which may be long, do not count. Costs a look at all sessions.
const SETTLED_HERE: &str = " and tx < (select min(x) from (
    select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as x
    union all select running::text::bigint from pg_snapshot_xip(pg_current_snapshot()) running
    where not exists (select 1 from pg_stat_activity a
        where a.datname <> current_database() and a.backend_xid = running::xid)) bounds)";

/// Rows behind a cursor, in their order.
fn push_behind(sql: &mut Sql, dialect: Dialect, after: OutboxCursor) {
    match dialect {
        Dialect::Sqlite => sql.push("seq > ").push_arg(after.seq),
        Dialect::Postgres => {
            sql.push("(tx, seq) > (").push_arg(after.tx).push(", ").push_arg(after.seq).push(")")
        }
    };
}

fn order(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => " order by seq",
        Dialect::Postgres => " order by tx, seq",
    }
}

/// The columns that [`read`] reads.
fn select(dialect: Dialect) -> Sql {
    Sql::new(match dialect {
        Dialect::Sqlite => {
            "select 0, seq, execution_id, kind, phase, occurred_at, event_id, message from outbox where "
        }
        Dialect::Postgres => {
            "select tx, seq, execution_id, kind, phase, occurred_at, event_id, message from outbox where "
        }
    })
}

impl Store {
    /// Says which transitions are written from now on.
    pub fn want_events(&self, wish: EventWish) {
        self.inner.events.0.store(wish.bits(), Ordering::Relaxed);
    }

    /// Which transitions are to be written.
    pub fn events_wanted(&self) -> EventWish {
        EventWish::from_bits(self.inner.events.0.load(Ordering::Relaxed))
    }

    /// Reads events behind a cursor, at most so many.
    ///
    /// # Errors
    /// The database.
    pub async fn outbox_read(&self, after: OutboxCursor, limit: u32) -> Result<OutboxPage> {
        let dialect = self.dialect();
        let read = |settled: &'static str| {
            let mut sql = select(dialect);
            push_behind(&mut sql, dialect, after);
            sql.push(settled).push(order(dialect)).push(" limit ").push_arg(limit);
            self.fetch(sql)
        };
        if dialect == Dialect::Sqlite {
            let rows = read("").await?.iter().map(self::read).collect::<Result<_>>()?;
            return Ok(OutboxPage { rows, held_back: false });
        }
        let is_short = |rows: &[(OutboxCursor, OutboxRow)]| rows.len() < limit as usize;
        let mut rows: Vec<_> = Vec::new();
        let mut held_back = true;
        for settled in [SETTLED, SETTLED_HERE] {
            rows = read(settled).await?.iter().map(self::read).collect::<Result<_>>()?;
            let last = rows.last().map_or(after, |(cursor, _)| *cursor);
            held_back = is_short(&rows) && self.outbox_behind(last, 1).await? > 0;
            if !held_back {
                break;
            }
        }
        Ok(OutboxPage { rows, held_back })
    }

    /// The place of the `n`th event behind a cursor, from 1; none when there are fewer.
    ///
    /// # Errors
    /// The database.
    pub async fn outbox_nth(&self, after: OutboxCursor, n: u32) -> Result<Option<OutboxCursor>> {
        let dialect = self.dialect();
        let mut sql = Sql::new(match dialect {
            Dialect::Sqlite => "select 0, seq from outbox where ",
            Dialect::Postgres => "select tx, seq from outbox where ",
        });
        push_behind(&mut sql, dialect, after);
        sql.push(if dialect == Dialect::Sqlite { "" } else { SETTLED_HERE });
        sql.push(order(dialect)).push(" limit 1 offset ").push_arg(n.saturating_sub(1));
        let Some(record) = self.fetch_optional(sql).await? else { return Ok(None) };
        let mut c = record.cursor();
        Ok(Some(OutboxCursor { tx: c.i64()?, seq: c.i64()? }))
    }

    /// How many events lie behind a cursor; counts up to `most`.
    ///
    /// # Errors
    /// The database.
    pub async fn outbox_behind(&self, after: OutboxCursor, most: u32) -> Result<u32> {
        let mut sql = Sql::new("select count(*) from (select 1 from outbox where ");
        push_behind(&mut sql, self.dialect(), after);
        sql.push(" limit ").push_arg(most).push(") x");
        self.fetch_optional(sql).await?.map_or(Ok(0), |record| record.cursor().u32())
    }

    /// How far each reader has come.
    ///
    /// # Errors
    /// The database.
    pub async fn outbox_cursors(&self) -> Result<Vec<(String, OutboxCursor)>> {
        let sql = Sql::new("select sink, tx, seq from outbox_cursor order by sink");
        let read = |record: &Record| {
            let mut c = record.cursor();
            Ok((c.text()?, OutboxCursor { tx: c.i64()?, seq: c.i64()? }))
        };
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// Notes that a reader has come so far, and what follows from that: deliveries to make or that failed. A
    /// delivery whose key is there already is left as it is.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another host has taken over; nothing is written then. Or the database.
    pub async fn outbox_advance(
        &self,
        lease: &OutboxLease,
        sink: &str,
        cursor: OutboxCursor,
        deliveries: Vec<DeliveryRow>,
        now: Timestamp,
    ) -> Result<()> {
        let lease = lease.clone();
        let mut sql = Sql::new("insert into outbox_cursor (sink, tx, seq, updated_at) values (");
        sql.push_arg(sink).push(", ").push_arg(cursor.tx).push(", ").push_arg(cursor.seq);
        sql.push(", ").push_arg(now).push(
            ") on conflict (sink) do update set tx = excluded.tx, seq = excluded.seq,
             updated_at = excluded.updated_at",
        );
        self.write(move |tx| {
            Box::pin(async move {
                fence(tx, &lease).await?;
                outbox_delivery::insert(tx, deliveries).await?;
                tx.execute(sql).await.map(drop)
            })
        })
        .await
    }

    /// Forgets how far a reader has come.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another host has taken over, or the database.
    pub async fn outbox_forget(&self, lease: &OutboxLease, sink: &str) -> Result<()> {
        let (lease, sql) = (lease.clone(), Sql::new("delete from outbox_cursor where sink = $1").bind(sink));
        self.write(move |tx| {
            Box::pin(async move {
                fence(tx, &lease).await?;
                tx.execute(sql).await.map(drop)
            })
        })
        .await
    }

    /// Removes events up to a place, the oldest first and at most so many, and returns how many.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another host has taken over, or the database.
    pub async fn outbox_prune(&self, lease: &OutboxLease, upto: OutboxCursor, limit: u32) -> Result<u64> {
        let mut sql = Sql::new("delete from outbox where ");
        match self.dialect() {
            Dialect::Sqlite => {
                sql.push("seq in (select seq from outbox where seq <= ").push_arg(upto.seq);
                sql.push(" order by seq limit ").push_arg(limit).push(")");
            }
            Dialect::Postgres => {
                sql.push("(tx, seq) in (select tx, seq from outbox where (tx, seq) <= (").push_arg(upto.tx);
                sql.push(", ").push_arg(upto.seq).push(") order by tx, seq limit ").push_arg(limit).push(")");
            }
        }
        let lease = lease.clone();
        self.write(move |tx| {
            Box::pin(async move {
                fence(tx, &lease).await?;
                tx.execute(sql).await
            })
        })
        .await
    }
}

/// Starts over when the database was moved to a server whose transactions have lower numbers: all that is left is
/// handed out again. Does nothing on SQLite.
pub(crate) async fn settle_numbers(tx: &mut Tx) -> Result<()> {
    if tx.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    const AHEAD: &str =
        "select 1 from outbox_cursor where tx > pg_snapshot_xmax(pg_current_snapshot())::text::bigint
        union all select 1 from (select tx from outbox order by tx desc limit 1) x
        where tx > pg_snapshot_xmax(pg_current_snapshot())::text::bigint limit 1";
    if tx.fetch_optional(Sql::new(AHEAD)).await?.is_some() {
        tracing::warn!("the database has moved; all events it still holds are handed out again");
        tx.execute(Sql::new("update outbox set tx = 0")).await?;
        tx.execute(Sql::new("update outbox_cursor set tx = 0, seq = 0")).await?;
    }
    Ok(())
}
