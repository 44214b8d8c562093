//! Does for plugins what host services promise: objects, secrets, tokens, cluster objects, HTTP, wake-ups.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use blob::{Blob, DataReference};
use bytes::Bytes;
use cluster::{Cluster, ObjectRef};
use model::{ExecutionId, Timestamp};
use plugins::{HostServices, status};
use prost::Message;
use proto::flyteidl::core::TaskExecutionIdentifier;
use proto::pinion::plugin::v1 as wire;
use proto::pinion::plugin::v1::{HostMethod, Status, observed_object::Observed};
use store::{Store, TokenOutcome, TokenRequest};
use worker::{PluginSource, Registry};

use crate::settings::Secrets;

const INVALID_ARGUMENT: u32 = 3;
const NOT_FOUND: u32 = 5;
const UNAVAILABLE: u32 = 14;

/// Longest a plugin may ask an HTTP request to take.
const MAX_HTTP_TIMEOUT: Duration = Duration::from_secs(300);
/// Entries of one page of a blob list.
const PAGE: usize = 1000;

/// The services over the rooms of this host.
pub(crate) struct Services {
    pub(crate) store: Store,
    pub(crate) blob: Blob,
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) registry: Registry,
    pub(crate) secrets: Secrets,
    pub(crate) http: reqwest::Client,
    /// Where the sizes of resource pools are declared; set once the plugins are loaded.
    pub(crate) pools: std::sync::OnceLock<Arc<dyn PluginSource>>,
}

#[async_trait]
impl HostServices for Services {
    async fn call(&self, plugin_id: &str, method: u32, request: Bytes) -> Result<Vec<u8>, Status> {
        let known = i32::try_from(method).ok().and_then(|method| HostMethod::try_from(method).ok());
        match known {
            Some(HostMethod::BlobGet) => reply(self.blob_get(read(&request)?).await),
            Some(HostMethod::BlobPut) => reply(self.blob_put(read(&request)?).await),
            Some(HostMethod::BlobHead) => reply(self.blob_head(read(&request)?).await),
            Some(HostMethod::BlobList) => reply(self.blob_list(read(&request)?).await),
            Some(HostMethod::InputsGet) => reply(self.inputs_get(read(&request)?).await),
            Some(HostMethod::SecretGet) => reply(self.secret_get(plugin_id, &read(&request)?)),
            Some(HostMethod::TokenAllocate) => reply(self.token_allocate(read(&request)?).await),
            Some(HostMethod::TokenRelease) => reply(self.token_release(read(&request)?).await),
            Some(HostMethod::ObjectApply) => reply(self.object_apply(read(&request)?).await),
            Some(HostMethod::ObjectGet) => reply(self.object_get(read(&request)?).await),
            Some(HostMethod::ObjectDelete) => reply(self.object_delete(read(&request)?).await),
            Some(HostMethod::Http) => reply(self.http(read(&request)?).await),
            Some(HostMethod::Wake) => reply(self.wake(&read(&request)?)),
            // The plugin room keeps the buckets of rate limits itself.
            Some(HostMethod::RateAcquire | HostMethod::Unspecified) | None => Err(plugins::unimplemented(method)),
        }
    }
}

fn read<M: Message + Default>(request: &Bytes) -> Result<M, Status> {
    M::decode(&**request).map_err(|error| bad(format!("cannot read the request: {error}")))
}

fn reply<M: Message>(answer: Result<M, Status>) -> Result<Vec<u8>, Status> {
    answer.map(|message| message.encode_to_vec())
}

fn bad(message: impl Into<String>) -> Status {
    status(INVALID_ARGUMENT, "BadRequest", message)
}

fn blob_fault(error: &blob::Error) -> Status {
    if error.is_not_found() {
        status(NOT_FOUND, "NotFound", error.to_string())
    } else if error.is_transient() {
        status(UNAVAILABLE, "StorageUnavailable", error.to_string())
    } else {
        bad(error.to_string())
    }
}

fn cluster_fault(error: &cluster::Error) -> Status {
    let code = if error.is_transient() { UNAVAILABLE } else { INVALID_ARGUMENT };
    status(code, "ClusterFailure", error.to_string())
}

fn uri(text: &str) -> Result<DataReference, Status> {
    DataReference::parse(text).map_err(|error| bad(error.to_string()))
}

/// The execution, node and attempt of a task execution.
fn place_of(id: Option<&TaskExecutionIdentifier>) -> Result<(ExecutionId, String, u32), Status> {
    let id = id.ok_or_else(|| bad("missing id"))?;
    let node = id.node_execution_id.as_ref().ok_or_else(|| bad("missing node execution id"))?;
    let execution = node.execution_id.as_ref().ok_or_else(|| bad("missing execution id"))?;
    let execution = ExecutionId::from_proto(execution).map_err(|error| bad(error.to_string()))?;
    Ok((execution, node.node_id.clone(), id.retry_attempt))
}

