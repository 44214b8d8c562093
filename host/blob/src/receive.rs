//! Takes a request body of any size into a temporary file, checking its digests on the way.

use std::sync::Arc;

use axum::body::BodyDataStream;
use bytes::Bytes;
use futures::StreamExt as _;

use crate::{
    Error, ObjectMeta,
    digest::{Digests, Expected, Mismatch},
    local::{Local, TempFile},
    s3::Chunked,
    store::{INLINE, blocking},
};

/// Bytes are handed to the blocking pool in portions of this size.
const PORTION: usize = 1 << 20;

/// Why a body was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    #[error("the body is larger than {max} bytes")]
    TooLarge { max: u64 },
    #[error("the body ended early or its framing is broken: {0}")]
    Broken(String),
    #[error("the signature of a part of the body is wrong")]
    BadChunkSignature,
    #[error(transparent)]
    Storage(#[from] Error),
}

/// A body and how it is framed.
pub(crate) enum Source {
    /// As it is.
    Plain(BodyDataStream),
    /// In the frames of `aws-chunked`.
    Chunked(Box<Chunked>),
}

/// What a source yields next.
pub(crate) enum Piece {
    /// Bytes of the content.
    Data(Bytes),
    /// A header after the content.
    Trailer(String, String),
}

impl Source {
    async fn next(&mut self) -> Result<Option<Piece>, ReceiveError> {
        match self {
            Self::Plain(stream) => next_frame(stream).await.map(|frame| frame.map(Piece::Data)),
            Self::Chunked(chunked) => chunked.next().await,
        }
    }
}

/// The next bytes from the connection.
pub(crate) async fn next_frame(stream: &mut BodyDataStream) -> Result<Option<Bytes>, ReceiveError> {
    stream.next().await.transpose().map_err(|error| ReceiveError::Broken(error.to_string()))
}

/// A complete and checked body, not yet an object.
pub(crate) struct Received {
    local: Arc<Local>,
    temp: TempFile,
    n_bytes: u64,
}

/// Reads a body to its end.
pub(crate) async fn receive(
    local: &Arc<Local>,
    mut source: Source,
    expected: Expected,
    max: Option<u64>,
) -> Result<Received, ReceiveError> {
    let mut digests = Digests::new(expected);
    let mut temp = TempFile::create(local.tmp())?;
    let mut pending: Vec<Bytes> = Vec::new();
    let (mut n_pending, mut n_bytes) = (0, 0_u64);
    while let Some(piece) = source.next().await? {
        match piece {
            Piece::Trailer(name, value) => digests.trailer(&name, &value),
            Piece::Data(bytes) => {
                n_bytes += bytes.len() as u64;
                if let Some(max) = max.filter(|max| n_bytes > *max) {
                    return Err(ReceiveError::TooLarge { max });
                }
                n_pending += bytes.len();
                pending.push(bytes);
                if n_pending >= PORTION {
                    let portion = std::mem::take(&mut pending);
                    n_pending = 0;
                    (temp, digests) = blocking(move || write(temp, digests, &portion)).await?;
                }
            }
        }
    }
    (temp, digests) = if n_bytes <= INLINE {
        write(temp, digests, &pending)?
    } else {
        blocking(move || write(temp, digests, &pending)).await?
    };
    digests.verify()?;
    Ok(Received { local: local.clone(), temp, n_bytes })
}

fn write(mut temp: TempFile, mut digests: Digests, portion: &[Bytes]) -> Result<(TempFile, Digests), Error> {
    for bytes in portion {
        digests.update(bytes);
        temp.write_all(bytes)?;
    }
    Ok((temp, digests))
}

impl Received {
    /// Makes the body an object, by a function that runs where it may block.
    pub(crate) async fn commit(
        self,
        body: impl FnOnce(&Local, TempFile) -> Result<ObjectMeta, Error> + Send + 'static,
    ) -> Result<ObjectMeta, Error> {
        crate::metric::written(self.n_bytes);
        let Self { local, temp, n_bytes } = self;
        if n_bytes <= INLINE && !local.sync() {
            body(&local, temp)
        } else {
            blocking(move || body(&local, temp)).await
        }
    }
}
