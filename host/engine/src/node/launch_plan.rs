//! Runs a launch plan node: an attempt is an execution of its own, whose outputs are the node's.

use std::sync::Arc;

use model::Timestamp;

use crate::execution::Execution;
use crate::node::{attempt, queue};
use crate::step::NodeIdx;

/// Its inputs are written: it is queued, and its execution is to be started.
pub(crate) fn resolved(run: &mut Execution, node: NodeIdx, uri: &Arc<str>, now: Timestamp) {
    if queue(run, node, uri, now) {
        run.open_attempt(node, false, now);
        attempt::watch_active(run, node);
    }
}
