//! Lets ready nodes start: at once, when a place is free, or by taking over what an earlier execution achieved.

use std::sync::Arc;

use model::Timestamp;

use super::scope::{Kind, ScopeIdx, Status};
use super::{Due, Execution};
use crate::graph::NodeKind;
use crate::node;
use crate::phase::NodePhase;
use crate::step::NodeIdx;
use crate::transition::NodeEvent;

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
            if self.may_start(node) {
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
        if self.recover_left > 0
            && let Some(node) = self.recovering.pop_front()
        {
            self.recover_left -= 1;
            self.recover(node, now);
            return true;
        }
        false
    }

    /// The elements of an array may start; what their number alone decides is decided.
    pub(crate) fn open_elements(&mut self, scope: ScopeIdx, now: Timestamp) {
        if !self.judge(scope, now) {
            self.feed(scope);
        }
    }

    /// The array may have room for more elements.
    pub(super) fn feed(&mut self, scope: ScopeIdx) {
        self.hungry.push(scope);
    }

    /// Starts elements of an array while it has room.
    fn admit_elements(&mut self, scope: ScopeIdx, now: Timestamp) {
        loop {
            let array = self.scope_mut(scope);
            let (is_open, first, len) = (array.status == Status::Open, array.first, array.len);
            let Some(elements) = array.elements_mut() else { return };
            if !is_open || elements.in_flight >= elements.rules.limit || elements.next >= len {
                return;
            }
            crate::cost::tick();
            let node = first + elements.next;
            let reads_array = !elements.rules.own_inputs;
            elements.next += 1;
            if self.node(node).phase != NodePhase::NotYetStarted
                || std::mem::replace(&mut self.link_mut(node).ready, true)
            {
                continue;
            }
            if self.succeeded_before(node) {
                self.recovering.push_back(node);
            } else {
                self.take_place(node);
                self.start_element(node, reads_array, now);
            }
        }
    }

    /// An element that reads the array's inputs needs no step before its attempt.
    fn start_element(&mut self, node: NodeIdx, reads_array: bool, now: Timestamp) {
        match self.parent(node).filter(|_| reads_array) {
            Some(array) => {
                let uri = Arc::clone(&self.node(array).input_uri);
                node::task::resolved(self, node, &uri, now);
            }
            None => self.resolve(node),
        }
    }

    pub(super) fn take_place(&mut self, node: NodeIdx) {
        if std::mem::replace(&mut self.link_mut(node).has_place, true) {
            return;
        }
        let scope = self.scope_of(node);
        match self.scope_mut(scope).elements_mut() {
            Some(elements) => elements.in_flight += 1,
            None => self.places_taken += 1,
        }
    }

    /// Gives back the place that the node holds, if it holds one.
    pub(crate) fn give_back_place(&mut self, node: NodeIdx) {
        if !std::mem::take(&mut self.link_mut(node).has_place) {
            return;
        }
        let scope = self.scope_of(node);
        match self.scope_mut(scope).elements_mut() {
            Some(elements) => {
                elements.in_flight -= 1;
                self.feed(scope);
            }
            None => self.places_taken -= 1,
        }
    }

    /// Gives back a place of `max_parallelism`; an element keeps its array's.
    pub(crate) fn give_back_own_place(&mut self, node: NodeIdx) {
        let scope = self.scope_of(node);
        if !matches!(self.scope(scope).kind, Kind::Elements(..)) {
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

    /// Whether the node need not run because it succeeded in the execution that is recovered. An end node gives this
    /// execution's outputs: it always runs.
    fn succeeded_before(&self, node: NodeIdx) -> bool {
        let is_fixed = matches!(self.graph_node(node).kind, NodeKind::Start | NodeKind::End);
        !is_fixed && self.recalled(node).is_some_and(|outcome| outcome.phase.is_success())
    }

    /// Takes over what the node achieved in the execution that is recovered.
    fn recover(&mut self, node: NodeIdx, now: Timestamp) {
        let Some(outcome) = self.recalled(node).cloned() else { return };
        if !self.may_start(node) || !self.move_node(node, NodeEvent::Recalled) {
            return;
        }
        let state = self.change(node);
        state.input_uri = Arc::from(outcome.input_uri);
        state.output_uri = Arc::from(outcome.output_uri);
        state.deck_uri = outcome.deck_uri;
        state.queued_at = Some(now);
        node::end(self, node, now);
        self.tell_decided(node);
    }
}
