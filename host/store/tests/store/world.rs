//! Makes a fresh database for each test, on each dialect there is.

use std::future::Future;

use sqlx::{Connection as _, Executor as _};
use store::{Config, Store};

/// Names a Postgres server that tests may make databases in: `postgres://user@host:port/database`.
const POSTGRES: &str = "PINION_TEST_POSTGRES_URL";

/// A store on a database of its own.
pub struct World {
    pub store: Store,
    pub config: Config,
    pub dialect: &'static str,
}

impl World {
    /// The store again, after a restart.
    pub async fn reopened(&self) -> Store {
        self.store.close().await;
        Store::open(&self.config).await.expect("reopens")
    }

    /// A store as another host has it: on SQLite, where only one host may be, the same one.
    pub async fn other_host(&self) -> Store {
        match self.dialect {
            "sqlite" => self.store.clone(),
            _ => Store::open(&self.config).await.expect("opens a second time"),
        }
    }
}

/// Runs a claim on each dialect, one after the other.
pub async fn on_each<F, Fut>(claim: F)
where
    F: Fn(World) -> Fut,
    Fut: Future<Output = ()>,
{
    on_each_with(|_| {}, claim).await;
}

/// The same with other settings.
pub async fn on_each_with<F, Fut>(settings: impl Fn(&mut Config), claim: F)
where
    F: Fn(World) -> Fut,
    Fut: Future<Output = ()>,
{
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::sqlite(dir.path().join("data/pinion.db"));
    settings(&mut config);
    run("sqlite", config, &claim).await;

    let Ok(server) = std::env::var(POSTGRES) else { return };
    let database = format!("pinion_{}", uuid::Uuid::new_v4().simple());
    administer(&server, &format!("create database {database}")).await;
    let (before, _) = server.rsplit_once('/').expect("the url names a database");
    let mut config = Config { url: format!("{before}/{database}").into(), ..Config::default() };
    settings(&mut config);
    run("postgres", config, &claim).await;
    administer(&server, &format!("drop database {database} with (force)")).await;
}

async fn run<F, Fut>(dialect: &'static str, config: Config, claim: &F)
where
    F: Fn(World) -> Fut,
    Fut: Future<Output = ()>,
{
    // Shown when the claim fails.
    println!("on {dialect}");
    let store = Store::open(&config).await.expect("opens");
    claim(World { store: store.clone(), config, dialect }).await;
    store.close().await;
}

async fn administer(server: &str, statement: &str) {
    let mut conn = sqlx::PgConnection::connect(server).await.expect("reaches the Postgres server");
    conn.execute(sqlx::AssertSqlSafe(statement)).await.expect("administers databases");
    conn.close().await.expect("closes");
}

/// Runs a statement on a SQLite or Postgres database behind the store's back.
pub async fn meddle(config: &Config, statement: &'static str) {
    let url = config.url.expose();
    if url.starts_with("sqlite:") {
        let mut conn = sqlx::SqliteConnection::connect(url).await.unwrap();
        conn.execute(statement).await.unwrap();
        conn.close().await.unwrap();
    } else {
        let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
        conn.execute(statement).await.unwrap();
        conn.close().await.unwrap();
    }
}
