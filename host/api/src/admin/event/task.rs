//! An attempt of a task node entered a phase, or has news within one.

use model::{AttemptId, NodeExecutionId, Timestamp, layout};
use prost::Message;
use proto::flyteidl::admin::{
    Reason, TaskExecutionClosure, TaskExecutionEventRequest, TaskExecutionEventResponse,
    task_execution_closure,
};
use proto::flyteidl::core::{TaskLog, task_execution::Phase};
use proto::flyteidl::event::{
    ExternalResourceInfo, TaskExecutionEvent, TaskExecutionMetadata,
    task_execution_event::{InputValue, OutputResult},
};
use store::{Batch, EventKind, Report, Reported, ReportedState, TaskExecutionRow};

use super::{check_driver, occurred_at, outbox_row, outputs, report, reported_at, task_id};
use crate::{
    Error,
    context::{Context, decode, node_id},
    error::Result,
};

pub(in super::super) async fn create(
    cx: &Context,
    request: TaskExecutionEventRequest,
) -> Result<TaskExecutionEventResponse> {
    let mut event = request.event.ok_or(Error::Missing("event"))?;
    let node = node_id("event.parent_node_execution_id", event.parent_node_execution_id.as_ref())?;
    let task = task_id(event.task_id.as_ref())?;
    let at = occurred_at(event.occurred_at.as_ref())?;
    let attempt = i32::try_from(event.retry_attempt).map_err(|_| {
        Error::invalid("event.retry_attempt", format!("{} is too large", event.retry_attempt))
    })?;
    let phase = Phase::try_from(event.phase)
        .map_err(|_| Error::invalid("event.phase", format!("{} is no phase of a task", event.phase)))?;
    // Looked at beforehand, so that a refused event leaves no object.
    let (execution, _) = cx.node(&node).await?;
    check_driver(&execution, &event.producer_id)?;
    offload(cx, &node, &mut event).await?;
    let wish = cx.store.events_wanted();
    let about = Reported {
        execution: node.execution.clone(),
        node: Some(node.node.to_string()),
        task: Some((task.clone(), attempt)),
    };
    report(cx, about, move |state| {
        check_driver(&state.execution, &event.producer_id)?;
        check(&node, state.task.as_ref(), phase, &event)?;
        let mut row = match &state.task {
            Some(row) => row.clone(),
            None => new_row(&state, &node, (task, attempt), at)?,
        };
        apply(&mut row, &node, phase, &event, at)?;
        let mut batch = Batch { tasks: vec![row], ..Batch::default() };
        if let (Some(InputValue::InputUri(uri)), Some(mut node)) = (&event.input_value, state.node)
            && node.input_uri.is_empty()
        {
            node.input_uri.clone_from(uri);
            batch.nodes.push(node);
        }
        if wish.tasks {
            let (name, version) = (phase.as_str_name(), event.phase_version);
            let id = format!("{node}/{attempt}:{name}.{version}@{}", at.0);
            let place = (phase as i32, at);
            batch.events.push(outbox_row(&state.execution, EventKind::Task, id, place, &event));
        }
        Ok(Report { batch, cluster: None })
    })
    .await?;
    Ok(TaskExecutionEventResponse {})
}

async fn offload(cx: &Context, node: &NodeExecutionId, event: &mut TaskExecutionEvent) -> Result<()> {
    if let Some(InputValue::InputData(data)) = &mut event.input_value {
        let uri = outputs(cx, layout::node_inputs(node), Some(std::mem::take(data))).await?;
        event.input_value = Some(InputValue::InputUri(uri));
    }
    if let Some(OutputResult::OutputData(data)) = &mut event.output_result {
        let attempt = AttemptId { node: node.clone(), attempt: event.retry_attempt };
        let key = format!("{}/outputs.pb", layout::output_dir(&attempt));
        let uri = outputs(cx, key, Some(std::mem::take(data))).await?;
        event.output_result = Some(OutputResult::OutputUri(uri));
    }
    Ok(())
}

fn is_terminal(phase: i32) -> bool {
    matches!(Phase::try_from(phase), Ok(Phase::Succeeded | Phase::Aborted | Phase::Failed))
}

/// A phase may be said again with a higher version.
fn check(
    node: &NodeExecutionId,
    row: Option<&TaskExecutionRow>,
    phase: Phase,
    event: &TaskExecutionEvent,
) -> Result<()> {
    let Some(row) = row else { return Ok(()) };
    let (what, id) = ("task execution", format!("{node}:{}", event.retry_attempt));
    if row.phase == phase as i32 && row.phase_version.unsigned_abs() >= event.phase_version {
        return Err(Error::Recorded { what, id, phase: phase.as_str_name() });
    }
    if is_terminal(row.phase) {
        let phase = Phase::try_from(row.phase).unwrap_or_default().as_str_name();
        return Err(Error::AlreadyTerminal { what, id, phase });
    }
    Ok(())
}

