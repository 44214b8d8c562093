//! Opens a Postgres database: pools for reads and writes, transactions, and wake-ups from other hosts.

use std::str::FromStr as _;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::dialect::{Conn, Tx, fetch_postgres};
use crate::record::Record;
use crate::sql::Sql;
use crate::wake::Wakes;
use crate::{Config, Error, Result, migrate};

/// The pools of a Postgres database. Reads have their own, so that a flood of lists can't hold up a commit.
#[derive(Clone)]
pub(crate) struct Pools {
    read: PgPool,
    write: PgPool,
}

/// Connects and migrates, and starts to listen for the wake-ups of other hosts.
pub(crate) async fn open(config: &Config) -> Result<(Pools, PgListener)> {
    let url = config.url.expose();
    // The driver's own message may quote the URL, which holds a password.
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| Error::InvalidUrl { reason: "not a Postgres URL".to_owned() })?
        .application_name("pinion")
        .statement_cache_capacity(256)
        .disable_statement_logging();
    let mut conn = options.connect().await?;
    migrate::postgres(&mut conn).await?;
    conn.close().await?;

    let timeout = config.statement_timeout.as_millis().to_string();
    let write_options = options.clone().options([("statement_timeout", timeout.as_str())]);
    // A plan made without the values may scan a million rows for a page of 25; compiling one costs more than
    // any statement here.
    let read_options =
        write_options.clone().options([("plan_cache_mode", "force_custom_plan"), ("jit", "off")]);
    let pool = |max: u32| {
        PgPoolOptions::new()
            .max_connections(max.max(1))
            .acquire_timeout(Duration::from_secs(30))
            .test_before_acquire(false)
    };
    // One more than asked for: the writer that groups new executions keeps one busy.
    let write = pool(config.max_connections.saturating_add(1)).connect_with(write_options).await?;
    let read = pool(config.read_connections).connect_with(read_options).await?;
    let listening = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
    let mut listener = PgListener::connect_with(&listening.connect_with(options).await?).await?;
    listener.ignore_pool_close_event(true);
    listener.listen(crate::wake::CHANNEL).await?;
    Ok((Pools { read, write }, listener))
}

impl Pools {
    pub(crate) async fn fetch(&self, sql: Sql) -> Result<Vec<Record>> {
        let mut conn = self.read.acquire().await?;
        fetch_postgres(&mut conn, sql).await
    }

    pub(crate) async fn begin(&self) -> Result<Tx> {
        Ok(Tx::new(Conn::Postgres(self.write.begin().await?)))
    }

    /// Runs `work` in a transaction of its own. Dropped in the middle, it rolls back.
    pub(crate) async fn transact<T, F>(&self, wakes: &Wakes, work: F) -> Result<T>
    where
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T>>,
    {
        let mut tx = self.begin().await?;
        let out = work(&mut tx).await?;
        commit(tx, wakes).await?;
        Ok(out)
    }

    pub(crate) async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

/// Commits, and sends the wake-ups to this process and the other hosts.
pub(crate) async fn commit(mut tx: Tx, wakes: &Wakes) -> Result<()> {
    let sent = std::mem::take(&mut tx.wakes);
    for notice in wakes.notices(&sent) {
        tx.execute(Sql::new("select pg_notify('pinion_wake', $1)").bind(notice)).await?;
    }
    // A caller who goes away during the commit does not learn what came of it, but those who wait must.
    let _guard = wakes.send_on_drop(sent);
    match tx.conn {
        Conn::Postgres(tx) => Ok(tx.commit().await?),
        Conn::Sqlite(_) => unreachable!("invariant: the pools of Postgres begin transactions of Postgres"),
    }
}

/// Passes on what other hosts say, until it is dropped.
pub(crate) async fn listen(mut listener: PgListener, wakes: Wakes) {
    loop {
        match listener.recv().await {
            Ok(notice) => wakes.receive(notice.payload()),
            Err(error) => {
                tracing::warn!(error = %error, "cannot listen for wake-ups of other hosts");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
