//! Holds what all parts of the room use, and the ways in which they end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use store::{OutboxCursor, Store};
use telemetry::{Component, State};
use tokio::sync::Notify as Signal;
use tokio_util::sync::CancellationToken;

use crate::bell::Bells;
use crate::channel::Channels;
use crate::config::Config;
use crate::failure::with_causes;
use crate::seam::{Seam, Step};
use crate::sink::Sink;

/// Pause between two tries of something the store did not do.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Failures in a row after which the health report names the receiver.
const TROUBLE: u32 = 3;

/// Why a part of the room ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Another host hands events out now.
    Fenced,
    /// The store was closed.
    Closed,
    /// A test wants it.
    Crashed(Step),
}

/// What all parts use.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) host: String,
    pub(crate) store: Store,
    pub(crate) sinks: BTreeMap<String, Arc<Sink>>,
    pub(crate) channels: Channels,
    pub(crate) bells: Bells,
    pub(crate) seam: Arc<dyn Seam>,
    pub(crate) health: Component,
    /// Receivers that are in trouble, with how often they failed in a row and why.
    trouble: Mutex<BTreeMap<String, (u32, String)>>,
    /// How far each reader has come, as noted in the store.
    places: Mutex<BTreeMap<String, OutboxCursor>>,
    /// That one of them has moved.
    pub(crate) moved: Signal,
}

/// What [`Shared`] is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) host: String,
    pub(crate) store: Store,
    pub(crate) sinks: BTreeMap<String, Arc<Sink>>,
    pub(crate) channels: Channels,
    pub(crate) seam: Arc<dyn Seam>,
    pub(crate) health: Component,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            config: parts.config,
            host: parts.host,
            store: parts.store,
            sinks: parts.sinks,
            channels: parts.channels,
            bells: Bells::new(),
            seam: parts.seam,
            health: parts.health,
            trouble: Mutex::default(),
            places: Mutex::default(),
            moved: Signal::new(),
        }
    }

    /// Ends here if a test wants it.
    pub(crate) async fn pass(&self, step: Step) -> Result<(), Ended> {
        if self.seam.crashes_at(step).await { Err(Ended::Crashed(step)) } else { Ok(()) }
    }

    /// Does something with the store until it succeeds. Errors of the database are waited out; losing the lease is
    /// the end.
    pub(crate) async fn persist<T, F>(&self, what: &str, mut work: impl FnMut() -> F) -> Result<T, Ended>
    where
        F: Future<Output = Result<T, store::Error>>,
    {
        loop {
            match work().await {
                Ok(done) => return Ok(done),
                Err(store::Error::Fenced { .. }) => return Err(Ended::Fenced),
                Err(store::Error::Closed) => return Err(Ended::Closed),
                Err(error) => {
                    tracing::warn!(error = %with_causes(&error), "cannot {what}, trying again");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    /// Notes that a receiver took something.
    pub(crate) fn works(&self, who: &str) {
        let mut trouble = lock(&self.trouble);
        if trouble.remove(who).is_some_and(|(n, _)| n >= TROUBLE) {
            tracing::info!(receiver = who, "the receiver works again");
            self.say(&trouble);
        }
    }

    /// Notes that a receiver failed.
    pub(crate) fn fails(&self, who: &str, reason: &str) {
        let mut trouble = lock(&self.trouble);
        let entry = trouble.entry(who.to_owned()).or_default();
        entry.0 = entry.0.saturating_add(1);
        reason.clone_into(&mut entry.1);
        if entry.0 == TROUBLE {
            tracing::warn!(receiver = who, error = reason, "the receiver does not take what is sent");
            self.say(&trouble);
        }
    }

    fn say(&self, trouble: &BTreeMap<String, (u32, String)>) {
        let lines: Vec<String> = trouble
            .iter()
            .filter(|(_, (n, _))| *n >= TROUBLE)
            .map(|(who, (_, reason))| format!("{who}: {reason}"))
            .collect();
        self.health.set(if lines.is_empty() { State::Ok } else { State::Degraded(lines.join("; ")) });
    }

    /// The receivers in trouble, with the reasons.
    pub(crate) fn troubles(&self) -> BTreeMap<String, String> {
        lock(&self.trouble).iter().map(|(who, (_, reason))| (who.clone(), reason.clone())).collect()
    }

    /// Notes how far a reader has come in the store.
    pub(crate) fn place(&self, reader: &str, cursor: OutboxCursor) {
        lock(&self.places).insert(reader.to_owned(), cursor);
        self.moved.notify_one();
    }

    /// Forgets all places: this host leads no more.
    pub(crate) fn forget_places(&self) {
        lock(&self.places).clear();
    }

    /// What every reader has passed.
    pub(crate) fn passed_by_all(&self) -> Option<OutboxCursor> {
        lock(&self.places).values().min().copied()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sleeps, unless told to stop first; says whether it slept to the end.
pub(crate) async fn sleep_unless(stop: &CancellationToken, pause: Duration) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(pause) => true,
    }
}
