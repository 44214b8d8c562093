//! Carries outcomes on: who becomes ready, who is skipped, and when the execution as a whole is decided.

use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::core;

use super::{Due, Execution};
use crate::error;
use crate::node;
use crate::phase::{NodePhase, Phase};
use crate::step::NodeIdx;
use crate::transition::{ExecutionEvent, NodeEvent};

impl Execution {
    /// Starts, or goes on where an earlier life stopped.
    pub(super) fn begin(&mut self, now: Timestamp) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        if self.phase == Phase::Queued
            && let Some(cause) = self.abort_cause.take()
        {
            return self.abort(&cause, now);
        }
        if self.move_execution(ExecutionEvent::Started, now) {
            self.started_at = Some(now);
        }
        self.resume(now);
    }

    /// Ends it because somebody asked for it. The first cause stands.
    pub(super) fn request_abort(&mut self, cause: &str, now: Timestamp) {
        if !self.begun {
            self.abort_cause.get_or_insert_with(|| cause.to_owned());
            return self.begin(now);
        }
        self.abort(cause, now);
    }

    pub(super) fn abort(&mut self, cause: &str, now: Timestamp) {
        if self.move_execution(ExecutionEvent::AbortRequested, now) {
            self.error = None;
            self.stop_reason = abort_reason(cause);
            self.stop(now);
        }
    }

    /// Carries on that a node is decided: succeeded, or never to succeed.
    pub(crate) fn decided(&mut self, node: NodeIdx, now: Timestamp) {
        if self.phase != Phase::Running {
            return;
        }
        if self.node(node).phase.is_failure() {
            self.note_failure(node);
            if !self.graph.continue_on_failure || node == self.graph.end {
                return self.fail(now);
            }
        }
        self.release_downstream(node, now);
        if self.node(self.graph.end).phase == NodePhase::Skipped {
            self.fail(now);
        }
    }

    /// Notes the latest failure; by time and position, so that a later life finds the same one.
    pub(super) fn note_failure(&mut self, node: NodeIdx) {
        let rank = |idx: NodeIdx| (self.node(idx).ended_at, idx);
        if self.last_failure.is_none_or(|last| rank(last) <= rank(node)) {
            self.last_failure = Some(node);
        }
    }

    /// Tells the nodes that waited for this one; skips those that will never run, and tells theirs.
    pub(super) fn release_downstream(&mut self, node: NodeIdx, now: Timestamp) {
        let graph = Arc::clone(&self.graph);
        let mut decided = vec![node];
        while let Some(node) = decided.pop() {
            let lost = self.node(node).phase != NodePhase::Succeeded;
            let downstream = graph.node(node).map(|node| node.downstream.as_slice()).unwrap_or_default();
            for down in downstream {
                crate::cost::tick();
                let wait = self.wait(*down);
                wait.upstream = wait.upstream.saturating_sub(1);
                wait.upstream_lost |= lost;
                match (wait.upstream, wait.upstream_lost) {
                    (0, false) => self.make_ready(*down),
                    (0, true) => decided.extend(self.skip(*down, now).then_some(*down)),
                    _ => {}
                }
            }
        }
    }

    pub(super) fn skip(&mut self, node: NodeIdx, now: Timestamp) -> bool {
        let skipped = self.move_node(node, NodeEvent::UpstreamLost);
        if skipped {
            let state = self.change(node);
            state.ended_at = Some(now);
            state.say("a node it depends on failed or was skipped");
        }
        skipped
    }

    /// All that the node waited for is there.
    pub(super) fn make_ready(&mut self, node: NodeIdx) {
        if std::mem::replace(&mut self.wait(node).ready, true) {
            return;
        }
        if node::takes_place(self.graph_node(node).kind) {
            self.ready.push_back(node);
        } else {
            self.resolve(node);
        }
    }

    /// Gives free places to ready nodes, in the order they became ready.
    pub(super) fn admit(&mut self) {
        let max = self.settings.max_parallelism;
        while self.phase == Phase::Running && (max == 0 || self.places_taken < max) {
            let Some(node) = self.ready.pop_front() else { return };
            self.take_place(node);
            self.resolve(node);
        }
    }

    pub(super) fn take_place(&mut self, node: NodeIdx) {
        if !std::mem::replace(&mut self.wait(node).has_place, true) {
            self.places_taken += 1;
        }
    }

    pub(super) fn give_back_place(&mut self, node: NodeIdx) {
        if std::mem::take(&mut self.wait(node).has_place) {
            self.places_taken -= 1;
        }
    }

    fn resolve(&mut self, node: NodeIdx) {
        self.wait(node).resolving = true;
        self.due.push_back(Due::Resolve(node));
    }

    /// The end node succeeded: the outputs are readable.
    pub(crate) fn succeed(&mut self, now: Timestamp) {
        self.move_execution(ExecutionEvent::EndReached, now);
    }

    /// Fails with the latest failure.
    pub(super) fn fail(&mut self, now: Timestamp) {
        if self.move_execution(ExecutionEvent::NodeFailed, now) {
            self.error = Some(Box::new(self.failure()));
            self.stop_reason = Arc::from(super::AUTO_ABORT);
            self.stop(now);
        }
    }

    fn failure(&self) -> core::ExecutionError {
        let Some(state) = self.last_failure.map(|node| self.node(node)) else {
            return error::system("NodeFailed", "a node failed".to_owned());
        };
        match (state.phase, state.error.as_deref()) {
            (NodePhase::TimingOut | NodePhase::TimedOut, _) => {
                error::user("Timeout", "Timeout in node".to_owned())
            }
            (_, Some(error)) => error.clone(),
            (_, None) => error::system("NodeFailed", "a node failed".to_owned()),
        }
    }

    /// Nothing new starts, and what runs is aborted.
    pub(super) fn stop(&mut self, now: Timestamp) {
        self.ready.clear();
        let reason = Arc::clone(&self.stop_reason);
        for node in self.open.clone() {
            crate::cost::tick();
            node::task::abort(self, node, &reason, now);
        }
        self.settle(now);
    }

    /// Why nodes are aborted.
    pub(crate) fn stop_reason(&self) -> Arc<str> {
        Arc::clone(&self.stop_reason)
    }

    /// Ends the execution once the last open attempt is cleaned up, or notes that a finished one is done.
    pub(crate) fn settle(&mut self, now: Timestamp) {
        if self.open.is_empty() && !self.move_execution(ExecutionEvent::Cleaned, now) {
            self.changes.execution |= self.phase.is_terminal();
        }
    }
}

/// What a cause given by somebody reads like to plugins.
pub(super) fn abort_reason(cause: &str) -> Arc<str> {
    Arc::from(if cause.is_empty() { "aborted on request" } else { cause })
}
