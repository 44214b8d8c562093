//! Counts and times operations.

use std::time::Instant;

use metrics::Unit;
use telemetry::metric::{Kind, Metric};

use crate::Error;

/// Histogram of the seconds an operation took, by `op` and `outcome`.
pub const OPERATION_SECONDS: &str = "pinion_blob_operation_seconds";
/// Counter of bytes moved, by `direction` (`read`, `written`).
pub const BYTES: &str = "pinion_blob_bytes_total";

/// Their descriptions.
pub const METRICS: [Metric; 2] = [
    Metric::new(
        OPERATION_SECONDS,
        Kind::Histogram,
        Unit::Seconds,
        "Time an operation on the object store took.",
    ),
    Metric::new(BYTES, Kind::Counter, Unit::Bytes, "Bytes read from and written to the object store."),
];

/// Notes how an operation went.
pub(crate) fn observe<T>(op: &'static str, start: Instant, result: &Result<T, Error>) {
    let outcome = match result {
        Ok(_) => "ok",
        Err(Error::NotFound { .. }) => "not_found",
        Err(_) => "error",
    };
    let seconds = start.elapsed().as_secs_f64();
    metrics::histogram!(OPERATION_SECONDS, "op" => op, "outcome" => outcome).record(seconds);
}

/// Notes bytes handed to a caller.
pub(crate) fn read(n_bytes: u64) {
    metrics::counter!(BYTES, "direction" => "read").increment(n_bytes);
}

/// Notes bytes taken from a caller.
pub(crate) fn written(n_bytes: u64) {
    metrics::counter!(BYTES, "direction" => "written").increment(n_bytes);
}
