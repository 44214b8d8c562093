//! Makes the messages of events of the rows they tell about. Pure.

use model::{EntityId, ExecutionId, NodeExecutionId, Timestamp};
use prost::Message;
use proto::flyteidl::admin::{
    NodeExecutionClosure, TaskExecutionClosure, node_execution_closure, task_execution_closure,
};
use proto::flyteidl::core::{ExecutionError, workflow_execution};
use proto::flyteidl::event::{
    EventReason, NodeExecutionEvent, ParentNodeExecutionMetadata, TaskExecutionEvent, TaskNodeMetadata,
    WorkflowNodeMetadata, node_execution_event, task_execution_event, workflow_execution_event,
};
use store::row::{ExecutionKey, ExecutionUpdate, NodeExecutionRow, NodeFlags, TaskExecutionRow};
use store::{EventKind, OutboxRow, PRODUCER};

use super::{Node, Task};

/// Bytes of an error's text in an event, as in Flyte.
const MAX_MESSAGE: usize = 100 * 1024;

/// The messages are those of Flyte's current engine.
const EVENT_VERSION: i32 = 1;

/// The execution that events are about.
pub(super) struct Subject<'a> {
    pub(super) key: ExecutionKey,
    pub(super) id: &'a ExecutionId,
}

fn read_error(bytes: &[u8]) -> Option<ExecutionError> {
    let decoded = if bytes.is_empty() { None } else { ExecutionError::decode(bytes).ok() };
    decoded.map(cut)
}

fn cut(mut error: ExecutionError) -> ExecutionError {
    error.message.truncate(error.message.floor_char_boundary(MAX_MESSAGE));
    error
}

/// Not empty.
fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// An execution entered a phase. Without its row, because it has left that phase, the event has no result.
pub(super) fn workflow_event(
    subject: &Subject<'_>,
    phase: workflow_execution::Phase,
    at: Timestamp,
    update: Option<&ExecutionUpdate>,
) -> OutboxRow {
    use workflow_execution_event::OutputResult;
    let result = update.and_then(|update| {
        let error = read_error(&update.error).map(OutputResult::Error);
        error.or_else(|| given(&update.outputs_uri).map(OutputResult::OutputUri))
    });
    OutboxRow::of_workflow(subject.key, subject.id, phase as i32, at, result)
}

/// A node entered a phase. `whole` is false for a phase that it has left: then there is no result.
pub(super) fn node_event(
    subject: &Subject<'_>,
    row: &NodeExecutionRow,
    target: Option<&EntityId>,
    phase: Node,
    at: Timestamp,
    whole: bool,
) -> OutboxRow {
    use node_execution_event::{InputValue, OutputResult};
    let has = |flag: i32| row.flags & flag != 0;
    let id = NodeExecutionId { execution: subject.id.clone(), node: row.node_id.as_str().into() };
    let result = || {
        let error = read_error(&row.error).map(OutputResult::Error);
        let outputs =
            || given(&row.output_uri).filter(|_| phase == Node::Succeeded || phase == Node::Recovered);
        error.or_else(|| outputs().map(OutputResult::OutputUri))
    };
    let event = NodeExecutionEvent {
        id: Some(id.to_proto()),
        producer_id: PRODUCER.to_owned(),
        phase: phase.into(),
        occurred_at: Some(at.to_proto()),
        input_value: given(&row.input_uri).map(InputValue::InputUri),
        output_result: if whole { result() } else { None },
        target_metadata: node_metadata(&row.extra),
        parent_node_metadata: given(&row.parent_id).map(|node_id| ParentNodeExecutionMetadata { node_id }),
        retry_group: row.retry_group.clone(),
        spec_node_id: row.spec_node_id.clone(),
        node_name: row.node_name.clone(),
        event_version: EVENT_VERSION,
        is_parent: has(NodeFlags::IS_PARENT),
        is_dynamic: has(NodeFlags::IS_DYNAMIC),
        is_array: has(NodeFlags::IS_ARRAY),
        is_eager: has(NodeFlags::IS_EAGER),
        deck_uri: row.deck_uri.clone(),
        reported_at: Some(row.updated_at.to_proto()),
        target_entity: target.map(EntityId::to_proto),
        ..NodeExecutionEvent::default()
    };
    let name = phase.as_str_name();
    OutboxRow {
        execution: subject.key,
        kind: EventKind::Node,
        phase: phase.into(),
        occurred_at: at,
        id: format!("{}/{}:{name}@{}", place(subject.id), row.node_id, at.0),
        message: event.encode_to_vec(),
    }
}

