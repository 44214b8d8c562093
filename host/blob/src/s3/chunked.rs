//! Takes the frames of `aws-chunked` off a body and checks their signatures.

use axum::body::BodyDataStream;
use bytes::{Buf as _, BytesMut};
use sha2::{Digest as _, Sha256};

use super::auth::ChunkChain;
use crate::receive::{Piece, ReceiveError, next_frame};

/// Longest line of framing or trailer.
const MAX_LINE: usize = 8 * 1024;

/// A body in chunks.
pub(crate) struct Chunked {
    stream: BodyDataStream,
    buffer: BytesMut,
    state: State,
    chain: Option<ChunkChain>,
    content: Sha256,
    signature: String,
    trailers: String,
    /// Bytes of content still to come, when the sender said how many.
    n_left: Option<u64>,
}

enum State {
    /// A line with the size of the next chunk follows.
    Size,
    /// So many bytes of the chunk follow.
    Data(u64),
    /// The line break after a chunk follows.
    DataEnd,
    /// Trailers follow, up to an empty line or the end.
    Trailers,
    Done,
}

impl Chunked {
    pub(super) fn new(stream: BodyDataStream, chain: Option<ChunkChain>, n_bytes: Option<u64>) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            state: State::Size,
            chain,
            content: Sha256::new(),
            signature: String::new(),
            trailers: String::new(),
            n_left: n_bytes,
        }
    }

    /// The next bytes of content, or the next trailer.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>, ReceiveError> {
        loop {
            match self.state {
                State::Size => {
                    let line = self.line().await?.ok_or_else(|| broken("the last chunk is missing"))?;
                    self.begin(&line)?;
                }
                State::Data(0) => self.state = State::DataEnd,
                State::Data(n_left) => return self.data(n_left).await.map(Some),
                State::DataEnd => {
                    if self.line().await?.as_deref() != Some("") {
                        return Err(broken("a chunk is longer than announced"));
                    }
                    self.check_chunk()?;
                    self.state = State::Size;
                }
                State::Trailers => match self.line().await?.as_deref() {
                    None | Some("") => self.end()?,
                    Some(line) => {
                        if let Some(piece) = self.trailer(line)? {
                            return Ok(Some(piece));
                        }
                    }
                },
                State::Done => return Ok(None),
            }
        }
    }

    fn begin(&mut self, line: &str) -> Result<(), ReceiveError> {
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        let size =
            u64::from_str_radix(size.trim(), 16).map_err(|_| broken("the size of a chunk is malformed"))?;
        extension.trim().strip_prefix("chunk-signature=").unwrap_or("").clone_into(&mut self.signature);
        if let Some(n_left) = &mut self.n_left {
            *n_left = n_left.checked_sub(size).ok_or_else(|| broken("the body is longer than announced"))?;
        }
        if size > 0 {
            self.state = State::Data(size);
            return Ok(());
        }
        self.check_chunk()?;
        self.state = State::Trailers;
        Ok(())
    }

    async fn data(&mut self, n_left: u64) -> Result<Piece, ReceiveError> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Err(broken("a chunk ends early"));
        }
        let n_wanted = usize::try_from(n_left).unwrap_or(usize::MAX).min(self.buffer.len());
        let bytes = self.buffer.split_to(n_wanted).freeze();
        if self.chain.is_some() {
            self.content.update(&bytes);
        }
        self.state = State::Data(n_left - bytes.len() as u64);
        Ok(Piece::Data(bytes))
    }

    fn check_chunk(&mut self) -> Result<(), ReceiveError> {
        let content = std::mem::take(&mut self.content);
        match &mut self.chain {
            Some(chain) => {
                chain.check_chunk(content, &self.signature).map_err(|()| ReceiveError::BadChunkSignature)
            }
            None => Ok(()),
        }
    }

    fn trailer(&mut self, line: &str) -> Result<Option<Piece>, ReceiveError> {
        let (name, value) = line.split_once(':').ok_or_else(|| broken("a trailer is malformed"))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == "x-amz-trailer-signature" {
            let Some(chain) = &mut self.chain else { return Ok(None) };
            let trailers = std::mem::take(&mut self.trailers);
            chain.check_trailers(&trailers, value).map_err(|()| ReceiveError::BadChunkSignature)?;
            return Ok(None);
        }
        self.trailers.push_str(&format!("{name}:{value}\n"));
        Ok(Some(Piece::Trailer(name, value.to_owned())))
    }

    fn end(&mut self) -> Result<(), ReceiveError> {
        if self.chain.is_some() && !self.trailers.is_empty() {
            return Err(ReceiveError::BadChunkSignature);
        }
        if self.n_left.is_some_and(|n_left| n_left > 0) {
            return Err(broken("the body is shorter than announced"));
        }
        self.state = State::Done;
        Ok(())
    }

    /// The next line without its break; `None` at the end of the body.
    async fn line(&mut self) -> Result<Option<String>, ReceiveError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                let line = line[..end].strip_suffix(b"\r").unwrap_or(&line[..end]);
                let line = std::str::from_utf8(line).map_err(|_| broken("a line of framing is not text"))?;
                return Ok(Some(line.to_owned()));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(broken("a line of framing is too long"));
            }
            if !self.fill().await? {
                return if self.buffer.has_remaining() {
                    Err(broken("the body ends early"))
                } else {
                    Ok(None)
                };
            }
        }
    }

    /// Reads more from the connection; `false` at its end.
    async fn fill(&mut self) -> Result<bool, ReceiveError> {
        let Some(bytes) = next_frame(&mut self.stream).await? else { return Ok(false) };
        self.buffer.extend_from_slice(&bytes);
        Ok(true)
    }
}

