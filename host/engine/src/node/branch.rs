//! Runs a branch: the node of one of its arms, in a scope of its own.

use std::sync::Arc;

use model::Timestamp;

use crate::execution::{Content, Execution};
use crate::graph::NodeKind;
use crate::node::{container, queue};
use crate::step::NodeIdx;

/// What a branch holds whose row has this detail.
pub(crate) fn content(kind: &NodeKind, detail: i64) -> Option<Content> {
    let NodeKind::Branch { arms, .. } = kind else { return None };
    let arm = usize::try_from(detail.checked_sub(1)?).ok()?;
    arms.get(arm).copied().map(Content::Arm)
}

/// Its inputs are written and chose an arm, whose node starts: the branch has waited for all that it needs.
pub(crate) fn resolved(run: &mut Execution, node: NodeIdx, arm: u32, uri: &Arc<str>, now: Timestamp) {
    if !queue(run, node, uri, now) {
        return;
    }
    let detail = i64::from(arm) + 1;
    run.change(node).detail = detail;
    let kind = run.graph_node(node).kind.clone();
    if let Some(content) = content(&kind, detail)
        && let Some(scope) = container::open(run, node, content, now)
    {
        run.make_ready(run.first_node(scope));
    }
}
