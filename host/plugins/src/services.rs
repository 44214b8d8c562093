//! Offers host services to a plugin: counts, limits and logs what it does, and hands the rest to the wiring.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use plugin_api::code;
use prost::Message;
use proto::pinion::plugin::v1 as wire;
use proto::pinion::plugin::v1::{EmitKind, HostMethod, LogLevel, Status};
use tokio::runtime::Handle;

use crate::lanes::Lanes;

/// Series (name and labels) per plugin; further ones are dropped.
const MAX_SERIES: usize = 500;

/// What the host does for its plugins. The wiring implements it over the other rooms.
#[async_trait]
pub trait HostServices: Send + Sync + 'static {
    /// Performs a `HostMethod` for a plugin; unknown ones are answered with [`unimplemented()`].
    async fn call(&self, plugin_id: &str, method: u32, request: Bytes) -> Result<Vec<u8>, Status>;

    /// What this host offers, told to each plugin at its start.
    fn capabilities(&self) -> Vec<String> {
        Vec::new()
    }

    /// Takes an `Event` (records and metrics are handled before). Must not block.
    fn emit(&self, plugin_id: &str, kind: u32, payload: Bytes) {
        let _ = (plugin_id, kind, payload);
    }
}

/// The answer to a service that this host does not offer.
pub fn unimplemented(method: u32) -> Status {
    status(code::UNIMPLEMENTED, "Unimplemented", format!("host service {method} is not offered by this host"))
}

/// A SYSTEM status with a code, a name and a text.
pub fn status(code: u32, error_code: &str, message: impl Into<String>) -> Status {
    Status {
        code,
        kind: wire::Kind::System.into(),
        error_code: error_code.into(),
        message: message.into(),
        retryable: code == code::UNAVAILABLE || code == code::DEADLINE_EXCEEDED,
        details: BTreeMap::new(),
    }
}

/// The host as one plugin reaches it, in this process or from a plugin process.
pub(crate) trait Upstream: Send + Sync + 'static {
    fn enabled(&self, level: u32) -> bool;
    fn emit(&self, kind: u32, payload: &[u8]);
    /// Runs on the host's runtime, whatever thread polls the answer.
    fn call(&self, method: u32, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, Vec<u8>>>;
    /// Runs the completion of a call, which is code of the plugin, off the threads that may not be lost.
    fn spawn(&self, work: BoxFuture<'static, ()>);
}

/// The services as one plugin sees them.
pub(crate) struct Services {
    plugin_id: Arc<str>,
    services: Arc<dyn HostServices>,
    runtime: Handle,
    lanes: Lanes,
    limit: Duration,
    buckets: Arc<Mutex<HashMap<String, Bucket>>>,
    series: Mutex<HashSet<u64>>,
}

impl Services {
    pub(crate) fn new(
        plugin_id: &str,
        services: Arc<dyn HostServices>,
        runtime: Handle,
        lanes: Lanes,
        limit: Duration,
    ) -> Self {
        Self {
            plugin_id: plugin_id.into(),
            services,
            runtime,
            lanes,
            limit,
            buckets: Arc::default(),
            series: Mutex::default(),
        }
    }

    fn rate_acquire(&self, request: &[u8]) -> Result<Vec<u8>, Status> {
        let request = wire::RateAcquireRequest::decode(request)
            .map_err(|error| status(code::INVALID_ARGUMENT, "BadRequest", error.to_string()))?;
        if !(request.qps.is_finite() && request.qps > 0.0) || request.burst == 0 {
            return Err(status(code::INVALID_ARGUMENT, "BadRequest", "qps and burst must be positive"));
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(request.bucket.clone()).or_insert_with(|| Bucket::full(request.burst));
        let wait = bucket.take(request.qps, request.burst, Instant::now());
        let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Ok(wire::RateAcquireResponse { granted: wait.is_zero(), retry_after_ms }.encode_to_vec())
    }

    fn log(&self, payload: &[u8]) {
        let Ok(record) = wire::LogRecord::decode(payload) else { return };
        let plugin = &*self.plugin_id;
        let message = record.message.as_str();
        let fields = &record.fields;
        match record.level() {
            LogLevel::Error => tracing::error!(target: "plugin", plugin, ?fields, "{message}"),
            LogLevel::Warn => tracing::warn!(target: "plugin", plugin, ?fields, "{message}"),
            LogLevel::Info | LogLevel::Unspecified => {
                tracing::info!(target: "plugin", plugin, ?fields, "{message}");
            }
            LogLevel::Debug => tracing::debug!(target: "plugin", plugin, ?fields, "{message}"),
            LogLevel::Trace => tracing::trace!(target: "plugin", plugin, ?fields, "{message}"),
        }
    }

    fn metric(&self, payload: &[u8]) {
        let Ok(metric) = wire::Metric::decode(payload) else { return };
        if !self.admits(&metric) {
            metrics::counter!("plugin_metrics_dropped_total", "plugin" => self.plugin_id.to_string())
                .increment(1);
            return;
        }
        let name = format!("plugin_{}", metric.name);
        let mut labels = vec![metrics::Label::new("plugin", self.plugin_id.to_string())];
        labels
            .extend(metric.labels.iter().map(|(key, value)| metrics::Label::new(key.clone(), value.clone())));
        match metric.kind() {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "counters are whole and small"
            )]
            wire::MetricKind::Counter => metrics::counter!(name, labels).increment(metric.value as u64),
            wire::MetricKind::Gauge => metrics::gauge!(name, labels).set(metric.value),
            wire::MetricKind::Histogram => metrics::histogram!(name, labels).record(metric.value),
            wire::MetricKind::Unspecified => {}
        }
    }

    fn admits(&self, metric: &wire::Metric) -> bool {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (&metric.name, &metric.labels).hash(&mut hasher);
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.contains(&hasher.finish()) || (series.len() < MAX_SERIES && series.insert(hasher.finish()))
    }
}

