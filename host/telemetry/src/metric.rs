//! Collects metrics for Prometheus.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::Error;

/// Name of the gRPC latency histogram that Flyte's dashboards chart.
pub const GRPC_LATENCY: &str = "grpc_server_handling_seconds";

/// What `/metrics` shows.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

/// Installs the recorder of this process.
///
/// # Errors
/// A second call.
pub fn install() -> Result<Metrics, Error> {
    let refused = |error: metrics_exporter_prometheus::BuildError| Error::Metrics(error.to_string());
    let buckets =
        [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    let recorder = PrometheusBuilder::new()
        .set_quantiles(&[0.5, 0.9, 0.99])
        .map_err(refused)?
        .set_buckets_for_metric(Matcher::Full(GRPC_LATENCY.to_owned()), &buckets)
        .map_err(refused)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| Error::Twice)?;
    Ok(Metrics(handle))
}

impl Metrics {
    /// The page Prometheus reads.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps summaries small; call it every few seconds.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }

    /// `GET /metrics`.
    pub fn routes(&self) -> Router {
        let metrics = self.clone();
        Router::new().route(
            "/metrics",
            get(move || async move {
                ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
            }),
        )
    }
}
