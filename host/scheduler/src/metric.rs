//! Names the metrics of the scheduler.

use metrics::Unit;
use telemetry::metric::{Kind, Metric};

/// Counter of ticks of schedules, by outcome: `fired`, `duplicate`, `failed` or `skipped`.
pub const TICKS: &str = "pinion_scheduler_ticks_total";
/// Histogram of the seconds from a tick's time to its execution.
pub const LATENESS_SECONDS: &str = "pinion_scheduler_lateness_seconds";
/// Counter of starts that failed for a reason that may pass and were put off.
pub const RETRIES: &str = "pinion_scheduler_retries_total";
/// Counter of times the store did not answer the scheduler.
pub const STORE_ERRORS: &str = "pinion_scheduler_store_errors_total";
/// Gauge, 1 on the host that schedules.
pub const LEADS: &str = "pinion_scheduler_leads";
/// Counter of ticks of backfills that ended, by outcome: `succeeded`, `failed` or `skipped`.
pub const BACKFILL_TICKS: &str = "pinion_scheduler_backfill_ticks_total";

/// Their descriptions.
pub const METRICS: [Metric; 6] = [
    Metric::new(TICKS, Kind::Counter, Unit::Count, "Ticks of schedules, by outcome."),
    Metric::new(
        LATENESS_SECONDS,
        Kind::Histogram,
        Unit::Seconds,
        "Time from a tick of a schedule to the creation of its execution.",
    ),
    Metric::new(
        RETRIES,
        Kind::Counter,
        Unit::Count,
        "Executions that could not be started for a reason that may pass, and are tried again.",
    ),
    Metric::new(STORE_ERRORS, Kind::Counter, Unit::Count, "Times the store did not answer the scheduler."),
    Metric::new(LEADS, Kind::Gauge, Unit::Count, "1 on the host that runs schedules and backfills."),
    Metric::new(BACKFILL_TICKS, Kind::Counter, Unit::Count, "Ticks of backfills that ended, by outcome."),
];
