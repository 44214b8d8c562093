//! Asks plugins that only describe what is to be done, before the commit that says that their tasks have begun.
//!
//! Such a plugin does nothing itself and answers the same again, so its answer may go with the commit: one commit
//! instead of two for a task that is described, none of its own for one that ends within the call. What an answer
//! wants done is still done after that commit only. A crash in between repeats the question.

use std::collections::BTreeSet;

use proto::flyteidl::core::task_execution;
use proto::pinion::plugin::v1::WakeReason;

use crate::attempt::Stage;
use crate::clock::after;
use crate::driver::{Done, Driver};
use crate::mailbox::AttemptKey;

/// How long a commit waits for answers. What takes longer goes on beside the commit, like any other call.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(4);

/// How many of those that are ready are looked at in one go. After a restart tens of thousands may be that are not to
/// be asked ahead: looking at all of them at every turn would cost their square.
const LOOKED_AT: usize = 1_024;

impl Driver {
    /// Asks for what has become ready, and for what becomes ready by the answers.
    pub(crate) async fn ask_ahead(&mut self) {
        if self.draining {
            return;
        }
        let until = after(self.shared.clock.now(), PATIENCE);
        loop {
            let mut open = self.ask();
            if open.is_empty() {
                return;
            }
            let clock = std::sync::Arc::clone(&self.shared.clock);
            let mut late = clock.sleep_until(until);
            while !open.is_empty() {
                let done = tokio::select! {
                    biased;
                    Some(done) = self.work.join_next() => done,
                    () = &mut late => break,
                };
                let now = self.shared.clock.now();
                let answered = match &done {
                    Ok(Done::Answered { key, .. }) => Some(*key),
                    _ => None,
                };
                self.take_done(done, now).await;
                if let Some(key) = answered {
                    open.remove(&key);
                    self.written(key);
                }
            }
            let now = self.shared.clock.now();
            self.plan(now).await;
            if now >= until {
                return;
            }
        }
    }

    /// Starts the calls, and says which.
    fn ask(&mut self) -> BTreeSet<AttemptKey> {
        let room = self.shared.config.step_concurrency.saturating_sub(self.work.len());
        let keys: BTreeSet<_> = self
            .ready
            .iter()
            .copied()
            .take(LOOKED_AT)
            .filter(|key| self.asks_ahead(*key))
            .take(room)
            .collect();
        if keys.is_empty() {
            return keys;
        }
        // Their inputs are written by the calls.
        let nodes: BTreeSet<_> = keys.iter().map(|key| key.node).collect();
        let writes = std::mem::take(&mut self.writes);
        for (node, uri, bytes) in writes {
            if nodes.contains(&node) {
                self.unwritten.insert(node, bytes);
            } else {
                self.writes.push((node, uri, bytes));
            }
        }
        for key in &keys {
            self.ready.remove(key);
            self.start_call(*key);
        }
        keys
    }

    fn asks_ahead(&self, key: AttemptKey) -> bool {
        let Some(attempt) = self.attempts.get(&key) else { return false };
        let plugin = attempt.plugin.as_ref();
        attempt.stage == Stage::Driving
            && attempt.wanted == Some(WakeReason::Start)
            && !(attempt.busy || attempt.called || attempt.recovered || attempt.refresh)
            && attempt.order.is_none()
            && attempt.intent.is_empty()
            && plugin.is_some_and(|plugin| plugin.describes_only())
            // What goes to the catalog is for others to find: its execution is to be known by then.
            && self.populate(key).is_none()
    }

    /// The call wrote the inputs, unless it says that it could not.
    fn written(&mut self, key: AttemptKey) {
        let failed = i32::from(task_execution::Phase::Failed);
        if self.attempts.get(&key).is_some_and(|attempt| attempt.record.row.phase != failed) {
            self.unwritten.remove(&key.node);
        }
    }
}
