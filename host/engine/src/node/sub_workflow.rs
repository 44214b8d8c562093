//! Runs a sub-workflow node: the nodes of another workflow, in a scope of their own.

use std::sync::Arc;

use model::Timestamp;

use crate::execution::{Content, Execution};
use crate::node::{container, queue, start};
use crate::step::NodeIdx;

/// What the node holds.
pub(crate) fn content(graph: usize) -> Content {
    Content::SubWorkflow(graph)
}

/// Its inputs are written: they are the inputs of the workflow, which starts.
pub(crate) fn resolved(run: &mut Execution, node: NodeIdx, graph: usize, uri: &Arc<str>, now: Timestamp) {
    if queue(run, node, uri, now)
        && let Some(scope) = container::open(run, node, content(graph), now)
    {
        start::run(run, scope, now);
    }
}
