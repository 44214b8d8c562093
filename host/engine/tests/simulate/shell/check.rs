//! Checks what must hold at every turn and at the end.

use std::collections::HashSet;
use std::sync::Arc;

use engine::{Changes, Execution, GateKind, NodeIdx, NodeKind, NodePhase, NodeState, Observation, Phase};
use model::Timestamp;

use super::{Shell, said};
use crate::rows::snapshot;
use crate::scenario::{Chaos, What};

impl Shell<'_> {
    pub(super) fn check_changes(&self, changes: &Changes) {
        let mut nodes = changes.nodes.clone();
        nodes.sort_unstable();
        nodes.dedup();
        assert_eq!(nodes.len(), changes.nodes.len(), "a node is named twice");
        check_places(&self.run);
        self.check_elements();
        self.check_deadline();
    }

    /// The next deadline is the earliest of all that apply, counted afresh.
    fn check_deadline(&self) {
        let limits = self.run.nodes().flat_map(|(idx, node): (NodeIdx, &NodeState)| {
            let graph_node = self.run.graph_node(idx);
            let timeout = graph_node.metadata.timeout_micros;
            let runs = matches!(node.phase, NodePhase::Running | NodePhase::DynamicRunning);
            let waits = runs || matches!(node.phase, NodePhase::Queued | NodePhase::RetryableFailure);
            let active = node.queued_at.filter(|_| waits && timeout > 0).map(|at| at.plus(2 * timeout));
            let from = node.attempt_started_at.filter(|_| runs);
            let execution = from.filter(|_| timeout > 0).map(|at| at.plus(timeout));
            let wake = match graph_node.kind {
                NodeKind::Gate(GateKind::Sleep { micros }) => from.map(|at| at.plus(micros)),
                _ => None,
            };
            [active, execution, wake].into_iter().flatten()
        });
        if self.run.is_taking_over() {
            return assert_eq!(
                self.run.next_deadline(),
                Some(Timestamp(self.now)),
                "it is taken over at once"
            );
        }
        assert_eq!(self.run.next_deadline(), limits.min().filter(|_| self.begun), "the next deadline");
    }

    pub(super) fn check_rows(&self) {
        let first_is_start = self.rows.nodes.get("start-node").map(|row| row.phase);
        assert!(
            self.rows.nodes.is_empty() || first_is_start == Some(NodePhase::Succeeded),
            "start node first"
        );
        if self.rows.execution.phase == Phase::Succeeded {
            let end = &self.rows.nodes["end-node"];
            assert!(
                end.phase == NodePhase::Succeeded && !end.output_uri.is_empty(),
                "ended before its outputs"
            );
        }
    }

    /// The rows tell all: what they restore goes on with the same nodes, and finds nothing to change.
    pub(super) fn check_restored(&mut self) {
        let asked = self.rows.execution.abort_cause.is_some();
        if !self.begun
            || self.run.is_taking_over()
            || (asked && !matches!(self.run.phase(), Phase::Aborting | Phase::Aborted))
        {
            return;
        }
        let mut restored = self.restored();
        let mut changes = restored.apply(Observation::Start, Timestamp(self.now));
        while restored.is_taking_over() {
            let more = restored.apply(Observation::DeadlinePassed, Timestamp(self.now));
            changes.nodes.extend(more.nodes);
        }
        restored.release();
        // Elements whose inputs were being made have no rows; others may be first to the places they had.
        let fresh: HashSet<NodeIdx> = changes.nodes.iter().copied().collect();
        let is_fresh = |node: &NodeIdx| {
            let has_row = self.rows.nodes.contains_key(&restored.unique_id(*node));
            restored.element(*node).is_some()
                && !has_row
                && self.scenario.settings.max_elements_in_flight < 10
        };
        let changed: Vec<_> =
            fresh.iter().filter(|node| !is_fresh(node)).map(|n| restored.unique_id(*n)).collect();
        assert!(changed.is_empty(), "restoring changes {changed:?}");
        let attempts = changes.attempts.iter().filter(|change| !fresh.contains(&change.node)).count();
        assert_eq!(attempts, 0, "restoring changes {:?}", changes.attempts);
        assert_eq!(restored.phase(), self.run.phase());
        assert_eq!(restored.is_done(), self.run.is_done());
        if fresh.is_empty() {
            assert_eq!(restored.next_deadline(), self.run.next_deadline());
        }
        let started = |run: &Execution, fresh: &HashSet<NodeIdx>| {
            let all = run.nodes().filter(|(_, state)| state.phase != NodePhase::NotYetStarted);
            let all = all.filter(|(node, _)| !fresh.contains(node));
            let mut rows: Vec<_> = all.map(|(node, _)| snapshot(run, node)).collect();
            rows.sort_by(|a, b| a.id.cmp(&b.id));
            rows
        };
        let (found, own) = (started(&restored, &fresh), started(&self.run, &HashSet::new()));
        for (restored, own) in found.iter().zip(&own) {
            assert_eq!(restored, own);
        }
        // What was released is not taken up, and nothing else is left out.
        assert_eq!((found.len(), restored.n_kept()), (own.len(), self.run.n_kept()), "nodes kept");
        check_places(&restored);
        self.check_budget(&restored);
    }

    pub(super) fn check_inputs_exist(&self, node: NodeIdx) {
        let run = &self.run;
        let uid = run.unique_id(node);
        for up in self.needs(node) {
            assert!(run.node(up).phase.is_success(), "{uid} resolves before {} is done", run.unique_id(up));
        }
        if run.is_failure_node(node) {
            self.check_failure_node(node);
        }
        if run.element(node).is_some() {
            assert!(!run.node(run.parent(node).unwrap()).input_uri.is_empty(), "{uid}: the array's inputs");
            assert!(run.needed_nodes(node).is_empty());
        }
    }

    /// Nodes that must have succeeded before the node's inputs can be made.
    fn needs(&self, node: NodeIdx) -> Vec<NodeIdx> {
        let run = &self.run;
        let graph_node = run.graph_node(node);
        let mut needed = run.needed_nodes(node);
        let named = graph_node.upstream.iter().map(|up| &run.graph_of(node).nodes[*up as usize].id);
        needed.extend(named.map(|id| run.lookup(node, id).unwrap()));
        needed
    }

    /// A failure node runs when all else in its workflow has come to rest, and is told why.
    fn check_failure_node(&self, node: NodeIdx) {
        let (error, failed) = self.run.failure_for(node).expect("a failure node handles a failure");
        assert!(!error.code.is_empty() || !error.message.is_empty());
        assert!(self.ids.contains_key(&*failed), "{failed:?} failed");
        let scope = self.run.parent(node);
        for live in self.world.live() {
            let Some(live) = self.ids.get(live) else { continue };
            let mut up = Some(*live).filter(|live| self.run.knows(*live));
            while let Some(at) = up {
                let beside = self.run.parent(at) == scope && at != node;
                assert!(!beside, "{} handles a failure beside {at}", self.run.unique_id(node));
                up = self.run.parent(at);
            }
        }
    }

    /// What starts has a row, and so has all that it depends on.
    pub(super) fn check_start(&self, node: NodeIdx, uid: &Arc<str>, attempt: u32) {
        let run = &self.run;
        let is_task = matches!(run.graph_node(node).kind, NodeKind::Task { .. });
        let has_row = self.rows.attempts.contains_key(&(Arc::clone(uid), attempt));
        assert!(has_row || !is_task, "{uid}/{attempt} starts without a row");
        assert!(self.rows.nodes.contains_key(uid), "{uid} starts without a row");
        for up in self.needs(node) {
            let row = self.rows.nodes.get(&run.unique_id(up)).map(|row| row.phase);
            assert!(row.is_some_and(NodePhase::is_success), "{uid} starts before {up} is stored");
        }
        let mut at = node;
        while let Some(parent) = run.parent(at) {
            let row = &self.rows.nodes[&run.unique_id(parent)];
            let runs = matches!(row.phase, NodePhase::Running | NodePhase::DynamicRunning);
            let handles = row.phase == NodePhase::Failing && run.is_failure_node(at);
            // The end of what holds it may be stored with the same commit; then it is aborted next.
            let ends = !run.node(node).phase.is_active();
            assert!(runs || handles || ends, "{uid} starts in {} which is {:?}", row.id, row.phase);
            at = parent;
        }
    }

    pub(super) fn check_gather(&self, node: NodeIdx) {
        if let Some(end) = self.run.end_of(node) {
            assert!(self.run.node(end).phase == NodePhase::Succeeded);
        } else {
            for element in self.run.elements(node).unwrap() {
                assert!(self.run.node(element).is_decided(), "outputs are gathered while elements run");
            }
        }
    }

    /// What must hold once everything is done, and that nothing wakes it up again.
    pub(super) fn check_end(&mut self) {
        assert!(self.run.is_done() && self.run.phase() == self.rows.execution.phase);
        assert_eq!(self.run.next_deadline(), None, "a deadline is left");
        assert_eq!(self.world.live().next(), None, "an attempt is left running");
        assert_eq!(self.rows.open().next(), None, "a row is left open");
        if let Some(recalled) = &self.recalled {
            for uid in self.world.started().filter(|uid| !self.handles_failure(uid)) {
                let before = recalled.by_id.get(&**uid);
                let succeeded = before.is_some_and(|before| before.phase.is_success());
                assert!(!succeeded, "{uid} had succeeded and runs again");
            }
        }
        self.check_restored();
        // The last thing may have been a crash.
        self.run.apply(Observation::Start, Timestamp(self.now));
        let deaf = self.scenario.chaos == Chaos::Everything;
        for (uid, word) in std::mem::take(&mut self.history).into_iter().filter(|_| deaf) {
            let Some(node) = self.ids.get(&uid) else { continue };
            let changes = self.run.apply(said(*node, word), Timestamp(self.now));
            assert_eq!(changes, Changes::default(), "a finished execution changes");
        }
        assert!(self.run.plan(Timestamp(self.now)).is_empty(), "a finished execution acts");
    }

    /// Whether it is a failure node or inside one.
    fn handles_failure(&self, uid: &str) -> bool {
        if self.handlers.contains(uid) {
            return true;
        }
        let mut up = self.ids.get(uid).copied().filter(|up| self.run.knows(*up));
        while let Some(at) = up {
            if self.run.is_failure_node(at) {
                return true;
            }
            up = self.run.parent(at);
        }
        false
    }

    /// How many elements of an array may be in flight, as the settings' words have it.
    pub(super) fn allowed_elements(&self, array: NodeIdx) -> u32 {
        use engine::ArrayParallelism::{Hybrid, Unlimited, Workflow};
        let Some(What::Array(spec)) = self.spec(array).map(|spec| &spec.what) else { panic!("no array") };
        let settings = &self.scenario.settings;
        let nodes = if settings.max_parallelism == 0 { u32::MAX } else { settings.max_parallelism };
        let asked = match (spec.parallelism, settings.array_parallelism) {
            (Some(n), _) if n > 0 => n,
            (_, Unlimited) => u32::MAX,
            (_, Workflow) => nodes,
            (None, Hybrid) => nodes,
            (Some(_), Hybrid) => u32::MAX,
        };
        asked.min(settings.max_elements_in_flight)
    }

    /// No more elements are in flight than all arrays together may have. One that holds others in flight has lent its
    /// place to one of them.
    fn check_budget(&self, run: &Execution) {
        let mut lenders = std::collections::BTreeSet::new();
        let mut in_flight = Vec::new();
        let elements = run.nodes().filter(|(node, _)| run.element(*node).is_some());
        for (element, _) in elements.filter(|(_, state)| state.phase.is_in_flight()) {
            in_flight.push(element);
            let mut up = run.parent(element);
            while let Some(at) = up {
                lenders.insert(at);
                up = run.parent(at);
            }
        }
        let n = in_flight.iter().filter(|element| !lenders.contains(element)).count();
        let allowed = run.settings().max_elements_in_flight as usize;
        let ids: Vec<_> = in_flight.iter().map(|node| run.unique_id(*node)).collect();
        assert!(n <= allowed, "{n} of {ids:?} in flight in all arrays, {allowed} allowed");
    }

    pub(super) fn check_elements(&self) {
        self.check_budget(&self.run);
        assert!(
            self.run.n_made() <= u64::from(self.run.settings().max_nodes).max(self.n_root),
            "too many nodes"
        );
        for (array, _) in self.run.nodes().filter(|(node, _)| self.run.elements(*node).is_some()) {
            let in_flight = |node: &NodeIdx| self.run.node(*node).phase.is_in_flight();
            let running = self.run.elements(array).unwrap().filter(in_flight).count();
            let allowed = self.allowed_elements(array);
            assert!(running as u64 <= u64::from(allowed), "{running} elements in flight, {allowed} allowed");
        }
    }
}

/// No more nodes hold a place than there are: tasks that have not expanded, launch plans and arrays outside arrays.
fn check_places(run: &Execution) {
    let max = run.settings().max_parallelism as usize;
    let holds = |node: &NodeIdx| {
        let is_counted = match run.graph_node(*node).kind {
            NodeKind::Task { .. } => run.node(*node).spec_uri.is_none(),
            NodeKind::Array { .. } | NodeKind::LaunchPlan { .. } => true,
            _ => false,
        };
        let mut up = Some(*node);
        let mut in_array = false;
        while let Some(at) = up {
            in_array |= run.element(at).is_some();
            up = run.parent(at);
        }
        is_counted && !in_array && run.node(*node).phase.is_in_flight()
    };
    let in_flight = run.nodes().filter(|(node, _)| holds(node)).count();
    assert!(max == 0 || in_flight <= max, "{in_flight} nodes in flight, {max} allowed");
}