fn broken(reason: &str) -> ReceiveError {
    ReceiveError::Broken(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    async fn decode(
        frames: Vec<&'static str>,
        n_bytes: Option<u64>,
    ) -> Result<(String, String), ReceiveError> {
        let stream = futures::stream::iter(frames.into_iter().map(Ok::<_, std::io::Error>));
        let mut chunked = Chunked::new(Body::from_stream(stream).into_data_stream(), None, n_bytes);
        let (mut content, mut trailers) = (String::new(), String::new());
        while let Some(piece) = chunked.next().await? {
            match piece {
                Piece::Data(bytes) => content.push_str(std::str::from_utf8(&bytes).unwrap()),
                Piece::Trailer(name, value) => trailers.push_str(&format!("{name}={value};")),
            }
        }
        Ok((content, trailers))
    }

    #[tokio::test]
    async fn frames_may_be_cut_anywhere() {
        let whole = "5\r\nhello\r\n6;chunk-signature=0\r\n world\r\n0\r\nx-amz-checksum-crc32:abc=\r\n\r\n";
        for cut in 1..whole.len() {
            let frames = vec![&whole[..cut], &whole[cut..]];
            let (content, trailers) = decode(frames, Some(11)).await.unwrap();
            assert_eq!((content.as_str(), trailers.as_str()), ("hello world", "x-amz-checksum-crc32=abc=;"));
        }
    }

    #[tokio::test]
    async fn broken_framing_is_refused() {
        for (frames, n_bytes) in [
            (vec!["5\r\nhello\r\n"], None),
            (vec!["5\r\nhel"], None),
            (vec!["x\r\nhello\r\n0\r\n\r\n"], None),
            (vec!["3\r\nhello\r\n0\r\n\r\n"], None),
            (vec!["5\r\nhello\r\n0\r\n\r\n"], Some(4)),
            (vec!["5\r\nhello\r\n0\r\n\r\n"], Some(6)),
            (vec!["ffffffffffffffffff\r\n"], None),
        ] {
            assert!(
                matches!(decode(frames.clone(), n_bytes).await, Err(ReceiveError::Broken(_))),
                "{frames:?}"
            );
        }
    }
}
