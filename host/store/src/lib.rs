//! Keeps everything that lasts, in SQLite or Postgres; the only room that speaks SQL.
//!
//! What comes in: rows to insert, batches of changes from the engine, filters and sort keys of list requests.
//! What goes out: rows, and wake-ups for whoever waits on a change. The callers are `api` and `launch` (reads
//! and requests) and `worker` (leases, claims, commits); they meet here and nowhere else.
//!
//! Invariants: a committed row is never lost; an operation happens wholly or not at all, also when its caller
//! goes away in the middle; a batch is written only under the lease it names; no text of a client ever becomes
//! SQL: it is bound, or looked up in a list of allowed columns.
//!
//! # Design notes
//! Both dialects share the text of nearly every statement and differ behind `dialect`. `sqlx::Any` was not
//! taken: it has no arrays for `unnest` and no access to SQLite's progress handler, which ends slow reads.
//! On SQLite all writes go through one task, which puts whatever waits into one transaction, because a commit
//! costs a disk flush whatever it holds. A statement costs about 50 us through the driver, so bulk writes are
//! one statement per table and commit. For SQLite, `json_each` over one bound document was measured at 38,000
//! rows/s for the rows of this schema and a `values` list of anonymous placeholders at 90,000 to 135,000.

mod attribute;
mod backfill;
mod backfill_tick;
mod catalog_dataset;
mod catalog_entry;
mod catalog_list;
mod catalog_reservation;
mod catalog_row;
mod catalog_use;
mod config;
mod dialect;
mod element;
mod entity;
mod error;
mod execution;
mod execution_list;
mod execution_write;
mod launch_plan;
mod leader;
mod lease;
mod listing;
mod migrate;
mod named_entity;
mod node_execution;
mod outbox;
mod outbox_delivery;
mod outbox_lease;
mod postgres;
mod project;
mod query;
mod record;
mod report;
pub mod row;
mod schedule;
mod signal;
mod sql;
mod sqlite;
mod table;
mod task_execution;
mod timing;
mod token;
mod value;
mod wake;
mod writer;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

pub use attribute::{AttributePlace, AttributeRow};
pub use backfill::{BackfillRow, BackfillState};
pub use backfill_tick::{TickCounts, TickRow, TickState};
pub use catalog_dataset::CatalogTagging;
pub use catalog_entry::{CatalogPut, CatalogStored};
pub use catalog_list::{CatalogFilter, CatalogPage};
pub use catalog_reservation::{CatalogReservationRow, CatalogReserve};
pub use catalog_row::{
    CatalogArtifactRow, CatalogDatasetId, CatalogDatasetRow, CatalogSource, CatalogTagRow, CatalogUseRow,
};
pub use catalog_use::CatalogUseCount;
pub use config::{Config, Synchronous};
pub use element::{ElementPages, ElementRow};
pub use entity::{Inserted, Scope};
pub use error::Error;
pub use execution::AbortOutcome;
pub use leader::Leader;
pub use named_entity::NamedEntityRow;
pub use node_execution::NodeOutcomePages;
pub use outbox::{EventKind, EventWish, OutboxCursor, OutboxPage, OutboxRow, PRODUCER};
pub use outbox_delivery::{DeliveryKind, DeliveryOutcome, DeliveryQuery, DeliveryRow, DeliveryState};
pub use outbox_lease::OutboxLease;
pub use query::{Filter, FilterFunction, ListQuery, Sort};
pub use report::{Report, Reported, ReportedState};
pub use row::*;
pub use schedule::{NewSchedule, ScheduleGate, ScheduleKey, ScheduleRow, Timing};
pub use timing::{NodeTimesRow, TaskTimesRow};
pub use token::{TokenOutcome, TokenRequest, TokenRow};
pub use wake::Wake;

