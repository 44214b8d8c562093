//! Holds the settings of the catalog.

use config::{Duration, Size};
use serde::{Deserialize, Serialize};

/// What is kept of cached outputs, where and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Outputs up to this size are kept in the database; larger ones as an object. Default 16 KiB.
    pub max_inline_size: Size,
    /// Key prefix in the main bucket under which larger outputs are kept. Default `metadata/catalog`.
    pub outputs_prefix: String,
    /// Entries older than this are not found, and make room for new ones. 0: any age. Default 0.
    pub max_age: Duration,
    /// How many heartbeats a reservation outlives without a sign of life of its owner. Default 3.
    pub reservation_heartbeat_multiplier: u32,
    /// Longest heartbeat that an engine outside may ask for. Default 10 s.
    pub max_reservation_heartbeat: Duration,
    /// Entries older than this are evicted. 0: never. Default 0.
    pub evict_after: Duration,
    /// Entries that were neither made nor used for this long are evicted. 0: never. Default 0.
    pub evict_unused_after: Duration,
    /// How long it is remembered what an evicted entry was and who used it. Default 30 days.
    pub keep_evicted: Duration,
    /// How often is looked for what is to be evicted or forgotten. Default 1 h.
    pub sweep_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_inline_size: Size::from_kib(16),
            outputs_prefix: "metadata/catalog".to_owned(),
            max_age: Duration::from_secs(0),
            reservation_heartbeat_multiplier: 3,
            max_reservation_heartbeat: Duration::from_secs(10),
            evict_after: Duration::from_secs(0),
            evict_unused_after: Duration::from_secs(0),
            keep_evicted: Duration::from_hours(720),
            sweep_interval: Duration::from_hours(1),
        }
    }
}

impl Config {
    /// Refuses settings under which nothing works.
    ///
    /// # Errors
    /// A sentence about the first contradiction.
    pub fn validate(&self) -> Result<(), String> {
        if self.max_inline_size > Size::from_mib(1) {
            return Err(format!(
                "max-inline-size: {} would make rows of more than 1Mi",
                self.max_inline_size
            ));
        }
        if self.outputs_prefix.trim_matches('/').is_empty() {
            return Err("outputs-prefix: must not be empty".to_owned());
        }
        if self.reservation_heartbeat_multiplier == 0 {
            return Err("reservation-heartbeat-multiplier: with 0 no reservation would last".to_owned());
        }
        if self.max_reservation_heartbeat.get().is_zero() {
            return Err("max-reservation-heartbeat: with 0 no reservation would last".to_owned());
        }
        if self.sweep_interval.get() < std::time::Duration::from_secs(1) {
            return Err(format!("sweep-interval: {} is shorter than 1s", self.sweep_interval));
        }
        Ok(())
    }
}

/// Microseconds of a setting; `None` for 0, which means no limit.
pub(crate) fn limit_micros(duration: Duration) -> Option<i64> {
    let micros = i64::try_from(duration.get().as_micros()).unwrap_or(i64::MAX);
    (micros > 0).then_some(micros)
}
