//! Names why a call was refused; `status.rs` says how that looks on the wire.

use model::{EntityId, id::IdError};

use crate::diff::Change;

/// Why a call was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A required field is empty.
    #[error("missing {0}")]
    Missing(&'static str),
    /// An identifier is incomplete or of the wrong kind.
    #[error("invalid {field}: {source}")]
    Id {
        /// Field of the request.
        field: &'static str,
        /// What is wrong with it.
        source: IdError,
    },
    /// A field's value breaks its rule.
    #[error("invalid {field}: {reason}")]
    Invalid {
        /// Field of the request, or of the message that was to be registered.
        field: String,
        /// The rule, and what was found.
        reason: String,
    },
    /// Something is larger than this installation takes.
    #[error("{what} has {actual}, more than the limit of {allowed}")]
    TooLarge {
        /// What, and what is counted.
        what: String,
        /// How much there is.
        actual: u64,
        /// The limit.
        allowed: u64,
    },
    /// Nothing is registered under this id.
    #[error("{0} does not exist")]
    NotRegistered(EntityId),
    /// There is no such thing.
    #[error("{what} {id} does not exist")]
    NotFound {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// There is such a thing already.
    #[error("{what} {id} already exists")]
    Exists {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// The same content is registered already.
    #[error("{0} is already registered, with the same content")]
    Registered(EntityId),
    /// Other content is registered under the same version.
    #[error(
        "{id} is already registered with different content; register a new version instead. Changed: {}",
        list(changes, *more)
    )]
    Changed {
        /// What was to be registered.
        id: Box<EntityId>,
        /// The first few changes.
        changes: Vec<Change>,
        /// How many changes there are beyond those.
        more: usize,
    },
    /// The workflow does not compile.
    #[error("failed to compile workflow for [{id}] with err: {errors}")]
    Compile {
        /// The workflow.
        id: Box<EntityId>,
        /// The compiler's findings, one per line.
        errors: String,
    },
    /// This version does not do that.
    #[error("{0}")]
    Unsupported(&'static str),
    /// It has ended.
    #[error("{what} {id} is already {phase}")]
    AlreadyTerminal {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        id: String,
        /// Name of its phase.
        phase: &'static str,
    },
    /// An event says what is known.
    #[error("{what} {id} is recorded as {phase} already")]
    Recorded {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        id: String,
        /// Name of the phase.
        phase: &'static str,
    },
    /// An event says what can't follow.
    #[error("{what} {id} can't go from {from} to {to}")]
    PhaseChange {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        id: String,
        /// Name of the phase it is in.
        from: &'static str,
        /// Name of the phase of the event.
        to: &'static str,
    },
    /// An event comes from somebody who does not drive the execution.
    #[error("execution {id} is driven by {owner}; events of `{producer}` about it are not taken")]
    ForeignEvent {
        /// The execution.
        id: String,
        /// Who drives it.
        owner: String,
        /// Who sent the event.
        producer: String,
        /// The cluster that owns it; may be empty.
        cluster: String,
    },
    /// A stored message can't be read.
    #[error("cannot decode the stored {what} of {id}")]
    Decode {
        /// Which message.
        what: &'static str,
        /// Whose.
        id: String,
        /// The cause.
        #[source]
        source: prost::DecodeError,
    },
    /// A computation was cut off.
    #[error("{0} was cut off")]
    CutOff(&'static str),
    /// The launch was refused.
    #[error(transparent)]
    Launch(#[from] launch::Error),
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The object store refused.
    #[error(transparent)]
    Blob(#[from] blob::Error),
}

/// What every call of this room answers.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    pub(crate) fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }
}

fn list(changes: &[Change], more: usize) -> String {
    let mut text = changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}
