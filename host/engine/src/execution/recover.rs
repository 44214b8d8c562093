//! Takes over what an earlier execution achieved, in bounded steps.

use std::sync::Arc;

use model::Timestamp;

use super::Execution;
use super::scope::{ScopeIdx, Status};
use crate::graph::NodeKind;
use crate::node;
use crate::phase::NodePhase;
use crate::step::NodeIdx;
use crate::transition::NodeEvent;

impl Execution {
    /// Whether the node need not run because it succeeded in the execution that is recovered. An end node gives this
    /// execution's outputs: it always runs.
    pub(super) fn succeeded_before(&self, node: NodeIdx) -> bool {
        let is_fixed = matches!(self.graph_node(node).kind, NodeKind::Start | NodeKind::End);
        !is_fixed && self.recalled(node).is_some_and(|outcome| outcome.phase.is_success())
    }

    /// Takes over what waits for it, as much as this call may; false when there is nothing.
    pub(super) fn recover_some(&mut self, now: Timestamp) -> bool {
        if self.recover_left == 0 {
            return false;
        }
        if let Some(node) = self.recovering.pop_front() {
            self.recover_left -= 1;
            self.recover(node, now);
            return true;
        }
        if let Some(scope) = self.showing.front().copied() {
            self.recover_left -= 1;
            self.show_next(scope, now);
            return true;
        }
        false
    }

    /// Takes over what the node achieved.
    fn recover(&mut self, node: NodeIdx, now: Timestamp) {
        if self.knows(node) && self.may_start(node) && self.take_over(node, now) {
            if matches!(self.graph_node(node).kind, NodeKind::Array { .. }) {
                self.show_elements(node);
            }
            self.tell_decided(node);
        }
    }

    fn take_over(&mut self, node: NodeIdx, now: Timestamp) -> bool {
        let Some(outcome) = self.recalled(node).cloned() else { return false };
        if !self.move_node(node, NodeEvent::Recalled) {
            return false;
        }
        let state = self.change(node);
        state.input_uri = Arc::from(outcome.input_uri);
        state.output_uri = Arc::from(outcome.output_uri);
        state.deck_uri = outcome.deck_uri;
        state.queued_at = Some(now);
        node::end(self, node, now);
        true
    }

    /// Has rows made of the elements of an array that is taken over: nothing runs in it, but clients look there.
    fn show_elements(&mut self, array: NodeIdx) {
        let size = self.elements_before(array);
        if size == 0 {
            return;
        }
        let detail = i64::from(size) + 1;
        if let Some(content) = node::array::content(self, array, detail)
            && let Some(scope) = self.open_scope(array, content)
        {
            self.change(array).detail = detail;
            self.show(array, scope);
        }
    }

    fn show(&mut self, array: NodeIdx, scope: ScopeIdx) {
        self.scope_mut(scope).status = Status::Ended;
        self.link_mut(array).showing = true;
        self.showing.push_back(scope);
        self.refresh(array);
    }

    /// How many elements the array had. They all have rows, so a few look-ups find the last.
    fn elements_before(&self, array: NodeIdx) -> u32 {
        let Some(recalled) = &self.recalled else { return 0 };
        let prefix = format!("{}-{}-n", self.unique_id(array), self.node(array).attempt);
        let has = |element: u32| recalled.by_id.contains_key(format!("{prefix}{element}").as_str());
        let mut above: u32 = 1;
        while has(above - 1) && above < u32::MAX / 2 {
            above *= 2;
        }
        // Elements below `from` are there, the one before `above` is not.
        let (mut from, mut above) = (above / 2, above);
        while above - from > 1 {
            let middle = from + (above - from) / 2;
            if has(middle - 1) { from = middle } else { above = middle }
        }
        from
    }

    /// Makes the row of the next element, if it had succeeded.
    fn show_next(&mut self, scope: ScopeIdx, now: Timestamp) {
        let Some(array) = self.known_scope(scope) else {
            self.showing.pop_front();
            return;
        };
        let (owner, first, len) = (array.owner, array.first, array.len);
        let elements = self.scope_mut(scope).elements_mut();
        let place = elements.map_or(len, |elements| {
            elements.next += 1;
            elements.next - 1
        });
        let node = first.saturating_add(place);
        if place < len && self.node(node).phase == NodePhase::NotYetStarted && self.succeeded_before(node) {
            self.take_over(node, now);
        }
        if place + 1 >= len {
            self.showing.pop_front();
            owner.into_iter().for_each(|owner| self.stop_showing(owner));
        }
    }

    /// No more rows are made of what the node holds.
    pub(super) fn stop_showing(&mut self, array: NodeIdx) {
        self.link_mut(array).showing = false;
        self.refresh(array);
    }

    /// Goes on with the rows of an array that was taken over, where an earlier life stopped.
    pub(super) fn resume_showing(&mut self, array: NodeIdx) {
        let inner = self.inner(array).filter(|_| self.node(array).phase == NodePhase::Recovered);
        if let Some(scope) = inner.filter(|_| self.recalled.is_some()) {
            self.show(array, scope);
        }
    }
}
