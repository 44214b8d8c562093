//! Knows what is particular to each kind of node: one file per kind. `attempt` drives the attempts of those that have
//! some, `container` what those have in common that hold other nodes.

pub(crate) mod array;
pub(crate) mod attempt;
pub(crate) mod branch;
pub(crate) mod container;
pub(crate) mod dynamic;
pub(crate) mod end;
pub(crate) mod gate;
pub(crate) mod launch_plan;
pub(crate) mod start;
pub(crate) mod sub_workflow;
pub(crate) mod task;

use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::core;

use crate::error;
use crate::execution::Execution;
use crate::graph::NodeKind;
use crate::phase::NodePhase;
use crate::step::{Detail, NodeIdx, Resolved};
use crate::transition::NodeEvent;

/// Whether nodes of this kind count towards `max_parallelism`.
pub(crate) fn takes_place(kind: &NodeKind) -> bool {
    match kind {
        NodeKind::Task { .. } | NodeKind::LaunchPlan { .. } | NodeKind::Array { .. } => true,
        NodeKind::Start
        | NodeKind::End
        | NodeKind::SubWorkflow { .. }
        | NodeKind::Branch { .. }
        | NodeKind::Gate(_) => false,
    }
}

/// The node's inputs are written, or cannot be made.
pub(crate) fn resolved(
    run: &mut Execution,
    node: NodeIdx,
    result: Result<Resolved, core::ExecutionError>,
    now: Timestamp,
) {
    let Resolved { uri, detail } = match result {
        Ok(resolved) => resolved,
        Err(error) => return unresolvable(run, node, error, now),
    };
    let uri = Arc::from(uri);
    let kind = run.graph_node(node).kind.clone();
    match (kind, detail) {
        (NodeKind::End, Detail::Plain) => end::resolved(run, node, &uri, now),
        (NodeKind::Task { .. }, Detail::Plain) => task::resolved(run, node, &uri, now),
        (NodeKind::Task { .. }, Detail::CacheHit { output_uri }) => {
            task::found(run, node, &uri, &output_uri, now);
        }
        (NodeKind::Task { .. }, Detail::CacheWait) => task::wait(run, node, &uri, now),
        (NodeKind::SubWorkflow { graph }, Detail::Plain) => {
            sub_workflow::resolved(run, node, graph, &uri, now);
        }
        (NodeKind::LaunchPlan { .. }, Detail::Plain) => launch_plan::resolved(run, node, &uri, now),
        (NodeKind::Branch { arms, .. }, Detail::Arm(arm)) if (arm as usize) < arms.len() => {
            branch::resolved(run, node, arm, &uri, now);
        }
        (NodeKind::Array { .. }, Detail::Size(size)) => array::resolved(run, node, size, &uri, now),
        (NodeKind::Gate(gate), Detail::Plain) => gate::resolved(run, node, &gate, &uri, now),
        (kind, detail) => {
            let message = format!("a {} node cannot go on with {detail:?}", kind.word());
            unresolvable(run, node, error::system("BadSpecificationError", message), now);
        }
    }
}

/// Without inputs a node fails at once; there is no attempt to clean up.
pub(crate) fn unresolvable(run: &mut Execution, node: NodeIdx, error: core::ExecutionError, now: Timestamp) {
    let is_new = run.node(node).phase == NodePhase::NotYetStarted;
    let failed = if is_new {
        run.move_node(node, NodeEvent::Unresolvable)
    } else {
        run.move_node(node, NodeEvent::Failed) && run.move_node(node, NodeEvent::Cleaned)
    };
    if failed {
        let state = run.change(node);
        state.say(&error.message);
        state.error = Some(Box::new(error));
        end(run, node, now);
        run.tell_decided(node);
    }
}

/// The node's inputs are written: it is queued, unless it has been so since it waits for the catalog.
pub(crate) fn queue(run: &mut Execution, node: NodeIdx, uri: &Arc<str>, now: Timestamp) -> bool {
    let waited = run.node(node).phase == NodePhase::Queued && !run.node(node).open;
    if !waited && !run.move_node(node, NodeEvent::Resolved) {
        return false;
    }
    let state = run.change(node);
    state.input_uri = Arc::clone(uri);
    state.queued_at.get_or_insert(now);
    true
}

/// The node runs.
pub(crate) fn begin(run: &mut Execution, node: NodeIdx, now: Timestamp) {
    run.move_node(node, NodeEvent::Running);
    let state = run.change(node);
    state.attempt_started_at.get_or_insert(now);
    state.started_at.get_or_insert(now);
}

/// Notes when the node's outcome was decided. The row tells it as a span from the start, so there must be one.
pub(crate) fn end(run: &mut Execution, node: NodeIdx, now: Timestamp) {
    let state = run.change(node);
    state.started_at.get_or_insert(now);
    state.ended_at = Some(now);
}

/// Goes on with a node whose row was restored.
pub(crate) fn resume(run: &mut Execution, node: NodeIdx, now: Timestamp) {
    let kind = run.graph_node(node).kind.clone();
    match kind {
        NodeKind::Start | NodeKind::End => {}
        NodeKind::Gate(gate) => gate::resume(run, node, &gate, now),
        _ if run.node(node).expanded => container::resume(run, node),
        NodeKind::Task { .. } | NodeKind::LaunchPlan { .. } => attempt::resume(run, node, now),
        NodeKind::SubWorkflow { .. } | NodeKind::Branch { .. } | NodeKind::Array { .. } => {}
    }
}
