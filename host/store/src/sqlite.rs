//! Opens a SQLite database for this process alone, and keeps its reading connections.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Semaphore;

use crate::dialect::{Conn, Tx, fetch_sqlite};
use crate::record::Record;
use crate::sql::Sql;
use crate::{Config, Error, Result, Synchronous, migrate};

/// Virtual machine steps between two looks at the clock; about a millisecond.
const STEPS_BETWEEN_CHECKS: i32 = 20_000;

/// A deadline that never comes.
const NEVER: u64 = u64::MAX;

/// Holds the database file for this process while it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Locks `<database>.lock`, in which the holder's process id stands for the error of the next one.
    fn take(database: &Path) -> Result<Self> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let failed = |source| Error::File { path: path.clone(), source };
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(failed)?;
                return Err(Error::InUse { path: database.to_owned(), pid: pid.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// The database file named by the part of the URL behind `sqlite:`.
fn path_of(rest: &str) -> Result<PathBuf> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.starts_with(":memory:") {
        return Err(Error::InvalidUrl { reason: "`sqlite:` needs the path of a file".to_owned() });
    }
    Ok(PathBuf::from(path))
}

/// Opens the writing connection and prepares the reading ones.
pub(crate) async fn open(config: &Config, rest: &str) -> Result<(Tx, Readers, Arc<Lock>)> {
    let path = path_of(rest)?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(|source| Error::File { path: parent.to_owned(), source })?;
    }
    let lock = Arc::new(Lock::take(&path)?);
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .busy_timeout(Duration::from_secs(10))
        .statement_cache_capacity(256)
        // Rows come from the connection's thread: a small buffer would cost a thread switch for every few.
        .row_buffer_size(4096)
        .pragma("temp_store", "memory")
        .pragma("cache_size", "-16384")
        .disable_statement_logging();
    let mut writer = options
        .clone()
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(match config.synchronous {
            Synchronous::Normal => SqliteSynchronous::Normal,
            Synchronous::Full => SqliteSynchronous::Full,
        })
        .pragma("cache_size", "-65536")
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "67108864")
        .connect()
        .await?;
    migrate::sqlite(&mut writer).await?;
    let n_readers = config.read_connections.max(1) as usize;
    let timeout = config.statement_timeout.get();
    let readers = Readers {
        permits: Semaphore::new(n_readers),
        idle: Mutex::new(Vec::with_capacity(n_readers)),
        options: options.read_only(true),
        timeout: (!timeout.is_zero()).then_some(timeout),
        start: Instant::now(),
        lock: Mutex::new(Some(Arc::clone(&lock))),
    };
    Ok((Tx::new(Conn::Sqlite(writer)), readers, lock))
}

/// Reading connections, opened when they are first needed. A read that takes too long or whose caller goes
/// away is interrupted.
pub(crate) struct Readers {
    permits: Semaphore,
    idle: Mutex<Vec<Reader>>,
    options: SqliteConnectOptions,
    timeout: Option<Duration>,
    start: Instant,
    /// `None` once closed, so that a store that is closed but not dropped holds the file no longer.
    lock: Mutex<Option<Arc<Lock>>>,
}

/// Field order matters: the connection closes before the lock is given up.
struct Reader {
    conn: SqliteConnection,
    /// Milliseconds after `Readers::start` at which a running statement ends.
    deadline: Arc<AtomicU64>,
    _lock: Arc<Lock>,
}

/// A connection in use. When it is dropped before its read ended, its statement is interrupted and the
/// connection closed, because nobody may wait behind it.
struct Running(Option<Reader>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(reader) = &self.0 {
            reader.deadline.store(0, Ordering::Relaxed);
        }
    }
}

impl Readers {
    pub(crate) async fn fetch(&self, sql: Sql) -> Result<Vec<Record>> {
        let _permit = self.permits.acquire().await.map_err(|_| Error::Closed)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut running = Running(Some(match idle {
            Some(reader) => reader,
            None => self.connect().await?,
        }));
        let Some(reader) = running.0.as_mut() else { return Err(Error::Closed) };
        let limit = self.timeout.map_or(NEVER, |timeout| self.millis().saturating_add(millis(timeout)));
        reader.deadline.store(limit, Ordering::Relaxed);
        let records = fetch_sqlite(&mut reader.conn, sql).await;
        reader.deadline.store(NEVER, Ordering::Relaxed);
        if let Some(reader) = running.0.take() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        }
        records
    }

    /// Refuses further reads and closes the connections that rest.
    pub(crate) async fn close(&self) {
        self.permits.close();
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for reader in idle {
            if let Err(error) = reader.conn.close().await {
                tracing::warn!(error = %error, "reading connection did not close");
            }
        }
    }

    fn millis(&self) -> u64 {
        millis(self.start.elapsed())
    }

    async fn connect(&self) -> Result<Reader> {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lock = lock.ok_or(Error::Closed)?;
        let mut conn = self.options.connect().await?;
        let deadline = Arc::new(AtomicU64::new(NEVER));
        let (seen, start) = (Arc::clone(&deadline), self.start);
        conn.lock_handle().await?.set_progress_handler(STEPS_BETWEEN_CHECKS, move || {
            let limit = seen.load(Ordering::Relaxed);
            limit == NEVER || millis(start.elapsed()) < limit
        });
        Ok(Reader { conn, deadline, _lock: lock })
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: &str =
        "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n";

    async fn readers(timeout: Duration) -> (tempfile::TempDir, Tx, Readers) {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { statement_timeout: timeout.into(), read_connections: 1, ..Config::default() };
        let path = dir.path().join("new/dirs/x.db");
        let (tx, readers, _lock) = open(&config, path.to_str().unwrap()).await.unwrap();
        (dir, tx, readers)
    }

    async fn answer(readers: &Readers) -> i64 {
        let records = readers.fetch(Sql::new("select 42")).await.unwrap();
        records[0].cursor().i64().unwrap()
    }

    #[tokio::test]
    async fn slow_reads_are_interrupted() {
        let (_dir, _tx, readers) = readers(Duration::from_millis(50)).await;
        let outcome = readers.fetch(Sql::new(ENDLESS)).await;
        assert!(matches!(&outcome, Err(error @ Error::Timeout) if error.is_transient()));
        assert_eq!(answer(&readers).await, 42);
    }

    #[tokio::test]
    async fn abandoned_reads_hold_up_nobody() {
        let (_dir, _tx, readers) = readers(Duration::ZERO).await;
        let read = readers.fetch(Sql::new(ENDLESS));
        assert!(tokio::time::timeout(Duration::from_millis(30), read).await.is_err());
        assert_eq!(answer(&readers).await, 42);
    }

    #[tokio::test]
    async fn a_second_opener_learns_who_holds_the_file() {
        let (dir, tx, readers) = readers(Duration::ZERO).await;
        let path = dir.path().join("new/dirs/x.db");
        let again = open(&Config::default(), path.to_str().unwrap()).await.map(drop);
        assert!(matches!(again, Err(Error::InUse { pid, .. }) if pid == std::process::id().to_string()));
        drop((tx, readers));
        assert!(open(&Config::default(), path.to_str().unwrap()).await.is_ok());
    }
}