impl Upstream for Services {
    fn enabled(&self, level: u32) -> bool {
        use tracing::Level;
        match i32::try_from(level).ok().and_then(|level| LogLevel::try_from(level).ok()) {
            Some(LogLevel::Error) => tracing::enabled!(target: "plugin", Level::ERROR),
            Some(LogLevel::Warn) => tracing::enabled!(target: "plugin", Level::WARN),
            Some(LogLevel::Info) => tracing::enabled!(target: "plugin", Level::INFO),
            Some(LogLevel::Debug) => tracing::enabled!(target: "plugin", Level::DEBUG),
            Some(LogLevel::Trace) => tracing::enabled!(target: "plugin", Level::TRACE),
            Some(LogLevel::Unspecified) | None => false,
        }
    }

    fn emit(&self, kind: u32, payload: &[u8]) {
        match i32::try_from(kind).ok().and_then(|kind| EmitKind::try_from(kind).ok()) {
            Some(EmitKind::Log) => self.log(payload),
            Some(EmitKind::Metric) => self.metric(payload),
            _ => self.services.emit(&self.plugin_id, kind, Bytes::copy_from_slice(payload)),
        }
    }

    fn call(&self, method: u32, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, Vec<u8>>> {
        if method == HostMethod::RateAcquire as u32 {
            let reply = self.rate_acquire(&request).map_err(|status| status.encode_to_vec());
            return Box::pin(std::future::ready(reply));
        }
        let (services, plugin_id, limit) =
            (Arc::clone(&self.services), Arc::clone(&self.plugin_id), self.limit);
        let work = async move {
            let answer = services.call(&plugin_id, method, request.into());
            let reply = tokio::time::timeout(limit, answer).await;
            reply.unwrap_or_else(|_| {
                let message = format!("host service {method} did not answer within {limit:?}");
                Err(status(code::DEADLINE_EXCEEDED, "HostTimeout", message))
            })
        };
        let task = AbortOnDrop(self.runtime.spawn(work));
        Box::pin(async move {
            let mut task = task;
            let reply = match (&mut task.0).await {
                Ok(reply) => reply,
                Err(error) => Err(status(code::INTERNAL, "HostBug", error.to_string())),
            };
            reply.map_err(|status| status.encode_to_vec())
        })
    }

    fn spawn(&self, work: BoxFuture<'static, ()>) {
        self.lanes.detach(work);
    }
}

/// A plugin that no longer waits for a service ends the work.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Permits that refill with time.
struct Bucket {
    permits: f64,
    filled_at: Option<Instant>,
}

impl Bucket {
    fn full(burst: u32) -> Self {
        Self { permits: f64::from(burst), filled_at: None }
    }

    /// Takes a permit; zero means granted, else it is the time until there is one.
    fn take(&mut self, qps: f64, burst: u32, now: Instant) -> Duration {
        if let Some(filled_at) = self.filled_at {
            let gained = now.saturating_duration_since(filled_at).as_secs_f64() * qps;
            self.permits = (self.permits + gained).min(f64::from(burst));
        }
        self.filled_at = Some(now);
        if self.permits >= 1.0 {
            self.permits -= 1.0;
            return Duration::ZERO;
        }
        Duration::from_secs_f64(((1.0 - self.permits) / qps).min(3600.0)).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_grants_the_burst_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::full(2);
        assert!(bucket.take(10.0, 2, start).is_zero());
        assert!(bucket.take(10.0, 2, start).is_zero());
        assert_eq!(bucket.take(10.0, 2, start), Duration::from_millis(100));
        assert!(bucket.take(10.0, 2, start + Duration::from_millis(100)).is_zero());
    }
}
