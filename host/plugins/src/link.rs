//! Moves frames over the socket between the host and a plugin process.
//!
//! A frame is a little-endian `u32` length and a protobuf `Frame`. Sending never waits: what the socket does not take at
//! once is kept and written by the flusher, so a sender that is dropped half-way can not leave half a frame behind.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, BytesMut};
use prost::Message;
use proto::pinion::plugin::v1::Frame;
use tokio::net::UnixStream;
use tokio::sync::Notify;

const PREFIX: usize = 4;
const READ_CHUNK: usize = 64 << 10;

/// The sending half. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sender(Arc<Shared>);

struct Shared {
    stream: UnixStream,
    /// Bytes that the socket did not take yet.
    left: Mutex<BytesMut>,
    more: Notify,
}

/// The receiving half.
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    buffer: BytesMut,
    limit: usize,
}

/// Both halves of a connected socket; frames larger than `limit` are errors.
pub(crate) fn link(stream: std::os::unix::net::UnixStream, limit: usize) -> io::Result<(Sender, Receiver)> {
    stream.set_nonblocking(true)?;
    let stream = UnixStream::from_std(stream)?;
    let shared = Arc::new(Shared { stream, left: Mutex::default(), more: Notify::new() });
    Ok((Sender(Arc::clone(&shared)), Receiver { shared, buffer: BytesMut::new(), limit }))
}

impl Sender {
    /// Sends a frame, or keeps it for the flusher. A broken socket is noticed by the receiver.
    pub(crate) fn send(&self, frame: &Frame) {
        let length = frame.encoded_len();
        let mut bytes = Vec::with_capacity(PREFIX + length);
        bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        frame.encode_raw(&mut bytes);
        let mut left = self.0.left.lock().unwrap_or_else(PoisonError::into_inner);
        let written = if left.is_empty() { self.0.stream.try_write(&bytes).unwrap_or(0) } else { 0 };
        if let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            left.extend_from_slice(rest);
            drop(left);
            self.0.more.notify_one();
        }
    }

    /// Writes what the socket did not take at once, until the socket breaks. Runs beside the senders.
    pub(crate) async fn flush_for_ever(&self) {
        loop {
            self.0.more.notified().await;
            while self.has_more() {
                if self.0.stream.writable().await.is_err() || self.flush_some().is_err() {
                    return;
                }
            }
        }
    }

    fn has_more(&self) -> bool {
        !self.0.left.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn flush_some(&self) -> io::Result<()> {
        let mut left = self.0.left.lock().unwrap_or_else(PoisonError::into_inner);
        match self.0.stream.try_write(&left) {
            Ok(written) => {
                left.advance(written);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Receiver {
    /// The next frame; none when the other side is gone.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.decode()? {
                return Ok(Some(frame));
            }
            self.shared.stream.readable().await?;
            self.buffer.reserve(READ_CHUNK);
            match self.shared.stream.try_read_buf(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn decode(&mut self) -> io::Result<Option<Frame>> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > self.limit {
            let message = format!("a frame of {length} bytes is over the limit of {}", self.limit);
            return Err(io::Error::new(ErrorKind::InvalidData, message));
        }
        if self.buffer.len() < PREFIX + length {
            self.buffer.reserve(PREFIX + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        let frame = Frame::decode(self.buffer.split_to(length)).map_err(io::Error::other)?;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(limit: usize) -> ((Sender, Receiver), (Sender, Receiver)) {
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        (link(one, limit).unwrap(), link(other, limit).unwrap())
    }

    #[tokio::test]
    async fn frames_arrive_whole_and_in_order() {
        let ((sender, _r), (_s, mut receiver)) = pair(1 << 30);
        let flusher = sender.clone();
        let flusher = tokio::spawn(async move { flusher.flush_for_ever().await });
        let sizes = [0, 1, 64 << 10, 5 << 20, 3];
        for (id, size) in (0..).zip(sizes) {
            sender.send(&Frame { id, body: vec![7; size], ..Frame::default() });
        }
        for (id, size) in (0..).zip(sizes) {
            let frame = receiver.receive().await.unwrap().unwrap();
            assert_eq!((frame.id, frame.body.len()), (id, size));
        }
        flusher.abort();
    }

    #[tokio::test]
    async fn other_side_gone_is_the_end() {
        let ((sender, mut receiver), other) = pair(1 << 20);
        drop(other);
        sender.send(&Frame::default());
        assert!(receiver.receive().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn oversized_frame_is_an_error() {
        let ((sender, _r), (_s, mut receiver)) = pair(100);
        sender.send(&Frame { body: vec![0; 200], ..Frame::default() });
        tokio::select! {
            () = sender.flush_for_ever() => panic!("the socket is fine"),
            received = receiver.receive() => assert!(received.is_err()),
        }
    }
}
