//! Reads literal maps for clients: inline while small, else as a signed URL.
//!
//! Invariant: an object that can't be read leaves its part of the reply empty; the call itself succeeds.

use blob::{Blob, DataReference};
use bytes::Bytes;
use prost::Message;
use proto::flyteidl::{admin::UrlBlob, core::LiteralMap};

/// One side of the data of an execution, node or attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Data {
    /// The values as they are stored (`core.LiteralMap`), unless they are too large.
    pub(crate) full: Option<Bytes>,
    /// Where to get them otherwise.
    pub(crate) url: Option<UrlBlob>,
}

/// Reads what is at `uri`; an empty text is no data.
pub(crate) async fn read(blob: &Blob, uri: &str, max_inline: u64) -> Data {
    if uri.is_empty() {
        return Data::default();
    }
    match try_read(blob, uri, max_inline).await {
        Ok(data) => data,
        Err(error) => {
            tracing::warn!(uri, error = %crate::status::chain(&error), "cannot read data for a client");
            Data { full: Some(Bytes::new()), url: None }
        }
    }
}

/// Why data can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("cannot get the object")]
    Blob(#[from] blob::Error),
    #[error("object is no literal map")]
    Decode(#[from] prost::DecodeError),
}

/// Reads a literal map as a whole, up to `max` bytes, as it is stored.
pub(crate) async fn literal_map(blob: &Blob, uri: &str, max: u64) -> Result<Bytes, ReadError> {
    let bytes = blob.get_limited(&DataReference::parse(uri)?, max).await?;
    // No client shall get a reply that it can't read.
    LiteralMap::decode(bytes.as_ref())?;
    Ok(bytes)
}

async fn try_read(blob: &Blob, uri: &str, max_inline: u64) -> Result<Data, ReadError> {
    match literal_map(blob, uri, max_inline).await {
        Ok(full) => {
            let url = signed(blob, uri, full.len() as u64).ok();
            Ok(Data { full: Some(full), url })
        }
        Err(ReadError::Blob(blob::Error::TooLarge { size, .. })) => {
            Ok(Data { full: None, url: Some(signed(blob, uri, size)?) })
        }
        Err(error) => Err(error),
    }
}

fn signed(blob: &Blob, uri: &str, size: u64) -> Result<UrlBlob, blob::Error> {
    let expires = blob.config().max_signed_url_expiry.get();
    let signed = blob.sign_download(&DataReference::parse(uri)?, expires)?;
    Ok(UrlBlob { url: signed.url, bytes: i64::try_from(size).unwrap_or(i64::MAX) })
}
