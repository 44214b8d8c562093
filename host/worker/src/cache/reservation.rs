//! Holds the reservations of tasks whose equal calls run one after the other.

use std::sync::Arc;

use catalog::{Reservation, TaskKey};
use engine::NodeIdx;
use futures::StreamExt;
use model::{NodeExecutionId, Timestamp, name};

use super::policy;
use crate::clusters::with_causes;
use crate::driver::{Alarm, Done, Driver};
use crate::place::Place;
use crate::shared::Shared;
use crate::{backoff, clock};

/// Reservations prolonged at once.
const AT_ONCE: usize = 16;

/// How often an owner gives a sign of life, in microseconds.
pub(super) fn heartbeat_micros(shared: &Shared) -> i64 {
    i64::try_from(shared.config.cache.reservation_heartbeat.as_micros()).unwrap_or(i64::MAX)
}

/// Name of a node as the owner of a reservation, in any execution of any project.
pub(crate) fn owner(id: &NodeExecutionId) -> String {
    let NodeExecutionId { execution, node } = id;
    let joined = name::join_parts(&[&execution.project, &execution.domain, &execution.name, node]);
    name::fixed_length_unique_id(&joined, 50, name::HashWidth::Fnv128)
}

impl Driver {
    /// Notes a reservation, and gives signs of life from now on.
    pub(crate) fn hold(&mut self, node: NodeIdx, key: TaskKey, now: Timestamp) {
        self.cache.held.insert(node, key);
        if self.cache.beat_at.is_none() {
            self.next_beat(now);
        }
    }

    fn next_beat(&mut self, now: Timestamp) {
        let at = clock::after(now, self.shared.config.cache.reservation_heartbeat.get());
        self.cache.beat_at = Some(at);
        self.alarm(at, Alarm::Beat);
    }

    fn owner_of(&self, node: NodeIdx) -> String {
        owner(&Place::of(&self.info, &self.engine, node).id)
    }

    /// Prolongs every reservation.
    pub(crate) fn beat(&mut self, now: Timestamp) {
        self.cache.beat_at = None;
        if self.cache.held.is_empty() {
            return;
        }
        self.next_beat(now);
        let held: Vec<_> =
            self.cache.held.iter().map(|(node, key)| (self.owner_of(*node), key.clone())).collect();
        let shared = Arc::clone(&self.shared);
        self.work.spawn(async move {
            let heartbeat = heartbeat_micros(&shared);
            let mut prolonged = futures::stream::iter(held)
                .map(|(owner, key)| prolong(&shared, owner, key, heartbeat))
                .buffer_unordered(AT_ONCE);
            while prolonged.next().await.is_some() {}
            drop(prolonged);
            Done::Nothing
        });
    }

    /// Holds again what an earlier life reserved for a task that is under way.
    pub(crate) fn hold_again(&mut self, node: NodeIdx) {
        if self.cache.held.contains_key(&node) {
            return;
        }
        let Ok(Some(policy)) = policy(&self.engine, node) else { return };
        if !policy.is_serialized {
            return;
        }
        let inputs = self.inputs_of(node);
        let owner = self.owner_of(node);
        let shared = Arc::clone(&self.shared);
        self.work.spawn(async move {
            let key = match inputs.read(&shared).await {
                Ok(inputs) => policy.signature.key(&inputs).ok(),
                Err(_) => None,
            };
            match key {
                Some(key) => {
                    let is_ours = prolong(&shared, owner, key.clone(), heartbeat_micros(&shared)).await;
                    Done::Held { node, key: is_ours.then(|| Box::new(key)) }
                }
                None => Done::Held { node, key: None },
            }
        });
    }

    /// Takes in a reservation that is held again; a task that lost it runs on.
    pub(crate) fn held(&mut self, node: NodeIdx, key: Option<Box<TaskKey>>, now: Timestamp) {
        let Some(key) = key else { return };
        self.hold(node, *key, now);
        if self.engine.node(node).phase.is_terminal() {
            self.cache.ended.insert(node);
            self.release_ended();
        }
    }

    /// Releases what ended nodes reserved; their rows are durable.
    pub(crate) fn release_ended(&mut self) {
        for node in std::mem::take(&mut self.cache.ended) {
            let Some(key) = self.cache.held.remove(&node) else { continue };
            let owner = self.owner_of(node);
            self.cache.n_releasing += 1;
            let shared = Arc::clone(&self.shared);
            self.work.spawn(async move {
                release(&shared, &owner, &key).await;
                Done::Released
            });
        }
    }

    /// A release has ended.
    pub(crate) fn released(&mut self) {
        self.cache.n_releasing = self.cache.n_releasing.saturating_sub(1);
    }
}

/// Says that the owner is alive; whether the reservation is still its own.
async fn prolong(shared: &Shared, owner: String, key: TaskKey, heartbeat: i64) -> bool {
    match shared.catalog.reserve(&key, &owner, heartbeat, shared.clock.now(), None).await {
        Ok(Reservation::Acquired { .. }) => true,
        Ok(Reservation::Held { owner: other, .. }) => {
            tracing::warn!(owner, other, tag = key.tag, "a reservation was lost, its task runs on");
            false
        }
        Err(error) => {
            tracing::warn!(owner, error = %with_causes(&error), "cannot prolong a reservation");
            true
        }
    }
}

/// Gives a reservation back; if that cannot be done it runs out by itself.
pub(super) async fn release(shared: &Shared, owner: &str, key: &TaskKey) {
    let config = &shared.config.plugin_calls;
    for n_tried in 0..config.cleanup_tries {
        match shared.catalog.release(key, owner).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(owner, error = %with_causes(&error), "cannot release a reservation, trying again");
            }
        }
        let pause = backoff::pause(config, n_tried);
        shared.clock.sleep_until(clock::after(shared.clock.now(), pause)).await;
    }
}
