//! Drives the attempts of a node (task, launch plan, gate): one after another, each cleaned up before the next opens.

use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;
use proto::flyteidl::core::task_execution::Phase as TaskPhase;

use crate::attempt::Verdict;
use crate::deadline::{Deadline, Limit};
use crate::duration::display;
use crate::error;
use crate::execution::Execution;
use crate::graph::NodeKind;
use crate::node::{begin, dynamic, end, gate};
use crate::phase::NodePhase;
use crate::state::NodeState;
use crate::step::{AttemptChangeKind, Expansion, NodeIdx, Report};
use crate::transition::NodeEvent;

const NODE_FAILING: &str = "node failing";
const RETRYING: &str = "retrying";

/// Something was said about an attempt. Only the current attempt of a node that still waits for it counts.
pub(crate) fn reported(run: &mut Execution, node: NodeIdx, attempt: u32, report: Report, now: Timestamp) {
    if !run.knows(node) {
        return;
    }
    let state = run.node(node);
    if !state.open || state.attempt != attempt || !state.phase.is_active() {
        return;
    }
    match report {
        Report::Waiting => {}
        Report::Running => running(run, node, now),
        Report::Succeeded { output_uri, deck_uri } => succeeded(run, node, &output_uri, &deck_uri, now),
        Report::Failed { error, recoverable, cleanup } => {
            failed(run, node, error, recoverable, !cleanup, now);
        }
        Report::Expanded { expansion, deck_uri } => expanded(run, node, expansion, &deck_uri, now),
    }
}

fn running(run: &mut Execution, node: NodeIdx, now: Timestamp) {
    if run.node(node).phase == NodePhase::Queued || run.node(node).attempt_started_at.is_none() {
        begin(run, node, now);
        watch_execution(run, node);
    }
}

fn succeeded(run: &mut Execution, node: NodeIdx, output_uri: &str, deck_uri: &str, now: Timestamp) {
    if run.move_node(node, NodeEvent::Succeeded) {
        let output_uri = gate::output_uri(run, node, output_uri);
        let state = run.change(node);
        state.output_uri = output_uri;
        state.deck_uri = deck_uri.into();
        state.ended = true;
        state.say("");
        end(run, node, now);
        wind_up(run, node, "", now);
        run.tell_decided(node);
    }
}

fn expanded(run: &mut Execution, node: NodeIdx, expansion: Expansion, deck_uri: &str, now: Timestamp) {
    let is_task = matches!(run.graph_node(node).kind, NodeKind::Task { .. });
    if let Some(error) = dynamic::too_large(run, node, &expansion).filter(|_| is_task) {
        return failed(run, node, error, false, true, now);
    }
    if is_task && dynamic::expand(run, node, expansion, deck_uri, now) {
        wind_up(run, node, "", now);
    }
}

/// The current attempt failed: another follows, or the node fails. `ended` tells whether finalizing is enough.
fn failed(
    run: &mut Execution,
    node: NodeIdx,
    error: core::ExecutionError,
    recoverable: bool,
    ended: bool,
    now: Timestamp,
) {
    let is_system = error.kind() == ErrorKind::System;
    let verdict = match recoverable {
        true => run.rules(node).judge(run.node(node), &error),
        false => Verdict::Fail(error.clone()),
    };
    let (event, reason) = match verdict {
        Verdict::Retry => (NodeEvent::FailedRetryably, RETRYING),
        Verdict::Fail(_) => (NodeEvent::Failed, NODE_FAILING),
    };
    if !run.move_node(node, event) {
        return;
    }
    let state = run.change(node);
    state.ended = ended;
    state.system_failures += u32::from(is_system);
    state.say(&error.message);
    match verdict {
        Verdict::Retry => state.attempt_started_at = None,
        Verdict::Fail(error) => {
            state.error = Some(Box::new(error));
            end(run, node, now);
            run.tell_decided(node);
        }
    }
    wind_up(run, node, reason, now);
}

/// The current attempt is to be cleaned up. Where no task ran, an attempt that ended by itself left nothing.
fn wind_up(run: &mut Execution, node: NodeIdx, reason: &str, now: Timestamp) {
    let is_task = matches!(run.graph_node(node).kind, NodeKind::Task { .. });
    if run.node(node).ended && !is_task {
        run.close_attempt(node, now);
        advance(run, node, now);
    } else {
        run.clean_attempt(node, &Arc::from(reason));
    }
}

/// The current attempt ran too long: a failure of the user's that another attempt may mend.
pub(crate) fn expire(run: &mut Execution, node: NodeIdx, now: Timestamp) {
    let limit = display(run.rules(node).execution_timeout());
    let message = format!("task execution timeout [{limit}] expired");
    if run.node(node).open {
        end_attempt(run, node, TaskPhase::Failed, &message, now);
        failed(run, node, error::user("TimeoutExpired", message), true, false, now);
    } else if run.move_node(node, NodeEvent::TimedOut) {
        give_up(run, node, error::user("TimeoutExpired", message), now);
    }
}

/// The node took too long over all its attempts: it fails for good.
pub(crate) fn time_out(run: &mut Execution, node: NodeIdx, now: Timestamp) {
    let was_active = run.node(node).phase.is_active();
    if !run.move_node(node, NodeEvent::TimedOut) {
        return;
    }
    let limit = display(run.rules(node).active_timeout());
    let message = format!("task active timeout [{limit}] expired");
    if was_active && run.node(node).open {
        end_attempt(run, node, TaskPhase::Failed, &message, now);
        run.clean_attempt(node, &Arc::from(message.as_str()));
    }
    give_up(run, node, error::user("Timeout", message), now);
}

