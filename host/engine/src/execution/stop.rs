//! Begins an execution, and brings it or a part of it to a halt.

use std::sync::Arc;

use model::Timestamp;

use super::scope::{ScopeIdx, Status};
use super::{AbortRequest, Execution, News};
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
            && let Some(request) = self.abort_request.take()
        {
            return self.abort(&request, now);
        }
        if self.move_execution(ExecutionEvent::Started, now) {
            self.started_at = Some(now);
        }
        self.resume(now);
    }

    /// Ends it because somebody asked for it. The first cause stands.
    pub(super) fn request_abort(&mut self, request: AbortRequest, now: Timestamp) {
        if self.begun {
            return self.abort(&request, now);
        }
        let kept = self.abort_request.get_or_insert_with(|| request.clone());
        kept.force |= request.force;
        self.begin(now);
    }

    pub(super) fn abort(&mut self, request: &AbortRequest, now: Timestamp) {
        let is_first = self.phase != Phase::Aborting;
        let event = if request.force { ExecutionEvent::AbortForced } else { ExecutionEvent::AbortRequested };
        if self.move_execution(event, now) {
            self.error = None;
            if is_first {
                self.stop_reason = abort_reason(&request.cause);
            }
            self.stop(now);
        }
    }

    /// Nothing new starts, no failure is handled any more, and what runs is aborted.
    pub(super) fn stop(&mut self, now: Timestamp) {
        const ROOT: ScopeIdx = 0;
        self.scope_mut(ROOT).status = Status::Stopped;
        self.stop_scope(ROOT, now);
    }

    /// Aborts all that is live in a scope and below it. What it holds itself is for the caller to say.
    pub(crate) fn stop_scope(&mut self, scope: ScopeIdx, now: Timestamp) {
        let mut left = vec![scope];
        while let Some(scope) = left.pop() {
            let live: Vec<NodeIdx> = self.scope(scope).live.iter().copied().collect();
            for node in live {
                crate::cost::tick();
                left.extend(self.stop_node(node, now));
            }
            self.news.push_back(News::Quiet(scope));
        }
    }

    /// Aborts a live node; answers the scope of what it holds if that is to be stopped with it.
    fn stop_node(&mut self, node: NodeIdx, now: Timestamp) -> Option<ScopeIdx> {
        let phase = self.node(node).phase;
        if phase == NodePhase::NotYetStarted {
            self.give_back_place(node);
            self.stop_awaiting(node);
            return None;
        }
        if self.link(node).showing {
            if matches!(self.phase, Phase::Aborting | Phase::Aborted) {
                self.stop_showing(node);
            }
            return None;
        }
        let reason = self.stop_reason();
        let Some(inner) = self.inner(node) else {
            node::attempt::abort(self, node, &reason, now);
            return None;
        };
        let event = if phase.is_failure() { NodeEvent::CutShort } else { NodeEvent::Aborted };
        if !self.move_node(node, event) {
            return None;
        }
        self.change(node).say(&reason);
        self.scope_mut(inner).status = Status::Stopped;
        Some(inner)
    }

    /// Stops what a node holds because the node itself ends.
    pub(crate) fn stop_inner(&mut self, node: NodeIdx, now: Timestamp) {
        if let Some(inner) = self.inner(node) {
            self.scope_mut(inner).status = Status::Stopped;
            self.stop_scope(inner, now);
        }
    }

    /// Lets what a node holds end with a failure that is the node's own: nothing in it runs any more.
    pub(crate) fn fail_inner(&mut self, node: NodeIdx) {
        if let Some(inner) = self.inner(node) {
            self.scope_mut(inner).status = Status::Failing;
            self.news.push_back(News::Quiet(inner));
        }
    }

    /// Why nodes are aborted.
    pub(crate) fn stop_reason(&self) -> Arc<str> {
        Arc::clone(&self.stop_reason)
    }
}

/// What a cause given by somebody reads like to plugins.
pub(super) fn abort_reason(cause: &str) -> Arc<str> {
    Arc::from(if cause.is_empty() { "aborted on request" } else { cause })
}
