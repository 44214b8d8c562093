//! Lets ready nodes start: at once, when a place of `max_parallelism` is free, or by taking over what an earlier
//! execution achieved. For elements of arrays see `elements`.

use model::Timestamp;

use super::scope::Kind;
use super::{Due, Execution};
use crate::node;
use crate::step::NodeIdx;

impl Execution {
    /// All that the node waited for is there.
    pub(crate) fn make_ready(&mut self, node: NodeIdx) {
        if std::mem::replace(&mut self.link_mut(node).ready, true) {
            return;
        }
        if self.succeeded_before(node) {
            self.recovering.push_back(node);
        } else if self.counts(node) {
            self.ready.push_back(node);
        } else {
            self.resolve(node);
        }
    }

    /// Whether the node counts towards `max_parallelism`.
    pub(super) fn counts(&self, node: NodeIdx) -> bool {
        node::takes_place(&self.graph_node(node).kind) && !self.scope(self.scope_of(node)).in_array
    }

    /// Gives free places to ready nodes, in the order they became ready.
    pub(super) fn admit(&mut self) {
        let max = self.settings.max_parallelism;
        while max == 0 || self.places_taken < max {
            let Some(node) = self.ready.pop_front() else { return };
            if self.knows(node) && self.may_start(node) {
                self.take_place(node);
                self.resolve(node);
            }
        }
    }

    /// Starts what waited inside for this call to come to an end; false when there is nothing.
    pub(super) fn start_waiting(&mut self, now: Timestamp) -> bool {
        if let Some(scope) = self.hungry.pop() {
            self.admit_elements(scope, now);
            return true;
        }
        self.recover_some(now)
    }

    pub(super) fn take_place(&mut self, node: NodeIdx) {
        if self.link(node).has_place {
            return;
        }
        if self.is_element(node) {
            return self.take_element_place(node);
        }
        self.link_mut(node).has_place = true;
        self.places_taken += 1;
    }

    /// Gives back the place that the node holds, if it holds one.
    pub(crate) fn give_back_place(&mut self, node: NodeIdx) {
        if !std::mem::take(&mut self.link_mut(node).has_place) {
            return;
        }
        if self.is_element(node) {
            return self.free_element_place(node);
        }
        self.places_taken -= 1;
    }

    fn is_element(&self, node: NodeIdx) -> bool {
        matches!(self.scope(self.scope_of(node)).kind, Kind::Elements(..))
    }

    /// Gives back a place of `max_parallelism`; an element keeps its array's.
    pub(crate) fn give_back_own_place(&mut self, node: NodeIdx) {
        if !self.is_element(node) {
            self.give_back_place(node);
        }
    }

    /// Asks for the node's inputs.
    pub(crate) fn resolve(&mut self, node: NodeIdx) {
        self.await_inputs(node);
        self.due.push_back(Due::Resolve(node));
    }

    /// The node's inputs are made, or waited for.
    pub(crate) fn await_inputs(&mut self, node: NodeIdx) {
        self.link_mut(node).resolving = true;
        self.refresh(node);
    }

    /// Whether the node's inputs are being made, or waited for.
    pub(crate) fn awaits_inputs(&self, node: NodeIdx) -> bool {
        self.link(node).resolving
    }

    /// The node's inputs are not needed any more.
    pub(crate) fn stop_awaiting(&mut self, node: NodeIdx) {
        self.link_mut(node).resolving = false;
        self.refresh(node);
    }
}
