//! Answers what plugins ask of the host: objects, secrets, tokens, clusters, HTTP, wake-ups.
//!
//! `plugins` counts, limits and logs the calls; here they are carried out over the other rooms.

mod data;
mod http;
mod secret;

use std::sync::Arc;

use async_trait::async_trait;
use blob::Blob;
use bytes::Bytes;
use model::{EntityId, EntityKind, ExecutionId};
use plugins::pools::{PoolError, Pools};
use plugins::{HostServices, status, unimplemented};
use prost::Message;
use proto::flyteidl::core::TaskExecutionIdentifier;
use proto::pinion::plugin::v1::{
    EmitKind, Event, HostMethod, ObjectApplyRequest, ObjectApplyResponse, ObjectDeleteRequest,
    ObjectDeleteResponse, ObjectGetRequest, ObjectGetResponse, ObjectRef, SecretGetRequest,
    SecretGetResponse, Status, TokenAllocateRequest, TokenAllocateResponse, TokenReleaseRequest,
    TokenReleaseResponse, WakeRequest, WakeResponse,
};

use crate::clock::Clock;
use crate::clusters::{Clusters, object_error, to_cluster, with_causes};
use crate::config::Secrets;
use crate::places::Places;
use crate::registry::Registry;

const INVALID_ARGUMENT: u32 = 3;
const NOT_FOUND: u32 = 5;
const PERMISSION_DENIED: u32 = 7;
const UNAVAILABLE: u32 = 14;

/// What the services are carried out with.
#[derive(Clone)]
pub struct ServiceDeps {
    /// Resource pools; the same as [`crate::Deps::pools`].
    pub pools: Arc<Pools>,
    /// Objects and inputs.
    pub blob: Blob,
    /// Clusters.
    pub clusters: Clusters,
    /// The executions of this host; the same as [`crate::Deps::registry`].
    pub registry: Registry,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where secrets are found.
    pub secrets: Secrets,
}

impl std::fmt::Debug for ServiceDeps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceDeps").field("clusters", &self.clusters).finish_non_exhaustive()
    }
}

/// The host as plugins reach it.
#[derive(Debug)]
pub struct Services {
    deps: ServiceDeps,
    client: http::Client,
    places: Places,
}

type Reply = Result<Vec<u8>, Status>;

impl Services {
    /// Opens nothing.
    pub fn new(deps: ServiceDeps) -> Self {
        let places = Places::new(Arc::clone(&deps.pools), deps.registry.clone());
        Self { deps, client: http::Client::default(), places }
    }

    async fn token_allocate(&self, request: TokenAllocateRequest) -> Result<TokenAllocateResponse, Status> {
        let (execution, ..) = attempt_of(request.id.as_ref())?;
        let asked = (request.resource_namespace.as_str(), request.token.as_str());
        let now = self.deps.clock.now();
        let acquired = self.places.acquire(&execution, asked, request.constraints, None, now).await;
        let token = acquired.map_err(|error| unavailable(&error))?;
        Ok(TokenAllocateResponse { status: Some(token) })
    }

    async fn token_release(&self, request: TokenReleaseRequest) -> Result<TokenReleaseResponse, Status> {
        let (execution, ..) = attempt_of(request.id.as_ref())?;
        let released = self.places.release(&execution, &request.resource_namespace, &request.token).await;
        released.map_err(|error| unavailable(&error))?;
        Ok(TokenReleaseResponse {})
    }

    fn object(&self, object: Option<ObjectRef>) -> Result<ObjectRef, Status> {
        let mut object = object.ok_or_else(|| invalid("object is missing"))?;
        object.cluster = self.deps.clusters.resolve_name(&object.cluster);
        Ok(object)
    }

    fn cluster(&self, object: &ObjectRef) -> Result<Arc<dyn cluster::Cluster>, Status> {
        let found = self.deps.clusters.get(&object.cluster).cloned();
        found.ok_or_else(|| {
            let error = self.deps.clusters.unknown(&object.cluster);
            status(NOT_FOUND, &error.reason, error.message)
        })
    }

    async fn object_apply(&self, request: ObjectApplyRequest) -> Result<ObjectApplyResponse, Status> {
        let object = self.object(request.object)?;
        let json = serde_json::from_slice(&request.json).map_err(|error| invalid(&error.to_string()))?;
        self.cluster(&object)?.apply(json).await.map_err(|error| refused(&error))?;
        Ok(ObjectApplyResponse { observed: Some(self.deps.clusters.observe(&object).await) })
    }

    async fn object_get(&self, request: ObjectGetRequest) -> Result<ObjectGetResponse, Status> {
        let object = self.object(request.object)?;
        self.cluster(&object)?;
        Ok(ObjectGetResponse { observed: Some(self.deps.clusters.observe(&object).await) })
    }

    async fn object_delete(&self, request: ObjectDeleteRequest) -> Result<ObjectDeleteResponse, Status> {
        let object = self.object(request.object)?;
        match self.cluster(&object)?.delete(&to_cluster(&object)).await {
            Ok(()) | Err(cluster::Error::NotFound(_)) => Ok(ObjectDeleteResponse {}),
            Err(error) => Err(refused(&error)),
        }
    }

