//! Tells whoever waits that an execution needs a look.

use std::fmt::Write as _;
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::{ExecutionKey, Store};

/// Channel of the notifications between hosts on Postgres.
pub(crate) const CHANNEL: &str = "pinion_wake";

/// Longest payload; Postgres refuses 8,000 bytes.
const MAX_NOTICE: usize = 7_900;

/// Wake-ups a slow receiver may lag behind before it loses the oldest.
const CAPACITY: usize = 16 * 1024;

/// What happened to an execution. A hint: a receiver that lags or reconnects reads the rows again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wake {
    /// It was created and waits to be claimed.
    Created(ExecutionKey),
    /// An abort was asked for.
    AbortRequested(ExecutionKey),
    /// Its own row changed; those of its nodes may have, too.
    Changed(ExecutionKey),
    /// One of its signals got a value.
    Signalled(ExecutionKey),
    /// An execution that one of its nodes started has ended.
    ChildEnded(ExecutionKey),
    /// Something it waits for may be there now: a reservation was released.
    Nudge(ExecutionKey),
    /// No execution: schedules or backfills were changed.
    Scheduler,
    /// No execution: there are new events to hand out.
    Events,
    /// No execution: there are new deliveries to make.
    Deliveries,
}

impl Wake {
    /// The execution it is about.
    pub fn key(self) -> Option<ExecutionKey> {
        match self {
            Self::Created(key)
            | Self::AbortRequested(key)
            | Self::Changed(key)
            | Self::Signalled(key)
            | Self::ChildEnded(key)
            | Self::Nudge(key) => Some(key),
            Self::Scheduler | Self::Events | Self::Deliveries => None,
        }
    }

    fn letter(self) -> char {
        match self {
            Self::Created(_) => 'c',
            Self::AbortRequested(_) => 'a',
            Self::Changed(_) => 'u',
            Self::Signalled(_) => 's',
            Self::ChildEnded(_) => 'e',
            Self::Nudge(_) => 'n',
            Self::Scheduler => 't',
            Self::Events => 'o',
            Self::Deliveries => 'd',
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let key = ExecutionKey(text.get(1..)?.parse().ok()?);
        match text.chars().next()? {
            'c' => Some(Self::Created(key)),
            'a' => Some(Self::AbortRequested(key)),
            'u' => Some(Self::Changed(key)),
            's' => Some(Self::Signalled(key)),
            'e' => Some(Self::ChildEnded(key)),
            'n' => Some(Self::Nudge(key)),
            't' => Some(Self::Scheduler),
            'o' => Some(Self::Events),
            'd' => Some(Self::Deliveries),
            _ => None,
        }
    }
}

/// Sends wake-ups within this process, and packs and unpacks those between hosts.
#[derive(Clone, Debug)]
pub(crate) struct Wakes {
    sender: broadcast::Sender<Wake>,
    /// Tells this store's own notices from those of others.
    origin: Arc<str>,
}

impl Wakes {
    pub(crate) fn new() -> Self {
        Self {
            sender: broadcast::channel(CAPACITY).0,
            origin: uuid::Uuid::new_v4().simple().to_string().into(),
        }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Wake> {
        self.sender.subscribe()
    }

    pub(crate) fn send(&self, wakes: impl IntoIterator<Item = Wake>) {
        for wake in wakes {
            // Nobody listening is no fault.
            let _ = self.sender.send(wake);
        }
    }

    pub(crate) fn send_on_drop(&self, wakes: Vec<Wake>) -> SendOnDrop {
        SendOnDrop { wakes: self.clone(), pending: wakes }
    }

    /// Payloads that carry these wake-ups: the origin, then a letter and a key for each.
    pub(crate) fn notices(&self, wakes: &[Wake]) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for wake in wakes {
            if out.last().is_none_or(|last| last.len() + 24 > MAX_NOTICE) {
                out.push(self.origin.to_string());
            }
            if let Some(last) = out.last_mut() {
                // Writing to a string can't fail.
                let _ = write!(last, " {}{}", wake.letter(), wake.key().map_or(0, |key| key.0));
            }
        }
        out
    }

    /// Passes on the notice of another host; its own were sent when they were committed.
    pub(crate) fn receive(&self, notice: &str) {
        let mut words = notice.split(' ');
        if words.next() != Some(&*self.origin) {
            self.send(words.filter_map(Wake::parse));
        }
    }
}

/// Sends its wake-ups when it is dropped.
pub(crate) struct SendOnDrop {
    wakes: Wakes,
    pending: Vec<Wake>,
}

impl Drop for SendOnDrop {
    fn drop(&mut self) {
        self.wakes.send(self.pending.drain(..));
    }
}

impl Store {
    /// Wake-ups from now on, of this process and, on Postgres, of all hosts.
    pub fn subscribe(&self) -> broadcast::Receiver<Wake> {
        self.inner.wakes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_reach_the_others_whole() {
        let (here, there) = (Wakes::new(), Wakes::new());
        let (mut own, mut other) = (here.subscribe(), there.subscribe());
        let sent: Vec<Wake> = (0..2_000)
            .flat_map(|n| {
                let key = ExecutionKey(i64::MAX - n);
                [
                    Wake::Created(key),
                    Wake::AbortRequested(key),
                    Wake::Changed(key),
                    Wake::Signalled(key),
                    Wake::ChildEnded(key),
                    Wake::Nudge(key),
                    Wake::Events,
                    Wake::Deliveries,
                ]
            })
            .collect();
        for notice in here.notices(&sent) {
            assert!(notice.len() < 8_000);
            here.receive(&notice);
            there.receive(&notice);
        }
        assert!(own.try_recv().is_err());
        let got: Vec<Wake> = std::iter::from_fn(|| other.try_recv().ok()).collect();
        assert_eq!(got, sent);
    }
}
