//! A node of an execution entered a phase.

use model::{ExecutionId, NodeExecutionId, Timestamp, layout};
use prost::Message;
use proto::flyteidl::admin::{
    NodeExecutionClosure, NodeExecutionEventRequest, NodeExecutionEventResponse, TaskNodeMetadata,
    WorkflowNodeMetadata, node_execution_closure::TargetMetadata,
};
use proto::flyteidl::core::{CompiledWorkflowClosure, node_execution::Phase};
use proto::flyteidl::event::{
    NodeExecutionEvent,
    node_execution_event::{InputValue, OutputResult, TargetMetadata as EventTarget},
};
use store::{Batch, EventKind, NodeExecutionRow, NodeFlags, Report, Reported, ReportedState};

use super::{check_driver, error_columns, occurred_at, outbox_row, outputs, report, reported_at};
use crate::{
    Error,
    context::{Context, execution_id, node_id},
    error::Result,
    read::dynamic,
};

pub(in super::super) async fn create(
    cx: &Context,
    request: NodeExecutionEventRequest,
) -> Result<NodeExecutionEventResponse> {
    let mut event = request.event.ok_or(Error::Missing("event"))?;
    let id = node_id("event.id", event.id.as_ref())?;
    let at = occurred_at(event.occurred_at.as_ref())?;
    let phase = Phase::try_from(event.phase)
        .map_err(|_| Error::invalid("event.phase", format!("{} is no phase of a node", event.phase)))?;
    // Looked at beforehand, so that a refused event leaves no object.
    check_driver(&cx.execution(&id.execution).await?, &event.producer_id)?;
    check_relations(cx, &id, &event).await?;
    let compiled = take_compiled(&mut event)?;
    if let Some(compiled) = compiled {
        let key = format!("{}/{}", layout::node_dir(&id), dynamic::COMPILED);
        cx.blob.put(&cx.blob.metadata_root().join(&key), compiled.encode_to_vec().into()).await?;
    }
    offload(cx, &id, &mut event).await?;
    let wish = cx.store.events_wanted();
    let about = Reported { execution: id.execution.clone(), node: Some(id.node.to_string()), task: None };
    let write = report(cx, about, move |state| {
        check_driver(&state.execution, &event.producer_id)?;
        check(&id, state.node.as_ref(), phase)?;
        let row = row(&state, &id, phase, &event, at)?;
        let mut batch = Batch { nodes: vec![row], ..Batch::default() };
        if wish.nodes {
            let ExecutionId { project, domain, name } = &id.execution;
            let outbox_id = format!("{project}/{domain}/{name}/{}:{}@{}", id.node, phase.as_str_name(), at.0);
            let place = (phase as i32, at);
            batch.events.push(outbox_row(&state.execution, EventKind::Node, outbox_id, place, &event));
        }
        Ok(Report { batch, cluster: None })
    });
    Box::pin(write).await?;
    Ok(NodeExecutionEventResponse {})
}

/// Parent and child that an event names must be there.
async fn check_relations(cx: &Context, id: &NodeExecutionId, event: &NodeExecutionEvent) -> Result<()> {
    if let Some(parent) = &event.parent_node_metadata {
        let parent =
            NodeExecutionId { execution: id.execution.clone(), node: parent.node_id.as_str().into() };
        cx.node(&parent).await?;
    }
    if let Some(EventTarget::WorkflowNodeMetadata(child)) = &event.target_metadata {
        cx.execution(&execution_id("event.workflow_node_metadata", child.execution_id.as_ref())?).await?;
    }
    Ok(())
}

/// Takes the workflow that a node made at run time out of its event: it is an object, not part of a row.
fn take_compiled(event: &mut NodeExecutionEvent) -> Result<Option<CompiledWorkflowClosure>> {
    let Some(EventTarget::TaskNodeMetadata(metadata)) = &mut event.target_metadata else { return Ok(None) };
    let Some(made) = &mut metadata.dynamic_workflow else { return Ok(None) };
    let compiled = made.compiled_workflow.take().ok_or(Error::Missing("event.dynamic_workflow"))?;
    let template = compiled.primary.as_ref().and_then(|primary| primary.template.as_ref());
    if template.and_then(|template| template.id.as_ref()).is_none() {
        return Err(Error::Missing("event.dynamic_workflow.compiled_workflow.primary.template.id"));
    }
    Ok(Some(compiled))
}

async fn offload(cx: &Context, id: &NodeExecutionId, event: &mut NodeExecutionEvent) -> Result<()> {
    if let Some(InputValue::InputData(data)) = &mut event.input_value {
        let uri = outputs(cx, layout::node_inputs(id), Some(std::mem::take(data))).await?;
        event.input_value = Some(InputValue::InputUri(uri));
    }
    if let Some(OutputResult::OutputData(data)) = &mut event.output_result {
        let key = format!("{}/outputs.pb", layout::node_dir(id));
        let uri = outputs(cx, key, Some(std::mem::take(data))).await?;
        event.output_result = Some(OutputResult::OutputUri(uri));
    }
    Ok(())
}

fn is_terminal(phase: i32) -> bool {
    matches!(
        Phase::try_from(phase),
        Ok(Phase::Succeeded
            | Phase::Failed
            | Phase::Aborted
            | Phase::Skipped
            | Phase::TimedOut
            | Phase::Recovered)
    )
}

