//! Makes task executions of their rows.

use model::{ExecutionId, Timestamp, time::duration_to_proto};
use proto::flyteidl::admin::{TaskExecution, TaskExecutionClosure, task_execution_closure::OutputResult};
use proto::flyteidl::core::TaskExecutionIdentifier;
use store::{NodeExecutionRow, TaskExecutionRow};

use super::node_execution;
use crate::{context::decode, error::Result};

pub(crate) fn task_execution(
    execution: &ExecutionId,
    node: &NodeExecutionRow,
    row: &TaskExecutionRow,
) -> Result<TaskExecution> {
    let node_id = node_execution::id(execution, node);
    let stored: TaskExecutionClosure = decode(&row.closure, "closure", format!("{node_id}:{}", row.attempt))?;
    let closure = TaskExecutionClosure {
        phase: row.phase,
        started_at: row.started_at.map(Timestamp::to_proto),
        duration: row.duration.map(duration_to_proto),
        created_at: Some(row.created_at.to_proto()),
        updated_at: Some(row.updated_at.to_proto()),
        reason: row.reason.clone(),
        task_type: row.task_type.clone(),
        output_result: output_result(row, stored.output_result),
        ..stored
    };
    let id = TaskExecutionIdentifier {
        task_id: Some(row.task.to_proto()),
        node_execution_id: Some(node_id.to_proto()),
        retry_attempt: row.attempt.unsigned_abs(),
    };
    Ok(TaskExecution {
        id: Some(id),
        input_uri: node.input_uri.clone(),
        closure: Some(closure),
        is_parent: false,
    })
}

/// An error is part of the stored closure, the outputs are a column.
#[allow(deprecated, reason = "clients read the URI here")]
fn output_result(row: &TaskExecutionRow, stored: Option<OutputResult>) -> Option<OutputResult> {
    match stored {
        Some(OutputResult::Error(error)) => Some(OutputResult::Error(error)),
        _ if !row.output_uri.is_empty() => Some(OutputResult::OutputUri(row.output_uri.clone())),
        other => other,
    }
}
