//! Reads the columns of a returned row one after the other.

use model::{EntityId, EntityKind, ExecutionId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Postgres, Row as _, Sqlite};

use crate::{Error, ExecutionKey, Result};

/// A returned row of either dialect.
pub(crate) enum Record {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Record {
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor { record: self, at: 0 }
    }
}

/// Reads a row from its first column to its last, in the order of the `select` list.
pub(crate) struct Cursor<'r> {
    record: &'r Record,
    at: usize,
}

impl<'r> Cursor<'r> {
    fn next<T>(&mut self) -> Result<T>
    where
        T: Decode<'r, Sqlite> + Decode<'r, Postgres>,
    {
        let at = self.at;
        self.at += 1;
        match self.record {
            Record::Sqlite(row) => row.try_get_unchecked(at),
            Record::Postgres(row) => row.try_get_unchecked(at),
        }
        .map_err(|error| Error::Corrupt { what: "row", reason: error.to_string() })
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        self.next()
    }

    pub(crate) fn opt_i64(&mut self) -> Result<Option<i64>> {
        self.next()
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        let value = self.i64()?;
        i32::try_from(value).map_err(|_| out_of_range(value))
    }

    pub(crate) fn i16(&mut self) -> Result<i16> {
        let value = self.i64()?;
        i16::try_from(value).map_err(|_| out_of_range(value))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        let value = self.i64()?;
        u32::try_from(value).map_err(|_| out_of_range(value))
    }

    pub(crate) fn bool(&mut self) -> Result<bool> {
        Ok(self.i64()? != 0)
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        self.next()
    }

    pub(crate) fn opt_text(&mut self) -> Result<Option<String>> {
        self.next()
    }

    pub(crate) fn blob(&mut self) -> Result<Vec<u8>> {
        self.next()
    }

    pub(crate) fn opt_blob(&mut self) -> Result<Option<Vec<u8>>> {
        self.next()
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp> {
        self.i64().map(Timestamp)
    }

    pub(crate) fn opt_time(&mut self) -> Result<Option<Timestamp>> {
        Ok(self.opt_i64()?.map(Timestamp))
    }

    pub(crate) fn key(&mut self) -> Result<ExecutionKey> {
        self.i64().map(ExecutionKey)
    }

    /// Project, domain, name and version.
    pub(crate) fn entity_id(&mut self, kind: EntityKind) -> Result<EntityId> {
        Ok(EntityId {
            kind,
            project: self.text()?,
            domain: self.text()?,
            name: self.text()?,
            version: self.text()?,
        })
    }

    /// Project, domain, name and version, all of them null together.
    pub(crate) fn opt_entity_id(&mut self, kind: EntityKind) -> Result<Option<EntityId>> {
        let parts = (self.opt_text()?, self.opt_text()?, self.opt_text()?, self.opt_text()?);
        let (Some(project), Some(domain), Some(name), Some(version)) = parts else { return Ok(None) };
        Ok(Some(EntityId { kind, project, domain, name, version }))
    }

    /// Project, domain and name.
    pub(crate) fn execution_id(&mut self) -> Result<ExecutionId> {
        Ok(ExecutionId::new(&self.text()?, &self.text()?, &self.text()?))
    }

    /// Project, domain and name, all of them null together.
    pub(crate) fn opt_execution_id(&mut self) -> Result<Option<ExecutionId>> {
        let parts = (self.opt_text()?, self.opt_text()?, self.opt_text()?);
        let (Some(project), Some(domain), Some(name)) = parts else { return Ok(None) };
        Ok(Some(ExecutionId::new(&project, &domain, &name)))
    }
}

fn out_of_range(value: i64) -> Error {
    Error::Corrupt { what: "number", reason: format!("{value} is out of range") }
}
