//! Serves the engine: leases, claims, loading and the fenced commit.
//!
//! Invariant: the `owner_epoch` of a live execution is 0 or the epoch of a row in `lease`. A lease ends by the
//! removal of that row, in the transaction that frees its executions; a commit locks the row, so it either
//! comes before that or is refused.

use std::time::Duration;

use model::Timestamp;

use crate::dialect::Tx;
use crate::record::Record;
use crate::sql::{Arg, Sql};
use crate::table::{OnConflict, last_of_each};
use crate::{
    Batch, Error, ExecutionKey, ExecutionRow, Lease, NodeExecutionRow, OutboxRow, Result, Store,
    TaskExecutionRow, Wake, execution, execution_write, node_execution, outbox, signal, task_execution,
};

/// Nodes read with one statement when an execution is taken up.
const LOAD_PAGE: i64 = 5_000;

fn after(now: Timestamp, ttl: Duration) -> Timestamp {
    now.plus(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX))
}

/// Ends every lease.
pub(crate) async fn forget_all(tx: &mut Tx) -> Result<()> {
    tx.execute(Sql::new("begin immediate")).await?;
    tx.execute(Sql::new("update execution set owner_epoch = 0, owner_host = '' where live = 1")).await?;
    tx.execute(Sql::new("delete from lease")).await?;
    tx.execute(Sql::new("commit")).await.map(drop)
}

/// Ends the leases with these epochs and frees their executions.
async fn end(tx: &mut Tx, epochs: &[i64]) -> Result<()> {
    tx.forget_lease();
    for epoch in epochs {
        tx.execute(Sql::new("delete from lease where epoch = $1").bind(*epoch)).await?;
        let free =
            "update execution set owner_epoch = 0, owner_host = '' where live = 1 and owner_epoch = $1";
        tx.execute(Sql::new(free).bind(*epoch)).await?;
    }
    Ok(())
}

async fn epochs(tx: &mut Tx, sql: Sql) -> Result<Vec<i64>> {
    tx.fetch(sql).await?.iter().map(|record| record.cursor().i64()).collect()
}

/// Makes sure that nobody ends this lease before the transaction does.
async fn fence(tx: &mut Tx, lease: &Lease) -> Result<()> {
    if tx.knows_lease(lease) {
        return Ok(());
    }
    let dialect = tx.dialect();
    let mut sql = Sql::new("select epoch from lease where epoch = ");
    sql.push_place(dialect, lease.epoch).push(" and host = ").push_place(dialect, &lease.host);
    sql.push(dialect.for_share());
    match tx.fetch_optional(sql).await? {
        Some(_) => tx.note_lease(lease),
        None => return Err(fenced(lease)),
    }
    Ok(())
}

fn fenced(lease: &Lease) -> Error {
    Error::Fenced { host: lease.host.clone(), epoch: lease.epoch }
}

async fn claim(tx: &mut Tx, lease: &Lease, limit: u32, now: Timestamp) -> Result<Vec<Record>> {
    fence(tx, lease).await?;
    // A lease whose host is just committing is locked and waits for the next claim.
    let mut expired = Sql::new("select epoch from lease where expires_at < ");
    expired.push_arg(now).push(" and epoch <> ").push_arg(lease.epoch);
    expired.push(tx.dialect().for_update_skip_locked());
    let expired = epochs(tx, expired).await?;
    if !expired.is_empty() {
        tracing::warn!(?expired, "leases ran out; their executions are taken over");
    }
    end(tx, &expired).await?;
    let mut sql = Sql::new("update execution set owner_epoch = ");
    sql.push_arg(lease.epoch).push(", owner_host = ").push_arg(&lease.host);
    sql.push(" where id in (select id from execution where live = 1 and owner_epoch = 0 order by id limit ");
    sql.push_arg(limit).push(tx.dialect().for_update_skip_locked()).push(")");
    execution::push_returning(&mut sql);
    tx.fetch(sql).await
}

