//! Checks what must hold at every turn and at the end.

use engine::{AttemptRow, Changes, NodeIdx, NodePhase, Observation, Phase};
use model::Timestamp;

use super::Shell;
use crate::scenario::Chaos;
use crate::world::FIRST_TASK;

impl Shell<'_> {
    pub(super) fn check_changes(&self, changes: &Changes) {
        let mut nodes = changes.nodes.clone();
        nodes.sort_unstable();
        nodes.dedup();
        assert_eq!(nodes.len(), changes.nodes.len(), "a node is named twice");
        let max = self.scenario.settings.max_parallelism as usize;
        let in_flight = self.run.nodes().iter().filter(|node| node.phase.is_in_flight()).count();
        assert!(max == 0 || in_flight <= max, "{in_flight} nodes in flight, {max} allowed");
        self.check_deadline();
    }

    /// The next deadline is the earliest of all that apply, counted afresh.
    pub(super) fn check_deadline(&self) {
        if !self.scenario.has_timeouts() {
            return assert_eq!(self.run.next_deadline(), None);
        }
        let limits =
            self.scenario.tasks.iter().zip(&self.run.nodes()[FIRST_TASK..]).flat_map(|(task, node)| {
                let waits = node.phase.is_active() || node.phase == NodePhase::RetryableFailure;
                let active = node.queued_at.filter(|_| waits).map(|at| at.plus(2 * task.timeout));
                let runs = node.phase == NodePhase::Running;
                let execution = node.attempt_started_at.filter(|_| runs).map(|at| at.plus(task.timeout));
                [active, execution].into_iter().flatten().filter(|_| task.timeout > 0)
            });
        assert_eq!(self.run.next_deadline(), limits.min().filter(|_| self.begun), "the next deadline");
    }

    pub(super) fn check_rows(&self) {
        let max = self.scenario.settings.max_parallelism as usize;
        assert!(max == 0 || self.rows.in_flight() <= max, "{} rows in flight", self.rows.in_flight());
        let first_is_start = self.rows.nodes.get(&self.graph.start).map(|row| row.phase);
        assert!(
            self.rows.nodes.is_empty() || first_is_start == Some(NodePhase::Succeeded),
            "start node first"
        );
        if self.rows.execution.phase == Phase::Succeeded {
            let end = &self.rows.nodes[&self.graph.end];
            assert!(
                end.phase == NodePhase::Succeeded && !end.output_uri.is_empty(),
                "ended before its outputs"
            );
        }
    }

    pub(super) fn check_inputs_exist(&self, node: NodeIdx) {
        for up in &self.graph.nodes[node as usize].upstream {
            assert_eq!(
                self.run.node(*up).phase,
                NodePhase::Succeeded,
                "node {node} resolves before node {up} is done"
            );
        }
    }

    pub(super) fn check_upstream_committed(&self, node: NodeIdx) {
        for up in &self.graph.nodes[node as usize].upstream {
            let phase = self.rows.nodes.get(up).map(|row| row.phase);
            assert_eq!(phase, Some(NodePhase::Succeeded), "node {node} starts before node {up} is stored");
        }
    }

    /// What must hold once everything is done, and that nothing wakes it up again.
    pub(super) fn check_end(&mut self) {
        assert!(self.run.is_done() && self.run.phase() == self.rows.execution.phase);
        assert_eq!(self.run.next_deadline(), None, "a deadline is left");
        assert_eq!(self.world.is_live().next(), None, "an attempt is left running");
        let open = self.rows.attempts.iter().find(|(_, row)| **row != AttemptRow::Closed);
        assert_eq!(open, None, "a row is left open");
        // The last thing may have been a crash.
        self.run.apply(Observation::Start, Timestamp(self.now));
        let deaf = self.scenario.chaos == Chaos::Everything;
        for observation in std::mem::take(&mut self.history).into_iter().filter(|_| deaf) {
            let changes = self.run.apply(observation, Timestamp(self.now));
            assert_eq!(changes, Changes::default(), "a finished execution changes");
        }
        assert!(self.run.plan(Timestamp(self.now)).is_empty(), "a finished execution acts");
    }
}
