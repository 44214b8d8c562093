//! Reads the outbox for executions that ended, and notes who is to be told.
//!
//! The deliveries and the place behind the event are noted in one transaction, so each is made once.

use std::sync::Arc;

use model::Timestamp;
use prost::Message as _;
use proto::flyteidl::admin::ExecutionSpec;
use store::{DeliveryRow, EventKind, OutboxRow};
use tokio_util::sync::CancellationToken;

use crate::bell::Bell;
use crate::facts::is_end;
use crate::place::Place;
use crate::plan;
use crate::seam::Step;
use crate::shared::{Ended, Shared};

/// Its name among the readers of the outbox; no sink may have it.
pub(crate) const NAME: &str = "notifications";

/// Events read at once.
const PAGE: u32 = 500;

/// How long rows that are held back by a running transaction are left alone.
const HELD_BACK: std::time::Duration = std::time::Duration::from_millis(100);

/// The reader.
pub(crate) struct Planner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) place: Place,
    pub(crate) bell: Bell,
    pub(crate) stop: CancellationToken,
}

impl Planner {
    /// Runs until it is told to stop, or the lease is lost.
    pub(crate) async fn run(mut self) -> Result<(), Ended> {
        let shared = Arc::clone(&self.shared);
        while !self.stop.is_cancelled() {
            self.bell.expect();
            let read = || shared.store.outbox_read(self.place.cursor, PAGE);
            let page = shared.persist("read events", read).await?;
            let (is_full, held_back) = (page.rows.len() >= PAGE as usize, page.held_back);
            let mut deliveries = Vec::new();
            for (cursor, event) in page.rows {
                if event.kind == EventKind::Workflow && is_end(event.phase) {
                    deliveries.extend(self.plan(&event).await?);
                }
                self.place.cursor = cursor;
            }
            if !deliveries.is_empty() || self.place.due().is_some_and(|due| due.is_zero()) {
                self.place.note(&shared, deliveries).await?;
                shared.pass(Step::Planned).await?;
            }
            if is_full {
                continue;
            }
            let again = held_back.then_some(HELD_BACK);
            let most = [again, self.place.due()].into_iter().flatten().min();
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.bell.wait(most) => {}
            }
        }
        self.place.note(&shared, Vec::new()).await
    }

    async fn plan(&self, event: &OutboxRow) -> Result<Vec<DeliveryRow>, Ended> {
        let shared = &self.shared;
        let read = || shared.store.execution_get_by_key(event.execution);
        let Some(row) = shared.persist("read an execution", read).await? else {
            tracing::warn!(event = event.id, "an execution is gone before anyone was told of its end");
            return Ok(Vec::new());
        };
        let spec = match ExecutionSpec::decode(row.spec.as_slice()) {
            Ok(spec) => spec,
            Err(error) => {
                tracing::error!(execution = %row.id, %error, "the spec of an execution cannot be read");
                ExecutionSpec::default()
            }
        };
        Ok(plan::deliveries(&shared.config, &shared.channels, event, (&row, &spec), Timestamp::now()))
    }
}
