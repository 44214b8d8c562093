//! Runs the start node: the workflow's inputs are its outputs, written at launch.

use model::Timestamp;

use crate::execution::Execution;
use crate::transition::NodeEvent;

/// Succeeds with the first change of the execution, before any other node has a row.
pub(crate) fn run(run: &mut Execution, now: Timestamp) {
    let node = run.graph.start;
    if run.move_node(node, NodeEvent::Passed) {
        let uri = run.settings.inputs_uri.clone();
        let state = run.change(node);
        state.output_uri = uri;
        state.queued_at = Some(now);
        state.started_at = Some(now);
        state.ended_at = Some(now);
        run.decided(node, now);
    }
}
