//! Names the metrics of the room.

use metrics::Unit;
use telemetry::metric::{Kind, Metric};

/// Counter of events that a sink took, by `sink`.
pub const EVENTS: &str = "pinion_notify_events_total";
/// Counter of tries that failed, by `to` (sink or channel).
pub const FAILURES: &str = "pinion_notify_failures_total";
/// Counter of events that were given up, by `sink`.
pub const LOST: &str = "pinion_notify_lost_total";
/// Counter of deliveries that ended, by `channel` and `result`.
pub const DELIVERIES: &str = "pinion_notify_deliveries_total";
/// Gauge of the seconds from a transition to its event's arrival at a sink, by `sink`.
pub const LAG_SECONDS: &str = "pinion_notify_lag_seconds";
/// Gauge that is 1 on the host that hands out events.
pub const LEADER: &str = "pinion_notify_leader";

/// Their descriptions.
pub const METRICS: [Metric; 6] = [
    Metric::new(EVENTS, Kind::Counter, Unit::Count, "Events that a sink took."),
    Metric::new(FAILURES, Kind::Counter, Unit::Count, "Tries that failed, of events and deliveries."),
    Metric::new(LOST, Kind::Counter, Unit::Count, "Events that a sink did not get and will not get."),
    Metric::new(DELIVERIES, Kind::Counter, Unit::Count, "Deliveries that ended, sent or failed."),
    Metric::new(
        LAG_SECONDS,
        Kind::Gauge,
        Unit::Seconds,
        "Age of the last event a sink took, or of the one it does not take.",
    ),
    Metric::new(LEADER, Kind::Gauge, Unit::Count, "Whether this host hands out events."),
];
