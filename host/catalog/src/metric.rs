//! Names the metrics of the catalog.

use metrics::Unit;
use telemetry::metric::{Kind, Metric};

/// Counter of lookups that found something.
pub const HITS: &str = "pinion_catalog_hits_total";
/// Counter of lookups that found nothing, by `cause`.
pub const MISSES: &str = "pinion_catalog_misses_total";
/// Counter of entries stored, by `outcome`: new, or one that was there before.
pub const PUTS: &str = "pinion_catalog_puts_total";
/// Counter of wishes for a reservation, by `outcome`.
pub const RESERVATIONS: &str = "pinion_catalog_reservations_total";
/// Counter of reservations given back.
pub const RELEASES: &str = "pinion_catalog_releases_total";
/// Counter of evicted entries.
pub const EVICTIONS: &str = "pinion_catalog_evictions_total";
/// Histogram of the seconds one lookup of one or many keys took.
pub const LOOKUP_SECONDS: &str = "pinion_catalog_lookup_seconds";

/// Their descriptions.
pub const METRICS: [Metric; 7] = [
    Metric::new(HITS, Kind::Counter, Unit::Count, "Lookups that found cached outputs."),
    Metric::new(MISSES, Kind::Counter, Unit::Count, "Lookups that found nothing, by cause."),
    Metric::new(
        PUTS,
        Kind::Counter,
        Unit::Count,
        "Outputs handed to the cache: stored, or kept out by an entry that was there.",
    ),
    Metric::new(
        RESERVATIONS,
        Kind::Counter,
        Unit::Count,
        "Wishes to compute what is not cached yet: acquired, or held by another.",
    ),
    Metric::new(RELEASES, Kind::Counter, Unit::Count, "Reservations given back."),
    Metric::new(EVICTIONS, Kind::Counter, Unit::Count, "Entries evicted, by request or by age."),
    Metric::new(LOOKUP_SECONDS, Kind::Histogram, Unit::Seconds, "Time one lookup took."),
];
