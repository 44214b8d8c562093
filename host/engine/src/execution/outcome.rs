//! Carries outcomes on: who becomes ready, who is skipped, and when a scope as a whole is decided.

use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::core;

use super::scope::{Kind, ScopeIdx, Status};
use super::{Execution, News};
use crate::error;
use crate::node;
use crate::phase::NodePhase;
use crate::step::NodeIdx;
use crate::transition::{ExecutionEvent, NodeEvent};

impl Execution {
    /// Carries on that a node is decided: succeeded, or never to succeed.
    pub(super) fn decided(&mut self, node: NodeIdx, now: Timestamp) {
        let index = self.scope_of(node);
        let scope = self.scope_mut(index);
        if scope.failure_slot() == Some(node) {
            return self.news.push_back(News::Quiet(index));
        }
        if scope.status != Status::Open {
            return;
        }
        self.note(node);
        if !self.judge(index, now) && matches!(self.scope(index).kind, Kind::All) {
            self.release_downstream(node, now);
            self.judge(index, now);
        }
    }

    /// Notes in the scope how one of its nodes ended.
    pub(super) fn note(&mut self, node: NodeIdx) {
        let phase = self.node(node).phase;
        let index = self.scope_of(node);
        if let Some(elements) = self.scope_mut(index).elements_mut() {
            elements.n_succeeded += u32::from(phase.is_success());
            elements.n_failed += u32::from(!phase.is_success());
        }
        // The latest failure; by time and position, so that a later life finds the same one.
        let rank = |idx: NodeIdx| (self.node(idx).ended_at, idx);
        if phase.is_failure() && self.scope(index).last_failure.is_none_or(|last| rank(last) <= rank(node)) {
            self.scope_mut(index).last_failure = Some(node);
        }
    }

    /// Decides an open scope whose nodes already decide it; answers whether it is decided.
    pub(super) fn judge(&mut self, index: ScopeIdx, now: Timestamp) -> bool {
        let scope = self.scope(index);
        if scope.status != Status::Open {
            return true;
        }
        let verdict = match &scope.kind {
            Kind::All => {
                let end = scope.first + scope.graph.end;
                let at_end = self.node(end).phase;
                let fails = scope.last_failure.is_some_and(|failed| {
                    !scope.graph.continue_on_failure || failed == end || at_end == NodePhase::Skipped
                });
                if at_end.is_success() { Some(Ok(end)) } else { fails.then_some(Err(())) }
            }
            Kind::One(_) => {
                let arm = self.node(scope.first);
                arm.is_decided().then_some(if arm.phase.is_success() { Ok(scope.first) } else { Err(()) })
            }
            Kind::Elements(_, elements) => {
                let left = scope.len.saturating_sub(elements.n_succeeded + elements.n_failed);
                let hopeless = scope.len - elements.n_failed.min(scope.len) < elements.rules.min_successes;
                if hopeless && (left == 0 || !elements.rules.run_all) {
                    Some(Err(()))
                } else {
                    (left == 0).then_some(Ok(scope.first))
                }
            }
        };
        match verdict {
            None => return false,
            Some(Ok(giver)) => self.succeed_scope(index, giver, now),
            Some(Err(())) => self.fail_scope(index, now),
        }
        true
    }

