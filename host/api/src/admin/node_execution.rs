//! Reads and lists node executions.

use model::ExecutionId;
use proto::flyteidl::admin::{
    DynamicNodeWorkflowResponse, GetDynamicNodeWorkflowRequest, NodeExecution,
    NodeExecutionForTaskListRequest, NodeExecutionGetDataRequest, NodeExecutionGetDataResponse,
    NodeExecutionGetRequest, NodeExecutionList, NodeExecutionListRequest,
};
use store::NodeExecutionRow;

use super::task_execution;

use crate::{
    Error,
    context::{Context, execution_id, node_id},
    error::Result,
    flyte_url, list,
    raw::{self, Encoded},
    read,
};

/// Number of `NodeExecutionGetDataResponse.dynamic_workflow`.
const DYNAMIC_WORKFLOW: u32 = 16;
/// Number of `DynamicNodeWorkflowResponse.compiled_workflow`.
const COMPILED_WORKFLOW: u32 = 1;

pub(super) async fn get(cx: &Context, request: NodeExecutionGetRequest) -> Result<NodeExecution> {
    let id = node_id("id", request.id.as_ref())?;
    let (execution, node) = cx.node(&id).await?;
    read::node_execution::node_execution(&execution.id, &node)
}

pub(super) async fn list(cx: &Context, request: NodeExecutionListRequest) -> Result<NodeExecutionList> {
    let id = execution_id("workflow_execution_id", request.workflow_execution_id.as_ref())?;
    let query = list::query(request.limit, &request.token, &request.filters, request.sort_by.as_ref())?;
    let execution = cx.execution(&id).await?;
    let rows = cx.store.node_execution_list(execution.key, &request.unique_parent_id, &query).await?;
    node_list(&execution.id, &query, &rows)
}

fn node_list(
    execution: &ExecutionId,
    query: &store::ListQuery,
    rows: &[NodeExecutionRow],
) -> Result<NodeExecutionList> {
    let node_executions =
        rows.iter().map(|row| read::node_execution::node_execution(execution, row)).collect::<Result<_>>()?;
    Ok(NodeExecutionList { node_executions, token: list::next_token(query, rows.len()) })
}

#[allow(deprecated, reason = "clients read the URLs of large data here")]
pub(super) async fn data(
    cx: &Context,
    request: NodeExecutionGetDataRequest,
) -> Result<Encoded<NodeExecutionGetDataResponse>> {
    let id = node_id("id", request.id.as_ref())?;
    let (_, node) = cx.node(&id).await?;
    let max = cx.config.max_inline_size.bytes();
    let (inputs, outputs, dynamic_workflow) = tokio::join!(
        read::data::read(&cx.blob, &node.input_uri, max),
        read::data::read(&cx.blob, &node.output_uri, max),
        read::dynamic::workflow(&cx.blob, &id, &node),
    );
    let reply = NodeExecutionGetDataResponse {
        inputs: inputs.url,
        outputs: outputs.url,
        flyte_urls: Some(flyte_url::of_node(&id, !node.deck_uri.is_empty())),
        ..NodeExecutionGetDataResponse::default()
    };
    let dynamic = dynamic_workflow?.map(|found| raw::dynamic(&found.metadata, &found.compiled));
    Ok(raw::with_data(Encoded::of(&reply), inputs.full, outputs.full).maybe(DYNAMIC_WORKFLOW, dynamic))
}

/// The nodes below the node of an attempt that came with this attempt.
pub(super) async fn list_for_task(
    cx: &Context,
    request: NodeExecutionForTaskListRequest,
) -> Result<NodeExecutionList> {
    let (_, execution, node, task) = task_execution::fetch(cx, request.task_execution_id.as_ref()).await?;
    let mut query = list::query(request.limit, &request.token, &request.filters, request.sort_by.as_ref())?;
    query.filters.push(store::Filter {
        entity: None,
        field: "retry_group".to_owned(),
        function: store::FilterFunction::Eq,
        values: vec![task.attempt.to_string()],
    });
    let rows = cx.store.node_execution_list(execution.key, &node.node_id, &query).await?;
    node_list(&execution.id, &query, &rows)
}

/// The workflow that a node made at run time.
pub(super) async fn dynamic_workflow(
    cx: &Context,
    request: GetDynamicNodeWorkflowRequest,
) -> Result<Encoded<DynamicNodeWorkflowResponse>> {
    let id = node_id("id", request.id.as_ref())?;
    let (_, node) = cx.node(&id).await?;
    let found = read::dynamic::workflow(&cx.blob, &id, &node).await?;
    let found = found.ok_or_else(|| Error::not_found("dynamic workflow of node execution", &id))?;
    Ok(Encoded::new().parts(COMPILED_WORKFLOW, &[&found.compiled]))
}
