//! Holds the events of one page on their way to a sink.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::Timestamp;
use store::{DeliveryRow, ExecutionKey, OutboxCursor, OutboxRow};

use crate::event::Event;
use crate::failure::{Failure, with_causes};
use crate::sink::Sink;
use crate::{letter, metric};

/// One event of a page.
#[derive(Debug)]
pub(super) struct Item {
    cursor: OutboxCursor,
    pub(super) event: Arc<Event>,
    is_done: AtomicBool,
}

/// The events of a page that a sink asks for.
#[derive(Debug)]
pub(super) struct Page {
    items: Vec<Item>,
    /// The place of the page's last event.
    pub(super) end: OutboxCursor,
    lost: Mutex<Vec<DeliveryRow>>,
}

impl Item {
    pub(super) fn done(&self) {
        self.is_done.store(true, Ordering::Release);
    }
}

impl Page {
    pub(super) fn open(sink: &Sink, rows: Vec<(OutboxCursor, OutboxRow)>, end: OutboxCursor) -> Self {
        let mut items = Vec::with_capacity(rows.len());
        for (cursor, row) in rows {
            match Event::read(cursor, row) {
                Ok(event) if sink.wants(&event) => {
                    items.push(Item { cursor, event: Arc::new(event), is_done: AtomicBool::new(false) });
                }
                Ok(_) => {}
                Err(error) => tracing::error!(error = %with_causes(&error), "an event is left out"),
            }
        }
        Self { items, end, lost: Mutex::default() }
    }

    /// The events in rows of their own for each execution, or all in one.
    pub(super) fn lanes(&self, n: usize) -> Vec<Vec<&Item>> {
        if n <= 1 {
            return if self.items.is_empty() { Vec::new() } else { vec![self.items.iter().collect()] };
        }
        let mut lanes: Vec<Vec<&Item>> = Vec::new();
        let mut places: HashMap<ExecutionKey, usize> = HashMap::new();
        for item in &self.items {
            let place = *places.entry(item.event.execution).or_insert(lanes.len());
            match lanes.get_mut(place) {
                Some(lane) => lane.push(item),
                None => lanes.push(vec![item]),
            }
        }
        lanes
    }

    /// The place behind which nothing is missing; `start` when the first event is not done.
    pub(super) fn reached(&self, start: OutboxCursor) -> OutboxCursor {
        let done = self.items.iter().take_while(|item| item.is_done.load(Ordering::Acquire));
        // A later one may have been noted before.
        done.last().map_or(start, |item| item.cursor.max(start))
    }

    /// Leaves an event to the delivery log.
    pub(super) fn give_up(&self, sink: &Sink, item: &Item, failure: &Failure, attempts: u32) {
        tracing::error!(
            sink = sink.name,
            event = item.event.id,
            error = failure.reason,
            "an event is given up"
        );
        metrics::counter!(metric::LOST, "sink" => sink.name.clone()).increment(1);
        let row =
            letter::lost_row(&sink.name, &sink.shown(), &item.event, (failure, attempts), Timestamp::now());
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).push(row);
        item.done();
    }

    /// What was given up since this was asked last.
    pub(super) fn take_lost(&self) -> Vec<DeliveryRow> {
        std::mem::take(&mut *self.lost.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