/// A batch as cells of its tables, made on the caller's thread.
pub(crate) struct Encoded {
    executions: Vec<Vec<Arg>>,
    nodes: Vec<Vec<Arg>>,
    tasks: Vec<Vec<Arg>>,
    signals: Vec<Vec<Arg>>,
    events: Vec<OutboxRow>,
    wakes: Vec<Wake>,
}

pub(crate) fn encode(batch: &Batch) -> Encoded {
    // Who waits for an execution waits for its own row: a wake-up for every change of a node would cost more than the
    // change.
    let mut keys: Vec<ExecutionKey> = batch.executions.iter().map(|update| update.key).collect();
    keys.sort_unstable();
    keys.dedup();
    // In the order of their keys, so that two hosts can't wait for each other and pages fill one after another.
    let mut executions = last_of_each(&batch.executions, |update| update.key);
    executions.sort_unstable_by_key(|update| update.key);
    let mut nodes = last_of_each(&batch.nodes, |row| (row.execution, row.node_id.as_str()));
    nodes.sort_unstable_by_key(|row| (row.execution, row.node_id.as_str()));
    let mut tasks = last_of_each(&batch.tasks, |row| (row.execution, row.node_id.as_str(), row.attempt));
    tasks.sort_unstable_by_key(|row| (row.execution, row.node_id.as_str(), row.attempt));
    let mut signals = last_of_each(&batch.signals, |row| (row.execution, row.signal_id.as_str()));
    signals.sort_unstable_by_key(|row| (row.execution, row.signal_id.as_str()));
    Encoded {
        executions: executions.into_iter().map(execution_write::update_cells).collect(),
        nodes: nodes.into_iter().map(node_execution::cells).collect(),
        tasks: tasks.into_iter().map(task_execution::cells).collect(),
        signals: signals.into_iter().map(signal::cells).collect(),
        events: batch.events.clone(),
        wakes: keys.into_iter().map(Wake::Changed).collect(),
    }
}

async fn write(tx: &mut Tx, lease: &Lease, batch: Encoded) -> Result<()> {
    fence(tx, lease).await?;
    write_rows(tx, batch).await
}

/// Writes the rows of a batch, whoever may.
pub(crate) async fn write_rows(tx: &mut Tx, batch: Encoded) -> Result<()> {
    // Before those of the rows: whoever is told that a child has ended has been told which.
    tx.wakes.extend(batch.wakes);
    execution_write::update_many(tx, batch.executions).await?;
    node_execution::TABLE.write(tx, batch.nodes, OnConflict::Replace).await?;
    task_execution::TABLE.write(tx, batch.tasks, OnConflict::Replace).await?;
    signal::TABLE.write(tx, batch.signals, OnConflict::Keep).await?;
    outbox::write(tx, batch.events).await?;
    Ok(())
}

impl Store {
    /// Takes a lease for a host. An earlier lease of the same host ends; its executions can be claimed.
    ///
    /// # Errors
    /// The database.
    pub async fn lease_acquire(&self, host: &str, ttl: Duration, now: Timestamp) -> Result<Lease> {
        let host = host.to_owned();
        self.write(move |tx| {
            Box::pin(async move {
                let next = "update counter set value = value + 1 where name = 'lease' returning value";
                let epoch = match tx.fetch_optional(Sql::new(next)).await? {
                    Some(record) => record.cursor().i64()?,
                    None => {
                        let reason = "the counter of leases is missing".to_owned();
                        return Err(Error::Corrupt { what: "counter", reason });
                    }
                };
                let mut earlier = Sql::new("select epoch from lease where host = ");
                earlier.push_arg(&host).push(tx.dialect().for_update());
                let earlier = epochs(tx, earlier).await?;
                end(tx, &earlier).await?;
                let insert = Sql::new("insert into lease (epoch, host, expires_at) values ($1, $2, $3)")
                    .bind(epoch)
                    .bind(&host)
                    .bind(after(now, ttl));
                tx.execute(insert).await?;
                Ok(Lease { host, epoch })
            })
        })
        .await
    }

