//! Reserves the computation of what is not cached yet: one computes, the others wait.

use model::Timestamp;
use proto::datacatalog as dc;
use store::{CatalogReserve, ExecutionKey};

use crate::catalog::Catalog;
use crate::datasets::{dataset_id, text};
use crate::error::{Error, Result};
use crate::key::{TaskKey, entry_of_tag};
use crate::metric;

/// What became of the wish to compute an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// It is the caller's.
    Acquired {
        /// When it ends unless it is prolonged.
        expires_at: Timestamp,
    },
    /// Somebody else computes the entry.
    Held {
        /// Who.
        owner: String,
        /// When the reservation ends unless it is prolonged.
        expires_at: Timestamp,
    },
}

impl Catalog {
    /// Asks to be the one who computes an entry, or says that the owner still does: `heartbeat_micros` is how often
    /// the owner means to say so, and the reservation ends when it is silent for several times that. With `waiter`,
    /// that execution gets a `store::Wake::Nudge` when another owner releases the reservation.
    ///
    /// # Errors
    /// The database.
    pub async fn reserve(
        &self,
        key: &TaskKey,
        owner: &str,
        heartbeat_micros: i64,
        now: Timestamp,
        waiter: Option<ExecutionKey>,
    ) -> Result<Reservation> {
        let row = self.reserve_entry(key.cache_key(), owner, heartbeat_micros, now, waiter).await?;
        let (is_own, expires_at) = (row.owner == owner, row.expires_at);
        let held = || Reservation::Held { owner: row.owner.clone(), expires_at };
        Ok(if is_own { Reservation::Acquired { expires_at } } else { held() })
    }

    pub(crate) async fn reserve_entry(
        &self,
        entry: &str,
        owner: &str,
        heartbeat_micros: i64,
        now: Timestamp,
        waiter: Option<ExecutionKey>,
    ) -> Result<store::CatalogReservationRow> {
        let factor = i64::from(self.config.reservation_heartbeat_multiplier);
        let heartbeat = heartbeat_micros.max(1);
        let wish = CatalogReserve {
            key: entry.to_owned(),
            owner: owner.to_owned(),
            heartbeat,
            expires_at: now.plus(heartbeat.saturating_mul(factor)),
            waiter,
            now,
        };
        let row = self.store.catalog_reserve(wish).await?;
        let outcome = if row.owner == owner { "acquired" } else { "held" };
        metrics::counter!(metric::RESERVATIONS, "outcome" => outcome).increment(1);
        Ok(row)
    }

    /// Gives a reservation back and wakes those who wait for it. Safe to repeat, and to call without holding it.
    ///
    /// # Errors
    /// The database.
    pub async fn release(&self, key: &TaskKey, owner: &str) -> Result<()> {
        self.release_entry(key.cache_key(), owner).await
    }

    pub(crate) async fn release_entry(&self, entry: &str, owner: &str) -> Result<()> {
        if self.store.catalog_release(entry, owner).await? {
            metrics::counter!(metric::RELEASES).increment(1);
        }
        Ok(())
    }

    /// Takes or prolongs a reservation, or says who has it.
    ///
    /// # Errors
    /// An incomplete request, or the database.
    pub async fn get_or_extend_reservation(
        &self,
        request: &dc::GetOrExtendReservationRequest,
        now: Timestamp,
    ) -> Result<dc::Reservation> {
        let entry = reservation_entry(request.reservation_id.as_ref())?;
        let owner = text(&request.owner_id, "owner_id")?;
        let heartbeat = self.outside_heartbeat(request.heartbeat_interval.as_ref());
        let row = self.reserve_entry(&entry, owner, heartbeat, now, None).await?;
        Ok(dc::Reservation {
            reservation_id: request.reservation_id.clone(),
            owner_id: row.owner,
            heartbeat_interval: Some(model::time::duration_to_proto(row.heartbeat)),
            expires_at: Some(row.expires_at.to_proto()),
            metadata: None,
        })
    }

    /// Gives a reservation back. It is no error when it is not held.
    ///
    /// # Errors
    /// An incomplete request, or the database.
    pub async fn release_reservation(&self, request: &dc::ReleaseReservationRequest) -> Result<()> {
        let entry = reservation_entry(request.reservation_id.as_ref())?;
        self.release_entry(&entry, text(&request.owner_id, "owner_id")?).await
    }

    /// Microseconds between the signs of life of an engine outside: what it asks for, but not longer than allowed.
    pub(crate) fn outside_heartbeat(&self, asked: Option<&prost_types::Duration>) -> i64 {
        let max = self.config.max_reservation_heartbeat.get().as_micros();
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        asked.map(model::time::duration_micros).filter(|asked| *asked > 0).map_or(max, |asked| asked.min(max))
    }
}

fn reservation_entry(id: Option<&dc::ReservationId>) -> Result<String> {
    let id = id.ok_or_else(|| Error::Invalid("missing reservation_id".to_owned()))?;
    let dataset = dataset_id(id.dataset_id.as_ref())?;
    Ok(entry_of_tag(&dataset, text(&id.tag_name, "reservation_id.tag_name")?))
}
