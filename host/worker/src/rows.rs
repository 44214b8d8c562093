//! Turns the engine's state into the rows that clients read (client-api.md 7), and rows back into snapshots.

use engine::{AttemptRow, Execution, ExecutionSnapshot, NodeIdx, NodePhase, NodeSnapshot, NodeState, Phase};
use model::{AttemptId, Timestamp, layout};
use prost::Message;
use proto::flyteidl::admin::{
    NodeExecutionClosure, TaskNodeMetadata, node_execution_closure::TargetMetadata,
};
use proto::flyteidl::core::{CatalogCacheStatus, ExecutionError, execution_error::ErrorKind};
use store::row::{ExecutionRow, ExecutionUpdate, NodeExecutionRow, NodeFlags, TaskExecutionRow};

use crate::context;
use crate::info::Info;
use crate::program::{Program, Task};

/// The execution as it stands.
pub(crate) fn execution_update(info: &Info, engine: &Execution, now: Timestamp) -> ExecutionUpdate {
    let (error, error_kind, error_code) = of_error(engine.error());
    ExecutionUpdate {
        key: info.key,
        phase: engine.wire_phase(),
        outputs_uri: engine.outputs_uri().to_owned(),
        error,
        error_kind,
        error_code,
        updated_at: now,
        started_at: engine.started_at(),
        duration: span(engine.started_at(), engine.ended_at()),
        live: !engine.is_done(),
    }
}

/// An execution that failed before it began: its workflow cannot be run.
pub(crate) fn stillborn(row: &ExecutionRow, error: &ExecutionError, now: Timestamp) -> ExecutionUpdate {
    let (error, error_kind, error_code) = of_error(Some(error));
    ExecutionUpdate {
        key: row.key,
        phase: Phase::Failed.wire(),
        outputs_uri: String::new(),
        error,
        error_kind,
        error_code,
        updated_at: now,
        started_at: Some(row.started_at.unwrap_or(now)),
        duration: Some(now.since(row.started_at.unwrap_or(now))),
        live: false,
    }
}

fn of_error(error: Option<&ExecutionError>) -> (Vec<u8>, String, String) {
    let Some(error) = error else { return Default::default() };
    let kind = match error.kind() {
        ErrorKind::Unknown => String::new(),
        kind @ (ErrorKind::User | ErrorKind::System) => kind.as_str_name().to_owned(),
    };
    (error.encode_to_vec(), kind, error.code.clone())
}

