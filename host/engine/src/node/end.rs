//! Runs the end node: its resolved inputs are the workflow's outputs.

use std::sync::Arc;

use model::Timestamp;

use crate::execution::Execution;
use crate::step::NodeIdx;
use crate::transition::NodeEvent;

/// Succeeds, and with it the workflow, in one change: who reads that it ended can read what came out.
pub(crate) fn resolved(run: &mut Execution, node: NodeIdx, uri: &Arc<str>, now: Timestamp) {
    if run.move_node(node, NodeEvent::Passed) {
        let state = run.change(node);
        state.input_uri = Arc::clone(uri);
        state.output_uri = Arc::clone(uri);
        state.queued_at = Some(now);
        state.started_at = Some(now);
        state.ended_at = Some(now);
        run.tell_decided(node);
    }
}