    /// A secret that the task of the attempt declares.
    async fn secret(&self, plugin_id: &str, request: SecretGetRequest) -> Result<SecretGetResponse, Status> {
        let (execution, ..) = attempt_of(request.id.as_ref())?;
        let task = request.id.as_ref().and_then(|id| id.task_id.as_ref());
        let task = task.ok_or_else(|| invalid("id.task_id is missing"))?;
        let task =
            EntityId::from_proto(EntityKind::Task, task).map_err(|error| invalid(&error.to_string()))?;
        let (group, key) = (request.group.as_str(), request.key.as_str());
        match self.deps.registry.may_read(&execution, &task, (group, key)) {
            Some(true) => secret::get(&self.deps.secrets, plugin_id, request).await,
            Some(false) => {
                let message = format!(
                    "{task} does not declare secret {group}/{key}; add it to the task's secret requests"
                );
                Err(status(PERMISSION_DENIED, "SecretNotDeclared", message))
            }
            None => {
                Err(status(NOT_FOUND, "NotDrivenHere", format!("{execution} is not driven by this host")))
            }
        }
    }

    fn wake(&self, request: WakeRequest) -> Result<WakeResponse, Status> {
        let (execution, node, attempt) = attempt_of(request.id.as_ref())?;
        if self.deps.registry.wake(&execution, &node, attempt) {
            Ok(WakeResponse {})
        } else {
            Err(status(NOT_FOUND, "NotDrivenHere", format!("{execution} is not driven by this host")))
        }
    }
}

#[async_trait]
impl HostServices for Services {
    async fn call(&self, plugin_id: &str, method: u32, request: Bytes) -> Reply {
        let known = i32::try_from(method).ok().and_then(|method| HostMethod::try_from(method).ok());
        match known {
            Some(HostMethod::BlobGet) => encode(data::get(&self.deps.blob, decode(&request)?).await),
            Some(HostMethod::BlobPut) => encode(data::put(&self.deps.blob, decode(&request)?).await),
            Some(HostMethod::BlobHead) => encode(data::head(&self.deps.blob, decode(&request)?).await),
            Some(HostMethod::BlobList) => encode(data::list(&self.deps.blob, decode(&request)?).await),
            Some(HostMethod::InputsGet) => encode(data::inputs(&self.deps.blob, decode(&request)?).await),
            Some(HostMethod::SecretGet) => encode(self.secret(plugin_id, decode(&request)?).await),
            Some(HostMethod::TokenAllocate) => encode(self.token_allocate(decode(&request)?).await),
            Some(HostMethod::TokenRelease) => encode(self.token_release(decode(&request)?).await),
            Some(HostMethod::ObjectApply) => encode(self.object_apply(decode(&request)?).await),
            Some(HostMethod::ObjectGet) => encode(self.object_get(decode(&request)?).await),
            Some(HostMethod::ObjectDelete) => encode(self.object_delete(decode(&request)?).await),
            Some(HostMethod::Http) => encode(self.client.send(decode(&request)?).await),
            Some(HostMethod::Wake) => encode(self.wake(decode(&request)?)),
            Some(HostMethod::RateAcquire | HostMethod::Unspecified) | None => Err(unimplemented(method)),
        }
    }

    fn emit(&self, plugin_id: &str, kind: u32, payload: Bytes) {
        if kind != EmitKind::Event as u32 {
            return;
        }
        let event = Event::decode(payload).ok();
        let parts = event.and_then(|event| Some((attempt_of(event.id.as_ref()).ok()?, event.phase?)));
        match parts {
            Some(((execution, node, attempt), phase)) => {
                self.deps.registry.report(&execution, &node, attempt, phase);
            }
            None => tracing::warn!(plugin_id, "a plugin sent an event that names no attempt or phase"),
        }
    }
}

fn decode<T: Message + Default>(request: &Bytes) -> Result<T, Status> {
    T::decode(request.clone()).map_err(|error| invalid(&error.to_string()))
}

fn encode<T: Message>(response: Result<T, Status>) -> Reply {
    response.map(|response| response.encode_to_vec())
}

fn invalid(message: &str) -> Status {
    status(INVALID_ARGUMENT, "BadRequest", message)
}

fn unavailable(error: &PoolError) -> Status {
    status(UNAVAILABLE, "StoreUnavailable", with_causes(error))
}

fn refused(error: &cluster::Error) -> Status {
    let refusal = object_error(error);
    let code = if refusal.backing_off { UNAVAILABLE } else { INVALID_ARGUMENT };
    status(code, &refusal.reason, refusal.message)
}

/// Execution, unique node id and attempt of an identifier.
fn attempt_of(id: Option<&TaskExecutionIdentifier>) -> Result<(ExecutionId, String, u32), Status> {
    let id = id.ok_or_else(|| invalid("id is missing"))?;
    let node = id.node_execution_id.as_ref().ok_or_else(|| invalid("id.node_execution_id is missing"))?;
    let execution = node.execution_id.as_ref().ok_or_else(|| invalid("id names no execution"))?;
    let execution = ExecutionId::from_proto(execution).map_err(|error| invalid(&error.to_string()))?;
    Ok((execution, node.node_id.clone(), id.retry_attempt))
}