impl Services {
    async fn blob_get(&self, request: wire::BlobGetRequest) -> Result<wire::BlobGetResponse, Status> {
        let r = uri(&request.uri)?;
        let meta = self.blob.head(&r).await.map_err(|error| blob_fault(&error))?;
        let size = meta.ok_or_else(|| status(NOT_FOUND, "NotFound", format!("{r} does not exist")))?.size;
        let start = request.offset.min(size);
        let end = request.length.map_or(size, |length| start.saturating_add(length).min(size));
        let data = if start == 0 && end == size {
            self.blob.get(&r).await
        } else {
            self.blob.get_range(&r, start..end).await
        };
        Ok(wire::BlobGetResponse { data: data.map_err(|error| blob_fault(&error))?.to_vec(), size })
    }

    async fn blob_put(&self, request: wire::BlobPutRequest) -> Result<wire::BlobPutResponse, Status> {
        let r = uri(&request.uri)?;
        self.blob.put(&r, request.data.into()).await.map_err(|error| blob_fault(&error))?;
        Ok(wire::BlobPutResponse {})
    }

    async fn blob_head(&self, request: wire::BlobHeadRequest) -> Result<wire::BlobHeadResponse, Status> {
        let meta = self.blob.head(&uri(&request.uri)?).await.map_err(|error| blob_fault(&error))?;
        Ok(meta.map_or_else(wire::BlobHeadResponse::default, |meta| wire::BlobHeadResponse {
            exists: true,
            size: meta.size,
            etag: meta.etag,
        }))
    }

    async fn blob_list(&self, request: wire::BlobListRequest) -> Result<wire::BlobListResponse, Status> {
        let found = self.blob.list(&uri(&request.prefix)?).await.map_err(|error| blob_fault(&error))?;
        let limit = if request.limit == 0 { PAGE } else { (request.limit as usize).min(PAGE) };
        let mut rest = found.into_iter().filter(|(r, _)| r.as_str() > request.page_token.as_str());
        let entries: Vec<wire::BlobEntry> =
            rest.by_ref().take(limit).map(|(r, size)| wire::BlobEntry { uri: r.to_string(), size }).collect();
        let next_page_token = match (rest.next(), entries.last()) {
            (Some(_), Some(last)) => last.uri.clone(),
            _ => String::new(),
        };
        Ok(wire::BlobListResponse { entries, next_page_token })
    }

    async fn inputs_get(&self, request: wire::InputsGetRequest) -> Result<wire::InputsGetResponse, Status> {
        if request.input_uri.is_empty() {
            return Ok(wire::InputsGetResponse::default());
        }
        let bytes = self.blob.get(&uri(&request.input_uri)?).await.map_err(|error| blob_fault(&error))?;
        Ok(wire::InputsGetResponse { literal_map: bytes.to_vec() })
    }

    fn secret_get(&self, plugin_id: &str, request: &wire::SecretGetRequest) -> Result<wire::SecretGetResponse, Status> {
        match self.secrets.get(&request.group, &request.key) {
            Some(value) => Ok(wire::SecretGetResponse { value }),
            None => {
                tracing::warn!(plugin = plugin_id, group = request.group, key = request.key, "no such secret");
                Err(status(NOT_FOUND, "SecretNotFound", self.secrets.how_to_set(&request.group, &request.key)))
            }
        }
    }

    async fn token_allocate(&self, request: wire::TokenAllocateRequest) -> Result<wire::TokenAllocateResponse, Status> {
        let (execution, _, _) = place_of(request.id.as_ref())?;
        let pool = self.pools.get().and_then(|pools| pools.pool(&request.resource_namespace)).ok_or_else(|| {
            bad(format!("no plugin declares the resource pool `{}`", request.resource_namespace))
        })?;
        let constraints = request.constraints.unwrap_or_default();
        let cap = |own: Option<u32>, pool: u32| match (own, pool) {
            (Some(own), 0) => own,
            (Some(own), pool) => own.min(pool),
            (None, pool) => pool,
        };
        let outcome = self
            .store
            .token_allocate(&TokenRequest {
                namespace: request.resource_namespace.clone(),
                token: request.token.clone(),
                project: execution.project.to_string(),
                domain: execution.domain.to_string(),
                execution: execution.name.to_string(),
                pool_size: pool.size,
                project_limit: cap(constraints.project_cap, pool.project_cap),
                domain_limit: cap(constraints.domain_cap, pool.domain_cap),
                now: Timestamp::now(),
            })
            .await
            .map_err(|error| status(UNAVAILABLE, "StoreUnavailable", error.to_string()))?;
        let (granted, message) = match outcome {
            TokenOutcome::Granted => (true, String::new()),
            TokenOutcome::Exhausted { position, ahead, held } => {
                let behind = ahead.map_or_else(String::new, |name| format!(", behind {name}"));
                let text = format!(
                    "waiting for {} (place {position}{behind}); held by {}",
                    request.resource_namespace,
                    held.join(", ")
                );
                (false, text)
            }
        };
        let status = wire::TokenStatus {
            resource_namespace: request.resource_namespace,
            token: request.token,
            granted,
            message,
        };
        Ok(wire::TokenAllocateResponse { status: Some(status) })
    }

