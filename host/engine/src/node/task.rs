//! Runs a task node: looked up in the catalog, or by attempts.

use std::sync::Arc;

use model::Timestamp;

use crate::execution::Execution;
use crate::node::{attempt, dynamic, end, queue};
use crate::phase::NodePhase;
use crate::step::NodeIdx;
use crate::transition::NodeEvent;

/// Its inputs are written: it is queued, and its first attempt opened.
pub(crate) fn resolved(run: &mut Execution, node: NodeIdx, uri: &Arc<str>, now: Timestamp) {
    if !queue(run, node, uri, now) {
        return;
    }
    if dynamic::is_recalled(run, node) {
        dynamic::load(run, node);
    } else {
        run.open_attempt(node, false, now);
    }
    attempt::watch_active(run, node);
}

/// The catalog has its outputs.
pub(crate) fn found(run: &mut Execution, node: NodeIdx, uri: &Arc<str>, output_uri: &str, now: Timestamp) {
    let is_new = run.node(node).phase == NodePhase::NotYetStarted;
    let event = if is_new { NodeEvent::Passed } else { NodeEvent::Succeeded };
    if run.move_node(node, event) {
        let state = run.change(node);
        state.input_uri = Arc::clone(uri);
        state.output_uri = output_uri.into();
        state.queued_at.get_or_insert(now);
        end(run, node, now);
        run.tell_decided(node);
    }
}

/// Another execution makes its outputs: it is queued without an attempt until its inputs are resolved again.
pub(crate) fn wait(run: &mut Execution, node: NodeIdx, uri: &Arc<str>, now: Timestamp) {
    if queue(run, node, uri, now) {
        run.change(node).say("waiting for another execution that makes the same outputs");
        run.await_inputs(node);
        attempt::watch_active(run, node);
    }
}