fn check(id: &NodeExecutionId, row: Option<&NodeExecutionRow>, phase: Phase) -> Result<()> {
    let Some(row) = row else { return Ok(()) };
    let (id, name) = (id.to_string(), phase.as_str_name());
    if row.phase == phase as i32 {
        return Err(Error::Recorded { what: "node execution", id, phase: name });
    }
    if is_terminal(row.phase) {
        let phase = Phase::try_from(row.phase).unwrap_or_default().as_str_name();
        return Err(Error::AlreadyTerminal { what: "node execution", id, phase });
    }
    Ok(())
}

fn row(
    state: &ReportedState,
    id: &NodeExecutionId,
    phase: Phase,
    event: &NodeExecutionEvent,
    at: Timestamp,
) -> Result<NodeExecutionRow> {
    let mut row = match &state.node {
        Some(row) => row.clone(),
        None => new_row(state.execution.key, id, event, at),
    };
    row.phase = phase as i32;
    row.updated_at = reported_at(event.reported_at.as_ref(), at);
    if phase == Phase::Running && row.started_at.is_none() {
        (row.started_at, row.attempt_started_at) = (Some(at), Some(at));
    }
    if phase == Phase::Queued && row.queued_at.is_none() {
        row.queued_at = Some(at);
    }
    if is_terminal(row.phase) {
        row.duration = Some(at.since(row.started_at.unwrap_or(row.created_at)));
    }
    if let Some(InputValue::InputUri(uri)) = &event.input_value {
        row.input_uri.clone_from(uri);
    }
    match &event.output_result {
        Some(OutputResult::OutputUri(uri)) => row.output_uri.clone_from(uri),
        Some(OutputResult::Error(error)) => row.error = error_columns(Some(error)).0,
        Some(OutputResult::OutputData(_)) | None => {}
    }
    if !event.deck_uri.is_empty() {
        row.deck_uri.clone_from(&event.deck_uri);
    }
    for (is_set, flag) in [
        (event.is_parent, NodeFlags::IS_PARENT),
        (event.is_dynamic, NodeFlags::IS_DYNAMIC),
        (event.is_array, NodeFlags::IS_ARRAY),
        (event.is_eager, NodeFlags::IS_EAGER),
    ] {
        row.flags |= if is_set { flag } else { 0 };
    }
    let mut extra: NodeExecutionClosure = crate::context::decode(&row.extra, "closure", id)?;
    fill_extra(&mut extra, event);
    row.extra = extra.encode_to_vec();
    Ok(row)
}

fn new_row(
    execution: store::ExecutionKey,
    id: &NodeExecutionId,
    event: &NodeExecutionEvent,
    at: Timestamp,
) -> NodeExecutionRow {
    // A node that a task started, as engines of old said it, lies below the task's node.
    let of_task = event.parent_task_metadata.as_ref().and_then(|parent| parent.id.as_ref());
    let task_node = of_task.and_then(|id| Some((id.node_execution_id.as_ref()?, id.retry_attempt)));
    let of_node = event.parent_node_metadata.as_ref().map(|parent| parent.node_id.clone());
    NodeExecutionRow {
        execution,
        node_id: id.node.to_string(),
        spec_node_id: event.spec_node_id.clone(),
        node_name: event.node_name.clone(),
        parent_id: of_node.or_else(|| task_node.map(|(node, _)| node.node_id.clone())).unwrap_or_default(),
        retry_group: match task_node {
            Some((_, attempt)) if event.retry_group.is_empty() => attempt.to_string(),
            _ => event.retry_group.clone(),
        },
        phase: 0,
        engine_phase: 0,
        attempt: 0,
        system_failures: 0,
        input_uri: String::new(),
        output_uri: String::new(),
        deck_uri: String::new(),
        error: Vec::new(),
        extra: Vec::new(),
        flags: 0,
        detail: 0,
        created_at: at,
        updated_at: at,
        queued_at: None,
        started_at: None,
        attempt_started_at: None,
        duration: None,
    }
}

fn fill_extra(extra: &mut NodeExecutionClosure, event: &NodeExecutionEvent) {
    match &event.target_metadata {
        Some(EventTarget::WorkflowNodeMetadata(_))
            if matches!(extra.target_metadata, Some(TargetMetadata::WorkflowNodeMetadata(_))) => {}
        Some(EventTarget::WorkflowNodeMetadata(child)) => {
            let metadata = WorkflowNodeMetadata { execution_id: child.execution_id.clone() };
            extra.target_metadata = Some(TargetMetadata::WorkflowNodeMetadata(metadata));
        }
        Some(EventTarget::TaskNodeMetadata(task)) => {
            let metadata = TaskNodeMetadata {
                cache_status: task.cache_status,
                catalog_key: task.catalog_key.clone(),
                checkpoint_uri: task.checkpoint_uri.clone(),
            };
            extra.target_metadata = Some(TargetMetadata::TaskNodeMetadata(metadata));
            if let Some(made) = &task.dynamic_workflow
                && !made.dynamic_job_spec_uri.is_empty()
            {
                extra.dynamic_job_spec_uri.clone_from(&made.dynamic_job_spec_uri);
            }
        }
        None => {}
    }
}
