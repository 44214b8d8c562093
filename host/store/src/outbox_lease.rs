//! Sees to it that one host hands events out, and that another takes over when it is gone.

use std::time::Duration;

use model::Timestamp;

use crate::dialect::Tx;
use crate::sql::Sql;
use crate::{Error, Result, Store, outbox};

/// The right to hand events out. Its epoch fences off an earlier holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxLease {
    /// The host that holds it.
    pub host: String,
    /// Grows with each take-over.
    pub epoch: i64,
}

fn after(now: Timestamp, ttl: Duration) -> Timestamp {
    now.plus(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX))
}

fn fenced(lease: &OutboxLease) -> Error {
    Error::Fenced { host: lease.host.clone(), epoch: lease.epoch }
}

/// Makes sure that nobody takes over before the transaction ends.
pub(crate) async fn fence(tx: &mut Tx, lease: &OutboxLease) -> Result<()> {
    let mut sql = Sql::new("select epoch from outbox_lease where name = 'outbox' and host = ");
    sql.push_arg(&lease.host).push(" and epoch = ").push_arg(lease.epoch).push(tx.dialect().for_share());
    match tx.fetch_optional(sql).await? {
        Some(_) => Ok(()),
        None => Err(fenced(lease)),
    }
}

impl Store {
    /// Takes the lease when it is free, has run out, or was this host's own. `None` while another host has it.
    ///
    /// # Errors
    /// The database.
    pub async fn outbox_lease_take(
        &self,
        host: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<OutboxLease>> {
        let mut sql = Sql::new("insert into outbox_lease (name, host, epoch, expires_at) values ('outbox', ");
        sql.push_arg(host).push(", 1, ").push_arg(after(now, ttl)).push(
            ") on conflict (name) do update set host = excluded.host, epoch = outbox_lease.epoch + 1,
             expires_at = excluded.expires_at where outbox_lease.host = excluded.host
             or outbox_lease.expires_at < ",
        );
        sql.push_arg(now).push(" returning epoch");
        let host = host.to_owned();
        self.write(move |tx| {
            Box::pin(async move {
                let Some(record) = tx.fetch_optional(sql).await? else { return Ok(None) };
                let epoch = record.cursor().i64()?;
                outbox::settle_numbers(tx).await?;
                Ok(Some(OutboxLease { host, epoch }))
            })
        })
        .await
    }

    /// Prolongs the lease to `now + ttl`.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another host has taken over, or the database.
    pub async fn outbox_lease_renew(&self, lease: &OutboxLease, ttl: Duration, now: Timestamp) -> Result<()> {
        let sql = Sql::new(
            "update outbox_lease set expires_at = $1 where name = 'outbox' and host = $2 and epoch = $3",
        )
        .bind(after(now, ttl))
        .bind(&lease.host)
        .bind(lease.epoch);
        let gone = fenced(lease);
        self.write(move |tx| {
            Box::pin(async move { if tx.execute(sql).await? == 0 { Err(gone) } else { Ok(()) } })
        })
        .await
    }

    /// Gives the lease back, so that another host need not wait for its end. Safe to repeat.
    ///
    /// # Errors
    /// The database.
    pub async fn outbox_lease_release(&self, lease: &OutboxLease) -> Result<()> {
        let sql = Sql::new(
            "update outbox_lease set expires_at = 0 where name = 'outbox' and host = $1 and epoch = $2",
        )
        .bind(&lease.host)
        .bind(lease.epoch);
        self.write(move |tx| Box::pin(async move { tx.execute(sql).await.map(drop) })).await
    }
}