fn span(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<i64> {
    Some(to?.since(from?))
}

/// A node as it stands.
pub(crate) fn node_row(
    info: &Info,
    program: &Program,
    node: NodeIdx,
    state: &NodeState,
    now: Timestamp,
) -> NodeExecutionRow {
    let graph_node = program.graph.node(node);
    let node_id = program.node_id(node).to_string();
    let id = context::attempt_id(info, program, node, state.attempt);
    let task = program.task(node);
    NodeExecutionRow {
        execution: info.key,
        spec_node_id: node_id.clone(),
        node_id,
        node_name: graph_node.map(|node| node.name.clone()).unwrap_or_default(),
        parent_id: String::new(),
        retry_group: String::new(),
        phase: state.wire_phase(),
        engine_phase: state.phase.number(),
        attempt: i32::try_from(state.attempt).unwrap_or(i32::MAX),
        system_failures: i32::try_from(state.system_failures).unwrap_or(i32::MAX),
        input_uri: state.input_uri.to_string(),
        output_uri: state.output_uri.to_string(),
        deck_uri: deck_uri(info, task, state, &id),
        error: state.error.as_deref().map(Message::encode_to_vec).unwrap_or_default(),
        extra: task.map(|_| extra(info, state, &id)).unwrap_or_default(),
        flags: if task.is_some_and(|task| task.is_eager) { NodeFlags::IS_EAGER } else { 0 },
        detail: 0,
        created_at: state.queued_at.or(state.ended_at).unwrap_or(now),
        updated_at: now,
        queued_at: state.queued_at,
        started_at: state.started_at,
        attempt_started_at: state.attempt_started_at,
        duration: span(state.started_at, state.ended_at),
    }
}

/// A task that says it makes a deck has one from the start; else it is found at the end.
fn deck_uri(info: &Info, task: Option<&Task>, state: &NodeState, id: &AttemptId) -> String {
    let promised = task.is_some_and(|task| task.generates_deck == Some(true)) && state.queued_at.is_some();
    if promised && state.deck_uri.is_empty() {
        return format!("{}/deck.html", context::output_prefix(info, id));
    }
    state.deck_uri.to_string()
}

fn extra(info: &Info, state: &NodeState, id: &AttemptId) -> Vec<u8> {
    let checkpoint = info.raw_root.join(&layout::raw_output_dir(id)).join(layout::CHECKPOINT_DIR);
    let metadata = TaskNodeMetadata {
        cache_status: CatalogCacheStatus::CacheDisabled.into(),
        checkpoint_uri: if state.queued_at.is_some() {
            checkpoint.as_str().to_owned()
        } else {
            String::new()
        },
        ..TaskNodeMetadata::default()
    };
    let target_metadata = Some(TargetMetadata::TaskNodeMetadata(metadata));
    NodeExecutionClosure { target_metadata, ..NodeExecutionClosure::default() }.encode_to_vec()
}

/// Why stored rows cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error(transparent)]
    Phase(#[from] engine::Error),
    #[error("a stored error cannot be read: {0}")]
    Error(#[from] prost::DecodeError),
}

/// The execution as its row tells. A row that nobody has touched may have no phase yet.
pub(crate) fn execution_snapshot(row: &ExecutionRow) -> Result<ExecutionSnapshot, Unreadable> {
    let phase = if row.phase == 0 { Phase::Queued } else { Phase::from_wire(row.phase)? };
    Ok(ExecutionSnapshot {
        phase,
        abort_cause: row.aborted_by.is_some().then(|| row.abort_cause.clone()),
        error: read_error(&row.error)?,
        created_at: row.created_at,
        started_at: row.started_at,
        ended_at: row.started_at.zip(row.duration).map(|(start, micros)| start.plus(micros)),
    })
}

/// A node as its row and that of its current attempt tell.
pub(crate) fn node_snapshot(
    row: &NodeExecutionRow,
    attempt: Option<&TaskExecutionRow>,
) -> Result<NodeSnapshot, Unreadable> {
    let phase = NodePhase::from_number(row.engine_phase)?;
    let ended = row.started_at.zip(row.duration).map(|(start, micros)| start.plus(micros));
    Ok(NodeSnapshot {
        id: row.node_id.clone(),
        phase,
        attempt: u32::try_from(row.attempt).unwrap_or_default(),
        attempt_row: attempt.map(attempt_row).unwrap_or_default(),
        system_failures: u32::try_from(row.system_failures).unwrap_or_default(),
        error: read_error(&row.error)?,
        input_uri: row.input_uri.clone(),
        output_uri: row.output_uri.clone(),
        deck_uri: row.deck_uri.clone(),
        queued_at: row.queued_at,
        started_at: row.started_at,
        attempt_started_at: row.attempt_started_at,
        ended_at: ended.or_else(|| phase.is_terminal().then_some(row.updated_at)),
    })
}

/// The plugin's phase is negative when it asked to be aborted, and terminal when it said that the attempt ended.
fn attempt_row(row: &TaskExecutionRow) -> AttemptRow {
    use proto::pinion::plugin::v1::Phase as Plugin;
    let ended = [Plugin::Succeeded, Plugin::RetryableFailure, Plugin::PermanentFailure];
    match (row.open, Plugin::try_from(i32::from(row.plugin_phase))) {
        (false, _) => AttemptRow::Closed,
        (true, Ok(phase)) if ended.contains(&phase) => AttemptRow::Ended,
        (true, _) => AttemptRow::Live,
    }
}

fn read_error(bytes: &[u8]) -> Result<Option<ExecutionError>, prost::DecodeError> {
    if bytes.is_empty() { Ok(None) } else { ExecutionError::decode(bytes).map(Some) }
}
