//! Names what can go wrong in the catalog.

use crate::KeyError;

/// Why the catalog did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The object store refused.
    #[error(transparent)]
    Blob(#[from] blob::Error),
    /// A task has no key.
    #[error(transparent)]
    Key(#[from] KeyError),
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
    /// There is no such thing.
    #[error("{what} {id} does not exist")]
    NotFound {
        /// Kind of thing.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// What was asked makes no sense.
    #[error("{0}")]
    Invalid(String),
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether the same call may succeed later without anything else being changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Blob(error) => error.is_transient(),
            Self::Key(_) | Self::Decode { .. } | Self::NotFound { .. } | Self::Invalid(_) => false,
        }
    }

    pub(crate) fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }
}

/// Reads a stored message.
pub(crate) fn decode<M: prost::Message + Default>(
    bytes: &[u8],
    what: &'static str,
    id: impl ToString,
) -> Result<M> {
    M::decode(bytes).map_err(|source| Error::Decode { what, id: id.to_string(), source })
}
