//! Collects metrics for Prometheus.
//!
//! A room keeps the names of its own metrics, as a table of [`Metric`] that the wiring hands to [`describe`]; the
//! names that belong to no room stand here.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use metrics::Unit;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::Error;

/// Name of the gRPC latency histogram that Flyte's dashboards chart.
pub const GRPC_LATENCY: &str = "grpc_server_handling_seconds";

/// Name of the counter of finished gRPC calls, by service, method and code.
pub const GRPC_HANDLED: &str = "grpc_server_handled_total";
/// Name of the gauge that is always 1 and carries the version of the binary.
pub const BUILD_INFO: &str = "pinion_build_info";
/// A metric with what an operator must know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name under which samples are recorded.
    pub name: &'static str,
    /// What is recorded.
    pub kind: Kind,
    /// In what unit.
    pub unit: Unit,
    /// What it means, in one sentence.
    pub help: &'static str,
}

/// What a metric records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something that only grows.
    Counter,
    /// Something that goes up and down.
    Gauge,
    /// Many values, of which quantiles or buckets are shown.
    Histogram,
}

impl Metric {
    /// Writes one line of a table of metrics.
    pub const fn new(name: &'static str, kind: Kind, unit: Unit, help: &'static str) -> Self {
        Self { name, kind, unit, help }
    }
}

/// The metrics that are described from the start.
pub const METRICS: [Metric; 3] = [
    Metric::new(
        GRPC_LATENCY,
        Kind::Histogram,
        Unit::Seconds,
        "Time from accepting a gRPC call to its answer.",
    ),
    Metric::new(
        GRPC_HANDLED,
        Kind::Counter,
        Unit::Count,
        "Finished gRPC calls, by service, method and code.",
    ),
    Metric::new(BUILD_INFO, Kind::Gauge, Unit::Count, "Version of the running binary, as a label; always 1."),
];

/// Attaches descriptions to metrics; after [`install`].
pub fn describe(metrics: &[Metric]) {
    for Metric { name, kind, unit, help } in metrics.iter().copied() {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, unit, help),
            Kind::Gauge => metrics::describe_gauge!(name, unit, help),
            Kind::Histogram => metrics::describe_histogram!(name, unit, help),
        }
    }
}

/// What `/metrics` shows.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

/// Installs the recorder of this process.
///
/// # Errors
/// A second call.
pub fn install() -> Result<Metrics, Error> {
    let recorder = recorder()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| Error::Twice)?;
    describe(&METRICS);
    Ok(Metrics(handle))
}

fn recorder() -> Result<PrometheusRecorder, Error> {
    let refused = |error: metrics_exporter_prometheus::BuildError| Error::Metrics(error.to_string());
    let buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    Ok(PrometheusBuilder::new()
        .set_quantiles(&[0.5, 0.9, 0.99])
        .map_err(refused)?
        .set_buckets_for_metric(Matcher::Full(GRPC_LATENCY.to_owned()), &buckets)
        .map_err(refused)?
        .build_recorder())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_shown_with_quantiles_buckets_and_help() {
        let recorder = recorder().unwrap();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe(&METRICS);
            describe(&[Metric::new(
                "pinion_test_seconds",
                Kind::Histogram,
                Unit::Seconds,
                "Time a test took.",
            )]);
            for milli in 1..=100_u32 {
                metrics::histogram!("pinion_test_seconds", "op" => "get").record(f64::from(milli) / 1000.0);
                metrics::histogram!(GRPC_LATENCY).record(f64::from(milli) / 1000.0);
            }
            metrics::counter!("flyte:propeller:all:workflow:accepted").increment(2);
        });
        let text = Metrics(handle).render();
        for line in [
            "# HELP pinion_test_seconds Time a test took",
            "# TYPE pinion_test_seconds summary",
            "pinion_test_seconds{op=\"get\",quantile=\"0.99\"}",
            "grpc_server_handling_seconds_bucket{le=\"0.05\"} 50",
            "flyte:propeller:all:workflow:accepted 2",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
