//! Stores deliveries: what is to be sent to whom, and what became of it.

use std::collections::HashSet;

use model::Timestamp;

use crate::dialect::Tx;
use crate::outbox_lease::{OutboxLease, fence};
use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::table::{OnConflict, Table};
use crate::{Error, Result, Store, Wake};

/// What a delivery carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryKind {
    /// A notification about an execution that ended.
    Notification,
    /// An event that a sink did not take.
    Event,
    /// A notice that a sink lost events.
    Gap,
    /// Somebody tried a channel out.
    Test,
}

impl DeliveryKind {
    fn number(self) -> i32 {
        match self {
            Self::Notification => 0,
            Self::Event => 1,
            Self::Gap => 2,
            Self::Test => 3,
        }
    }

    fn from_number(number: i32) -> Result<Self> {
        [Self::Notification, Self::Event, Self::Gap, Self::Test]
            .into_iter()
            .find(|kind| kind.number() == number)
            .ok_or_else(|| corrupt(number, "kind"))
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// It is to be sent, for the first time or again.
    Pending,
    /// It was taken.
    Sent,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    fn number(self) -> i32 {
        match self {
            Self::Pending => 0,
            Self::Sent => 1,
            Self::Failed => 2,
        }
    }

    fn from_number(number: i32) -> Result<Self> {
        [Self::Pending, Self::Sent, Self::Failed]
            .into_iter()
            .find(|state| state.number() == number)
            .ok_or_else(|| corrupt(number, "state"))
    }
}

fn corrupt(number: i32, what: &str) -> Error {
    Error::Corrupt { what: "delivery", reason: format!("{number} is no {what} of a delivery") }
}

/// One delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Row key; 0 in a row that is not yet inserted.
    pub id: i64,
    /// What makes it the same delivery; a second one of the same key is not inserted.
    pub key: String,
    /// What it carries.
    pub kind: DeliveryKind,
    /// Name of the channel or sink.
    pub channel: String,
    /// To whom: an address, or what the channel knows by itself.
    pub recipient: String,
    /// Project of the execution; empty when it is about none.
    pub project: String,
    /// Domain of the execution.
    pub domain: String,
    /// Name of the execution.
    pub execution: String,
    /// The event that caused it.
    pub event_id: String,
    /// The phase that was entered, by name.
    pub phase: String,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is tried next; none once it has ended.
    pub due_at: Option<Timestamp>,
    /// When it was sent or given up.
    pub ended_at: Option<Timestamp>,
    /// Why the last try failed.
    pub last_error: String,
    /// What is sent, in the form its maker chose.
    pub payload: Vec<u8>,
}

/// What a list of deliveries selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryQuery {
    /// Only those in this state.
    pub state: Option<DeliveryState>,
    /// Only those of this channel; empty is all.
    pub channel: String,
    /// Only those of this execution; empty is all.
    pub execution: String,
    /// Only those with a lower id; 0 is all.
    pub before: i64,
    /// How many at most.
    pub limit: u32,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryOutcome {
    /// Which delivery.
    pub id: i64,
    /// What it is now.
    pub state: DeliveryState,
    /// When it is tried again, if it is pending.
    pub due_at: Option<Timestamp>,
    /// Why it failed; empty when it did not.
    pub error: String,
    /// When it was tried.
    pub at: Timestamp,
}

const TABLE: Table = Table {
    name: "delivery",
    n_key: 1,
    fixed: &[],
    columns: &[
        ("delivery_key", Type::Text),
        ("kind", Type::Int),
        ("channel", Type::Text),
        ("recipient", Type::Text),
        ("project", Type::Text),
        ("domain", Type::Text),
        ("execution", Type::Text),
        ("event_id", Type::Text),
        ("phase", Type::Text),
        ("state", Type::Int),
        ("attempts", Type::Int),
        ("created_at", Type::Int),
        ("due_at", Type::Int),
        ("ended_at", Type::Int),
        ("last_error", Type::Text),
        ("payload", Type::Blob),
    ],
};

fn cells(row: DeliveryRow) -> Vec<Arg> {
    vec![
        Arg::from(row.key),
        Arg::from(row.kind.number()),
        Arg::from(row.channel),
        Arg::from(row.recipient),
        Arg::from(row.project),
        Arg::from(row.domain),
        Arg::from(row.execution),
        Arg::from(row.event_id),
        Arg::from(row.phase),
        Arg::from(row.state.number()),
        Arg::from(row.attempts),
        Arg::from(row.created_at),
        Arg::from(row.due_at),
        Arg::from(row.ended_at),
        Arg::from(row.last_error),
        Arg::Blob(Some(row.payload)),
    ]
}

fn read(record: &Record) -> Result<DeliveryRow> {
    let mut c = record.cursor();
    Ok(DeliveryRow {
        id: c.i64()?,
        key: c.text()?,
        kind: DeliveryKind::from_number(c.i32()?)?,
        channel: c.text()?,
        recipient: c.text()?,
        project: c.text()?,
        domain: c.text()?,
        execution: c.text()?,
        event_id: c.text()?,
        phase: c.text()?,
        state: DeliveryState::from_number(c.i32()?)?,
        attempts: c.u32()?,
        created_at: c.time()?,
        due_at: c.opt_time()?,
        ended_at: c.opt_time()?,
        last_error: c.text()?,
        payload: c.blob()?,
    })
}

