//! Names the metrics of the worker.

use metrics::Unit;
use telemetry::metric::{Kind, Metric};

/// Counter of rounds of all executions.
pub const ROUNDS: &str = "pinion_worker_rounds_total";
/// Counter of rows of nodes and attempts that changed.
pub const TRANSITIONS: &str = "pinion_worker_transitions_total";
/// Histogram of rows written by one commit.
pub const COMMIT_ROWS: &str = "pinion_worker_commit_rows";
/// Histogram of the seconds one commit took.
pub const COMMIT_SECONDS: &str = "pinion_worker_commit_seconds";
/// Counter of commits that had to be repeated.
pub const COMMIT_RETRIES: &str = "pinion_worker_commit_retries_total";
/// Gauge of executions in memory.
pub const LIVE: &str = "pinion_worker_live_executions";
/// Histogram of the seconds from the creation of an execution to the first call of a plugin for it.
pub const FIRST_CALL_SECONDS: &str = "pinion_worker_first_call_seconds";
/// Histogram of the seconds from the end of the last upstream node to the first call of a plugin for a node.
pub const NODE_GAP_SECONDS: &str = "pinion_worker_node_gap_seconds";
/// Counter of attempts closed though their plugin could not clean up.
pub const CLEANUP_DEBT: &str = "pinion_worker_cleanup_debt_total";
/// Counter of times changes of a cluster's objects were missed.
pub const WATCH_LAGGED: &str = "pinion_worker_watch_lagged_total";
/// Counter of executions whose driver ended by a panic.
pub const DRIVER_PANICS: &str = "pinion_worker_driver_panics_total";

/// Counter of nodes that were forgotten while their execution runs on.
pub const NODES_RELEASED: &str = "pinion_worker_nodes_released_total";

/// Their descriptions.
pub const METRICS: [Metric; 12] = [
    Metric::new(ROUNDS, Kind::Counter, Unit::Count, "Rounds of all executions."),
    Metric::new(TRANSITIONS, Kind::Counter, Unit::Count, "Rows of nodes and attempts that changed."),
    Metric::new(COMMIT_ROWS, Kind::Histogram, Unit::Count, "Rows written by one commit."),
    Metric::new(COMMIT_SECONDS, Kind::Histogram, Unit::Seconds, "Time one commit took."),
    Metric::new(COMMIT_RETRIES, Kind::Counter, Unit::Count, "Commits that had to be repeated."),
    Metric::new(LIVE, Kind::Gauge, Unit::Count, "Executions this host drives."),
    Metric::new(
        FIRST_CALL_SECONDS,
        Kind::Histogram,
        Unit::Seconds,
        "Time from the creation of an execution to the first call of a plugin for it.",
    ),
    Metric::new(
        NODE_GAP_SECONDS,
        Kind::Histogram,
        Unit::Seconds,
        "Time from the end of the last upstream node to the first call of a plugin for a node.",
    ),
    Metric::new(
        CLEANUP_DEBT,
        Kind::Counter,
        Unit::Count,
        "Attempts closed though their plugin could not clean up; look at their last reason.",
    ),
    Metric::new(
        WATCH_LAGGED,
        Kind::Counter,
        Unit::Count,
        "Times changes of a cluster's objects were missed.",
    ),
    Metric::new(
        DRIVER_PANICS,
        Kind::Counter,
        Unit::Count,
        "Executions whose driver panicked and was restarted.",
    ),
    Metric::new(
        NODES_RELEASED,
        Kind::Counter,
        Unit::Count,
        "Nodes at rest inside others that ended, forgotten while their execution runs on.",
    ),
];

/// Micros as the seconds metrics are in.
pub(crate) fn seconds(micros: i64) -> f64 {
    std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0)).as_secs_f64()
}
