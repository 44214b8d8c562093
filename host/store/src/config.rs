//! Holds the settings of the store.

use config::{Duration, Secret};
use serde::{Deserialize, Serialize};

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Where the database is: `sqlite:<path of a file>` or `postgres://user:password@host/database`. A secret,
    /// because it may hold a password. Default `sqlite:pinion.db`.
    pub url: Secret,
    /// SQLite only: `full` flushes each commit to disk; `normal` may lose the last commits when the machine
    /// (not the process) dies. Default `full`.
    pub synchronous: Synchronous,
    /// Postgres only: how many connections writes may use at once. Default 8.
    pub max_connections: u32,
    /// How many connections reads may use at once. Default 4.
    pub read_connections: u32,
    /// How long one read, or on Postgres one statement, may take. 0 is no limit. Default 30s.
    pub statement_timeout: Duration,
}

/// How hard SQLite pushes a commit to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// Flush the log at checkpoints only.
    Normal,
    /// Flush the log at each commit.
    #[default]
    Full,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: Secret::from("sqlite:pinion.db"),
            synchronous: Synchronous::Full,
            max_connections: 8,
            read_connections: 4,
            statement_timeout: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Settings for the SQLite database in this file, everything else by default.
    pub fn sqlite(path: impl AsRef<std::path::Path>) -> Self {
        Self { url: Secret::new(format!("sqlite:{}", path.as_ref().display())), ..Self::default() }
    }
}