    async fn token_release(&self, request: wire::TokenReleaseRequest) -> Result<wire::TokenReleaseResponse, Status> {
        self.store
            .token_release(&request.resource_namespace, &request.token)
            .await
            .map_err(|error| status(UNAVAILABLE, "StoreUnavailable", error.to_string()))?;
        Ok(wire::TokenReleaseResponse {})
    }

    fn object_ref(&self, object: Option<wire::ObjectRef>) -> Result<ObjectRef, Status> {
        let object = object.ok_or_else(|| bad("missing object"))?;
        let name = self.cluster.name();
        if !object.cluster.is_empty() && object.cluster != name {
            return Err(bad(format!("there is no cluster `{}`; this host has `{name}`", object.cluster)));
        }
        Ok(ObjectRef {
            cluster: name.to_owned(),
            api_version: object.api_version,
            kind: object.kind,
            namespace: object.namespace,
            name: object.name,
        })
    }

    async fn object_apply(&self, request: wire::ObjectApplyRequest) -> Result<wire::ObjectApplyResponse, Status> {
        let json = serde_json::from_slice(&request.json).map_err(|error| bad(format!("the object is no JSON: {error}")))?;
        self.cluster.apply(json).await.map_err(|error| cluster_fault(&error))?;
        let got = self.object_get(wire::ObjectGetRequest { object: request.object }).await?;
        Ok(wire::ObjectApplyResponse { observed: got.observed })
    }

    async fn object_get(&self, request: wire::ObjectGetRequest) -> Result<wire::ObjectGetResponse, Status> {
        let wanted = self.object_ref(request.object.clone())?;
        let found = self.cluster.get(&wanted).await.map_err(|error| cluster_fault(&error))?;
        let observed = match found {
            Some(object) => Observed::Json(object.to_string().into_bytes()),
            None => Observed::Gone(wire::ObjectGone {}),
        };
        let observed =
            wire::ObservedObject { object: request.object, observed: Some(observed), events: Vec::new() };
        Ok(wire::ObjectGetResponse { observed: Some(observed) })
    }

    async fn object_delete(&self, request: wire::ObjectDeleteRequest) -> Result<wire::ObjectDeleteResponse, Status> {
        let wanted = self.object_ref(request.object)?;
        self.cluster.delete(&wanted).await.map_err(|error| cluster_fault(&error))?;
        Ok(wire::ObjectDeleteResponse {})
    }

    async fn http(&self, request: wire::HttpRequest) -> Result<wire::HttpResponse, Status> {
        let method = reqwest::Method::from_bytes(request.method.as_bytes())
            .map_err(|_| bad(format!("`{}` is no HTTP method", request.method)))?;
        let wanted = Duration::from_millis(request.timeout_ms);
        let timeout = if wanted.is_zero() { MAX_HTTP_TIMEOUT } else { wanted.min(MAX_HTTP_TIMEOUT) };
        let mut builder = self.http.request(method, &request.url).timeout(timeout).body(request.body);
        for header in request.headers {
            builder = builder.header(header.name, header.value);
        }
        let unavailable = |error: reqwest::Error| status(UNAVAILABLE, "HttpFailed", error.without_url().to_string());
        let answer = builder.send().await.map_err(unavailable)?;
        let headers = answer
            .headers()
            .iter()
            .map(|(name, value)| wire::HttpHeader { name: name.to_string(), value: value.as_bytes().to_vec() })
            .collect();
        let code = u32::from(answer.status().as_u16());
        let body = answer.bytes().await.map_err(unavailable)?.to_vec();
        Ok(wire::HttpResponse { status: code, headers, body })
    }

    fn wake(&self, request: &wire::WakeRequest) -> Result<wire::WakeResponse, Status> {
        let (execution, node, attempt) = place_of(request.id.as_ref())?;
        // An attempt that has ended meanwhile needs no wake-up.
        self.registry.wake(&execution, &node, attempt);
        Ok(wire::WakeResponse {})
    }
}
