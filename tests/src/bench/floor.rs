//! Is the floor: commits of small rows on a database like the server's, with nothing around them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

/// Size of a row's blob; the rest of a row are four integers.
const BLOB: usize = 200;

/// One document, for which all rows are copies.
const INSERT: &str = "insert into row (execution, node, phase, at, data)
    select value, value, 3, 1700000000, ?1 from json_each(?2)";

/// A database with the server's settings, in the same directory.
pub struct Floor {
    conn: SqliteConnection,
    blob: Vec<u8>,
}

impl Floor {
    /// Makes a new one in a directory.
    pub async fn open(dir: &Path) -> Result<Self> {
        let mut conn = SqliteConnectOptions::new()
            .filename(dir.join("floor.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", "4000")
            .pragma("journal_size_limit", "67108864")
            .pragma("temp_store", "memory")
            .pragma("cache_size", "-16000")
            .disable_statement_logging()
            .connect()
            .await
            .context("cannot make the database of the floor")?;
        sqlx::raw_sql(
            "create table if not exists row (id integer primary key, execution integer, node integer, phase integer,
             at integer, data blob) strict;
             create table if not exists document (id integer primary key, data blob) strict;",
        )
        .execute(&mut conn)
        .await?;
        let mut floor = Self { conn, blob: vec![7; BLOB] };
        floor.commits(20, 4).await?;
        Ok(floor)
    }

    /// Time of so many commits of so many rows each, one statement per commit.
    pub async fn commits(&mut self, n_commits: usize, n_rows: usize) -> Result<Duration> {
        let rows: Vec<usize> = (0..n_rows.max(1)).collect();
        let rows = serde_json::to_string(&rows)?;
        let start = Instant::now();
        for _ in 0..n_commits {
            sqlx::query(INSERT).bind(&self.blob).bind(&rows).execute(&mut self.conn).await?;
        }
        Ok(start.elapsed())
    }

    /// Commits per second of one small row.
    pub async fn commit_rate(&mut self) -> Result<f64> {
        let n = 200;
        Ok(n as f64 / self.commits(n, 1).await?.as_secs_f64())
    }

    /// Rows per second at ten rows a commit.
    pub async fn grouped_row_rate(&mut self) -> Result<f64> {
        let n = 500;
        Ok(10.0 * n as f64 / self.commits(n, 10).await?.as_secs_f64())
    }

    /// How often per second a document of 1 MB can be rewritten and flushed: what a transition costs where an
    /// execution is one object.
    pub async fn document_rate(&mut self) -> Result<f64> {
        let n = 10;
        let document = vec![7_u8; 1 << 20];
        let start = Instant::now();
        for _ in 0..n {
            sqlx::query("insert or replace into document (id, data) values (1, ?1)")
                .bind(&document)
                .execute(&mut self.conn)
                .await?;
        }
        Ok(f64::from(n) / start.elapsed().as_secs_f64())
    }

    /// Closes it.
    pub async fn close(self) -> Result<()> {
        Ok(self.conn.close().await?)
    }
}
