//! Moves events from the outbox to one sink: in order for each execution, each at least once.
//!
//! A page is read and sent, and the cursor moved behind it. Events of one execution follow each other; several
//! executions go side by side if the sink can do that. An event that is not taken is tried until it is, and all
//! behind it waits, unless the sink has a limit: then it goes to the delivery log and the next one is sent.

mod page;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use model::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::bell::Bell;
use crate::event::Event;
use crate::failure::Failure;
use crate::place::Place;
use crate::seam::Step;
use crate::shared::{Ended, Shared};
use crate::sink::Sink;
use crate::{letter, metric, retry};
use page::{Item, Page};

/// Events read at once.
const PAGE: u32 = 500;

/// How long rows that are held back by a running transaction are left alone, at first and at most.
const HELD_BACK: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(500));

/// Time between two looks at a page that takes long.
const LOOK: Duration = Duration::from_secs(1);

/// Most events beyond the limit that are counted, and given up, at once.
const MAX_EXCESS: u32 = 1_000_000;

/// How many looks pass between two counts of what waits.
const COUNT_EVERY: u32 = 10;

/// One sink with its place in the outbox.
pub(crate) struct Pump {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sink: Arc<Sink>,
    pub(crate) place: Place,
    pub(crate) bell: Bell,
    pub(crate) stop: CancellationToken,
}

impl Pump {
    /// Runs until it is told to stop, or the lease is lost.
    pub(crate) async fn run(mut self) -> Result<(), Ended> {
        let shared = Arc::clone(&self.shared);
        let mut held_back = HELD_BACK.0;
        while !self.stop.is_cancelled() {
            self.bell.expect();
            let read = || shared.store.outbox_read(self.place.cursor, PAGE);
            let page = shared.persist("read events", read).await?;
            shared.pass(Step::Read).await?;
            if let Some((end, _)) = page.rows.last() {
                let end = *end;
                let is_full = page.rows.len() >= PAGE as usize;
                let is_whole = self.hand_over(Page::open(&self.sink, page.rows, end)).await?;
                held_back = HELD_BACK.0;
                if is_full || !is_whole {
                    continue;
                }
            }
            // No wake-up follows when the transaction that holds rows back ends without events of its own.
            let again = page.held_back.then_some(held_back);
            held_back = if page.held_back { (held_back * 2).min(HELD_BACK.1) } else { HELD_BACK.0 };
            let most = [again, self.place.due()].into_iter().flatten().min();
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.bell.wait(most) => {}
            }
            if self.stop.is_cancelled() || self.place.due().is_some_and(|due| due.is_zero()) {
                self.place.note(&shared, Vec::new()).await?;
            }
        }
        Ok(())
    }

    /// Sends a page and moves behind it, or, when told to stop, behind what was sent of it. The answer is false when
    /// the rest was given up.
    async fn hand_over(&mut self, page: Page) -> Result<bool, Ended> {
        let shared = Arc::clone(&self.shared);
        let sink = Arc::clone(&self.sink);
        let sending = send_all(&shared, &sink, &page);
        tokio::pin!(sending);
        let mut looks = 0u32;
        loop {
            tokio::select! {
                biased;
                done = &mut sending => {
                    done?;
                    self.place.cursor = page.end;
                    break;
                }
                () = self.stop.cancelled() => {
                    self.place.cursor = page.reached(self.place.cursor);
                    break;
                }
                () = tokio::time::sleep(LOOK) => {
                    looks += 1;
                    self.place.cursor = page.reached(self.place.cursor);
                    self.place.note(&shared, page.take_lost()).await?;
                    if looks % COUNT_EVERY == 1 && self.skip().await? {
                        return Ok(false);
                    }
                }
            }
        }
        let lost = page.take_lost();
        if !lost.is_empty() || self.stop.is_cancelled() || self.place.due().is_some_and(|due| due.is_zero()) {
            self.place.note(&shared, lost).await?;
        }
        Ok(true)
    }

    /// Gives up the oldest events when more than allowed wait for a sink that does not take them.
    async fn skip(&mut self) -> Result<bool, Ended> {
        let (shared, most) = (Arc::clone(&self.shared), self.shared.config.max_backlog);
        let from = self.place.cursor;
        let count = || shared.store.outbox_behind(from, most.saturating_add(MAX_EXCESS));
        let behind = shared.persist("count events", count).await?;
        if most == 0 || behind <= most {
            return Ok(false);
        }
        // Not only those beyond the limit, or the next look would give up a few more.
        let n = behind - most / 10 * 9;
        let find = || shared.store.outbox_nth(from, n);
        let Some(to) = shared.persist("find events", find).await? else { return Ok(false) };
        tracing::error!(
            sink = self.sink.name,
            events = n,
            "too many events wait for a sink; the oldest are given up"
        );
        metrics::counter!(metric::LOST, "sink" => self.sink.name.clone()).increment(u64::from(n));
        self.place.cursor = to;
        let gap = letter::gap_row(&self.sink.name, &self.sink.shown(), n, (from, to), Timestamp::now());
        self.place.note(&shared, vec![gap]).await?;
        Ok(true)
    }
}

