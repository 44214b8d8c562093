//! Runs a dynamic node: a task that made a workflow, whose nodes run in a scope of their own.

use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::core;

use crate::execution::{Content, Execution};
use crate::graph::{Graph, NodeKind};
use crate::node::{attempt, container, start, unresolvable};
use crate::phase::NodePhase;
use crate::step::{Expansion, NodeIdx};
use crate::transition::NodeEvent;

/// What the node holds.
pub(crate) fn content(graph: Arc<Graph>) -> Content {
    Content::Expansion(graph)
}

/// Why the workflow that its task made may not run, if the execution would have too many nodes with it.
pub(crate) fn too_large(
    run: &Execution,
    node: NodeIdx,
    expansion: &Expansion,
) -> Option<core::ExecutionError> {
    container::too_large(run, node, &content(Arc::clone(&expansion.graph)))
}

/// Its task made a workflow, which starts. The attempt, if there was one, is cleaned up behind.
pub(crate) fn expand(
    run: &mut Execution,
    node: NodeIdx,
    expansion: Expansion,
    deck_uri: &str,
    now: Timestamp,
) -> bool {
    if !run.move_node(node, NodeEvent::Expanded) {
        return false;
    }
    let state = run.change(node);
    state.spec_uri = Some(expansion.spec_uri.into());
    state.deck_uri = deck_uri.into();
    state.attempt_started_at.get_or_insert(now);
    state.started_at.get_or_insert(now);
    state.ended = true;
    state.say("");
    run.give_back_own_place(node);
    attempt::watch_execution(run, node);
    if let Some(scope) = run.open_scope(node, content(expansion.graph)) {
        start::run(run, scope, now);
    }
    true
}

/// Whether it had expanded in the execution that is recovered: then the same workflow is run again, so that what
/// succeeded in it is found.
pub(crate) fn is_recalled(run: &Execution, node: NodeIdx) -> bool {
    run.recalled(node).is_some_and(|outcome| outcome.spec_uri.is_some())
}

/// Its inputs are written; what its task made is to be loaded instead of made again.
pub(crate) fn load(run: &mut Execution, node: NodeIdx) {
    let attempt = run.recalled(node).map(|outcome| outcome.attempt).unwrap_or_default();
    run.change(node).attempt = attempt;
    run.load_expansion(node);
}

/// What is to be loaded for the node, if it still waits for it.
pub(crate) fn to_load(run: &Execution, node: NodeIdx) -> Option<&str> {
    let state = run.node(node);
    let waits = state.phase == NodePhase::Queued && !state.open;
    run.recalled(node).filter(|_| waits)?.spec_uri.as_deref()
}

/// What its task had made is loaded, or cannot be.
pub(crate) fn loaded(
    run: &mut Execution,
    node: NodeIdx,
    result: Result<Expansion, core::ExecutionError>,
    now: Timestamp,
) {
    if !run.knows(node)
        || !matches!(run.graph_node(node).kind, NodeKind::Task { .. })
        || to_load(run, node).is_none()
        || run.awaits_inputs(node)
    {
        return;
    }
    let fitting = |expansion| match too_large(run, node, &expansion) {
        Some(error) => Err(error),
        None => Ok(expansion),
    };
    match result.and_then(fitting) {
        Ok(expansion) => _ = expand(run, node, expansion, "", now),
        Err(error) => unresolvable(run, node, error, now),
    }
}
