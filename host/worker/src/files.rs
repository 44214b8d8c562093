//! Reads and writes the files of executions, and keeps in memory what the next node will ask for.

use std::sync::Arc;

use blob::{Blob, DataReference};
use bytes::Bytes;
use moka::sync::Cache;
use prost::Message;
use proto::flyteidl::core::LiteralMap;

/// Why a file could not be had.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The store has no answer, or none that helps.
    #[error("{uri}: {source}")]
    Blob {
        /// The file.
        uri: String,
        /// The cause.
        source: Arc<blob::Error>,
    },
    /// The bytes are no literal map.
    #[error("{uri} is not a literal map: {source}")]
    Malformed {
        /// The file.
        uri: String,
        /// The cause.
        source: prost::DecodeError,
    },
}

impl Error {
    /// Whether there is no such file.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Blob { source, .. } if source.is_not_found())
    }

    /// Whether the same call may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Blob { source, .. } if source.is_transient())
    }

    fn blob(uri: &str) -> impl FnOnce(blob::Error) -> Self {
        move |source| Self::Blob { uri: uri.to_owned(), source: Arc::new(source) }
    }
}

/// The object store with what was read and written lately. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Files {
    blob: Blob,
    maps: Cache<String, Arc<LiteralMap>>,
    bytes: Cache<String, Bytes>,
    max_size: u64,
}

impl Files {
    /// Keeps up to `cached` bytes; reads files of at most `max_size` bytes.
    pub(crate) fn new(blob: Blob, cached: u64, max_size: u64) -> Self {
        // A decoded map of one number takes 3.4 KiB, most of it the first leaf of its tree.
        let weight = |n_bytes: usize| u32::try_from(n_bytes.saturating_add(512)).unwrap_or(u32::MAX);
        let of_map = |map: &LiteralMap| map.encoded_len().saturating_mul(6).saturating_add(3_072);
        Self {
            blob,
            maps: Cache::builder()
                .max_capacity(cached / 2)
                .weigher(move |uri: &String, map: &Arc<LiteralMap>| weight(uri.len() + of_map(map)))
                .build(),
            bytes: Cache::builder()
                .max_capacity(cached / 2)
                .weigher(move |uri: &String, bytes: &Bytes| weight(uri.len() + bytes.len()))
                .build(),
            max_size,
        }
    }

    pub(crate) fn metadata_root(&self) -> DataReference {
        self.blob.metadata_root()
    }

    pub(crate) fn raw_root(&self) -> DataReference {
        self.blob.raw_root()
    }

    /// A literal map that needs no read. No URI is the empty map.
    pub(crate) fn cached_map(&self, uri: &str) -> Option<Arc<LiteralMap>> {
        if uri.is_empty() { Some(Arc::default()) } else { self.maps.get(uri) }
    }

    /// Reads a literal map.
    pub(crate) async fn map(&self, uri: &str) -> Result<Arc<LiteralMap>, Error> {
        if let Some(map) = self.cached_map(uri) {
            return Ok(map);
        }
        let bytes = self.bytes(uri).await?;
        let map = LiteralMap::decode(bytes)
            .map(Arc::new)
            .map_err(|source| Error::Malformed { uri: uri.to_owned(), source })?;
        self.maps.insert(uri.to_owned(), map.clone());
        Ok(map)
    }

    /// Notes what a literal map file holds, so that it need not be read.
    pub(crate) fn remember_map(&self, uri: &str, map: Arc<LiteralMap>) {
        self.maps.insert(uri.to_owned(), map);
    }

    /// Notes what a file holds, so that it need not be read.
    pub(crate) fn remember_bytes(&self, uri: &str, bytes: Bytes) {
        self.bytes.insert(uri.to_owned(), bytes);
    }

    /// Reads a file; no URI is an empty one.
    pub(crate) async fn bytes(&self, uri: &str) -> Result<Bytes, Error> {
        if uri.is_empty() {
            return Ok(Bytes::new());
        }
        if let Some(bytes) = self.bytes.get(uri) {
            return Ok(bytes);
        }
        self.read(uri).await
    }

    /// Reads a file, whatever is remembered.
    pub(crate) async fn read(&self, uri: &str) -> Result<Bytes, Error> {
        let reference = DataReference::parse(uri).map_err(Error::blob(uri))?;
        self.blob.get_limited(&reference, self.max_size).await.map_err(Error::blob(uri))
    }

    /// Reads a file of any size.
    pub(crate) async fn read_unlimited(&self, uri: &str) -> Result<Bytes, Error> {
        let reference = DataReference::parse(uri).map_err(Error::blob(uri))?;
        self.blob.get(&reference).await.map_err(Error::blob(uri))
    }

    /// Whether there is anything below a place.
    pub(crate) async fn holds_any(&self, uri: &str) -> Result<bool, Error> {
        let prefix = DataReference::parse(uri).map_err(Error::blob(uri))?;
        Ok(!self.blob.list(&prefix).await.map_err(Error::blob(uri))?.is_empty())
    }

    /// Reads a literal map that is not read again soon.
    pub(crate) async fn map_once(&self, uri: &str) -> Result<LiteralMap, Error> {
        match self.cached_map(uri) {
            Some(map) => Ok(LiteralMap::clone(&map)),
            None => LiteralMap::decode(self.bytes(uri).await?)
                .map_err(|source| Error::Malformed { uri: uri.to_owned(), source }),
        }
    }

    /// Reads a file that may not be there.
    pub(crate) async fn read_if_there(&self, uri: &str) -> Result<Option<Bytes>, Error> {
        match self.read(uri).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a file; writing it again is harmless.
    pub(crate) async fn write(&self, uri: &str, bytes: Bytes) -> Result<(), Error> {
        let reference = DataReference::parse(uri).map_err(Error::blob(uri))?;
        self.blob.put(&reference, bytes).await.map_err(Error::blob(uri))
    }

    /// Whether a file is there.
    pub(crate) async fn exists(&self, uri: &str) -> Result<bool, Error> {
        let reference = DataReference::parse(uri).map_err(Error::blob(uri))?;
        self.blob.head(&reference).await.map(|found| found.is_some()).map_err(Error::blob(uri))
    }

    /// The files below a prefix.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let reference = DataReference::parse(prefix).map_err(Error::blob(prefix))?;
        let found = self.blob.list(&reference).await.map_err(Error::blob(prefix))?;
        Ok(found.into_iter().map(|(reference, _)| reference.as_str().to_owned()).collect())
    }

    /// The limit a file is too large for, if that is what the error says: size and limit.
    pub(crate) fn too_large(error: &Error) -> Option<(u64, u64)> {
        match error {
            Error::Blob { source, .. } => match source.as_ref() {
                blob::Error::TooLarge { size, max, .. } => Some((*size, *max)),
                _ => None,
            },
            Error::Malformed { .. } => None,
        }
    }
}
