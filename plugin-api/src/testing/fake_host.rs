//! Is a host in memory: objects of the store, inputs and secrets are maps, records are kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message;

use crate::error::{PluginError, code};
use crate::host::{BoxFuture, Host, HostChannel};
use crate::wire::{self, EmitKind, HostMethod, LogLevel};

/// A host in memory. Clones share everything.
#[derive(Clone, Default)]
pub struct FakeHost(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    blobs: BTreeMap<String, Vec<u8>>,
    secrets: BTreeMap<String, Vec<u8>>,
    inputs: Vec<u8>,
    logs: Vec<wire::LogRecord>,
    metrics: Vec<wire::Metric>,
    wakes: usize,
    http: Option<HttpHandler>,
}

type HttpHandler = Arc<dyn Fn(&wire::HttpRequest) -> wire::HttpResponse + Send + Sync>;

impl FakeHost {
    /// A host that has nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The client that a plugin gets.
    pub fn host(&self) -> Host {
        Host::new(Arc::new(self.clone()), "test")
    }

    /// Puts an object into the store.
    pub fn put(&self, uri: &str, data: impl Into<Vec<u8>>) {
        self.world().blobs.insert(uri.into(), data.into());
    }

    /// Reads an object of the store.
    pub fn get(&self, uri: &str) -> Option<Vec<u8>> {
        self.world().blobs.get(uri).cloned()
    }

    /// Sets the secret `group/key`.
    pub fn set_secret(&self, group: &str, key: &str, value: impl Into<Vec<u8>>) {
        self.world().secrets.insert(format!("{group}/{key}"), value.into());
    }

    /// Sets the inputs of every attempt.
    pub fn set_inputs(&self, inputs: &proto::flyteidl::core::LiteralMap) {
        self.world().inputs = inputs.encode_to_vec();
    }

    /// Answers HTTP requests.
    pub fn set_http(
        &self,
        answer: impl Fn(&wire::HttpRequest) -> wire::HttpResponse + Send + Sync + 'static,
    ) {
        self.world().http = Some(Arc::new(answer));
    }

    /// The log records so far.
    pub fn logs(&self) -> Vec<wire::LogRecord> {
        self.world().logs.clone()
    }

    /// The metrics so far.
    pub fn metrics(&self) -> Vec<wire::Metric> {
        self.world().metrics.clone()
    }

    /// How often a wake was asked for.
    pub fn n_wakes(&self) -> usize {
        self.world().wakes
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, method: u32, request: &[u8]) -> Result<Vec<u8>, PluginError> {
        let method = i32::try_from(method).ok().and_then(|number| HostMethod::try_from(number).ok());
        let mut world = self.world();
        match method {
            Some(HostMethod::BlobGet) => {
                let request = wire::BlobGetRequest::decode(request)?;
                let data = world.blobs.get(&request.uri).cloned().ok_or_else(|| not_found(&request.uri))?;
                let size = data.len() as u64;
                Ok(wire::BlobGetResponse { data, size }.encode_to_vec())
            }
            Some(HostMethod::BlobPut) => {
                let request = wire::BlobPutRequest::decode(request)?;
                world.blobs.insert(request.uri, request.data);
                Ok(Vec::new())
            }
            Some(HostMethod::BlobHead) => {
                let request = wire::BlobHeadRequest::decode(request)?;
                let size = world.blobs.get(&request.uri).map(Vec::len);
                let response = wire::BlobHeadResponse {
                    exists: size.is_some(),
                    size: size.unwrap_or_default() as u64,
                    etag: String::new(),
                };
                Ok(response.encode_to_vec())
            }
            Some(HostMethod::InputsGet) => {
                Ok(wire::InputsGetResponse { literal_map: world.inputs.clone() }.encode_to_vec())
            }
            Some(HostMethod::SecretGet) => {
                let request = wire::SecretGetRequest::decode(request)?;
                let name = format!("{}/{}", request.group, request.key);
                let value = world.secrets.get(&name).cloned().ok_or_else(|| not_found(&name))?;
                Ok(wire::SecretGetResponse { value }.encode_to_vec())
            }
            Some(HostMethod::Wake) => {
                world.wakes += 1;
                Ok(Vec::new())
            }
            Some(HostMethod::RateAcquire) => {
                Ok(wire::RateAcquireResponse { granted: true, retry_after_ms: 0 }.encode_to_vec())
            }
            Some(HostMethod::Http) => {
                let answer = world.http.clone().ok_or_else(|| PluginError::unimplemented("http"))?;
                drop(world);
                Ok(answer(&wire::HttpRequest::decode(request)?).encode_to_vec())
            }
            _ => Err(PluginError::unimplemented("this host service")),
        }
    }
}

fn not_found(what: &str) -> PluginError {
    PluginError::user("NotFound", format!("{what} is not there")).with_status(code::NOT_FOUND)
}

impl std::fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeHost").finish_non_exhaustive()
    }
}

impl HostChannel for FakeHost {
    fn enabled(&self, level: LogLevel) -> bool {
        level <= LogLevel::Debug
    }

    fn emit(&self, kind: u32, payload: &[u8]) {
        let mut world = self.world();
        if kind == EmitKind::Log as u32 {
            world.logs.extend(wire::LogRecord::decode(payload));
        } else if kind == EmitKind::Metric as u32 {
            world.metrics.extend(wire::Metric::decode(payload));
        }
    }

    fn call(&self, method: u32, request: Vec<u8>) -> BoxFuture<Result<Vec<u8>, Vec<u8>>> {
        let reply = self.answer(method, &request).map_err(|error| error.to_status().encode_to_vec());
        Box::pin(std::future::ready(reply))
    }
}
