//! Takes up an execution from its rows and finds again what was under way.

use std::sync::Arc;

use model::Timestamp;

use super::Execution;
use super::flow::abort_reason;
use crate::attempt::Settings;
use crate::error::Error;
use crate::graph::Graph;
use crate::node;
use crate::phase::{NodePhase, Phase};
use crate::state::{AttemptRow, ExecutionSnapshot, NodeSnapshot, NodeState};
use crate::step::NodeIdx;

impl Execution {
    /// Restores the state that the rows tell. Nodes without a row did not start. `Start` then plans again what
    /// was under way.
    pub fn restore(
        graph: Arc<Graph>,
        settings: Settings,
        execution: ExecutionSnapshot,
        nodes: impl Iterator<Item = NodeSnapshot>,
    ) -> Result<Self, Error> {
        let mut this = Self::new(graph, settings, execution.created_at);
        this.phase = execution.phase;
        this.started_at = execution.started_at;
        this.ended_at = execution.ended_at;
        this.error = match this.phase {
            Phase::Failing | Phase::Failed => execution.error.map(Box::new),
            Phase::Queued | Phase::Running | Phase::Succeeded | Phase::Aborting | Phase::Aborted => None,
        };
        if let Some(cause) = &execution.abort_cause {
            this.stop_reason = abort_reason(cause);
        }
        this.abort_cause = execution.abort_cause;
        for snapshot in nodes {
            let node =
                this.graph.idx(&snapshot.id).ok_or(Error::UnknownNode { node: snapshot.id.clone() })?;
            this.restore_node(node, snapshot);
        }
        this.restored.sort_unstable();
        this.restored.dedup();
        this.count_undecided();
        Ok(this)
    }

    fn restore_node(&mut self, node: NodeIdx, row: NodeSnapshot) {
        let open = matches!(row.attempt_row, AttemptRow::Live | AttemptRow::Ended);
        let mut state = NodeState {
            phase: row.phase,
            attempt: row.attempt,
            system_failures: row.system_failures,
            interruptible_now: false,
            open,
            // Aborting a succeeded attempt is never right, whatever its row says.
            ended: row.attempt_row == AttemptRow::Ended || row.phase == NodePhase::Succeeded,
            error: row.error.map(Box::new),
            input_uri: row.input_uri.into(),
            output_uri: row.output_uri.into(),
            deck_uri: row.deck_uri.into(),
            message: Box::default(),
            queued_at: row.queued_at,
            started_at: row.started_at,
            attempt_started_at: row.attempt_started_at,
            ended_at: row.ended_at,
        };
        state.interruptible_now = self.rules(node).interruptible(&state);
        match open {
            true => self.open.insert(node),
            false => self.open.remove(&node),
        };
        if row.phase.is_in_flight() && node::takes_place(self.graph_node(node).kind) {
            self.take_place(node);
        }
        if let Some(slot) = self.nodes.get_mut(node as usize) {
            *slot = state;
            self.restored.push(node);
        }
    }

    /// Counts for each node the upstream nodes that are not decided, and finds the latest failure.
    fn count_undecided(&mut self) {
        let graph = Arc::clone(&self.graph);
        for node in self.restored.clone() {
            let phase = self.node(node).phase;
            if phase.is_failure() {
                self.note_failure(node);
            }
            if phase.is_terminal() || phase.is_failure() {
                for down in graph.node(node).map(|node| node.downstream.as_slice()).unwrap_or_default() {
                    let wait = self.wait(*down);
                    wait.upstream = wait.upstream.saturating_sub(1);
                    wait.upstream_lost |= phase != NodePhase::Succeeded;
                }
            }
        }
    }

    /// Goes on where the rows stop, or from the start node when there are none. Each change of rows is complete in
    /// itself, so nothing is found half done; only a phase that the request to abort wrote by itself, and rows that
    /// somebody mended by hand, ask for more than planning again what was under way.
    pub(super) fn resume(&mut self, now: Timestamp) {
        if self.phase == Phase::Running && self.node(self.graph.start).phase == NodePhase::NotYetStarted {
            node::start::run(self, now);
        }
        for node in std::mem::take(&mut self.restored) {
            node::task::resume(self, node, now);
        }
        self.resume_waiting(now);
        self.resume_outcome(now);
        if let Some(cause) = self.abort_cause.take() {
            self.abort(&cause, now);
        }
        match self.phase {
            Phase::Failing | Phase::Aborting => self.stop(now),
            Phase::Queued | Phase::Running | Phase::Succeeded | Phase::Failed | Phase::Aborted => {}
        }
        // The row is to say that nothing is left to do, should it not.
        self.changes.execution |= self.is_done();
    }

    /// Makes ready every node whose upstream nodes are all decided.
    fn resume_waiting(&mut self, now: Timestamp) {
        if self.phase != Phase::Running {
            return;
        }
        for node in (0..).take(self.nodes.len()) {
            let wait = *self.wait(node);
            if wait.upstream > 0 || self.node(node).phase != NodePhase::NotYetStarted {
                continue;
            }
            if !wait.upstream_lost {
                self.make_ready(node);
            } else if self.skip(node, now) {
                self.release_downstream(node, now);
            }
        }
    }

    /// Decides an execution whose nodes already decide it.
    fn resume_outcome(&mut self, now: Timestamp) {
        if self.phase != Phase::Running {
            return;
        }
        let end = self.node(self.graph.end).phase;
        if end == NodePhase::Succeeded {
            self.succeed(now);
        } else if self
            .last_failure
            .is_some_and(|node| !self.graph.continue_on_failure || node == self.graph.end)
            || end == NodePhase::Skipped
        {
            self.fail(now);
        }
    }
}
