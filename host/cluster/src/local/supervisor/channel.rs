//! Carries frames over a socket without ever blocking on a slow reader.

use std::{
    io::{ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use nix::poll::PollFlags;
use serde::{Serialize, de::DeserializeOwned};

use crate::local::protocol::{read_frame, write_frame};

/// One end of a socket with what was read but not understood yet, and what was said but not written yet.
pub(super) struct Channel {
    socket: UnixStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    closed: bool,
}

impl Channel {
    pub(super) fn new(socket: UnixStream) -> std::io::Result<Channel> {
        socket.set_nonblocking(true)?;
        Ok(Channel { socket, inbox: Vec::new(), outbox: Vec::new(), closed: false })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What to poll the socket for.
    pub(super) fn interest(&self) -> PollFlags {
        if self.outbox.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLIN | PollFlags::POLLOUT }
    }

    /// Whether the other side is gone, or cannot be understood.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Queues a message; [`Channel::flush`] sends it.
    pub(super) fn send<T: Serialize>(&mut self, message: &T) {
        write_frame(&mut self.outbox, message);
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&mut self) {
        let mut written = 0;
        while written < self.outbox.len() {
            match self.socket.write(&self.outbox[written..]) {
                Ok(n) => written += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.closed = true;
                    written = self.outbox.len();
                }
            }
        }
        self.outbox.drain(..written);
    }

    /// Reads whatever has arrived and returns the whole messages in it.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> Vec<T> {
        let mut piece = [0; 16 * 1024];
        while !self.closed {
            match self.socket.read(&mut piece) {
                Ok(0) => self.closed = true,
                Ok(n) => self.inbox.extend_from_slice(&piece[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.closed = true,
            }
        }
        let mut messages = Vec::new();
        loop {
            match read_frame(&mut self.inbox) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return messages,
                Err(error) => {
                    eprintln!("supervisor: {error}");
                    self.closed = true;
                    return messages;
                }
            }
        }
    }
}