/// Notes that a node is timing out; one without an attempt has timed out.
fn give_up(run: &mut Execution, node: NodeIdx, error: core::ExecutionError, now: Timestamp) {
    run.stop_awaiting(node);
    let state = run.change(node);
    state.say(&error.message);
    state.error = Some(Box::new(error));
    end(run, node, now);
    run.tell_decided(node);
    if !run.node(node).open {
        advance(run, node, now);
    }
}

/// The execution ends: so does the node's attempt, if it has one. A clean-up under way is left to finish.
pub(crate) fn abort(run: &mut Execution, node: NodeIdx, reason: &Arc<str>, now: Timestamp) {
    let was_active = run.node(node).phase.is_active();
    if !run.move_node(node, NodeEvent::Aborted) {
        return;
    }
    run.stop_awaiting(node);
    run.change(node).say(reason);
    if !run.node(node).open {
        advance(run, node, now);
    } else if was_active {
        end_attempt(run, node, TaskPhase::Aborted, reason, now);
        run.clean_attempt(node, reason);
    }
}

/// An attempt is cleaned up: the row closes, and what waited for that goes on.
pub(crate) fn cleaned(run: &mut Execution, node: NodeIdx, attempt: u32, now: Timestamp) {
    if !run.knows(node) {
        return;
    }
    let state = run.node(node);
    if state.open && state.attempt == attempt && !state.phase.is_active() {
        run.close_attempt(node, now);
        advance(run, node, now);
    }
}

/// Moves a node on that has no open attempt. One that holds others waits for them too.
fn advance(run: &mut Execution, node: NodeIdx, now: Timestamp) {
    if run.node(node).expanded || !run.move_node(node, NodeEvent::Cleaned) {
        return;
    }
    match run.node(node).phase {
        NodePhase::Running => {
            let state = run.change(node);
            state.attempt += 1;
            state.say(RETRYING);
            run.open_attempt(node, false, now);
            if matches!(run.graph_node(node).kind, NodeKind::Gate(_)) {
                begin(run, node, now);
                watch_execution(run, node);
            }
        }
        NodePhase::Aborted => aborted(run, node, now),
        NodePhase::NotYetStarted
        | NodePhase::Queued
        | NodePhase::DynamicRunning
        | NodePhase::Succeeding
        | NodePhase::Failing
        | NodePhase::Succeeded
        | NodePhase::Recovered
        | NodePhase::Failed
        | NodePhase::Skipped
        | NodePhase::RetryableFailure
        | NodePhase::TimingOut
        | NodePhase::TimedOut
        | NodePhase::Aborting => {}
    }
}

/// Notes that a node was aborted and nothing of it is left.
pub(crate) fn aborted(run: &mut Execution, node: NodeIdx, now: Timestamp) {
    let reason = run.stop_reason().to_string();
    let state = run.change(node);
    state.error = Some(Box::new(error::failure(ErrorKind::Unknown, "NodeAborted", reason)));
    state.ended_at = Some(now);
}

/// Goes on with a node whose row was restored.
pub(crate) fn resume(run: &mut Execution, node: NodeIdx, now: Timestamp) {
    let state = run.node(node);
    match (state.phase.is_active(), state.open) {
        (true, true) => {
            run.recover_attempt(node);
            watch_execution(run, node);
        }
        // It waited for the catalog, or for what its task had made, without an attempt.
        (true, false) if state.phase == NodePhase::Queued => run.resolve(node),
        (true, false) => run.open_attempt(node, true, now),
        (false, true) => {
            let reason = resume_reason(run, node);
            run.clean_attempt(node, &reason);
        }
        (false, false) => advance(run, node, now),
    }
    watch_active(run, node);
}

fn resume_reason(run: &Execution, node: NodeIdx) -> Arc<str> {
    match run.node(node).phase {
        NodePhase::Aborting | NodePhase::Aborted => run.stop_reason(),
        NodePhase::RetryableFailure => Arc::from(RETRYING),
        NodePhase::TimingOut | NodePhase::TimedOut | NodePhase::Failing | NodePhase::Failed => {
            Arc::from(NODE_FAILING)
        }
        NodePhase::NotYetStarted
        | NodePhase::Queued
        | NodePhase::Running
        | NodePhase::DynamicRunning
        | NodePhase::Succeeding
        | NodePhase::Succeeded
        | NodePhase::Recovered
        | NodePhase::Skipped => Arc::from(""),
    }
}

fn end_attempt(run: &mut Execution, node: NodeIdx, phase: TaskPhase, reason: &str, now: Timestamp) {
    run.note_attempt(node, AttemptChangeKind::Ended { phase: phase as i32, reason: reason.to_owned() }, now);
}

/// Watches how long the node takes over all its attempts.
pub(crate) fn watch_active(run: &mut Execution, node: NodeIdx) {
    let timeout = run.rules(node).active_timeout();
    let from = run.node(node).queued_at;
    watch(run, node, Limit::Active, from, timeout);
}

/// Watches how long the node's current attempt takes.
pub(crate) fn watch_execution(run: &mut Execution, node: NodeIdx) {
    let timeout = run.rules(node).execution_timeout();
    let NodeState { attempt, attempt_started_at: from, .. } = *run.node(node);
    watch(run, node, Limit::Execution { attempt }, from, timeout);
}

fn watch(run: &mut Execution, node: NodeIdx, limit: Limit, from: Option<Timestamp>, timeout: i64) {
    if let Some(from) = from.filter(|_| timeout > 0 && limit.applies_to(run.node(node))) {
        run.deadlines.push(Deadline { at: from.plus(timeout), limit, node });
    }
}