/// Project, domain and name: how the ids of events begin.
fn place(id: &ExecutionId) -> String {
    format!("{}/{}/{}", id.project, id.domain, id.name)
}

fn node_metadata(extra: &[u8]) -> Option<node_execution_event::TargetMetadata> {
    use node_execution_closure::TargetMetadata as Stored;
    use node_execution_event::TargetMetadata as Told;
    let decoded = if extra.is_empty() { None } else { NodeExecutionClosure::decode(extra).ok() };
    Some(match decoded?.target_metadata? {
        Stored::TaskNodeMetadata(task) => Told::TaskNodeMetadata(TaskNodeMetadata {
            cache_status: task.cache_status,
            catalog_key: task.catalog_key,
            checkpoint_uri: task.checkpoint_uri,
            ..TaskNodeMetadata::default()
        }),
        Stored::WorkflowNodeMetadata(workflow) => {
            Told::WorkflowNodeMetadata(WorkflowNodeMetadata { execution_id: workflow.execution_id })
        }
    })
}

/// An attempt entered a phase, or a version of it. `whole` is false for a phase that it has left: then there is
/// nothing but the phase.
pub(super) fn task_event(
    subject: &Subject<'_>,
    row: &TaskExecutionRow,
    input_uri: &str,
    phase: Task,
    at: Timestamp,
    whole: bool,
) -> OutboxRow {
    use task_execution_event::InputValue;
    let node = NodeExecutionId { execution: subject.id.clone(), node: row.node_id.as_str().into() };
    let version = if whole { row.phase_version } else { 0 };
    let mut event = TaskExecutionEvent {
        task_id: Some(row.task.to_proto()),
        parent_node_execution_id: Some(node.to_proto()),
        retry_attempt: u32::try_from(row.attempt).unwrap_or_default(),
        phase: phase.into(),
        phase_version: u32::try_from(version).unwrap_or_default(),
        producer_id: PRODUCER.to_owned(),
        occurred_at: Some(at.to_proto()),
        input_value: given(input_uri).map(InputValue::InputUri),
        task_type: row.task_type.clone(),
        event_version: EVENT_VERSION,
        reported_at: Some(row.updated_at.to_proto()),
        ..TaskExecutionEvent::default()
    };
    if whole {
        fill_report(&mut event, row);
    }
    let name = phase.as_str_name();
    let (place, node, attempt) = (place(subject.id), &row.node_id, row.attempt);
    OutboxRow {
        execution: subject.key,
        kind: EventKind::Task,
        phase: phase.into(),
        occurred_at: at,
        id: format!("{place}/{node}/{attempt}:{name}.{version}@{}", at.0),
        message: event.encode_to_vec(),
    }
}

/// What the plugin last said, and the result.
fn fill_report(event: &mut TaskExecutionEvent, row: &TaskExecutionRow) {
    use task_execution_event::OutputResult;
    let closure = TaskExecutionClosure::decode(row.closure.as_slice()).unwrap_or_default();
    event.output_result = match closure.output_result {
        Some(task_execution_closure::OutputResult::Error(error)) => Some(OutputResult::Error(cut(error))),
        Some(_) | None => given(&row.output_uri).map(OutputResult::OutputUri),
    };
    let reason = |reason: proto::flyteidl::admin::Reason| EventReason {
        reason: reason.message,
        occurred_at: reason.occurred_at,
    };
    // Earlier ones went out with earlier events.
    event.reasons = closure.reasons.into_iter().next_back().map(reason).into_iter().collect();
    set_reason(event, &row.reason);
    event.logs = closure.logs;
    event.custom_info = closure.custom_info;
    event.metadata = closure.metadata;
    event.log_context = closure.log_context;
}

#[allow(deprecated, reason = "older receivers read the reason here")]
fn set_reason(event: &mut TaskExecutionEvent, reason: &str) {
    reason.clone_into(&mut event.reason);
}
