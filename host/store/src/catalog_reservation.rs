//! Stores who computes what is not cached yet, and wakes those who wait for it.

use model::Timestamp;

use crate::dialect::Tx;
use crate::sql::Sql;
use crate::{ExecutionKey, Result, Store, Wake};

/// Who holds a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogReservationRow {
    /// Who computes.
    pub owner: String,
    /// Microseconds between two signs of life.
    pub heartbeat: i64,
    /// When it ends without a sign of life.
    pub expires_at: Timestamp,
}

/// A wish to compute an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogReserve {
    /// The entry's name in the store.
    pub key: String,
    /// Who asks.
    pub owner: String,
    /// Microseconds between two signs of life.
    pub heartbeat: i64,
    /// When it ends without a sign of life.
    pub expires_at: Timestamp,
    /// The execution to wake when another owner releases it.
    pub waiter: Option<ExecutionKey>,
    /// Current time.
    pub now: Timestamp,
}

async fn reserve(tx: &mut Tx, wish: CatalogReserve) -> Result<CatalogReservationRow> {
    let take = Sql::new(
        "insert into catalog_reservation (key, owner, heartbeat, expires_at) values ($1, $2, $3, $4)
         on conflict (key) do update set
         owner = case when catalog_reservation.owner = excluded.owner or catalog_reservation.expires_at <= $5
                 then excluded.owner else catalog_reservation.owner end,
         heartbeat = case when catalog_reservation.owner = excluded.owner
                 or catalog_reservation.expires_at <= $5
                 then excluded.heartbeat else catalog_reservation.heartbeat end,
         expires_at = case when catalog_reservation.owner = excluded.owner
                 or catalog_reservation.expires_at <= $5
                 then excluded.expires_at else catalog_reservation.expires_at end
         returning owner, heartbeat, expires_at",
    )
    .bind(&wish.key)
    .bind(&wish.owner)
    .bind(wish.heartbeat)
    .bind(wish.expires_at)
    .bind(wish.now);
    let records = tx.fetch(take).await?;
    let Some(record) = records.first() else { return Err(crate::Error::Closed) };
    let mut c = record.cursor();
    let row = CatalogReservationRow { owner: c.text()?, heartbeat: c.i64()?, expires_at: c.time()? };
    if let Some(waiter) = wish.waiter {
        let sql = if row.owner == wish.owner {
            Sql::new("delete from catalog_waiter where key = $1 and execution_id = $2")
                .bind(&wish.key)
                .bind(waiter)
        } else {
            Sql::new(
                "insert into catalog_waiter (key, execution_id, created_at) values ($1, $2, $3)
                 on conflict (key, execution_id) do update set created_at = excluded.created_at",
            )
            .bind(&wish.key)
            .bind(waiter)
            .bind(wish.now)
        };
        tx.execute(sql).await?;
    }
    Ok(row)
}

/// Wakes all who wait for an entry, once.
async fn wake_waiters(tx: &mut Tx, key: &str) -> Result<()> {
    let sql = Sql::new("delete from catalog_waiter where key = $1 returning execution_id").bind(key);
    for record in tx.fetch(sql).await? {
        let key = record.cursor().key()?;
        tx.wakes.push(Wake::Nudge(key));
    }
    Ok(())
}

impl Store {
    /// Takes a reservation that is free or expired, or prolongs one's own, in one statement; says who holds it then.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_reserve(&self, wish: CatalogReserve) -> Result<CatalogReservationRow> {
        self.write(move |tx| Box::pin(reserve(tx, wish))).await
    }

    /// Gives a reservation back and wakes those who wait for it; whether it was held. Safe to repeat.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_release(&self, key: &str, owner: &str) -> Result<bool> {
        let (key, owner) = (key.to_owned(), owner.to_owned());
        self.write(move |tx| {
            Box::pin(async move {
                let sql = Sql::new("delete from catalog_reservation where key = $1 and owner = $2")
                    .bind(&key)
                    .bind(&owner);
                let held = tx.execute(sql).await? > 0;
                if held {
                    wake_waiters(tx, &key).await?;
                }
                Ok(held)
            })
        })
        .await
    }

    /// Who holds a reservation.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_reservation_get(&self, key: &str) -> Result<Option<CatalogReservationRow>> {
        let sql =
            Sql::new("select owner, heartbeat, expires_at from catalog_reservation where key = $1").bind(key);
        let Some(record) = self.fetch_optional(sql).await? else { return Ok(None) };
        let mut c = record.cursor();
        Ok(Some(CatalogReservationRow { owner: c.text()?, heartbeat: c.i64()?, expires_at: c.time()? }))
    }

    /// Removes reservations that expired before this time, wakes those who waited for them, and forgets those who
    /// wait for nothing; how many reservations there were.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_reservation_sweep(&self, before: Timestamp) -> Result<u64> {
        self.write(move |tx| {
            Box::pin(async move {
                let sql = Sql::new("delete from catalog_reservation where expires_at < $1 returning key");
                let records = tx.fetch(sql.bind(before)).await?;
                for record in &records {
                    wake_waiters(tx, &record.cursor().text()?).await?;
                }
                let orphans = "delete from catalog_waiter where created_at < $1 and not exists
                               (select 1 from catalog_reservation r where r.key = catalog_waiter.key)";
                tx.execute(Sql::new(orphans).bind(before)).await?;
                Ok(records.len() as u64)
            })
        })
        .await
    }
}
