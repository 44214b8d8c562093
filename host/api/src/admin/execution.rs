//! Starts, reads, lists, archives and aborts executions.

use launch::Request;
use model::Timestamp;
use proto::flyteidl::admin::{
    Execution, ExecutionCreateRequest, ExecutionCreateResponse, ExecutionList, ExecutionRecoverRequest,
    ExecutionRelaunchRequest, ExecutionState, ExecutionTerminateRequest, ExecutionTerminateResponse,
    ExecutionUpdateRequest, ExecutionUpdateResponse, ResourceListRequest, WorkflowExecutionGetDataRequest,
    WorkflowExecutionGetDataResponse, WorkflowExecutionGetRequest,
};
use proto::flyteidl::core::workflow_execution::Phase;
use store::AbortOutcome;

use super::scope;
use crate::{
    Error,
    context::{Context, execution_id},
    error::Result,
    list,
    raw::{self, Encoded},
    read,
};

/// Bytes of an abort's cause that are kept.
const MAX_CAUSE: usize = 8 * 1024;

/// Header that asks for an abort whose phase does not wait for the clean-up.
const FORCE: &str = "x-pinion-force";

/// Whether a call asks for a forced abort.
pub(super) fn is_forced(metadata: &tonic::metadata::MetadataMap) -> bool {
    metadata.get(FORCE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

pub(super) async fn create(
    cx: &Context,
    request: ExecutionCreateRequest,
    arrived: &[u8],
    principal: &str,
) -> Result<ExecutionCreateResponse> {
    let request = Request::from_proto(request, principal)?.with_arrived(arrived);
    let id = Box::pin(cx.launcher.create(request)).await?;
    Ok(ExecutionCreateResponse { id: Some(id.to_proto()) })
}

pub(super) async fn relaunch(
    cx: &Context,
    request: ExecutionRelaunchRequest,
    principal: &str,
) -> Result<ExecutionCreateResponse> {
    let original = execution_id("id", request.id.as_ref())?;
    let id =
        Box::pin(cx.launcher.relaunch(&original, request.name, request.overwrite_cache, principal)).await?;
    Ok(ExecutionCreateResponse { id: Some(id.to_proto()) })
}

pub(super) async fn recover(
    cx: &Context,
    request: ExecutionRecoverRequest,
    principal: &str,
) -> Result<ExecutionCreateResponse> {
    let original = execution_id("id", request.id.as_ref())?;
    let metadata = request.metadata.as_ref();
    let id = Box::pin(cx.launcher.recover(&original, request.name, metadata, principal)).await?;
    Ok(ExecutionCreateResponse { id: Some(id.to_proto()) })
}

pub(super) async fn get(cx: &Context, request: WorkflowExecutionGetRequest) -> Result<Encoded<Execution>> {
    let id = execution_id("id", request.id.as_ref())?;
    let row = cx.execution(&id).await?;
    Ok(raw::execution(read::execution::execution(&row)?, &row))
}

#[allow(deprecated, reason = "clients read the URLs of large data here")]
pub(super) async fn data(
    cx: &Context,
    request: WorkflowExecutionGetDataRequest,
) -> Result<Encoded<WorkflowExecutionGetDataResponse>> {
    let id = execution_id("id", request.id.as_ref())?;
    let row = cx.execution(&id).await?;
    let max = cx.config.max_inline_size.bytes();
    let (inputs, outputs) = tokio::join!(
        read::data::read(&cx.blob, &row.inputs_uri, max),
        read::data::read(&cx.blob, &row.outputs_uri, max),
    );
    let reply = WorkflowExecutionGetDataResponse {
        inputs: inputs.url,
        outputs: outputs.url,
        ..WorkflowExecutionGetDataResponse::default()
    };
    Ok(raw::with_data(Encoded::of(&reply), inputs.full, outputs.full))
}

pub(super) async fn list(cx: &Context, request: ResourceListRequest) -> Result<Encoded<ExecutionList>> {
    let scope = scope::of_resource(request.id.as_ref())?;
    let mut query = list::query(request.limit, &request.token, &request.filters, request.sort_by.as_ref())?;
    query.filters.extend(scope.name.map(|name| store::Filter {
        entity: None,
        field: "name".to_owned(),
        function: store::FilterFunction::Eq,
        values: vec![name.to_ascii_lowercase()],
    }));
    let rows = cx.store.execution_list(&scope.project, &scope.domain, &query).await?;
    let shown = |row| Ok(raw::execution(read::execution::execution_of_list(row)?, row));
    let executions = rows.iter().map(shown).collect::<Result<Vec<_>>>()?;
    let list = ExecutionList { token: list::next_token(&query, rows.len()), ..ExecutionList::default() };
    Ok(Encoded::of(&list).elements(1, executions))
}

pub(super) async fn update(cx: &Context, request: ExecutionUpdateRequest) -> Result<ExecutionUpdateResponse> {
    let id = execution_id("id", request.id.as_ref())?;
    let state = ExecutionState::try_from(request.state)
        .map_err(|_| Error::invalid("state", format!("{} is no execution state", request.state)))?;
    cx.store.execution_set_state(&id, state as i32, Timestamp::now()).await?;
    Ok(ExecutionUpdateResponse {})
}

pub(super) async fn terminate(
    cx: &Context,
    request: ExecutionTerminateRequest,
    principal: &str,
    is_forced: bool,
) -> Result<ExecutionTerminateResponse> {
    let id = execution_id("id", request.id.as_ref())?;
    let mut cause = request.cause;
    cause.truncate(cause.floor_char_boundary(MAX_CAUSE));
    let (store, now) = (&cx.store, Timestamp::now());
    let outcome = if is_forced {
        store.execution_force_abort(&id, &cause, principal, now).await?
    } else {
        store.execution_request_abort(&id, &cause, principal, now).await?
    };
    match outcome {
        AbortOutcome::NotFound => Err(Error::not_found("execution", &id)),
        AbortOutcome::AlreadyTerminal(phase) => {
            let phase = Phase::try_from(phase).unwrap_or_default().as_str_name();
            Err(Error::AlreadyTerminal { what: "execution", id: id.to_string(), phase })
        }
        AbortOutcome::Requested => Ok(ExecutionTerminateResponse {}),
    }
}
