//! Serves `flyteidl.service.SignalService`: what gate nodes wait for, and the answers of people and programs.

use std::sync::Arc;

use compiler::typing;
use launch::inputs::{InputError, check_literal};
use model::Timestamp;
use prost::Message;
use proto::flyteidl::admin as pb;
use proto::flyteidl::core::{LiteralType, SignalIdentifier};
use proto::flyteidl::service::signal_service_server::SignalService;
use store::{ExecutionRow, SignalRow};
use tonic::{Request, Response, Status};

use crate::{
    Error,
    context::{Context, decode, execution_id},
    error::Result,
    http::caller,
    list,
    raw::{self, Encoded},
};

/// Field numbers.
mod number {
    /// Of `SignalSetRequest`.
    pub(super) const VALUE_OF_REQUEST: u32 = 2;
    /// Of `Signal`.
    pub(super) const ID: u32 = 1;
    pub(super) const TYPE: u32 = 2;
    pub(super) const VALUE: u32 = 3;
}

/// The service.
pub(crate) struct Signals(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl SignalService for Signals {
    async fn get_or_create_signal(
        &self,
        request: Request<pb::SignalGetOrCreateRequest>,
    ) -> Result<Response<pb::Signal>, Status> {
        raw::reply(self.get_or_create(request.into_inner()).await)
    }

    async fn list_signals(
        &self,
        request: Request<pb::SignalListRequest>,
    ) -> Result<Response<pb::SignalList>, Status> {
        raw::reply(self.list(request.into_inner()).await)
    }

    async fn set_signal(
        &self,
        request: Request<pb::SignalSetRequest>,
    ) -> Result<Response<pb::SignalSetResponse>, Status> {
        let caller = caller(&request);
        let arrived = raw::arrived(&request);
        Ok(Response::new(self.set(request.into_inner(), &arrived, &caller).await?))
    }
}

impl Signals {
    /// What an engine outside makes; this host's own makes signals with its nodes.
    async fn get_or_create(&self, request: pb::SignalGetOrCreateRequest) -> Result<Encoded<pb::Signal>> {
        let (execution, signal_id) = self.signal_id(request.id.as_ref()).await?;
        let ty = request.r#type.ok_or(Error::Missing("type"))?;
        if ty.r#type.is_none() {
            return Err(Error::Missing("type"));
        }
        let now = Timestamp::now();
        let row = SignalRow {
            execution: execution.key,
            signal_id,
            node_id: String::new(),
            ty: ty.encode_to_vec(),
            value: Vec::new(),
            set_by: String::new(),
            created_at: now,
            updated_at: now,
        };
        Ok(signal(&execution, &self.0.store.signal_get_or_create(&row).await?))
    }

    async fn list(&self, request: pb::SignalListRequest) -> Result<Encoded<pb::SignalList>> {
        let id = execution_id("workflow_execution_id", request.workflow_execution_id.as_ref())?;
        let query = list::query(request.limit, &request.token, &request.filters, request.sort_by.as_ref())?;
        let execution = self.0.execution(&id).await?;
        let rows = self.0.store.signal_list(execution.key, &query).await?;
        let list =
            pb::SignalList { token: list::next_token(&query, rows.len()), ..pb::SignalList::default() };
        Ok(Encoded::of(&list).elements(1, rows.iter().map(|row| signal(&execution, row))))
    }

    /// A signal that no node waits for yet is an invalid argument; clients try again.
    async fn set(
        &self,
        request: pb::SignalSetRequest,
        arrived: &[u8],
        caller: &str,
    ) -> Result<pb::SignalSetResponse> {
        let (execution, signal_id) = self.signal_id(request.id.as_ref()).await?;
        let value = request.value.ok_or(Error::Missing("value"))?;
        let unknown = || {
            let shown: String = signal_id.chars().take(100).collect();
            Error::invalid("id.signal_id", format!("no node of {} waits for signal `{shown}`", execution.id))
        };
        let row = self.0.store.signal_get(execution.key, &signal_id).await?.ok_or_else(unknown)?;
        let expected: LiteralType = decode(&row.ty, "type of signal", &signal_id)?;
        check_literal("value", &value, Some(&expected)).map_err(|error| {
            let reason = match error {
                InputError::Mismatch { found, .. } => {
                    format!("signal `{signal_id}` takes {}, not {found}", typing::describe(&expected))
                }
                _ => "the literal holds no known value".to_owned(),
            };
            Error::invalid("value", reason)
        })?;
        let bytes = model::raw::field(arrived, number::VALUE_OF_REQUEST);
        let set = self.0.store.signal_set(execution.key, &signal_id, &bytes, caller, Timestamp::now()).await;
        match set {
            Ok(_) => Ok(pb::SignalSetResponse {}),
            Err(store::Error::NotFound { .. }) => Err(unknown()),
            Err(error) => Err(error.into()),
        }
    }

    /// An unknown execution is an invalid argument, as is an unknown signal.
    async fn signal_id(&self, id: Option<&SignalIdentifier>) -> Result<(ExecutionRow, String)> {
        let id = id.ok_or(Error::Missing("id"))?;
        let execution = execution_id("id.execution_id", id.execution_id.as_ref())?;
        if id.signal_id.is_empty() {
            return Err(Error::Missing("id.signal_id"));
        }
        let row = self.0.store.execution_get(&execution).await?;
        let unknown = || Error::invalid("id.execution_id", format!("execution {execution} does not exist"));
        Ok((row.ok_or_else(unknown)?, id.signal_id.clone()))
    }
}

fn signal(execution: &ExecutionRow, row: &SignalRow) -> Encoded<pb::Signal> {
    let id =
        SignalIdentifier { signal_id: row.signal_id.clone(), execution_id: Some(execution.id.to_proto()) };
    let value = Some(&row.value).filter(|value| !value.is_empty());
    Encoded::new().message(number::ID, &id).parts(number::TYPE, &[&row.ty]).maybe(number::VALUE, value)
}
