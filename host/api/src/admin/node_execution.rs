//! Reads and lists node executions.

use proto::flyteidl::admin::{
    DynamicNodeWorkflowResponse, GetDynamicNodeWorkflowRequest, NodeExecution, NodeExecutionGetDataRequest,
    NodeExecutionGetDataResponse, NodeExecutionGetRequest, NodeExecutionList, NodeExecutionListRequest,
};

use crate::{
    Error,
    context::{Context, execution_id, node_id},
    error::Result,
    flyte_url, list, read,
};

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
    let node_executions = rows
        .iter()
        .map(|row| read::node_execution::node_execution(&execution.id, row))
        .collect::<Result<_>>()?;
    Ok(NodeExecutionList { node_executions, token: list::next_token(&query, rows.len()) })
}

#[allow(deprecated, reason = "clients read the URLs of large data here")]
pub(super) async fn data(
    cx: &Context,
    request: NodeExecutionGetDataRequest,
) -> Result<NodeExecutionGetDataResponse> {
    let id = node_id("id", request.id.as_ref())?;
    let (_, node) = cx.node(&id).await?;
    let max = cx.config.max_inline_size.bytes();
    let (inputs, outputs) = tokio::join!(
        read::data::read(&cx.blob, &node.input_uri, max),
        read::data::read(&cx.blob, &node.output_uri, max),
    );
    Ok(NodeExecutionGetDataResponse {
        inputs: inputs.url,
        outputs: outputs.url,
        full_inputs: inputs.full,
        full_outputs: outputs.full,
        dynamic_workflow: None,
        flyte_urls: Some(flyte_url::of_node(&id, !node.deck_uri.is_empty())),
    })
}

/// No node of this version makes nodes at run time.
pub(super) async fn dynamic_workflow(
    cx: &Context,
    request: GetDynamicNodeWorkflowRequest,
) -> Result<DynamicNodeWorkflowResponse> {
    let id = node_id("id", request.id.as_ref())?;
    cx.node(&id).await?;
    Err(Error::not_found("dynamic workflow of node execution", &id))
}
