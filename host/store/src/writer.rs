//! Groups what waits to be written into one transaction, because a commit costs a disk flush whatever it holds.
//!
//! On SQLite every write comes through here, on Postgres only new executions do. Each caller gets its own
//! result once the group is committed. Invariant: an operation that fails leaves nothing behind and spoils no
//! other; a caller who goes away does not stop what was handed over.

use std::time::Instant;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::dialect::{Conn, Dialect, Tx};
use crate::execution_write::{NewExecution, insert_many};
use crate::postgres::{self, Pools};
use crate::sql::Sql;
use crate::wake::Wakes;
use crate::{Error, ExecutionKey, Result};

/// Most operations in one transaction.
const MAX_GROUP: usize = 512;

/// Operations that may wait before callers have to.
pub(crate) const QUEUE: usize = 4 * MAX_GROUP;

/// What waits for the writer.
pub(crate) enum Op {
    /// A new execution: all of a group are inserted with one statement.
    Insert(Box<NewExecution>, oneshot::Sender<Result<ExecutionKey>>),
    /// Anything else.
    Job(Box<dyn Job>),
    /// Commit what came before, close the connection, and stop.
    Close(oneshot::Sender<()>),
}

/// An operation whose result type is forgotten.
pub(crate) trait Job: Send {
    /// Does the work and keeps its result. `false` when it failed and must be undone.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, bool>;
    /// Hands the result to the caller, or the error that undid it.
    fn finish(self: Box<Self>, undone: Option<Error>);
}

pub(crate) type Work<T> = Box<dyn for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T>> + Send>;

struct Task<T> {
    work: Option<Work<T>>,
    result: Result<T>,
    reply: oneshot::Sender<Result<T>>,
}

/// Makes a job of some work; its result comes through the receiver.
pub(crate) fn job<T: Send + 'static>(work: Work<T>) -> (Box<dyn Job>, oneshot::Receiver<Result<T>>) {
    let (reply, result) = oneshot::channel();
    (Box::new(Task { work: Some(work), result: Err(Error::Closed), reply }), result)
}

impl<T: Send> Job for Task<T> {
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            if let Some(work) = self.work.take() {
                self.result = work(tx).await;
            }
            self.result.is_ok()
        })
    }

    fn finish(self: Box<Self>, undone: Option<Error>) {
        // The caller may have gone away.
        let _ = self.reply.send(match undone {
            Some(error) if self.result.is_ok() => Err(error),
            _ => self.result,
        });
    }
}

/// Where the writer gets its transactions.
pub(crate) enum Backend {
    Sqlite(Box<Tx>, std::sync::Arc<crate::sqlite::Lock>),
    Postgres(Pools),
}

/// Serves the queue until it is closed.
pub(crate) async fn run(mut backend: Backend, mut queue: mpsc::Receiver<Op>, wakes: Wakes) {
    let mut waiting = Vec::with_capacity(MAX_GROUP);
    let mut closed = None;
    while closed.is_none() && queue.recv_many(&mut waiting, MAX_GROUP).await > 0 {
        metrics::gauge!("pinion_store_queue_depth").set(queue.len() as f64);
        let mut group = Group::default();
        for op in waiting.drain(..) {
            match op {
                Op::Insert(row, reply) => group.inserts.push((row, reply)),
                Op::Job(job) => group.jobs.push(job),
                Op::Close(done) => closed = Some(done),
            }
        }
        if !group.inserts.is_empty() || !group.jobs.is_empty() {
            group.serve(&mut backend, &wakes).await;
        }
    }
    queue.close();
    if let Backend::Sqlite(tx, lock) = backend {
        if let Conn::Sqlite(conn) = tx.conn
            && let Err(error) = sqlx::Connection::close(conn).await
        {
            tracing::warn!(error = %error, "writing connection did not close");
        }
        drop(lock);
    }
    if let Some(done) = closed {
        // Whoever asked may have gone away.
        let _ = done.send(());
    }
}

#[derive(Default)]
struct Group {
    inserts: Vec<(Box<NewExecution>, oneshot::Sender<Result<ExecutionKey>>)>,
    jobs: Vec<Box<dyn Job>>,
}