fn select() -> Sql {
    let mut sql = Sql::new("select d.id, ");
    sql.push_list("d.", TABLE.names()).push(" from delivery d");
    sql
}

/// Writes new deliveries; those whose key is there already are left as they are.
pub(crate) async fn insert(tx: &mut Tx, mut rows: Vec<DeliveryRow>) -> Result<()> {
    let mut keys = HashSet::new();
    rows.retain(|row| keys.insert(row.key.clone()));
    if rows.is_empty() {
        return Ok(());
    }
    TABLE.write(tx, rows.into_iter().map(cells).collect(), OnConflict::Keep).await?;
    tx.wakes.push(Wake::Deliveries);
    Ok(())
}

impl Store {
    /// Keeps a delivery outside of the outbox, such as a try. One whose key is there already is left as it is.
    ///
    /// # Errors
    /// The database.
    pub async fn delivery_insert(&self, row: DeliveryRow) -> Result<()> {
        self.write(move |tx| Box::pin(async move { insert(tx, vec![row]).await })).await
    }

    /// Deliveries that wait and are due, the longest due first.
    ///
    /// # Errors
    /// The database.
    pub async fn delivery_due(&self, now: Timestamp, limit: u32) -> Result<Vec<DeliveryRow>> {
        let mut sql = select();
        sql.push(" where d.state = 0 and d.due_at <= ").push_arg(now);
        sql.push(" order by d.due_at, d.id limit ").push_arg(limit);
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// When the next delivery that waits is due.
    ///
    /// # Errors
    /// The database.
    pub async fn delivery_next_due(&self, after: Timestamp) -> Result<Option<Timestamp>> {
        let sql = Sql::new("select min(due_at) from delivery where state = 0 and due_at > $1").bind(after);
        self.fetch_optional(sql).await?.map_or(Ok(None), |record| record.cursor().opt_time())
    }

    /// Notes what came of tries.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another host has taken over, or the database.
    pub async fn delivery_report(&self, lease: &OutboxLease, outcomes: Vec<DeliveryOutcome>) -> Result<()> {
        let lease = lease.clone();
        self.write(move |tx| {
            Box::pin(async move {
                fence(tx, &lease).await?;
                for outcome in outcomes {
                    let ended = (outcome.state != DeliveryState::Pending).then_some(outcome.at);
                    let sql = Sql::new(
                        "update delivery set state = $1, attempts = attempts + 1, due_at = $2, ended_at = $3,
                         last_error = $4 where id = $5",
                    )
                    .bind(outcome.state.number())
                    .bind(outcome.due_at)
                    .bind(ended)
                    .bind(outcome.error)
                    .bind(outcome.id);
                    tx.execute(sql).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Lists deliveries, the newest first.
    ///
    /// # Errors
    /// The database.
    pub async fn delivery_list(&self, query: &DeliveryQuery) -> Result<Vec<DeliveryRow>> {
        let mut sql = select();
        sql.push(" where 1 = 1");
        if let Some(state) = query.state {
            sql.push(" and d.state = ").push_arg(state.number());
        }
        if !query.channel.is_empty() {
            sql.push(" and d.channel = ").push_arg(&query.channel);
        }
        if !query.execution.is_empty() {
            sql.push(" and d.execution = ").push_arg(&query.execution);
        }
        if query.before > 0 {
            sql.push(" and d.id < ").push_arg(query.before);
        }
        sql.push(" order by d.id desc limit ").push_arg(query.limit);
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// Reads one delivery.
    ///
    /// # Errors
    /// The database.
    pub async fn delivery_get(&self, id: i64) -> Result<Option<DeliveryRow>> {
        let mut sql = select();
        sql.push(" where d.id = ").push_arg(id);
        self.fetch_optional(sql).await?.as_ref().map(read).transpose()
    }

    /// Makes a delivery due now, whatever became of it, and wakes the host that delivers. It starts with a fresh
    /// count of tries.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database.
    pub async fn delivery_retry(&self, id: i64, now: Timestamp) -> Result<()> {
        let sql = Sql::new(
            "update delivery set state = 0, attempts = 0, due_at = $1, ended_at = null where id = $2",
        )
        .bind(now)
        .bind(id);
        self.write(move |tx| {
            Box::pin(async move {
                if tx.execute(sql).await? == 0 {
                    return Err(Error::NotFound { what: "delivery", id: id.to_string() });
                }
                tx.wakes.push(Wake::Deliveries);
                Ok(())
            })
        })
        .await
    }

    /// Removes deliveries that ended before this, at most so many, and returns how many.
    ///
    /// # Errors
    /// The database.
    pub async fn delivery_purge(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let mut sql =
            Sql::new("delete from delivery where id in (select id from delivery where created_at < ");
        sql.push_arg(before).push(" and state <> 0 order by created_at limit ").push_arg(limit).push(")");
        self.write(move |tx| Box::pin(async move { tx.execute(sql).await })).await
    }
}
