//! Serves `flyteidl.service.SignalService`. No node of this version waits for a signal.

use std::sync::Arc;

use proto::flyteidl::admin as pb;
use proto::flyteidl::service::signal_service_server::SignalService;
use tonic::{Request, Response, Status};

use crate::{
    Error,
    context::{Context, execution_id},
    error::Result,
    list,
};

/// The service.
pub(crate) struct Signals(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl SignalService for Signals {
    async fn get_or_create_signal(
        &self,
        _request: Request<pb::SignalGetOrCreateRequest>,
    ) -> Result<Response<pb::Signal>, Status> {
        Err(Error::Unsupported("signals are made by this host's own engine only").into())
    }

    async fn list_signals(
        &self,
        request: Request<pb::SignalListRequest>,
    ) -> Result<Response<pb::SignalList>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn set_signal(
        &self,
        request: Request<pb::SignalSetRequest>,
    ) -> Result<Response<pb::SignalSetResponse>, Status> {
        Err(self.set(request.into_inner()).await.into())
    }
}

impl Signals {
    async fn list(&self, request: pb::SignalListRequest) -> Result<pb::SignalList> {
        let id = execution_id("workflow_execution_id", request.workflow_execution_id.as_ref())?;
        list::query(request.limit, &request.token, &request.filters, request.sort_by.as_ref())?;
        self.0.execution(&id).await?;
        Ok(pb::SignalList::default())
    }

    /// A signal that no node waits for yet is an invalid argument; clients try again.
    async fn set(&self, request: pb::SignalSetRequest) -> Error {
        let Some(id) = request.id else { return Error::Missing("id") };
        match execution_id("id.execution_id", id.execution_id.as_ref()) {
            Err(error) => error,
            Ok(_) if id.signal_id.is_empty() => Error::Missing("id.signal_id"),
            Ok(_) if request.value.is_none() => Error::Missing("value"),
            Ok(execution) => {
                let shown: String = id.signal_id.chars().take(100).collect();
                Error::invalid("id.signal_id", format!("no node of {execution} waits for signal `{shown}`"))
            }
        }
    }
}
