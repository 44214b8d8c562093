//! Names what can go wrong in the scheduler.

use crate::plan::PlanError;
use crate::timetable::TimetableError;

/// Why the scheduler did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing has this name.
    #[error("{what} {id} does not exist")]
    NotFound {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// A request can't be carried out as it is.
    #[error("invalid {field}: {reason}")]
    Invalid {
        /// Which field of the request.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// What is asked for does not fit what the thing does now.
    #[error("{0}")]
    Precondition(String),
    /// Times can't be read.
    #[error("invalid schedule: {0}")]
    Timetable(#[from] TimetableError),
    /// A launch plan's schedule can't be run.
    #[error("invalid schedule: {0}")]
    Plan(#[from] PlanError),
    /// A stored message can't be read.
    #[error("cannot decode the stored spec of {id}")]
    Decode {
        /// Whose.
        id: String,
        /// The cause.
        #[source]
        source: prost::DecodeError,
    },
    /// The store did not answer.
    #[error("cannot reach the store")]
    Store(#[from] store::Error),
    /// An execution can't be started.
    #[error(transparent)]
    Launch(#[from] launch::Error),
    /// A test stopped the scheduler here.
    #[error("stopped between two steps")]
    Crashed,
}

impl Error {
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }
}