    /// Prolongs a lease to `now + ttl`.
    ///
    /// # Errors
    /// [`Error::Fenced`] when it was taken over, or the database.
    pub async fn lease_renew(&self, lease: &Lease, ttl: Duration, now: Timestamp) -> Result<()> {
        let sql = Sql::new("update lease set expires_at = $1 where epoch = $2 and host = $3")
            .bind(after(now, ttl))
            .bind(lease.epoch)
            .bind(&lease.host);
        let gone = fenced(lease);
        self.write(move |tx| {
            Box::pin(async move { if tx.execute(sql).await? == 0 { Err(gone) } else { Ok(()) } })
        })
        .await
    }

    /// Ends a lease and frees its executions. Safe to repeat.
    ///
    /// # Errors
    /// The database.
    pub async fn lease_release(&self, lease: &Lease) -> Result<()> {
        let epoch = lease.epoch;
        self.write(move |tx| Box::pin(async move { end(tx, &[epoch]).await })).await
    }

    /// Claims up to `limit` live executions that no running host owns, oldest first. Leases that have run out
    /// are ended here, so that their hosts are fenced off before their executions change hands.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the own lease was taken over, or the database.
    pub async fn executions_claim(
        &self,
        lease: &Lease,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<ExecutionRow>> {
        let lease = lease.clone();
        let records =
            self.write(move |tx| Box::pin(async move { claim(tx, &lease, limit, now).await })).await?;
        let mut rows: Vec<ExecutionRow> = records.iter().map(execution::read).collect::<Result<_>>()?;
        rows.sort_unstable_by_key(|row| row.key);
        Ok(rows)
    }

    /// Reads what the engine needs to go on with an execution: all nodes; of the attempts all that are open, and the
    /// current one of each node that has not ended.
    ///
    /// # Errors
    /// The database.
    pub async fn execution_load(
        &self,
        key: ExecutionKey,
    ) -> Result<(Vec<NodeExecutionRow>, Vec<TaskExecutionRow>)> {
        let mut nodes: Vec<NodeExecutionRow> = Vec::new();
        loop {
            // Page by page: the database's own form of the rows is as large as they are.
            let mut sql = node_execution::select(key);
            if let Some(last) = nodes.last() {
                sql.push(" and n.node_id > ").push_arg(&last.node_id);
            }
            sql.push(" order by n.node_id limit ").push_arg(LOAD_PAGE);
            let page = self.fetch(sql).await?;
            for record in &page {
                nodes.push(node_execution::read(record)?);
            }
            if page.len() < LOAD_PAGE as usize {
                break;
            }
        }
        let mut sql = task_execution::select(key);
        sql.push(
            " and (t.open = 1 or exists (select 1 from node_execution n where n.execution_id = t.execution_id
             and n.node_id = t.node_id and n.attempt = t.attempt and n.phase in (0, 1, 2, 4, 9)))",
        );
        let tasks = self.fetch(sql).await?;
        Ok((nodes, tasks.iter().map(task_execution::read).collect::<Result<_>>()?))
    }

    /// Writes a batch in one transaction, under the lease, and tells subscribers what changed.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the lease was taken over; nothing is written then. Or the database; after a
    /// transient error the same batch may be committed again.
    pub async fn commit(&self, lease: &Lease, batch: &Batch) -> Result<()> {
        let start = std::time::Instant::now();
        let (lease, encoded) = (lease.clone(), encode(batch));
        let done = self.write(move |tx| Box::pin(async move { write(tx, &lease, encoded).await })).await;
        metrics::histogram!("pinion_store_batch_seconds").record(start.elapsed());
        let n_rows = batch.executions.len() + batch.nodes.len() + batch.tasks.len() + batch.signals.len();
        metrics::histogram!("pinion_store_batch_rows").record(n_rows as f64);
        done
    }
}
