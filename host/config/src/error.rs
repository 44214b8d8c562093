//! Collects everything that is wrong with a configuration, to be reported at once.

use std::{fmt, io, path::PathBuf};

use crate::Origin;

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is no YAML.
    #[error("file {} line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What the parser says.
        message: String,
    },
    /// A key means nothing.
    #[error("`{key}` is unknown, in {origin}{}", hint(suggestion.as_deref()))]
    Unknown {
        /// The whole key, as it was written.
        key: String,
        /// Where it stands.
        origin: Origin,
        /// The whole key that was probably meant.
        suggestion: Option<String>,
    },
    /// A key is given twice in one place, in two spellings.
    #[error("`{key}` is given twice: in {first} and in {second}")]
    Twice {
        /// The key.
        key: String,
        /// Where it stands first.
        first: Origin,
        /// Where it stands again.
        second: Origin,
    },
    /// A value has the wrong type.
    #[error("`{key}` must be {expected}, found {found}, in {origin}")]
    Type {
        /// The key.
        key: String,
        /// What it takes.
        expected: String,
        /// What it was given.
        found: String,
        /// Where that stands.
        origin: Origin,
    },
    /// A value has the right type and makes no sense.
    #[error("`{key}`: {message}, in {origin}")]
    Invalid {
        /// The key.
        key: String,
        /// What is wrong with the value.
        message: String,
        /// Where it stands.
        origin: Origin,
    },
    /// A value that has no default was not given.
    #[error("`{key}` must be set")]
    Missing {
        /// The key.
        key: String,
    },
    /// An environment variable or flag names no key.
    #[error("{origin} names no key: {message}")]
    Unnamed {
        /// The variable or flag.
        origin: Origin,
        /// How a key is written.
        message: &'static str,
    },
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map(|key| format!("; did you mean `{key}`?")).unwrap_or_default()
}

/// Everything that is wrong, one line each.
#[derive(Debug, Default)]
pub struct Errors(pub Vec<Problem>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "invalid configuration: {only}"),
            problems => {
                write!(f, "invalid configuration, {} problems:", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Errors {}

impl From<Problem> for Errors {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
