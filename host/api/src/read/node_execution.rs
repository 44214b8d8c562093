//! Makes node executions of their rows.

use model::{ExecutionId, NodeExecutionId, Timestamp, time::duration_to_proto};
use proto::flyteidl::admin::{
    NodeExecution, NodeExecutionClosure, NodeExecutionMetaData, node_execution_closure::OutputResult,
};
use proto::flyteidl::core::ExecutionError;
use store::{NodeExecutionRow, NodeFlags};

use crate::{context::decode, error::Result};

pub(crate) fn id(execution: &ExecutionId, row: &NodeExecutionRow) -> NodeExecutionId {
    NodeExecutionId { execution: execution.clone(), node: row.node_id.as_str().into() }
}

pub(crate) fn node_execution(execution: &ExecutionId, row: &NodeExecutionRow) -> Result<NodeExecution> {
    let id = id(execution, row);
    let extra: NodeExecutionClosure = decode(&row.extra, "closure", &id)?;
    let flag = |bit| flag(row, bit);
    let closure = NodeExecutionClosure {
        phase: row.phase,
        started_at: row.started_at.map(Timestamp::to_proto),
        duration: row.duration.map(duration_to_proto),
        created_at: Some(row.created_at.to_proto()),
        updated_at: Some(row.updated_at.to_proto()),
        deck_uri: row.deck_uri.clone(),
        output_result: output_result(&id, row)?,
        ..extra
    };
    Ok(NodeExecution {
        id: Some(id.to_proto()),
        input_uri: row.input_uri.clone(),
        closure: Some(closure),
        metadata: Some(NodeExecutionMetaData {
            retry_group: row.retry_group.clone(),
            is_parent_node: flag(NodeFlags::IS_PARENT),
            spec_node_id: row.spec_node_id.clone(),
            is_dynamic: flag(NodeFlags::IS_DYNAMIC),
            is_array: flag(NodeFlags::IS_ARRAY),
            is_eager: flag(NodeFlags::IS_EAGER),
        }),
    })
}

/// Whether a bit of [`NodeFlags`] is set.
pub(crate) fn flag(row: &NodeExecutionRow, bit: i32) -> bool {
    row.flags & bit != 0
}

#[allow(deprecated, reason = "clients read the URI here")]
fn output_result(id: &NodeExecutionId, row: &NodeExecutionRow) -> Result<Option<OutputResult>> {
    if !row.error.is_empty() {
        let error: ExecutionError = decode(&row.error, "error", id)?;
        return Ok(Some(OutputResult::Error(error)));
    }
    if row.output_uri.is_empty() {
        return Ok(None);
    }
    Ok(Some(OutputResult::OutputUri(row.output_uri.clone())))
}
