//! Answers where the time of an execution went.

use proto::flyteidl::admin::{WorkflowExecutionGetMetricsRequest, WorkflowExecutionGetMetricsResponse};

use crate::{
    context::{Context, execution_id},
    error::Result,
    read::metrics,
};

pub(super) async fn get(
    cx: &Context,
    request: WorkflowExecutionGetMetricsRequest,
) -> Result<WorkflowExecutionGetMetricsResponse> {
    let id = execution_id("id", request.id.as_ref())?;
    let row = cx.execution(&id).await?;
    let span = metrics::of_execution(cx, &row, request.depth).await?;
    Ok(WorkflowExecutionGetMetricsResponse { span: Some(span) })
}
