//! Reads and lists task executions, the attempts of task nodes.

use model::{EntityId, EntityKind, NodeExecutionId};
use proto::flyteidl::admin::{
    TaskExecution, TaskExecutionGetDataRequest, TaskExecutionGetDataResponse, TaskExecutionGetRequest,
    TaskExecutionList, TaskExecutionListRequest,
};
use proto::flyteidl::core::TaskExecutionIdentifier;
use store::{ExecutionRow, NodeExecutionRow, NodeFlags, TaskExecutionRow};

use crate::{
    Error,
    context::{Context, node_id},
    error::Result,
    flyte_url, list,
    raw::{self, Encoded},
    read,
};

pub(super) async fn get(cx: &Context, request: TaskExecutionGetRequest) -> Result<TaskExecution> {
    let (_, execution, node, row) = fetch(cx, request.id.as_ref()).await?;
    let mut task = read::task_execution::task_execution(&execution.id, &node, &row)?;
    read::array::add_elements(cx, &execution.id, &node, &mut task).await?;
    Ok(task)
}

pub(super) async fn list(cx: &Context, request: TaskExecutionListRequest) -> Result<TaskExecutionList> {
    let id = node_id("node_execution_id", request.node_execution_id.as_ref())?;
    let query = list::query(request.limit, &request.token, &request.filters, request.sort_by.as_ref())?;
    let (execution, node) = cx.node(&id).await?;
    let rows = cx.store.task_execution_list(execution.key, &id.node, &query).await?;
    let mut task_executions = rows
        .iter()
        .map(|row| read::task_execution::task_execution(&execution.id, &node, row))
        .collect::<Result<Vec<_>>>()?;
    for task in &mut task_executions {
        read::array::add_elements(cx, &execution.id, &node, task).await?;
    }
    Ok(TaskExecutionList { task_executions, token: list::next_token(&query, rows.len()) })
}

#[allow(deprecated, reason = "clients read the URLs of large data here")]
pub(super) async fn data(
    cx: &Context,
    request: TaskExecutionGetDataRequest,
) -> Result<Encoded<TaskExecutionGetDataResponse>> {
    let (id, _, node, row) = fetch(cx, request.id.as_ref()).await?;
    let max = cx.config.max_inline_size.bytes();
    // The one attempt of an array node has no outputs of its own.
    let is_array = node.flags & NodeFlags::IS_ARRAY != 0;
    let output_uri = if is_array && row.output_uri.is_empty() { &node.output_uri } else { &row.output_uri };
    let (inputs, outputs) = tokio::join!(
        read::data::read(&cx.blob, &node.input_uri, max),
        read::data::read(&cx.blob, output_uri, max),
    );
    let reply = TaskExecutionGetDataResponse {
        inputs: inputs.url,
        outputs: outputs.url,
        flyte_urls: Some(flyte_url::of_attempt(&id, row.attempt.unsigned_abs(), !node.deck_uri.is_empty())),
        ..TaskExecutionGetDataResponse::default()
    };
    Ok(raw::with_data(Encoded::of(&reply), inputs.full, outputs.full))
}

pub(super) async fn fetch(
    cx: &Context,
    id: Option<&TaskExecutionIdentifier>,
) -> Result<(NodeExecutionId, ExecutionRow, NodeExecutionRow, TaskExecutionRow)> {
    let id = id.ok_or(Error::Missing("id"))?;
    let node_id = node_id("node_execution_id", id.node_execution_id.as_ref())?;
    let task = id.task_id.as_ref().ok_or(Error::Missing("task_id"))?;
    let task = EntityId::from_proto(EntityKind::Task, task)
        .map_err(|source| Error::Id { field: "task_id", source })?;
    let missing = || Error::not_found("task execution", format!("{node_id}:{}", id.retry_attempt));
    let attempt = i32::try_from(id.retry_attempt).map_err(|_| missing())?;
    let (execution, node) = cx.node(&node_id).await?;
    let row = cx.store.task_execution_get(execution.key, &node_id.node, &task, attempt).await?;
    let row = row.ok_or_else(missing)?;
    Ok((node_id, execution, node, row))
}
