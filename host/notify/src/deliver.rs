//! Sends what the delivery log says is due, and notes what came of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use model::Timestamp;
use store::{DeliveryOutcome, DeliveryRow, DeliveryState, OutboxLease};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bell::Bell;
use crate::failure::Failure;
use crate::letter::Letter;
use crate::plan::EMAIL;
use crate::seam::Step;
use crate::shared::{Ended, Shared};
use crate::{metric, retry};

/// Most messages on their way at once.
const AT_ONCE: usize = 16;

/// Sends deliveries.
pub(crate) struct Deliverer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lease: OutboxLease,
    pub(crate) bell: Bell,
    pub(crate) stop: CancellationToken,
}

impl Deliverer {
    /// Runs until it is told to stop, or the lease is lost. Messages that are on their way then are waited for, so
    /// that they are not sent twice; each has its limit of time.
    pub(crate) async fn run(mut self) -> Result<(), Ended> {
        let shared = Arc::clone(&self.shared);
        let mut under_way: HashSet<i64> = HashSet::new();
        let mut work: JoinSet<DeliveryOutcome> = JoinSet::new();
        loop {
            self.bell.expect();
            let now = Timestamp::now();
            let mut next = None;
            let is_stopping = self.stop.is_cancelled();
            if !is_stopping {
                self.start(&mut under_way, &mut work, now).await?;
                let find = || shared.store.delivery_next_due(now);
                next = shared.persist("read deliveries", find).await?;
            } else if work.is_empty() {
                return Ok(());
            }
            let pause = next.map(|at| Duration::from_micros(at.since(now).max(0).unsigned_abs()));
            tokio::select! {
                Some(done) = work.join_next() => {
                    let Ok(outcome) = done else { continue };
                    shared.pass(Step::Delivered).await?;
                    let id = outcome.id;
                    let report = || shared.store.delivery_report(&self.lease, vec![outcome.clone()]);
                    shared.persist("note what came of a delivery", report).await?;
                    under_way.remove(&id);
                    shared.pass(Step::Reported).await?;
                }
                () = self.stop.cancelled(), if !is_stopping => {}
                () = self.bell.wait(pause), if !is_stopping => {}
                else => {}
            }
        }
    }

    async fn start(
        &self,
        under_way: &mut HashSet<i64>,
        work: &mut JoinSet<DeliveryOutcome>,
        now: Timestamp,
    ) -> Result<(), Ended> {
        let free = AT_ONCE.saturating_sub(under_way.len());
        if free == 0 {
            return Ok(());
        }
        let read = || self.shared.store.delivery_due(now, (AT_ONCE + free) as u32);
        let due = self.shared.persist("read deliveries", read).await?;
        for row in due.into_iter().filter(|row| !under_way.contains(&row.id)).take(free).collect::<Vec<_>>() {
            under_way.insert(row.id);
            let shared = Arc::clone(&self.shared);
            work.spawn(async move { deliver(&shared, row).await });
        }
        Ok(())
    }
}

/// Sends one delivery.
async fn deliver(shared: &Shared, row: DeliveryRow) -> DeliveryOutcome {
    let (name, result) = send(shared, &row).await;
    let now = Timestamp::now();
    let Err(failure) = result else {
        shared.works(&format!("channel {name}"));
        metrics::counter!(metric::DELIVERIES, "channel" => name, "result" => "sent").increment(1);
        return DeliveryOutcome {
            id: row.id,
            state: DeliveryState::Sent,
            due_at: None,
            error: String::new(),
            at: now,
        };
    };
    let n = row.attempts.saturating_add(1);
    let most = shared.config.retry.max_attempts;
    let is_over = failure.is_final || most > 0 && n >= most;
    tracing::warn!(
        delivery = row.id,
        channel = name,
        n,
        is_over,
        error = failure.reason,
        "a message was not taken"
    );
    shared.fails(&format!("channel {name}"), &failure.reason);
    metrics::counter!(metric::FAILURES, "to" => name.clone()).increment(1);
    let pause = retry::pause(&shared.config.retry, n, &failure);
    let due_at = now.plus(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX));
    if is_over {
        metrics::counter!(metric::DELIVERIES, "channel" => name, "result" => "failed").increment(1);
    }
    DeliveryOutcome {
        id: row.id,
        state: if is_over { DeliveryState::Failed } else { DeliveryState::Pending },
        due_at: (!is_over).then_some(due_at),
        error: failure.reason,
        at: now,
    }
}

/// The channel or sink that was meant, and what it says.
async fn send(shared: &Shared, row: &DeliveryRow) -> (String, Result<(), Failure>) {
    // A message that waited for a channel goes to the one that is there now.
    let name = match shared.config.email() {
        Some(email) if row.channel == EMAIL => email.to_owned(),
        _ => row.channel.clone(),
    };
    let unknown = |what: &str| Failure::last(format!("no {what} of this name is configured"));
    let result = match Letter::decode(&row.payload) {
        Ok(Letter::Execution(facts)) => match shared.channels.get(&name) {
            Some(channel) => channel.send(&row.key, &row.recipient, &facts).await,
            None => Err(unknown("channel")),
        },
        Ok(Letter::Event(lost)) => match (shared.sinks.get(&name), lost.event()) {
            (Some(sink), Ok(event)) => sink.send(&[Arc::new(event)], &shared.config.source).await,
            (None, _) => Err(unknown("sink")),
            (_, Err(error)) => Err(Failure::last(error)),
        },
        Ok(Letter::Gap { .. }) => Err(Failure::last("the events are gone, nothing can be sent again")),
        Err(error) => Err(Failure::last(format!("the stored message cannot be read: {error}"))),
    };
    (name, result)
}