impl Group {
    async fn serve(self, backend: &mut Backend, wakes: &Wakes) {
        let Self { inserts, mut jobs } = self;
        let n_ops = inserts.len() + jobs.len();
        let start = Instant::now();
        let (rows, replies): (Vec<_>, Vec<_>) = inserts.into_iter().unzip();
        let mut keys = Vec::new();
        let committed = match backend {
            Backend::Sqlite(tx, _) => {
                let done = sqlite_transaction(tx, &rows, &mut keys, &mut jobs).await;
                let sent = std::mem::take(&mut tx.wakes);
                if done.is_ok() {
                    wakes.send(sent);
                }
                done
            }
            Backend::Postgres(pools) => postgres_transaction(pools, wakes, &rows, &mut keys, &mut jobs).await,
        };
        metrics::histogram!("pinion_store_commit_seconds").record(start.elapsed());
        metrics::histogram!("pinion_store_group_size").record(n_ops as f64);
        let undone = committed.err();
        keys.resize_with(replies.len(), || Err(Error::Closed));
        for (reply, key) in replies.into_iter().zip(keys) {
            // The caller may have gone away.
            let _ = reply.send(match &undone {
                Some(error) => Err(error.share()),
                None => key,
            });
        }
        for job in jobs {
            job.finish(undone.as_ref().map(Error::share));
        }
    }
}

async fn sqlite_transaction(
    tx: &mut Tx,
    rows: &[Box<NewExecution>],
    keys: &mut Vec<Result<ExecutionKey>>,
    jobs: &mut [Box<dyn Job>],
) -> Result<()> {
    tx.defer(Sql::new("begin immediate")).await?;
    let mut done = operations(tx, rows, keys, jobs).await;
    if let Ok(true) = done {
        tx.defer(Sql::new("commit")).await?;
        done = tx.flush().await.map(|()| true);
    }
    if let Some(error) = tx.take_broken() {
        done = Err(error);
    }
    if !matches!(done, Ok(true)) {
        tx.give_up();
        // Some errors have rolled back already; then there is nothing to undo.
        let _ = tx.execute(Sql::new("rollback")).await;
        // It can't spoil the next transaction: what is wrong with the database shows there by itself.
        drop(tx.take_broken());
    }
    done.map(drop)
}

async fn postgres_transaction(
    pools: &Pools,
    wakes: &Wakes,
    rows: &[Box<NewExecution>],
    keys: &mut Vec<Result<ExecutionKey>>,
    jobs: &mut [Box<dyn Job>],
) -> Result<()> {
    let mut tx = pools.begin().await?;
    if operations(&mut tx, rows, keys, jobs).await? { postgres::commit(tx, wakes).await } else { Ok(()) }
}

/// Does everything of a group and says whether there is something to commit. An error here is one of the whole
/// transaction.
async fn operations(
    tx: &mut Tx,
    rows: &[Box<NewExecution>],
    keys: &mut Vec<Result<ExecutionKey>>,
    jobs: &mut [Box<dyn Job>],
) -> Result<bool> {
    if let ([], [job]) = (rows, &mut *jobs) {
        return Ok(job.run(tx).await);
    }
    match tx.dialect() {
        // SQLite refuses no row for what is in it: an error is one of the database.
        Dialect::Sqlite => *keys = insert_many(tx, rows).await?,
        Dialect::Postgres => insert_each_if_not_all(tx, rows, keys).await?,
    }
    for job in jobs {
        let n_wakes = tx.wakes.len();
        tx.defer(Sql::new("savepoint operation")).await?;
        let ok = job.run(tx).await;
        settle(tx, ok, n_wakes).await?;
    }
    Ok(true)
}

/// Inserts all with one statement. Postgres refuses a text too long for an index; then one by one, so that one
/// bad row does not spoil the others.
async fn insert_each_if_not_all(
    tx: &mut Tx,
    rows: &[Box<NewExecution>],
    keys: &mut Vec<Result<ExecutionKey>>,
) -> Result<()> {
    tx.execute(Sql::new("savepoint operation")).await?;
    let all = insert_many(tx, rows).await;
    settle(tx, all.is_ok(), 0).await?;
    if let Ok(all) = all {
        *keys = all;
        return Ok(());
    }
    for row in rows {
        let n_wakes = tx.wakes.len();
        tx.execute(Sql::new("savepoint operation")).await?;
        let one = insert_many(tx, std::slice::from_ref(row)).await;
        settle(tx, one.is_ok(), n_wakes).await?;
        keys.push(one.and_then(|mut one| one.pop().unwrap_or(Err(Error::Closed))));
    }
    Ok(())
}

/// Keeps or undoes what was done since the savepoint.
async fn settle(tx: &mut Tx, keep: bool, n_wakes: usize) -> Result<()> {
    if !keep {
        tx.wakes.truncate(n_wakes);
        tx.execute(Sql::new("rollback to savepoint operation")).await?;
    }
    tx.defer(Sql::new("release savepoint operation")).await
}
