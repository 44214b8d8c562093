//! Chooses the one host that does what only one should: the holder of a row that runs out unless it is renewed.

use std::time::Duration;

use model::Timestamp;

use crate::sql::Sql;
use crate::{Result, Store};

/// Who has a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    /// This host, until its time runs out.
    Me,
    /// Another host.
    Other {
        /// Which one.
        host: String,
        /// When its time runs out unless it renews.
        expires_at: Timestamp,
    },
}

impl Store {
    /// Takes or keeps a role until `now + ttl`. It is free when nobody has it or its holder's time has run out.
    ///
    /// # Errors
    /// The database.
    pub async fn leader_acquire(
        &self,
        role: &'static str,
        host: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Leader> {
        let take = Sql::new(
            "insert into leader (role, host, expires_at) values ($1, $2, $3)
             on conflict (role) do update set host = excluded.host, expires_at = excluded.expires_at
             where leader.host = excluded.host or leader.expires_at < $4",
        )
        .bind(role)
        .bind(host)
        .bind(now.plus(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX)))
        .bind(now);
        let holder = Sql::new("select host, expires_at from leader where role = $1").bind(role);
        self.write(move |tx| {
            Box::pin(async move {
                if tx.execute(take).await? > 0 {
                    return Ok(Leader::Me);
                }
                let Some(record) = tx.fetch_optional(holder).await? else {
                    // Given up in between: ask again at once.
                    return Ok(Leader::Other { host: String::new(), expires_at: now });
                };
                let mut c = record.cursor();
                Ok(Leader::Other { host: c.text()?, expires_at: c.time()? })
            })
        })
        .await
    }

    /// Gives a role up. Safe to repeat.
    ///
    /// # Errors
    /// The database.
    pub async fn leader_resign(&self, role: &'static str, host: &str) -> Result<()> {
        let sql = Sql::new("delete from leader where role = $1 and host = $2").bind(role).bind(host);
        self.write(move |tx| Box::pin(async move { tx.execute(sql).await.map(drop) })).await
    }

    /// Who has a role and until when; `None` when nobody ever took it or it was given up.
    ///
    /// # Errors
    /// The database.
    pub async fn leader_get(&self, role: &'static str) -> Result<Option<(String, Timestamp)>> {
        let sql = Sql::new("select host, expires_at from leader where role = $1").bind(role);
        let record = self.fetch_optional(sql).await?;
        record
            .map(|record| {
                let mut c = record.cursor();
                Ok((c.text()?, c.time()?))
            })
            .transpose()
    }
}
