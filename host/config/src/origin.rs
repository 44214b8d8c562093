//! Says where a setting came from.

use std::{fmt, path::PathBuf, sync::Arc};

/// The place that decided a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of a file.
    File {
        /// The file.
        path: Arc<PathBuf>,
        /// The line, from 1.
        line: u64,
    },
    /// An environment variable.
    Env(Arc<str>),
    /// A flag of the command line, by the key it sets.
    Flag(Arc<str>),
    /// Another provider that the host added.
    Provider(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "file {} line {line}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(key) => write!(f, "flag for {key}"),
            Self::Provider(name) => f.write_str(name),
        }
    }
}
