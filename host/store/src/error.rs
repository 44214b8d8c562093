//! Names what can go wrong in the store.

use std::path::PathBuf;
use std::sync::Arc;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something of this name is there already.
    #[error("{what} {id} already exists")]
    Exists {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// Nothing has this name.
    #[error("{what} {id} does not exist")]
    NotFound {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// A filter names an unknown field or entity, or its value does not fit the field.
    #[error("invalid filter on `{field}`: {reason}")]
    InvalidFilter {
        /// Field as the client wrote it.
        field: String,
        /// What is wrong, with what is allowed.
        reason: String,
    },
    /// A sort key is none of the list's columns.
    #[error("invalid sort key `{column}`: {reason}")]
    InvalidSort {
        /// Key as the client wrote it.
        column: String,
        /// What is wrong, with what is allowed.
        reason: String,
    },
    /// A page token is no offset.
    #[error("invalid page token `{token}`")]
    InvalidToken {
        /// Token as the client wrote it.
        token: String,
    },
    /// The lease is not ours any more: another host has taken over, and nothing was written.
    #[error("lease {epoch} of host {host} has been taken over")]
    Fenced {
        /// The host that lost it.
        host: String,
        /// Epoch of the lost lease.
        epoch: i64,
    },
    /// The database answered with an error, or could not be reached.
    #[error("database operation failed")]
    Database(#[source] Arc<sqlx::Error>),
    /// A statement took longer than the statement timeout.
    #[error("statement took longer than the statement timeout")]
    Timeout,
    /// A stored value can't be what this program wrote.
    #[error("stored {what} is corrupt: {reason}")]
    Corrupt {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The database was written by a newer version.
    #[error("database has schema version {found}, this version knows up to {known}")]
    NewerSchema {
        /// Version of the database.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// Another process has this SQLite database open.
    #[error("database {path} is in use by process {pid}")]
    InUse {
        /// The database file.
        path: PathBuf,
        /// The other process, as far as it is known.
        pid: String,
    },
    /// A file or directory beside the database can't be made.
    #[error("cannot prepare {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The database URL is of no known form.
    #[error("invalid database url: {reason}")]
    InvalidUrl {
        /// What is wrong; never the URL, which may hold a password.
        reason: String,
    },
    /// A signal has decided its gate, and another value can't change that any more.
    #[error("signal {id} has been set and its gate has ended")]
    SignalSettled {
        /// Id of the signal.
        id: String,
    },
    /// The store has been closed.
    #[error("store is closed")]
    Closed,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(inner) = &error
            && is_timeout(inner.code().as_deref())
        {
            return Self::Timeout;
        }
        Self::Database(Arc::new(error))
    }
}

impl Error {
    /// Whether the same call may succeed later without anything else being changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout => true,
            Self::Database(error) => is_transient(error),
            _ => false,
        }
    }

    /// The same news for another caller of a group that failed together.
    pub(crate) fn share(&self) -> Self {
        match self {
            Self::Database(error) => Self::Database(Arc::clone(error)),
            Self::Timeout => Self::Timeout,
            _ => Self::Closed,
        }
    }
}

/// SQLite's interrupt and Postgres' cancelled query.
fn is_timeout(code: Option<&str>) -> bool {
    matches!(code, Some("9" | "57014"))
}

fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_transient_code(&code)),
        _ => false,
    }
}

/// Codes of Postgres have five characters, those of SQLite are shorter numbers.
fn is_transient_code(code: &str) -> bool {
    if code.len() == 5 {
        // Connection, rolled back, out of resources, shut down.
        return ["08", "40", "53", "57P"].iter().any(|class| code.starts_with(class));
    }
    // Busy, locked, read or write error, disk full.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_tell_what_may_pass() {
        for code in ["08006", "40001", "40P01", "53300", "57P01", "5", "517", "6", "10", "778", "13"] {
            assert!(is_transient_code(code), "{code}");
        }
        for code in ["23505", "42601", "22021", "57014", "", "1", "19", "2067", "11", "26", "XX000"] {
            assert!(!is_transient_code(code), "{code}");
        }
        assert!(Error::from(sqlx::Error::PoolTimedOut).is_transient());
        assert!(!Error::from(sqlx::Error::PoolClosed).is_transient());
        assert!(!Error::Closed.is_transient());
    }
}
