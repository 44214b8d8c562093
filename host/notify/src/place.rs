//! Keeps a reader's place in the outbox, and notes it in the store now and then.
//!
//! A note costs a transaction, so there is at most one in a while; a crash in between repeats what was sent since.

use std::time::{Duration, Instant};

use model::Timestamp;
use store::{DeliveryRow, OutboxCursor, OutboxLease};

use crate::seam::Step;
use crate::shared::{Ended, Shared};

/// Shortest time between two notes of an unhurried reader.
const GAP: Duration = Duration::from_millis(250);

/// Where a reader is.
#[derive(Debug)]
pub(crate) struct Place {
    reader: String,
    lease: OutboxLease,
    /// Behind what was read.
    pub(crate) cursor: OutboxCursor,
    noted: OutboxCursor,
    noted_at: Instant,
}

impl Place {
    pub(crate) fn new(reader: &str, lease: OutboxLease, cursor: OutboxCursor) -> Self {
        let noted_at = Instant::now();
        Self { reader: reader.to_owned(), lease, cursor, noted: cursor, noted_at }
    }

    /// How long the next note can wait; none when nothing is to be noted.
    pub(crate) fn due(&self) -> Option<Duration> {
        (self.cursor != self.noted).then(|| GAP.saturating_sub(self.noted_at.elapsed()))
    }

    /// Notes the place, with the deliveries that follow from what was passed.
    pub(crate) async fn note(&mut self, shared: &Shared, deliveries: Vec<DeliveryRow>) -> Result<(), Ended> {
        if self.cursor == self.noted && deliveries.is_empty() {
            return Ok(());
        }
        let note = || {
            let rows = deliveries.clone();
            shared.store.outbox_advance(&self.lease, &self.reader, self.cursor, rows, Timestamp::now())
        };
        shared.persist("note how far events were handed out", note).await?;
        self.noted = self.cursor;
        self.noted_at = Instant::now();
        shared.place(&self.reader, self.cursor);
        shared.pass(Step::Moved).await
    }
}
