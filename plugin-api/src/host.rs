//! Calls the services of the host from inside a plugin.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use prost::Message;
use proto::flyteidl::core::{LiteralMap, TaskExecutionIdentifier};

use crate::context::TaskContext;
use crate::error::PluginError;
use crate::wire::{self, HostMethod, LogLevel, MetricKind, TokenStatus};

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The way to the host: one numbered call, one emit. Transports and [`crate::testing`] implement it; authors use [`Host`].
pub trait HostChannel: Send + Sync + 'static {
    /// Whether records of this level are wanted.
    fn enabled(&self, level: LogLevel) -> bool;
    /// Hands over a record; never blocks, may drop.
    fn emit(&self, kind: u32, payload: &[u8]);
    /// Calls a service; an error is an encoded [`wire::Status`].
    fn call(&self, method: u32, request: Vec<u8>) -> BoxFuture<Result<Vec<u8>, Vec<u8>>>;
}

/// The services of the host. Cheap to clone.
///
/// Every call is asynchronous, has a deadline set by the host, and fails with the error that the host gives. A service
/// that this host does not offer fails with [`crate::code::UNIMPLEMENTED`].
#[derive(Clone)]
pub struct Host {
    channel: Arc<dyn HostChannel>,
    target: Arc<str>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Host {
    /// Wraps a way to the host; `target` names the plugin in its log records.
    pub fn new(channel: Arc<dyn HostChannel>, target: &str) -> Self {
        Self { channel, target: target.into() }
    }

    /// Calls a service by number. The typed methods are better.
    pub async fn call<Request: Message, Response: Message + Default>(
        &self,
        method: HostMethod,
        request: &Request,
    ) -> Result<Response, PluginError> {
        let number = u32::try_from(i32::from(method)).unwrap_or_default();
        match self.channel.call(number, request.encode_to_vec()).await {
            Ok(reply) => Ok(Response::decode(reply.as_slice())?),
            Err(status) => Err(wire::Status::decode(status.as_slice())?.into()),
        }
    }

    /// Reads a whole object of the object store.
    pub async fn blob_get(&self, uri: &str) -> Result<Vec<u8>, PluginError> {
        let request = wire::BlobGetRequest { uri: uri.into(), offset: 0, length: None };
        let response: wire::BlobGetResponse = self.call(HostMethod::BlobGet, &request).await?;
        Ok(response.data)
    }

    /// Writes a whole object; repeating it is harmless.
    pub async fn blob_put(&self, uri: &str, data: Vec<u8>, content_type: &str) -> Result<(), PluginError> {
        let request = wire::BlobPutRequest { uri: uri.into(), data, content_type: content_type.into() };
        self.call::<_, wire::BlobPutResponse>(HostMethod::BlobPut, &request).await.map(drop)
    }

    /// Asks whether an object exists and how big it is.
    pub async fn blob_head(&self, uri: &str) -> Result<wire::BlobHeadResponse, PluginError> {
        self.call(HostMethod::BlobHead, &wire::BlobHeadRequest { uri: uri.into() }).await
    }

    /// Lists one page of objects below a prefix.
    pub async fn blob_list(
        &self,
        request: &wire::BlobListRequest,
    ) -> Result<wire::BlobListResponse, PluginError> {
        self.call(HostMethod::BlobList, request).await
    }

    /// The inputs of an attempt: those of the request when they came with it, else fetched.
    pub async fn inputs(&self, context: &TaskContext) -> Result<LiteralMap, PluginError> {
        if let Some(inputs) = context.inputs() {
            return Ok(inputs.clone());
        }
        let request = wire::InputsGetRequest { id: context.id.clone(), input_uri: context.input_uri.clone() };
        let response: wire::InputsGetResponse = self.call(HostMethod::InputsGet, &request).await?;
        Ok(LiteralMap::decode(response.literal_map.as_slice())?)
    }

    /// Reads a secret that the attempt may read. Never put it into state, logs or reasons.
    pub async fn secret(&self, request: &wire::SecretGetRequest) -> Result<Vec<u8>, PluginError> {
        let response: wire::SecretGetResponse = self.call(HostMethod::SecretGet, request).await?;
        Ok(response.value)
    }

    /// Asks for a token now, without joining the queue. Prefer the action `AcquireToken`, which waits in line.
    pub async fn token_allocate(
        &self,
        request: &wire::TokenAllocateRequest,
    ) -> Result<TokenStatus, PluginError> {
        let response: wire::TokenAllocateResponse = self.call(HostMethod::TokenAllocate, request).await?;
        Ok(response.status.unwrap_or_default())
    }

    /// Gives a token back; one that is not held is fine.
    pub async fn token_release(&self, request: &wire::TokenReleaseRequest) -> Result<(), PluginError> {
        self.call::<_, wire::TokenReleaseResponse>(HostMethod::TokenRelease, request).await.map(drop)
    }

    /// Reads an object of a cluster now. Prefer watching what was applied by an action.
    pub async fn object_get(&self, object: wire::ObjectRef) -> Result<wire::ObservedObject, PluginError> {
        let request = wire::ObjectGetRequest { object: Some(object) };
        let response: wire::ObjectGetResponse = self.call(HostMethod::ObjectGet, &request).await?;
        Ok(response.observed.unwrap_or_default())
    }

    /// Sends an HTTP request through the host, with its connections, proxy and egress rules.
    pub async fn http(&self, request: &wire::HttpRequest) -> Result<wire::HttpResponse, PluginError> {
        self.call(HostMethod::Http, request).await
    }

    /// Asks for a `handle` of the attempt as soon as possible.
    pub async fn wake(&self, id: TaskExecutionIdentifier) -> Result<(), PluginError> {
        let request = wire::WakeRequest { id: Some(id), array_element: None };
        self.call::<_, wire::WakeResponse>(HostMethod::Wake, &request).await.map(drop)
    }

    /// Takes one permit of a token bucket of this plugin; says when to come back if there is none.
    pub async fn rate_acquire(
        &self,
        bucket: &str,
        qps: f64,
        burst: u32,
    ) -> Result<wire::RateAcquireResponse, PluginError> {
        let request = wire::RateAcquireRequest { bucket: bucket.into(), qps, burst };
        self.call(HostMethod::RateAcquire, &request).await
    }

    /// Writes a log record; does nothing when the level is not wanted.
    pub fn log(&self, level: LogLevel, message: impl AsRef<str>, fields: &[(&str, &str)]) {
        if !self.channel.enabled(level) {
            return;
        }
        let fields = fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let record = wire::LogRecord {
            level: level.into(),
            target: self.target.as_ref().into(),
            message: message.as_ref().into(),
            fields,
            traceparent: String::new(),
        };
        self.emit(wire::EmitKind::Log, &record);
    }

    /// Adds to a counter.
    pub fn count(&self, name: &str, by: f64, labels: &[(&str, &str)]) {
        self.metric(name, MetricKind::Counter, by, labels);
    }

    /// Sets a gauge.
    pub fn gauge(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        self.metric(name, MetricKind::Gauge, value, labels);
    }

    /// Records one value of a histogram.
    pub fn observe(&self, name: &str, value: f64, labels: &[(&str, &str)]) {
        self.metric(name, MetricKind::Histogram, value, labels);
    }

    fn metric(&self, name: &str, kind: MetricKind, value: f64, labels: &[(&str, &str)]) {
        let labels: BTreeMap<_, _> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let metric = wire::Metric { name: name.into(), kind: kind.into(), value, labels };
        self.emit(wire::EmitKind::Metric, &metric);
    }

    fn emit(&self, kind: wire::EmitKind, record: &impl Message) {
        let number = u32::try_from(i32::from(kind)).unwrap_or_default();
        self.channel.emit(number, &record.encode_to_vec());
    }
}