fn new_row(
    state: &ReportedState,
    node: &NodeExecutionId,
    (task, attempt): (model::EntityId, i32),
    at: Timestamp,
) -> Result<TaskExecutionRow> {
    if state.node.is_none() {
        return Err(Error::not_found("node execution", node));
    }
    Ok(TaskExecutionRow {
        execution: state.execution.key,
        node_id: node.node.to_string(),
        attempt,
        task,
        task_type: String::new(),
        phase: 0,
        phase_version: 0,
        plugin_phase: 0,
        closure: Vec::new(),
        output_uri: String::new(),
        reason: String::new(),
        plugin: String::new(),
        plugin_state: Vec::new(),
        state_version: 0,
        intent: Vec::new(),
        objects: Vec::new(),
        open: false,
        wake_at: None,
        created_at: at,
        updated_at: at,
        started_at: None,
        duration: None,
    })
}

#[allow(deprecated, reason = "older engines say their reason in this field")]
fn apply(
    row: &mut TaskExecutionRow,
    node: &NodeExecutionId,
    phase: Phase,
    event: &TaskExecutionEvent,
    at: Timestamp,
) -> Result<()> {
    let mut closure: TaskExecutionClosure = decode(&row.closure, "closure", node)?;
    row.phase = phase as i32;
    row.phase_version = i32::try_from(event.phase_version).unwrap_or(i32::MAX);
    row.updated_at = reported_at(event.reported_at.as_ref(), at);
    if phase == Phase::Running && row.started_at.is_none() {
        row.started_at = Some(at);
    }
    if is_terminal(row.phase) {
        row.duration = row.started_at.map(|start| at.since(start));
    }
    if !event.task_type.is_empty() {
        row.task_type.clone_from(&event.task_type);
    }
    for reason in &event.reasons {
        closure.reasons.push(Reason { occurred_at: reason.occurred_at, message: reason.reason.clone() });
        row.reason.clone_from(&reason.reason);
    }
    if event.reasons.is_empty() && !event.reason.is_empty() && row.reason != event.reason {
        closure.reasons.push(Reason { occurred_at: event.occurred_at, message: event.reason.clone() });
        row.reason.clone_from(&event.reason);
    }
    match &event.output_result {
        Some(OutputResult::OutputUri(uri)) => row.output_uri.clone_from(uri),
        Some(OutputResult::Error(error)) => {
            closure.output_result = Some(task_execution_closure::OutputResult::Error(error.clone()));
        }
        Some(OutputResult::OutputData(_)) | None => {}
    }
    closure.logs = shown_logs(merge_logs(std::mem::take(&mut closure.logs), &event.logs), phase);
    if let Some(custom) = &event.custom_info {
        let known = closure.custom_info.get_or_insert_default();
        known.fields.extend(custom.fields.clone());
    }
    if let Some(metadata) = &event.metadata {
        merge_metadata(closure.metadata.get_or_insert_default(), metadata, phase);
    }
    closure.event_version = event.event_version;
    closure.log_context = event.log_context.clone().or(closure.log_context);
    row.closure = closure.encode_to_vec();
    Ok(())
}

/// The new logs, and the old ones that no new one of the same address or name replaces.
fn merge_logs(old: Vec<TaskLog>, new: &[TaskLog]) -> Vec<TaskLog> {
    let is_replaced =
        |log: &TaskLog| new.iter().any(|n| n.uri == log.uri || (!n.name.is_empty() && n.name == log.name));
    let kept = old.into_iter().filter(|log| !is_replaced(log));
    new.iter().cloned().chain(kept).collect()
}

/// Leaves out logs that are not there yet, or no longer.
fn shown_logs(logs: Vec<TaskLog>, phase: Phase) -> Vec<TaskLog> {
    let is_pending = matches!(phase, Phase::Queued | Phase::Initializing);
    let is_over = is_terminal(phase as i32);
    logs.into_iter()
        .filter(|log| !(is_over && log.hide_once_finished || is_pending && !log.show_while_pending))
        .collect()
}

fn merge_metadata(known: &mut TaskExecutionMetadata, new: &TaskExecutionMetadata, phase: Phase) {
    if !new.generated_name.is_empty() {
        known.generated_name.clone_from(&new.generated_name);
    }
    if !new.plugin_identifier.is_empty() {
        known.plugin_identifier.clone_from(&new.plugin_identifier);
    }
    if new.instance_class != 0 {
        known.instance_class = new.instance_class;
    }
    known.resource_pool_info.clone_from(&new.resource_pool_info);
    // Kept in the order of index and attempt, by which they are found.
    for resource in &new.external_resources {
        let place = |known: &ExternalResourceInfo| (known.index, known.retry_attempt);
        match known.external_resources.binary_search_by_key(&place(resource), place) {
            Ok(at) => merge_resource(&mut known.external_resources[at], resource),
            Err(at) => known.external_resources.insert(at, resource.clone()),
        }
    }
    for resource in &mut known.external_resources {
        resource.logs = shown_logs(std::mem::take(&mut resource.logs), phase);
    }
}

fn merge_resource(known: &mut ExternalResourceInfo, new: &ExternalResourceInfo) {
    let logs = merge_logs(std::mem::take(&mut known.logs), &new.logs);
    let old = std::mem::replace(known, ExternalResourceInfo { logs, ..new.clone() });
    if known.external_id.is_empty() {
        known.external_id = old.external_id;
    }
    if known.cache_status == 0 {
        known.cache_status = old.cache_status;
    }
    known.custom_info = known.custom_info.take().or(old.custom_info);
    known.target_metadata = known.target_metadata.take().or(old.target_metadata);
}
