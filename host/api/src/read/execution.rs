//! Makes executions of their rows.

use model::time::duration_to_proto;
use proto::flyteidl::admin::{
    AbortMetadata, Execution, ExecutionClosure, ExecutionSpec, ExecutionStateChangeDetails, LiteralMapBlob,
    Notification, execution_closure::OutputResult, execution_spec::NotificationOverrides,
    literal_map_blob::Data,
};
use proto::flyteidl::core::{ExecutionError, workflow_execution::Phase};
use store::ExecutionRow;

use crate::{context::decode, error::Result};

/// Bytes of an error message that lists show.
const MAX_LISTED_MESSAGE: usize = 100;

pub(crate) fn is_terminal(phase: i32) -> bool {
    match Phase::try_from(phase) {
        Ok(Phase::Succeeded | Phase::Failed | Phase::Aborted | Phase::TimedOut) => true,
        Ok(
            Phase::Undefined
            | Phase::Queued
            | Phase::Running
            | Phase::Succeeding
            | Phase::Failing
            | Phase::Aborting,
        )
        | Err(_) => false,
    }
}

/// The phase clients see: an abort shows from the moment it was asked for.
pub(crate) fn phase(row: &ExecutionRow) -> i32 {
    if row.aborted_by.is_some() && !is_terminal(row.phase) { Phase::Aborting as i32 } else { row.phase }
}

pub(crate) fn execution(row: &ExecutionRow) -> Result<Execution> {
    let spec: ExecutionSpec = decode(&row.spec, "spec", &row.id)?;
    let closure = ExecutionClosure {
        phase: phase(row),
        started_at: row.started_at.map(model::Timestamp::to_proto),
        duration: row.duration.map(duration_to_proto),
        created_at: Some(row.created_at.to_proto()),
        updated_at: Some(row.updated_at.to_proto()),
        notifications: notifications(&spec),
        workflow_id: Some(row.workflow.to_proto()),
        state_change_details: Some(state_change(row)),
        output_result: output_result(row)?,
        ..ExecutionClosure::default()
    };
    Ok(Execution { id: Some(row.id.to_proto()), spec: Some(spec), closure: Some(closure) })
}

/// An execution as lists show it: with the beginning of its error.
pub(crate) fn execution_of_list(row: &ExecutionRow) -> Result<Execution> {
    let mut execution = execution(row)?;
    let closure = execution.closure.as_mut();
    if let Some(OutputResult::Error(error)) = closure.and_then(|closure| closure.output_result.as_mut()) {
        let end = error.message.floor_char_boundary(MAX_LISTED_MESSAGE);
        error.message.truncate(end);
    }
    Ok(execution)
}

#[allow(deprecated, reason = "clients read the URI here")]
fn output_result(row: &ExecutionRow) -> Result<Option<OutputResult>> {
    if !row.error.is_empty() {
        let error: ExecutionError = decode(&row.error, "error", &row.id)?;
        return Ok(Some(OutputResult::Error(error)));
    }
    if let Some(principal) = &row.aborted_by
        && row.phase != Phase::Succeeded as i32
    {
        let metadata = AbortMetadata { cause: row.abort_cause.clone(), principal: principal.clone() };
        return Ok(Some(OutputResult::AbortMetadata(metadata)));
    }
    if row.outputs_uri.is_empty() {
        return Ok(None);
    }
    Ok(Some(OutputResult::Outputs(LiteralMapBlob { data: Some(Data::Uri(row.outputs_uri.clone())) })))
}

fn notifications(spec: &ExecutionSpec) -> Vec<Notification> {
    match &spec.notification_overrides {
        Some(NotificationOverrides::Notifications(list)) => list.notifications.clone(),
        Some(NotificationOverrides::DisableAll(_)) | None => Vec::new(),
    }
}

fn state_change(row: &ExecutionRow) -> ExecutionStateChangeDetails {
    let occurred_at = if row.state == 0 { row.created_at } else { row.updated_at };
    ExecutionStateChangeDetails {
        state: row.state,
        occurred_at: Some(occurred_at.to_proto()),
        principal: row.principal.clone(),
    }
}
