//! Does what all nodes have in common that hold others: sub-workflow, branch, array and expanded dynamic node.

use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::core;

use crate::deadline::Limit;
use crate::duration::display;
use crate::error;
use crate::execution::{Content, Execution, ScopeIdx};
use crate::graph::NodeKind;
use crate::node::{attempt, begin, end};
use crate::phase::NodePhase;
use crate::step::NodeIdx;
use crate::transition::NodeEvent;

/// Opens what a queued node holds, and lets the node run.
pub(crate) fn open(run: &mut Execution, node: NodeIdx, content: Content, now: Timestamp) -> Option<ScopeIdx> {
    begin(run, node, now);
    attempt::watch_active(run, node);
    attempt::watch_execution(run, node);
    if let Some(error) = too_large(run, node, &content) {
        fail(run, node, error, now);
        return None;
    }
    run.open_scope(node, content)
}

/// Why a node may not hold this, if the execution would have too many nodes.
pub(crate) fn too_large(run: &Execution, node: NodeIdx, content: &Content) -> Option<core::ExecutionError> {
    let (actual, allowed) = (run.over_limit(node, content)?, run.settings.max_nodes);
    let message = format!(
        "the execution would have {actual} nodes, more than the limit of {allowed} (max-execution-nodes)"
    );
    Some(error::user("WorkflowTooLarge", message))
}

/// All that the node holds succeeded; its outputs are those at `giver`, or are to be gathered first.
pub(crate) fn succeeded(run: &mut Execution, node: NodeIdx, giver: NodeIdx, now: Timestamp) {
    match run.graph_node(node).kind {
        NodeKind::Task { .. } | NodeKind::Array { .. } => {
            if run.move_node(node, NodeEvent::AllSucceeded) {
                run.gather(node);
            }
        }
        NodeKind::SubWorkflow { .. } | NodeKind::Branch { .. } => {
            let uri = Arc::clone(&run.node(giver).output_uri);
            succeed(run, node, uri, now);
        }
        NodeKind::Start | NodeKind::End | NodeKind::LaunchPlan { .. } | NodeKind::Gate(_) => {}
    }
}

fn succeed(run: &mut Execution, node: NodeIdx, uri: Arc<str>, now: Timestamp) {
    if run.move_node(node, NodeEvent::Succeeded) {
        let state = run.change(node);
        state.output_uri = uri;
        state.say("");
        end(run, node, now);
        run.tell_decided(node);
    }
}

/// The outputs of what the node holds are gathered, or cannot be.
pub(crate) fn outputs_written(
    run: &mut Execution,
    node: NodeIdx,
    result: Result<String, core::ExecutionError>,
    now: Timestamp,
) {
    if run.knows(node) && run.node(node).phase == NodePhase::Succeeding {
        match result {
            Ok(uri) => succeed(run, node, uri.into(), now),
            Err(error) => fail(run, node, error, now),
        }
    }
}

/// A failure decided what the node holds. The node itself is decided once that is cleaned up and its failure node
/// has run.
pub(crate) fn failing(run: &mut Execution, node: NodeIdx, error: Box<core::ExecutionError>, timed_out: bool) {
    // As in Flyte, a dynamic node in which something took too long did so itself.
    let is_dynamic = matches!(run.graph_node(node).kind, NodeKind::Task { .. });
    let event = if timed_out && is_dynamic { NodeEvent::TimedOut } else { NodeEvent::Failed };
    if run.move_node(node, event) {
        let state = run.change(node);
        state.say(&error.message);
        state.error = Some(error);
    }
}

/// The node fails by itself; nothing that it holds runs any more.
fn fail(run: &mut Execution, node: NodeIdx, error: core::ExecutionError, now: Timestamp) {
    if !run.node(node).expanded {
        return super::unresolvable(run, node, error, now);
    }
    failing(run, node, Box::new(error), false);
    run.fail_inner(node);
}

/// A deadline of the node passed: it and all that it holds end.
pub(crate) fn time_out(run: &mut Execution, node: NodeIdx, limit: Limit, now: Timestamp) {
    if !run.move_node(node, NodeEvent::TimedOut) {
        return;
    }
    let rules = run.rules(node);
    let (code, what, micros) = match limit {
        Limit::Execution { .. } => ("TimeoutExpired", "execution", rules.execution_timeout()),
        Limit::Active | Limit::Sleep => ("Timeout", "active", rules.active_timeout()),
    };
    let message = format!("node {what} timeout [{}] expired", display(micros));
    let state = run.change(node);
    state.say(&message);
    state.error = Some(Box::new(error::user(code, message)));
    run.stop_inner(node, now);
}

/// All that the node held is cleaned up, and so is the attempt that made it: the node ends as it was decided. `error`
/// replaces what it fails with.
pub(crate) fn finished(
    run: &mut Execution,
    node: NodeIdx,
    error: Option<Box<core::ExecutionError>>,
    now: Timestamp,
) {
    if !run.move_node(node, NodeEvent::Cleaned) {
        return;
    }
    if run.node(node).phase == NodePhase::Aborted {
        attempt::aborted(run, node, now);
    } else {
        if error.is_some() {
            run.change(node).error = error;
        }
        end(run, node, now);
        run.tell_decided(node);
    }
}

/// Goes on with a node whose row was restored.
pub(crate) fn resume(run: &mut Execution, node: NodeIdx) {
    if run.node(node).open {
        run.clean_attempt(node, &Arc::from(""));
    }
    run.gather(node);
    attempt::watch_active(run, node);
    attempt::watch_execution(run, node);
}
