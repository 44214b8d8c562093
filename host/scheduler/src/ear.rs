//! Listens to the store's wake-ups for those who wait: on changed schedules, and on the ends of executions.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use store::{ExecutionKey, Store, Wake};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;

/// What was heard, and whom it concerns.
#[derive(Default)]
pub(crate) struct Ear {
    /// Schedules were changed.
    pub(crate) schedules: Notify,
    /// Backfills have something to look at.
    pub(crate) backfills: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Backfills by the executions that they wait for.
    waiting: HashMap<ExecutionKey, String>,
    /// Backfills to look at.
    due: HashSet<String>,
    /// Whether all of them are.
    all_due: bool,
}

impl Ear {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what it hears; returns when the store is closed.
    pub(crate) async fn listen(&self, store: &Store) {
        let mut wakes = store.subscribe();
        // What was missed before is found in the rows.
        self.schedules.notify_one();
        self.all_due();
        loop {
            match wakes.recv().await {
                Ok(Wake::Scheduler) => {
                    self.schedules.notify_one();
                    self.all_due();
                }
                Ok(Wake::Changed(key)) => self.changed(key),
                Ok(_) => {}
                Err(RecvError::Lagged(n_lost)) => {
                    tracing::debug!(n_lost, "scheduler lags behind; it reads its rows again");
                    self.schedules.notify_one();
                    self.all_due();
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn changed(&self, key: ExecutionKey) {
        let mut state = self.state();
        let Some(backfill) = state.waiting.get(&key).cloned() else { return };
        state.due.insert(backfill);
        drop(state);
        self.backfills.notify_one();
    }

    fn all_due(&self) {
        self.state().all_due = true;
        self.backfills.notify_one();
    }

    /// From now on a backfill is looked at when one of these executions changes.
    pub(crate) fn wait_for(&self, backfill: &str, keys: impl IntoIterator<Item = ExecutionKey>) {
        let mut state = self.state();
        state.waiting.extend(keys.into_iter().map(|key| (key, backfill.to_owned())));
    }

    /// These executions have ended.
    pub(crate) fn forget(&self, keys: impl IntoIterator<Item = ExecutionKey>) {
        let mut state = self.state();
        for key in keys {
            state.waiting.remove(&key);
        }
    }

    /// The backfills to look at since the last call; `None`: all of them.
    pub(crate) fn take_due(&self) -> Option<HashSet<String>> {
        let mut state = self.state();
        let due = std::mem::take(&mut state.due);
        if std::mem::take(&mut state.all_due) { None } else { Some(due) }
    }
}
