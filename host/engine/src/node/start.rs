//! Runs the start node: the workflow's inputs are its outputs, written at launch or with the inputs of the node that
//! holds the workflow.

use std::sync::Arc;

use model::Timestamp;

use crate::execution::{Execution, ScopeIdx};
use crate::transition::NodeEvent;

/// Succeeds with the first change of the workflow, before any other of its nodes has a row.
pub(crate) fn run(run: &mut Execution, scope: ScopeIdx, now: Timestamp) {
    let node = run.start_node(scope);
    if run.move_node(node, NodeEvent::Passed) {
        let uri = match run.owner(scope) {
            Some(owner) => Arc::clone(&run.node(owner).input_uri),
            None => Arc::from(&*run.settings.inputs_uri),
        };
        let state = run.change(node);
        state.output_uri = uri;
        state.queued_at = Some(now);
        state.started_at = Some(now);
        state.ended_at = Some(now);
        run.tell_decided(node);
    }
}
