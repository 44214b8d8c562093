//! Carries a statement: its text, which only constants of this program can enter, and its bound values.

use std::borrow::Cow;

use model::Timestamp;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::dialect::Dialect;
use crate::{Error, ExecutionKey, Result};

/// Type of a column, of the three the schema has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Int,
    Text,
    Blob,
}

/// A bound value. The arrays exist on Postgres only.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Int(Option<i64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
    Ints(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Blobs(Vec<Option<Vec<u8>>>),
}

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<i32> for Arg {
    fn from(value: i32) -> Self {
        Self::Int(Some(i64::from(value)))
    }
}

impl From<i16> for Arg {
    fn from(value: i16) -> Self {
        Self::Int(Some(i64::from(value)))
    }
}

impl From<u32> for Arg {
    fn from(value: u32) -> Self {
        Self::Int(Some(i64::from(value)))
    }
}

impl From<bool> for Arg {
    fn from(value: bool) -> Self {
        Self::Int(Some(i64::from(value)))
    }
}

impl From<Option<i64>> for Arg {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<Timestamp> for Arg {
    fn from(value: Timestamp) -> Self {
        Self::Int(Some(value.0))
    }
}

impl From<Option<Timestamp>> for Arg {
    fn from(value: Option<Timestamp>) -> Self {
        Self::Int(value.map(|t| t.0))
    }
}

impl From<ExecutionKey> for Arg {
    fn from(value: ExecutionKey) -> Self {
        Self::Int(Some(value.0))
    }
}

impl From<String> for Arg {
    /// Postgres holds no NUL in a text, so no text here does.
    fn from(value: String) -> Self {
        Self::Text(Some(if value.contains('\0') { value.replace('\0', "\u{fffd}") } else { value }))
    }
}

impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Self::from(value.to_owned())
    }
}

impl From<&String> for Arg {
    fn from(value: &String) -> Self {
        Self::from(value.clone())
    }
}

impl From<Option<&str>> for Arg {
    fn from(value: Option<&str>) -> Self {
        value.map_or(Self::Text(None), Self::from)
    }
}

impl From<&[u8]> for Arg {
    fn from(value: &[u8]) -> Self {
        Self::Blob(Some(value.to_vec()))
    }
}

impl From<&Vec<u8>> for Arg {
    fn from(value: &Vec<u8>) -> Self {
        Self::Blob(Some(value.clone()))
    }
}

impl From<Option<&[u8]>> for Arg {
    fn from(value: Option<&[u8]>) -> Self {
        Self::Blob(value.map(<[u8]>::to_vec))
    }
}

/// A statement. Its text is put together from `&'static str` alone, so no text of a client can become SQL.
#[derive(Clone, Debug)]
pub(crate) struct Sql {
    text: Cow<'static, str>,
    args: Vec<Arg>,
}

impl Sql {
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text: Cow::Borrowed(text), args: Vec::new() }
    }

    pub(crate) fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// Length of the text so far.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Appends a part of the text once more; its placeholders stand for the same values.
    pub(crate) fn push_again(&mut self, part: std::ops::Range<usize>) -> &mut Self {
        let own = self.text.to_mut();
        own.extend_from_within(part);
        self
    }

    /// Appends a text whose `@` stand for a table alias.
    pub(crate) fn push_aliased(&mut self, text: &'static str, alias: &'static str) -> &mut Self {
        let own = self.text.to_mut();
        for (n, part) in text.split('@').enumerate() {
            if n > 0 {
                own.push_str(alias);
            }
            own.push_str(part);
        }
        self
    }

    /// Appends a list of names, each behind a prefix, parted by commas.
    pub(crate) fn push_list(
        &mut self,
        prefix: &'static str,
        names: impl IntoIterator<Item = &'static str>,
    ) -> &mut Self {
        let own = self.text.to_mut();
        for (n, name) in names.into_iter().enumerate() {
            if n > 0 {
                own.push_str(", ");
            }
            own.push_str(prefix);
            own.push_str(name);
        }
        self
    }

    /// Appends another statement. The placeholders of both must be anonymous.
    pub(crate) fn append(&mut self, other: Sql) {
        let own = self.text.to_mut();
        own.push_str("; ");
        own.push_str(&other.text);
        self.args.extend(other.args);
    }

    /// Whether it has placeholders that are numbered.
    pub(crate) fn is_numbered(&self) -> bool {
        self.text.contains('$')
    }

    /// Appends the placeholder of a value, anonymous where the dialect has such.
    pub(crate) fn push_place(&mut self, dialect: Dialect, arg: impl Into<Arg>) -> &mut Self {
        match dialect {
            Dialect::Postgres => self.push_arg(arg),
            Dialect::Sqlite => {
                self.args.push(arg.into());
                self.push("?")
            }
        }
    }

    /// Appends the placeholder of a value.
    pub(crate) fn push_arg(&mut self, arg: impl Into<Arg>) -> &mut Self {
        self.args.push(arg.into());
        let own = self.text.to_mut();
        own.push('$');
        own.push_str(&self.args.len().to_string());
        self
    }

    /// Appends `rows` groups of `columns` anonymous placeholders. SQLite finds a named placeholder by a linear
    /// search, which makes a statement of a thousand of them 8 times slower than one with anonymous ones.
    pub(crate) fn push_anonymous_rows(&mut self, rows: usize, columns: usize) -> &mut Self {
        let own = self.text.to_mut();
        own.reserve(rows * (columns * 2 + 2));
        for row in 0..rows {
            own.push_str(if row == 0 { "(" } else { ",(" });
            for column in 0..columns {
                own.push_str(if column == 0 { "?" } else { ",?" });
            }
            own.push(')');
        }
        self
    }

    /// Binds the value of the next placeholder that stands in the text already.
    pub(crate) fn bind(mut self, arg: impl Into<Arg>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn bind_all(&mut self, args: impl IntoIterator<Item = Arg>) {
        self.args.extend(args);
    }

    pub(crate) fn into_sqlite(self) -> Result<(SqlStr, SqliteArguments)> {
        let mut out = SqliteArguments::default();
        out.reserve(self.args.len(), 0);
        for arg in self.args {
            match arg {
                Arg::Int(value) => out.add(value),
                Arg::Text(value) => out.add(value),
                Arg::Blob(value) => out.add(value),
                Arg::Ints(_) | Arg::Texts(_) | Arg::Blobs(_) => Err("SQLite has no arrays".into()),
            }
            .map_err(encode_error)?;
        }
        Ok((safe(self.text), out))
    }

    pub(crate) fn into_postgres(self) -> Result<(SqlStr, PgArguments)> {
        let mut out = PgArguments::default();
        out.reserve(self.args.len(), 0);
        for arg in self.args {
            match arg {
                Arg::Int(value) => out.add(value),
                Arg::Text(value) => out.add(value),
                Arg::Blob(value) => out.add(value),
                Arg::Ints(values) => out.add(values),
                Arg::Texts(values) => out.add(values),
                Arg::Blobs(values) => out.add(values),
            }
            .map_err(encode_error)?;
        }
        Ok((safe(self.text), out))
    }
}

fn safe(text: Cow<'static, str>) -> SqlStr {
    match text {
        Cow::Borrowed(text) => text.into_sql_str(),
        Cow::Owned(text) => AssertSqlSafe(text).into_sql_str(),
    }
}

fn encode_error(error: sqlx::error::BoxDynError) -> Error {
    Error::from(sqlx::Error::Encode(error))
}
