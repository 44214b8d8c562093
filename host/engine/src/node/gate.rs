//! Runs a gate: waits for a while by itself, or for a value or an approval that the shell looks at.

use std::sync::Arc;

use model::Timestamp;

use crate::deadline::{Deadline, Limit};
use crate::execution::Execution;
use crate::graph::{GateKind, NodeKind};
use crate::node::{attempt, begin, end, queue};
use crate::phase::NodePhase;
use crate::step::NodeIdx;
use crate::transition::NodeEvent;

/// Whether nodes of this kind wait without an attempt.
pub(crate) fn is_sleep(kind: &NodeKind) -> bool {
    matches!(kind, NodeKind::Gate(GateKind::Sleep { .. }))
}

/// Its inputs are written: it waits from now on.
pub(crate) fn resolved(run: &mut Execution, node: NodeIdx, gate: &GateKind, uri: &Arc<str>, now: Timestamp) {
    if !queue(run, node, uri, now) {
        return;
    }
    begin(run, node, now);
    match gate {
        GateKind::Sleep { micros } => sleep(run, node, *micros, now),
        GateKind::Signal { .. } | GateKind::Approve { .. } => run.open_attempt(node, false, now),
    }
    attempt::watch_active(run, node);
    attempt::watch_execution(run, node);
}

fn sleep(run: &mut Execution, node: NodeIdx, micros: i64, now: Timestamp) {
    match run.node(node).attempt_started_at {
        Some(from) if micros > 0 => {
            run.deadlines.push(Deadline { at: from.plus(micros), limit: Limit::Sleep, node });
        }
        _ => wake(run, node, now),
    }
}

/// The while is over.
pub(crate) fn wake(run: &mut Execution, node: NodeIdx, now: Timestamp) {
    if run.move_node(node, NodeEvent::Succeeded) {
        end(run, node, now);
        run.tell_decided(node);
    }
}

/// Where the outputs of a gate are that was passed, unless the shell wrote some: what is approved passes through.
pub(crate) fn output_uri(run: &Execution, node: NodeIdx, written: &str) -> Arc<str> {
    if matches!(run.graph_node(node).kind, NodeKind::Gate(GateKind::Approve { .. })) {
        return Arc::clone(&run.node(node).input_uri);
    }
    Arc::from(written)
}

/// Goes on with a gate whose row was restored.
pub(crate) fn resume(run: &mut Execution, node: NodeIdx, gate: &GateKind, now: Timestamp) {
    match gate {
        GateKind::Sleep { micros } if run.node(node).phase == NodePhase::Running => {
            sleep(run, node, *micros, now);
            attempt::watch_active(run, node);
            attempt::watch_execution(run, node);
        }
        GateKind::Sleep { .. } | GateKind::Signal { .. } | GateKind::Approve { .. } => {
            attempt::resume(run, node, now);
        }
    }
}