use dialect::{Dialect, Tx};
use record::Record;
use sql::Sql;
use wake::Wakes;
use writer::Op;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// The store. Cheap to clone; all clones share connections and the writer.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    writer: mpsc::Sender<Op>,
    wakes: Wakes,
    events: outbox::Switch,
    /// The writer and, on Postgres, the listener. The writer is left to finish when the store is dropped.
    tasks: Mutex<JoinSet<()>>,
}

enum Db {
    Sqlite(Box<sqlite::Readers>),
    Postgres(postgres::Pools),
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("dialect", &self.dialect()).finish_non_exhaustive()
    }
}

impl Store {
    /// Connects, brings the schema up to date and starts the writer. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// A database that can't be reached, is held by another process (SQLite), or has a schema newer than this
    /// program knows.
    pub async fn open(config: &Config) -> Result<Self> {
        let wakes = Wakes::new();
        let (writer, queue) = mpsc::channel(writer::QUEUE);
        let mut tasks = JoinSet::new();
        let url = config.url.expose();
        let db = if let Some(rest) = url.strip_prefix("sqlite:") {
            let (mut tx, readers, lock) = sqlite::open(config, rest).await?;
            // This process holds the database alone, so every lease in it is one of a process that is gone.
            lease::forget_all(&mut tx).await?;
            let backend = writer::Backend::Sqlite(Box::new(tx), lock);
            tasks.spawn(writer::run(backend, queue, wakes.clone()));
            Db::Sqlite(Box::new(readers))
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            let (pools, listener) = postgres::open(config).await?;
            tasks.spawn(writer::run(writer::Backend::Postgres(pools.clone()), queue, wakes.clone()));
            tasks.spawn(postgres::listen(listener, wakes.clone()));
            Db::Postgres(pools)
        } else {
            let reason = "it must start with `sqlite:` or `postgres:`".to_owned();
            return Err(Error::InvalidUrl { reason });
        };
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                writer,
                wakes,
                events: outbox::Switch::default(),
                tasks: Mutex::new(tasks),
            }),
        })
    }

    /// Commits what was handed over, refuses everything else from now on, and closes the connections. Safe to
    /// repeat. Without it a dropped store still commits what was handed over, but nobody waits for it.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.inner.writer.send(Op::Close(done)).await.is_ok() {
            // An error says that the writer is gone, which is what is asked for.
            let _ = closed.await;
        }
        match &self.inner.db {
            Db::Sqlite(readers) => readers.close().await,
            Db::Postgres(pools) => pools.close().await,
        }
        let mut tasks = std::mem::take(&mut *self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.inner.db {
            Db::Sqlite(_) => Dialect::Sqlite,
            Db::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(crate) async fn fetch(&self, sql: Sql) -> Result<Vec<Record>> {
        match &self.inner.db {
            Db::Sqlite(readers) => readers.fetch(sql).await,
            Db::Postgres(pools) => pools.fetch(sql).await,
        }
    }

    pub(crate) async fn fetch_optional(&self, sql: Sql) -> Result<Option<Record>> {
        Ok(self.fetch(sql).await?.into_iter().next())
    }

    /// Runs `work` in one transaction. Once handed over on SQLite it is carried out whether or not the caller
    /// stays; on Postgres it rolls back when the caller goes away before the commit.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T>> + Send + 'static,
    {
        match &self.inner.db {
            Db::Sqlite(_) => {
                let (job, result) = writer::job(Box::new(work));
                self.hand_over(Op::Job(job)).await?;
                result.await.map_err(|_| Error::Closed)?
            }
            Db::Postgres(pools) => pools.transact(&self.inner.wakes, work).await,
        }
    }

    pub(crate) async fn hand_over(&self, op: Op) -> Result<()> {
        self.inner.writer.send(op).await.map_err(|_| Error::Closed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The listener ends with its set. The writer must not: it commits what was handed over and then ends,
        // because its queue has no sender any more.
        if matches!(self.db, Db::Sqlite(_)) {
            self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner).detach_all();
        }
    }
}
