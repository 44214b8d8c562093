//! Holds the settings of the scheduler.

use config::Duration;
use serde::{Deserialize, Serialize};

use crate::timetable::Timetable;

/// How schedules and backfills are run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Whether this host runs schedules and backfills, when no other host does. Default true.
    pub enabled: bool,
    /// IANA time zone of cron expressions that name none. Default `UTC`, as in Flyte.
    pub timezone: String,
    /// What becomes of ticks that were missed while no host ran: `none` leaves them out, `latest` fires the last of
    /// them, `all` fires each. A launch plan's annotation or label `pinion.dev/catch-up` overrides it. Default `all`:
    /// Flyte's own scheduler catches up on every tick, and pipelines that process a day at a time count on it.
    pub catch_up: CatchUp,
    /// Most missed ticks of one schedule that `all` fires; older ones are left out. Default 1000.
    pub max_catch_up: u32,
    /// A tick is missed when it is later than this; until then it is fired whatever `catch-up` says. Default 1m.
    pub missed_after: Duration,
    /// Most executions being started at once, over all schedules, and as many over all backfills. Default 64.
    pub max_launches_at_once: usize,
    /// How long one start may take before it is tried again. Default 30s.
    pub launch_timeout: Duration,
    /// First pause before a tick is tried again that could not be started for a reason that may pass; it doubles
    /// with each try. Default 1s.
    pub backoff_base: Duration,
    /// Longest pause between tries. Default 1m.
    pub backoff_max: Duration,
    /// How long a tick waits for its turn when the launch plan's concurrency policy allows no further execution, and
    /// does not say to skip it; then it is left out. A policy with behaviour SKIP leaves it out at once. Default 1h.
    pub limit_wait: Duration,
    /// How long this host stays the one that schedules after it was last heard of. It is renewed three times as
    /// often; another host takes over after it. Default 15s.
    pub lease_ttl: Duration,
    /// How often the ends of backfills' executions are looked up whose notification was lost. Default 5m.
    pub safety_sweep: Duration,
    /// Ticks of a backfill that run at once, unless it says so itself. Default 4.
    pub backfill_parallelism: u32,
    /// Most ticks of one backfill. Default 100000.
    pub max_backfill_ticks: u32,
    /// How long a backfill that ended is kept; 0s keeps all. Its executions stay, but a later backfill no longer knows
    /// which ticks succeeded in it. Default 2160h (90 days).
    pub keep_backfills: Duration,
}

/// What becomes of ticks that were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// They are left out.
    None,
    /// The last of them is fired.
    Latest,
    /// Each is fired.
    #[default]
    All,
}

impl CatchUp {
    /// Reads `none`, `latest` or `all`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Latest, Self::All].into_iter().find(|policy| policy.as_str() == text)
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Latest => "latest",
            Self::All => "all",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            timezone: "UTC".to_owned(),
            catch_up: CatchUp::All,
            max_catch_up: 1000,
            missed_after: Duration::from_mins(1),
            max_launches_at_once: 64,
            launch_timeout: Duration::from_secs(30),
            backoff_base: Duration::from_secs(1),
            backoff_max: Duration::from_mins(1),
            limit_wait: Duration::from_mins(60),
            lease_ttl: Duration::from_secs(15),
            safety_sweep: Duration::from_mins(5),
            backfill_parallelism: 4,
            max_backfill_ticks: 100_000,
            keep_backfills: Duration::from_hours(90 * 24),
        }
    }
}

impl Config {
    /// Refuses settings under which nothing can be scheduled.
    ///
    /// # Errors
    /// A sentence about the first contradiction, that names its key.
    pub fn validate(&self) -> Result<(), String> {
        let zero = [
            ("max-launches-at-once", self.max_launches_at_once == 0),
            ("max-catch-up", self.max_catch_up == 0),
            ("launch-timeout", self.launch_timeout.is_zero()),
            ("backoff-base", self.backoff_base.is_zero()),
            ("lease-ttl", self.lease_ttl.is_zero()),
            ("safety-sweep", self.safety_sweep.is_zero()),
            ("backfill-parallelism", self.backfill_parallelism == 0),
            ("max-backfill-ticks", self.max_backfill_ticks == 0),
        ];
        if let Some((key, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(format!("{key} must be greater than 0"));
        }
        if self.backoff_max < self.backoff_base {
            return Err("backoff-max is shorter than backoff-base".to_owned());
        }
        Timetable::parse("@daily", &self.timezone)
            .map(drop)
            .map_err(|error| format!("timezone: {}", error.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        Config::default().validate().unwrap();
    }

    #[test]
    fn settings_that_stop_all_work_are_named() {
        let none = Config { max_launches_at_once: 0, ..Config::default() };
        assert!(none.validate().unwrap_err().contains("max-launches-at-once"));
        let nowhere = Config { timezone: "Nowhere".to_owned(), ..Config::default() };
        assert!(nowhere.validate().unwrap_err().contains("`Nowhere`"));
    }
}