    /// Tells the nodes that waited for this one; skips those that will never run, and tells theirs.
    pub(super) fn release_downstream(&mut self, node: NodeIdx, now: Timestamp) {
        let scope = self.scope(self.scope_of(node));
        let (graph, first) = (Arc::clone(&scope.graph), scope.first);
        let mut decided = vec![node];
        while let Some(node) = decided.pop() {
            let lost = !self.node(node).phase.is_success();
            let downstream = graph.node(node - first).map(|node| node.downstream.as_slice());
            for down in downstream.unwrap_or_default() {
                crate::cost::tick();
                let down = first + down;
                let link = self.link_mut(down);
                link.upstream = link.upstream.saturating_sub(1);
                link.upstream_lost |= lost;
                match (link.upstream, link.upstream_lost) {
                    (0, false) => self.make_ready(down),
                    (0, true) => decided.extend(self.skip(down, now).then_some(down)),
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

    /// The outputs of a scope are readable at `giver`.
    fn succeed_scope(&mut self, index: ScopeIdx, giver: NodeIdx, now: Timestamp) {
        self.scope_mut(index).status = Status::Ended;
        match self.scope(index).owner {
            Some(owner) => node::container::succeeded(self, owner, giver, now),
            None => _ = self.move_execution(ExecutionEvent::EndReached, now),
        }
    }

    /// A failure decides a scope: nothing new starts in it, and what runs is aborted.
    fn fail_scope(&mut self, index: ScopeIdx, now: Timestamp) {
        let scope = self.scope_mut(index);
        scope.status = Status::Failing;
        let (owner, last) = (scope.owner, scope.last_failure);
        let timed_out = last
            .is_some_and(|node| matches!(self.node(node).phase, NodePhase::TimingOut | NodePhase::TimedOut));
        let error = Box::new(self.failure(index, timed_out));
        match owner {
            Some(owner) => node::container::failing(self, owner, error, timed_out),
            None if self.move_execution(ExecutionEvent::NodeFailed, now) => self.error = Some(error),
            None => {}
        }
        self.stop_scope(index, now);
    }

    /// What a scope fails with.
    fn failure(&self, index: ScopeIdx, timed_out: bool) -> core::ExecutionError {
        let scope = self.scope(index);
        if let Kind::Elements(_, elements) = &scope.kind {
            let failed = (0..).zip(scope.range()).filter_map(|(element, node)| {
                crate::cost::tick();
                self.node(node).error.as_deref().map(|error| (element, error))
            });
            return node::array::merged_error(failed, scope.len, elements.rules.min_successes);
        }
        let unknown = || error::system("NodeFailed", "a node failed".to_owned());
        match scope.last_failure.map(|node| self.node(node)) {
            Some(_) if timed_out => error::user("Timeout", "Timeout in node".to_owned()),
            Some(state) => state.error.as_deref().cloned().unwrap_or_else(unknown),
            None => unknown(),
        }
    }

    /// Goes on with a scope in which nothing is live any more.
    pub(super) fn quiet(&mut self, index: ScopeIdx, now: Timestamp) {
        let scope = self.scope(index);
        if !scope.live.is_empty() {
            return;
        }
        let failure_node = scope.failure_slot().map(|slot| (slot, self.node(slot).phase));
        match (scope.status, failure_node) {
            (Status::Open, _) => {}
            (Status::Failing, Some((slot, NodePhase::NotYetStarted))) => {
                self.scope_mut(index).status = Status::Handling;
                self.make_ready(slot);
            }
            (Status::Handling, Some((_, phase))) if !phase.is_terminal() => {}
            (Status::Failing | Status::Handling, failure_node) => {
                let failed = failure_node.filter(|(_, phase)| phase.is_failure());
                let error = failed.map(|(slot, _)| self.failure_of_handling(slot));
                self.finish(index, error, now);
            }
            (Status::Stopped, _) => self.finish(index, None, now),
            (Status::Ended, _) => match scope.owner {
                Some(owner) => self.refresh(owner),
                None => self.changes.execution |= self.phase.is_terminal(),
            },
        }
    }

    /// What a scope fails with whose failure node failed.
    fn failure_of_handling(&self, slot: NodeIdx) -> Box<core::ExecutionError> {
        let state = self.node(slot);
        match (state.phase, &state.error) {
            (NodePhase::TimedOut, _) => {
                Box::new(error::user("TimedOut", "the failure node took too long".to_owned()))
            }
            (_, Some(error)) => error.clone(),
            (_, None) => Box::new(error::system("NodeFailed", "the failure node failed".to_owned())),
        }
    }

    /// All of a scope that failed or was stopped is cleaned up: whoever holds it ends. `error` replaces the failure.
    fn finish(&mut self, index: ScopeIdx, error: Option<Box<core::ExecutionError>>, now: Timestamp) {
        let Some(owner) = self.scope(index).owner else {
            self.scope_mut(index).status = Status::Ended;
            if error.is_some() {
                self.error = error;
            }
            if !self.move_execution(ExecutionEvent::Cleaned, now) {
                self.changes.execution |= self.phase.is_terminal();
            }
            return;
        };
        // The attempt that made it is cleaned up behind; until it is, the node has not ended.
        if !self.node(owner).open {
            self.scope_mut(index).status = Status::Ended;
            node::container::finished(self, owner, error, now);
        }
    }
}
