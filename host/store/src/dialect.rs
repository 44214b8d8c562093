//! Hides which database is spoken to: a transaction, and the few words in which the dialects differ.

use sqlx::sqlite::SqliteConnection;
use sqlx::{PgConnection, Postgres, Transaction};

use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::{Error, Lease, Result, Wake};

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// Longest text of statements that wait. Each combination is prepared and kept, so they must be few and small: long
/// statements are worth a trip of their own.
const MAX_WAITING: usize = 6 * 1024;

/// Most rows in one `values` list of SQLite.
const MAX_ROWS: usize = 64;

impl Dialect {
    /// Ends a `select` whose rows nobody else may change or lock until the transaction ends.
    pub(crate) fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " for update",
        }
    }

    /// Like [`Self::for_update`], but leaves out rows that somebody else has locked.
    pub(crate) fn for_update_skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " for update skip locked",
        }
    }

    /// Ends a `select` whose rows nobody may change until the transaction ends.
    pub(crate) fn for_share(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " for share",
        }
    }

    /// Splits rows into pieces for one statement each. On SQLite their sizes are powers of two, so that few
    /// texts are prepared and all of them stay in the statement cache.
    pub(crate) fn chunk(self, rows: usize) -> usize {
        match self {
            Self::Sqlite => MAX_ROWS.min(1 << rows.max(1).ilog2()),
            Self::Postgres => rows,
        }
    }

    /// Appends a table expression of these rows and binds them. On SQLite it holds anonymous placeholders, so
    /// it must be the only part of a statement that has placeholders.
    pub(crate) fn push_rows(
        self,
        sql: &mut Sql,
        types: &[Type],
        rows: impl ExactSizeIterator<Item = Vec<Arg>>,
    ) {
        match self {
            Self::Sqlite => {
                sql.push("values ").push_anonymous_rows(rows.len(), types.len());
                rows.for_each(|row| sql.bind_all(row));
            }
            Self::Postgres => {
                let arrays = transpose(types, rows);
                sql.push("select * from unnest(");
                for (n, (array, ty)) in arrays.into_iter().zip(types).enumerate() {
                    sql.push(if n > 0 { ", " } else { "" }).push_arg(array).push(match ty {
                        Type::Int => "::bigint[]",
                        Type::Text => "::text[]",
                        Type::Blob => "::bytea[]",
                    });
                }
                sql.push(")");
            }
        }
    }
}

fn transpose(types: &[Type], rows: impl ExactSizeIterator<Item = Vec<Arg>>) -> Vec<Arg> {
    let n_rows = rows.len();
    let mut columns: Vec<Arg> = types
        .iter()
        .map(|ty| match ty {
            Type::Int => Arg::Ints(Vec::with_capacity(n_rows)),
            Type::Text => Arg::Texts(Vec::with_capacity(n_rows)),
            Type::Blob => Arg::Blobs(Vec::with_capacity(n_rows)),
        })
        .collect();
    for row in rows {
        for (column, cell) in columns.iter_mut().zip(row) {
            match (column, cell) {
                (Arg::Ints(column), Arg::Int(value)) => column.push(value),
                (Arg::Texts(column), Arg::Text(value)) => column.push(value),
                (Arg::Blobs(column), Arg::Blob(value)) => column.push(value),
                (column, cell) => unreachable!("invariant: {cell:?} fits its column, not {column:?}"),
            }
        }
    }
    columns
}

/// The connection of a transaction.
pub(crate) enum Conn {
    Sqlite(SqliteConnection),
    Postgres(Transaction<'static, Postgres>),
}

/// A transaction that is under way, and the wake-ups to send once it is committed.
pub(crate) struct Tx {
    pub(crate) conn: Conn,
    pub(crate) wakes: Vec<Wake>,
    /// Statements that go with the next one: each trip to SQLite's own thread costs as much as a small statement.
    waiting: Option<Sql>,
    /// Why statements that waited failed. Whoever they were for has gone on, so nothing of the transaction may stay.
    broken: Option<Error>,
    /// On SQLite, whose only writer this is: a lease that is known to hold, so that it need not be read for each commit.
    lease: Option<Lease>,
}

impl Tx {
    pub(crate) fn new(conn: Conn) -> Self {
        Self { conn, wakes: Vec::new(), waiting: None, broken: None, lease: None }
    }

    /// Whether a lease was seen to hold and nothing ended a lease since.
    pub(crate) fn knows_lease(&self, lease: &Lease) -> bool {
        self.lease.as_ref() == Some(lease)
    }

    /// Notes that a lease holds. On Postgres other hosts write too, so there nothing is noted.
    pub(crate) fn note_lease(&mut self, lease: &Lease) {
        if self.dialect() == Dialect::Sqlite {
            self.lease = Some(lease.clone());
        }
    }

