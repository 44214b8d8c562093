//! Wakes those who wait for news of the store.

use std::time::Duration;

use store::Wake;
use tokio::sync::{broadcast, watch};

/// A look is due at least this often, for the case that a wake-up was lost.
const SWEEP: Duration = Duration::from_secs(30);

/// One who waits. News that come between `expect` and `wait` are not missed.
#[derive(Clone, Debug)]
pub(crate) struct Bell(watch::Receiver<u64>);

/// Rings bells.
#[derive(Debug)]
pub(crate) struct Bells {
    events: watch::Sender<u64>,
    deliveries: watch::Sender<u64>,
}

impl Bells {
    pub(crate) fn new() -> Self {
        Self { events: watch::channel(0).0, deliveries: watch::channel(0).0 }
    }

    /// Rings when there may be new events.
    pub(crate) fn events(&self) -> Bell {
        Bell(self.events.subscribe())
    }

    /// Rings when there may be new deliveries.
    pub(crate) fn deliveries(&self) -> Bell {
        Bell(self.deliveries.subscribe())
    }

    /// Passes on the wake-ups of the store, as long as it is there.
    pub(crate) async fn listen(&self, mut wakes: broadcast::Receiver<Wake>) {
        let ring = |bell: &watch::Sender<u64>| bell.send_modify(|n| *n = n.wrapping_add(1));
        loop {
            match wakes.recv().await {
                Ok(Wake::Events) => ring(&self.events),
                Ok(Wake::Deliveries) => ring(&self.deliveries),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    ring(&self.events);
                    ring(&self.deliveries);
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

impl Bell {
    /// What rang before counts as heard.
    pub(crate) fn expect(&mut self) {
        self.0.borrow_and_update();
    }

    /// Waits until it rings, or for this long.
    pub(crate) async fn wait(&mut self, most: Option<Duration>) {
        let most = most.unwrap_or(SWEEP).min(SWEEP);
        // Over in any case: it rang, the time is up, or nobody is left who rings.
        match tokio::time::timeout(most, self.0.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(_)) => tokio::time::sleep(most).await,
        }
    }
}
