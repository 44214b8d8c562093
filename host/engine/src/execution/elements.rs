//! Lets the elements of arrays start: as many as their array may run at once, and as all arrays of the execution may.
//!
//! Every element in flight has a place: one of the execution's, or that of the element it lies in, which lends it to one
//! of those below. So there are never more elements that hold no others in flight than there are places; and since what
//! has a place can always let something below it run, arrays in each other never wait for each other in a circle.

use std::collections::VecDeque;
use std::sync::Arc;

use model::Timestamp;

use super::Execution;
use super::scope::{ScopeIdx, Status};
use crate::node;
use crate::phase::NodePhase;
use crate::step::NodeIdx;

impl Execution {
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

    /// Starts elements of an array while it has room and finds places.
    pub(super) fn admit_elements(&mut self, scope: ScopeIdx, now: Timestamp) {
        while self.has_room(scope) {
            crate::cost::tick();
            let array = self.scope_mut(scope);
            let (first, lender) = (array.first, array.lender);
            let Some(elements) = array.elements_mut() else { return };
            let node = first + elements.next;
            let reads_array = !elements.rules.own_inputs;
            let is_new = self.node(node).phase == NodePhase::NotYetStarted && !self.link(node).ready;
            if is_new && self.succeeded_before(node) {
                self.recovering.push_back(node);
            } else if is_new {
                if !self.lends(lender) && !self.has_place_left() {
                    return self.stand_in_line(scope);
                }
                self.take_element_place(node);
                self.start_element(node, reads_array, now);
            }
            self.link_mut(node).ready = true;
            if let Some(elements) = self.scope_mut(scope).elements_mut() {
                elements.next += 1;
            }
        }
        // What it was woken for may be left for others.
        self.wake_line();
        if let Some(lender) = self.known_scope(scope).and_then(|scope| scope.lender) {
            self.wake_lender_line(lender);
        }
    }

    /// Whether the array itself may start another element.
    fn has_room(&mut self, scope: ScopeIdx) -> bool {
        let Some(array) = self.scopes.get_mut(scope as usize).and_then(Option::as_deref_mut) else {
            return false;
        };
        let (is_open, len) = (array.status == Status::Open, array.len);
        let Some(elements) = array.elements_mut() else { return false };
        is_open && elements.in_flight < elements.rules.limit && elements.next < len
    }

    fn has_place_left(&self) -> bool {
        self.elements_in_flight < self.settings.max_elements_in_flight.max(1)
    }

    /// Whether the place of this element is free for one below.
    fn lends(&self, lender: Option<NodeIdx>) -> bool {
        let link = lender.and_then(|lender| self.nodes.link(lender));
        link.is_some_and(|link| link.has_place && link.n_below == 0)
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

    /// The element starts and has a place from now on.
    pub(super) fn take_element_place(&mut self, node: NodeIdx) {
        self.hold_place(node);
        let scope = self.scope_of(node);
        if let Some(elements) = self.scope_mut(scope).elements_mut() {
            elements.in_flight += 1;
        }
    }

    /// The element has a place: the first one in another element that of the latter, each further one another.
    pub(super) fn hold_place(&mut self, node: NodeIdx) {
        let lender = self.scope(self.scope_of(node)).lender;
        self.link_mut(node).has_place = true;
        self.elements_in_flight += u32::from(!self.lends(lender));
        if let Some(lender) = lender {
            self.link_mut(lender).n_below += 1;
        }
    }

    /// The element has ended: its place is free for others, which may be its own array's turn. One below that is still
    /// being cleaned up keeps it until then.
    pub(super) fn free_element_place(&mut self, node: NodeIdx) {
        let scope = self.scope_of(node);
        if let Some(elements) = self.scope_mut(scope).elements_mut() {
            elements.in_flight -= 1;
        }
        if self.has_room(scope) {
            self.stand_in_line(scope);
        }
        match self.link(node).n_below {
            0 => self.drop_place(node),
            _ => self.link_mut(node).has_place = true,
        }
        self.wake_line();
    }

    /// The element has no place any more, nor have those it lies in that only kept theirs for it.
    pub(super) fn drop_place(&mut self, node: NodeIdx) {
        let mut dropped = Some(node);
        while let Some(node) = dropped.take() {
            crate::cost::tick();
            let lender = self.scope(self.scope_of(node)).lender;
            self.link_mut(node).has_place = false;
            if let Some(lender) = lender {
                self.link_mut(lender).n_below -= 1;
            }
            let was_lent = self.lends(lender);
            self.elements_in_flight -= u32::from(!was_lent);
            if let Some(lender) = lender.filter(|_| was_lent) {
                self.wake_lender_line(lender);
                dropped = Some(lender).filter(|lender| self.node(*lender).phase.is_terminal());
            }
        }
    }

    /// The array waits until a place is free that it may take.
    fn stand_in_line(&mut self, scope: ScopeIdx) {
        let lender = self.scope(scope).lender;
        let Some(elements) = self.scope_mut(scope).elements_mut() else { return };
        let stood = std::mem::replace(&mut elements.in_line, true);
        let stood_below = std::mem::replace(&mut elements.in_lender_line, lender.is_some());
        if !stood {
            self.line.push_back(scope);
        }
        if let Some(lender) = lender.filter(|_| !stood_below) {
            self.lender_lines.entry(lender).or_default().push_back(scope);
        }
    }

    /// Lets the first array in line that has room look for a place, if there may be one.
    fn wake_line(&mut self) {
        while self.has_place_left() {
            let Some(scope) = self.line.pop_front() else { return };
            crate::cost::tick();
            if self.leaves_line(scope, |elements| elements.in_line = false) {
                return self.feed(scope);
            }
        }
    }

    /// The same for the place of an element, and the arrays that lie in it.
    fn wake_lender_line(&mut self, lender: NodeIdx) {
        while self.lends(Some(lender)) {
            let Some(scope) = self.lender_lines.get_mut(&lender).and_then(VecDeque::pop_front) else {
                self.lender_lines.remove(&lender);
                return;
            };
            crate::cost::tick();
            if self.leaves_line(scope, |elements| elements.in_lender_line = false) {
                return self.feed(scope);
            }
        }
    }

    /// Notes that an array is in a line no more; says whether it has room.
    fn leaves_line(&mut self, scope: ScopeIdx, note: impl FnOnce(&mut super::scope::Elements)) -> bool {
        if self.known_scope(scope).is_none() {
            return false;
        }
        self.scope_mut(scope).elements_mut().map(note);
        self.has_room(scope)
    }
}
