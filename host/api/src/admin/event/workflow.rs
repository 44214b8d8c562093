//! An execution entered a phase.

use model::{ExecutionId, NodeExecutionId, Timestamp, layout};
use proto::flyteidl::admin::{WorkflowExecutionEventRequest, WorkflowExecutionEventResponse};
use proto::flyteidl::core::workflow_execution::Phase;
use proto::flyteidl::event::{WorkflowExecutionEvent, workflow_execution_event::OutputResult};
use store::{Batch, EventKind, ExecutionRow, ExecutionUpdate, Report, Reported};

use super::{check_driver, error_columns, execution_id, occurred_at, outbox_row, outputs, report};
use crate::{Error, context::Context, error::Result, read::execution::is_terminal};

pub(in super::super) async fn create(
    cx: &Context,
    request: WorkflowExecutionEventRequest,
) -> Result<WorkflowExecutionEventResponse> {
    let mut event = request.event.ok_or(Error::Missing("event"))?;
    let id = execution_id("event.execution_id", event.execution_id.as_ref())?;
    let at = occurred_at(event.occurred_at.as_ref())?;
    let phase = Phase::try_from(event.phase)
        .map_err(|_| Error::invalid("event.phase", format!("{} is no phase of an execution", event.phase)))?;
    // Looked at beforehand, so that a refused event leaves no object.
    check(&cx.execution(&id).await?, phase, &event.producer_id)?;
    if let Some(OutputResult::OutputData(data)) = &mut event.output_result {
        let uri = outputs(cx, outputs_key(&id), Some(std::mem::take(data))).await?;
        event.output_result = Some(OutputResult::OutputUri(uri));
    }
    let wish = cx.store.events_wanted();
    let about = Reported { execution: id, node: None, task: None };
    report(cx, about, move |state| {
        let row = state.execution;
        check(&row, phase, &event.producer_id)?;
        let mut batch = Batch { executions: vec![update(&row, phase, &event, at)], ..Batch::default() };
        if wish.workflows || (is_terminal(phase as i32) && wish.any()) {
            let id = format!(
                "{}/{}/{}:{}@{}",
                row.id.project,
                row.id.domain,
                row.id.name,
                phase.as_str_name(),
                at.0
            );
            batch.events.push(outbox_row(&row, EventKind::Workflow, id, (phase as i32, at), &event));
        }
        let moved = phase == Phase::Queued && !matches!(event.producer_id.as_str(), "" | super::ANY_PRODUCER);
        Ok(Report { batch, cluster: moved.then(|| event.producer_id.clone()) })
    })
    .await?;
    Ok(WorkflowExecutionEventResponse {})
}

fn outputs_key(id: &ExecutionId) -> String {
    let node = NodeExecutionId { execution: id.clone(), node: "end-node".into() };
    format!("{}/0/outputs.pb", layout::node_dir(&node))
}

/// Whether an execution may enter a phase. QUEUED may be said again, by whichever cluster takes it over.
fn check(row: &ExecutionRow, phase: Phase, producer: &str) -> Result<()> {
    let current = Phase::try_from(row.phase).unwrap_or_default();
    if phase != Phase::Queued && current == phase {
        let (id, phase) = (row.id.to_string(), phase.as_str_name());
        return Err(Error::Recorded { what: "execution", id, phase });
    }
    if is_terminal(row.phase) {
        return Err(Error::AlreadyTerminal {
            what: "execution",
            id: row.id.to_string(),
            phase: current.as_str_name(),
        });
    }
    check_driver(row, if phase == Phase::Queued { "" } else { producer })?;
    let goes_back = phase == Phase::Queued && !matches!(current, Phase::Undefined | Phase::Queued);
    let resumes = current == Phase::Aborting && !is_terminal(phase as i32);
    if goes_back || resumes || phase == Phase::Undefined {
        let (from, to) = (current.as_str_name(), phase.as_str_name());
        return Err(Error::PhaseChange { what: "execution", id: row.id.to_string(), from, to });
    }
    Ok(())
}

fn update(
    row: &ExecutionRow,
    phase: Phase,
    event: &WorkflowExecutionEvent,
    at: Timestamp,
) -> ExecutionUpdate {
    let started_at = row.started_at.or((phase == Phase::Running).then_some(at));
    let (outputs_uri, error) = match &event.output_result {
        Some(OutputResult::OutputUri(uri)) => (uri.clone(), None),
        Some(OutputResult::Error(error)) => (row.outputs_uri.clone(), Some(error)),
        Some(OutputResult::OutputData(_)) | None => (row.outputs_uri.clone(), None),
    };
    let (error, error_kind, error_code) = match error {
        Some(error) => error_columns(Some(error)),
        None => (row.error.clone(), row.error_kind.clone(), row.error_code.clone()),
    };
    ExecutionUpdate {
        key: row.key,
        phase: phase as i32,
        outputs_uri,
        error,
        error_kind,
        error_code,
        updated_at: at,
        started_at,
        duration: is_terminal(phase as i32).then(|| at.since(started_at.unwrap_or(at))),
        live: false,
    }
}
