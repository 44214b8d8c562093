//! Knows what is particular to each kind of node: one file per kind.

pub(crate) mod end;
pub(crate) mod start;
pub(crate) mod task;

use model::Timestamp;
use proto::flyteidl::core;

use crate::execution::Execution;
use crate::graph::NodeKind;
use crate::step::NodeIdx;
use crate::transition::NodeEvent;

/// Whether nodes of this kind count towards `max_parallelism`.
pub(crate) fn takes_place(kind: NodeKind) -> bool {
    match kind {
        NodeKind::Start | NodeKind::End => false,
        NodeKind::Task { .. } => true,
    }
}

/// The node's inputs are written, or cannot be made.
pub(crate) fn resolved(
    run: &mut Execution,
    node: NodeIdx,
    result: Result<String, core::ExecutionError>,
    now: Timestamp,
) {
    let uri = match result {
        Ok(uri) => uri,
        Err(error) => return unresolvable(run, node, error, now),
    };
    match run.graph_node(node).kind {
        NodeKind::Start => {}
        NodeKind::End => end::resolved(run, node, &uri, now),
        NodeKind::Task { .. } => task::resolved(run, node, &uri, now),
    }
}

/// Without inputs a node fails at once; there is no attempt to clean up.
fn unresolvable(run: &mut Execution, node: NodeIdx, error: core::ExecutionError, now: Timestamp) {
    if run.move_node(node, NodeEvent::Unresolvable) {
        let state = run.change(node);
        state.say(&error.message);
        state.error = Some(Box::new(error));
        end(run, node, now);
        run.decided(node, now);
    }
}

/// Notes when the node's outcome was decided. The row tells it as a span from the start, so there must be one.
pub(crate) fn end(run: &mut Execution, node: NodeIdx, now: Timestamp) {
    let state = run.change(node);
    state.started_at.get_or_insert(now);
    state.ended_at = Some(now);
}
