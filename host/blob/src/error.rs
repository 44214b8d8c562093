//! Names what can go wrong with an object.

use std::{io, path::PathBuf};

use crate::DataReference;

/// A failed operation on the object store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not an object-store URI.
    #[error("`{reference}` is not an object reference: {reason}")]
    InvalidReference {
        /// What was given.
        reference: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The key can't name an object here.
    #[error("`{key}` is not a usable object key: {reason}")]
    InvalidKey {
        /// What was given.
        key: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The key and an existing key need the same name as a file and as a directory.
    #[error("cannot write {reference}: {reason}")]
    KeyConflict {
        /// The object that was to be written.
        reference: DataReference,
        /// What stands in the way.
        reason: &'static str,
    },
    /// The object changed, or exists already, and the writer does not want to replace it.
    #[error("object {reference} is not as the writer expects")]
    ConditionFailed {
        /// The object.
        reference: DataReference,
    },
    /// There is no such object.
    #[error("object {reference} does not exist")]
    NotFound {
        /// The object.
        reference: DataReference,
    },
    /// The object is larger than the caller can take.
    #[error("object {reference} has {size} bytes, more than the limit of {max}")]
    TooLarge {
        /// The object.
        reference: DataReference,
        /// Its size.
        size: u64,
        /// The caller's limit.
        max: u64,
    },
    /// The range lies outside the object.
    #[error("range starts beyond the end of {reference} ({size} bytes)")]
    OutOfRange {
        /// The object.
        reference: DataReference,
        /// Its size.
        size: u64,
    },
    /// The reference belongs to another kind of store than the configured one.
    #[error("cannot reach {reference}: this host stores objects under `{scheme}://` only")]
    ForeignScheme {
        /// The object.
        reference: DataReference,
        /// The scheme this host serves.
        scheme: &'static str,
    },
    /// A setting is missing or contradicts another.
    #[error("invalid blob configuration: {0}")]
    Config(String),
    /// A signed URL was asked for a longer time than allowed.
    #[error("a signed URL may live {max_secs} s at most, {asked_secs} s were asked for")]
    ExpiryTooLong {
        /// The time that was asked for.
        asked_secs: u64,
        /// The configured limit.
        max_secs: u64,
    },
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The remote store refused.
    #[error("cannot {action} {reference}")]
    Store {
        /// The verb.
        action: &'static str,
        /// The object.
        reference: DataReference,
        /// The cause.
        #[source]
        source: Box<object_store::Error>,
    },
}

impl Error {
    /// Whether the object is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the same call may succeed later: the answer is not known, ask again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            Self::Store { source, .. } => !matches!(
                **source,
                object_store::Error::PermissionDenied { .. }
                    | object_store::Error::Unauthenticated { .. }
                    | object_store::Error::NotSupported { .. }
                    | object_store::Error::NotImplemented { .. }
                    | object_store::Error::InvalidPath { .. }
            ),
            Self::InvalidReference { .. }
            | Self::InvalidKey { .. }
            | Self::KeyConflict { .. }
            | Self::ConditionFailed { .. }
            | Self::NotFound { .. }
            | Self::TooLarge { .. }
            | Self::OutOfRange { .. }
            | Self::ForeignScheme { .. }
            | Self::Config(_)
            | Self::ExpiryTooLong { .. } => false,
        }
    }
}
