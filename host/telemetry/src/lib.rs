//! Shows what the host does: structured logs, Prometheus metrics, and health that tells a wedged worker or a
//! degraded plugin apart from a slow one.

pub mod health;
pub mod log;
pub mod metric;

pub use config::Secret;
pub use health::{Component, Health, State};
pub use log::Format;

use serde::{Deserialize, Serialize};

/// What the host writes about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Least severe level that is written: `error`, `warn`, `info`, `debug` or `trace`; also finer directives such as
    /// `info,worker=debug`.
    pub level: String,
    /// `text`, `json`, or `auto`: text on a terminal, JSON otherwise.
    pub format: Format,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::Auto }
    }
}

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level can't be read.
    #[error("log level `{level}` is not valid: {reason}; write for example `info` or `info,worker=debug`")]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Logs or metrics were set up before.
    #[error("telemetry is set up already")]
    Twice,
    /// The metrics recorder refused its settings.
    #[error("cannot set up metrics: {0}")]
    Metrics(String),
}