    /// To be called by whatever ends a lease, before it does.
    pub(crate) fn forget_lease(&mut self) {
        self.lease = None;
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.conn {
            Conn::Sqlite(_) => Dialect::Sqlite,
            Conn::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement whose effect nobody looks at, on SQLite together with the next one. Its placeholders must be
    /// anonymous there. If it fails then, the whole transaction does.
    pub(crate) async fn defer(&mut self, sql: Sql) -> Result<()> {
        match self.dialect() {
            Dialect::Postgres => self.execute(sql).await.map(drop),
            Dialect::Sqlite => {
                let n_bytes = self.waiting.as_ref().map_or(0, Sql::len) + sql.len();
                if n_bytes > MAX_WAITING {
                    return self.execute(sql).await.map(drop);
                }
                match &mut self.waiting {
                    Some(waiting) => waiting.append(sql),
                    none => *none = Some(sql),
                }
                Ok(())
            }
        }
    }

    /// Runs what waits.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        let Some(waiting) = self.waiting.take() else { return Ok(()) };
        let done = self.run(waiting).await.map(drop);
        self.keep_error(done)
    }

    /// What spoiled the transaction, once.
    pub(crate) fn take_broken(&mut self) -> Option<Error> {
        self.broken.take()
    }

    /// Forgets what waits: the transaction is given up.
    pub(crate) fn give_up(&mut self) {
        self.waiting = None;
        self.wakes.clear();
    }

    fn keep_error<T>(&mut self, done: Result<T>) -> Result<T> {
        if let Err(error) = &done {
            self.broken.get_or_insert_with(|| error.share());
        }
        done
    }

    /// Runs a statement and returns how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: Sql) -> Result<u64> {
        self.flush().await?;
        self.run(sql).await
    }

    async fn run(&mut self, sql: Sql) -> Result<u64> {
        match &mut self.conn {
            Conn::Sqlite(conn) => {
                let (text, args) = sql.into_sqlite()?;
                let done = sqlx::query_with(text, args).execute(conn).await.map_err(Error::from)?;
                Ok(done.rows_affected())
            }
            Conn::Postgres(conn) => {
                let (text, args) = sql.into_postgres()?;
                let done = sqlx::query_with(text, args).execute(&mut **conn).await.map_err(Error::from)?;
                Ok(done.rows_affected())
            }
        }
    }

    /// Runs a statement and returns its rows.
    pub(crate) async fn fetch(&mut self, sql: Sql) -> Result<Vec<Record>> {
        let sql = match self.waiting.take() {
            Some(mut waiting) if !sql.is_numbered() => {
                waiting.append(sql);
                let done = self.rows(waiting).await;
                return self.keep_error(done);
            }
            waiting => {
                self.waiting = waiting;
                self.flush().await?;
                sql
            }
        };
        self.rows(sql).await
    }

    async fn rows(&mut self, sql: Sql) -> Result<Vec<Record>> {
        match &mut self.conn {
            Conn::Sqlite(conn) => fetch_sqlite(conn, sql).await,
            Conn::Postgres(conn) => fetch_postgres(conn, sql).await,
        }
    }

    /// Runs a statement and returns its first row.
    pub(crate) async fn fetch_optional(&mut self, sql: Sql) -> Result<Option<Record>> {
        Ok(self.fetch(sql).await?.into_iter().next())
    }
}

pub(crate) async fn fetch_sqlite(conn: &mut SqliteConnection, sql: Sql) -> Result<Vec<Record>> {
    let (text, args) = sql.into_sqlite()?;
    let rows = sqlx::query_with(text, args).fetch_all(conn).await.map_err(Error::from)?;
    Ok(rows.into_iter().map(Record::Sqlite).collect())
}

pub(crate) async fn fetch_postgres(conn: &mut PgConnection, sql: Sql) -> Result<Vec<Record>> {
    let (text, args) = sql.into_postgres()?;
    let rows = sqlx::query_with(text, args).fetch_all(conn).await.map_err(Error::from)?;
    Ok(rows.into_iter().map(Record::Postgres).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tx(dir: &tempfile::TempDir) -> Tx {
        let path = dir.path().join("x.db");
        let path = path.to_str().unwrap();
        crate::sqlite::open(&crate::Config::default(), path).await.unwrap().0
    }

    #[tokio::test]
    async fn what_waits_goes_before_the_next_statement() {
        let dir = tempfile::tempdir().unwrap();
        let mut tx = tx(&dir).await;
        tx.defer(Sql::new("begin immediate")).await.unwrap();
        tx.defer(Sql::new("insert into counter (name, value) values (?, ?)").bind("a").bind(1))
            .await
            .unwrap();
        tx.defer(Sql::new("insert into counter (name, value) values (?, ?)").bind("b").bind(2))
            .await
            .unwrap();
        let sum = Sql::new("select sum(value) from counter where name in (?, ?)").bind("a").bind("b");
        assert!(!sum.is_numbered());
        let rows = tx.fetch(sum).await.unwrap();
        assert_eq!(rows[0].cursor().i64().unwrap(), 3);
        tx.defer(Sql::new("rollback")).await.unwrap();
        tx.flush().await.unwrap();
        let numbered = Sql::new("select count(*) from counter where name = $1").bind("a");
        assert_eq!(tx.fetch(numbered).await.unwrap()[0].cursor().i64().unwrap(), 0);
        assert!(tx.take_broken().is_none());
    }

    #[tokio::test]
    async fn what_waits_and_fails_breaks_the_transaction() {
        let dir = tempfile::tempdir().unwrap();
        let mut tx = tx(&dir).await;
        tx.defer(Sql::new("begin immediate")).await.unwrap();
        tx.defer(Sql::new("insert into nothing values (?)").bind(1)).await.unwrap();
        assert!(tx.fetch(Sql::new("select $1").bind(7)).await.is_err());
        assert!(tx.take_broken().is_some());
    }
}