async fn send_all(shared: &Shared, sink: &Sink, page: &Page) -> Result<(), Ended> {
    let mut lanes: Vec<BoxFuture<'_, Result<(), Ended>>> = Vec::new();
    for lane in page.lanes(sink.lanes()) {
        lanes.push(Box::pin(send_lane(shared, sink, page, lane)));
    }
    stream::iter(lanes).buffer_unordered(sink.lanes()).try_collect().await
}

async fn send_lane(shared: &Shared, sink: &Sink, page: &Page, lane: Vec<&Item>) -> Result<(), Ended> {
    let at_once = sink.at_once().min(lane.len()).max(1);
    for items in lane.chunks(at_once) {
        let Err(failure) = send(shared, sink, items).await? else { continue };
        if let [only] = items {
            page.give_up(sink, only, &failure, sink.max_attempts());
            continue;
        }
        // All together are not taken: each for itself, so that only what has to be is given up.
        for item in items {
            if let Err(failure) = send(shared, sink, std::slice::from_ref(item)).await? {
                page.give_up(sink, item, &failure, sink.max_attempts());
            }
        }
    }
    Ok(())
}

/// Sends until it succeeds, the sink's limit is reached, or it has to be sent in parts; the inner error is the last
/// failure.
async fn send(shared: &Shared, sink: &Sink, items: &[&Item]) -> Result<Result<(), Failure>, Ended> {
    let events: Vec<Arc<Event>> = items.iter().map(|item| Arc::clone(&item.event)).collect();
    let oldest = events.first().map_or(0.0, |event| age(event));
    let mut n = 0u32;
    loop {
        let name = sink.name.clone();
        match sink.send(&events, &shared.config.source).await {
            Ok(()) => {
                shared.pass(Step::Sent).await?;
                items.iter().for_each(|item| item.done());
                shared.works(&format!("sink {name}"));
                metrics::gauge!(metric::LAG_SECONDS, "sink" => name.clone()).set(oldest);
                metrics::counter!(metric::EVENTS, "sink" => name).increment(events.len() as u64);
                return Ok(Ok(()));
            }
            Err(failure) => {
                n = n.saturating_add(1);
                tracing::debug!(sink = name, n, error = failure.reason, "events were not taken");
                shared.fails(&format!("sink {name}"), &failure.reason);
                metrics::counter!(metric::FAILURES, "to" => name.clone()).increment(1);
                metrics::gauge!(metric::LAG_SECONDS, "sink" => name)
                    .set(events.first().map_or(0.0, |event| age(event)));
                // A batch that will never be taken, such as one that is too large, may be taken in parts.
                let is_hopeless = failure.is_final && items.len() > 1;
                if is_hopeless || sink.max_attempts() > 0 && n >= sink.max_attempts() {
                    return Ok(Err(failure));
                }
                tokio::time::sleep(retry::pause(&shared.config.retry, n, &failure)).await;
            }
        }
    }
}

/// Seconds since an event happened.
fn age(event: &Event) -> f64 {
    Timestamp::now().since(event.time).max(0) as f64 / 1e6
}
