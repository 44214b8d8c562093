//! Prints phases, times and durations, coloured on a terminal.

use std::io::IsTerminal;

use proto::flyteidl::admin::{NodeExecutionClosure, node_execution_closure::TargetMetadata};
use proto::flyteidl::core::{CatalogCacheStatus, node_execution, task_execution, workflow_execution};

/// The lower-case word of a phase.
pub(crate) trait Word {
    /// `succeeded`, `running`, ...
    fn word(self) -> String;
}

impl Word for workflow_execution::Phase {
    fn word(self) -> String {
        self.as_str_name().to_lowercase()
    }
}

impl Word for node_execution::Phase {
    fn word(self) -> String {
        self.as_str_name().to_lowercase()
    }
}

impl Word for task_execution::Phase {
    fn word(self) -> String {
        self.as_str_name().to_lowercase()
    }
}

/// What became of a node's look into the cache: `hit`, `populated`, ...; nothing when it is not cached.
pub(crate) fn cache(closure: &NodeExecutionClosure) -> Option<String> {
    let Some(TargetMetadata::TaskNodeMetadata(task)) = &closure.target_metadata else { return None };
    let status = task.cache_status();
    let word = status.as_str_name().trim_start_matches("CACHE_").to_lowercase();
    (status != CatalogCacheStatus::CacheDisabled).then_some(word)
}

/// Whether nothing follows this execution phase.
pub(crate) fn is_terminal(phase: workflow_execution::Phase) -> bool {
    use workflow_execution::Phase;
    matches!(phase, Phase::Succeeded | Phase::Failed | Phase::Aborted | Phase::TimedOut)
}

/// Whether standard output is a terminal.
pub(crate) fn on_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// The word in its colour, when standard output is a terminal.
pub(crate) fn paint(word: &str) -> String {
    if !on_terminal() {
        return word.to_owned();
    }
    let colour = match word {
        "succeeded" | "recovered" => "32",
        "failed" | "timed_out" | "failing" => "31",
        "running" | "dynamic_running" => "34",
        "aborted" | "aborting" | "skipped" => "33",
        _ => "90",
    };
    format!("\x1b[{colour}m{word}\x1b[0m")
}

/// A symbol beside a phase, so that colour is not the only sign.
pub(crate) fn symbol(word: &str) -> &'static str {
    match word {
        "succeeded" | "recovered" => "✔",
        "failed" | "timed_out" => "✘",
        "running" | "dynamic_running" | "failing" => "●",
        "aborted" | "aborting" | "skipped" => "⊘",
        _ => "○",
    }
}

/// Seconds with two digits, or minutes and seconds.
pub(crate) fn duration(d: &prost_types::Duration) -> String {
    let seconds = d.seconds as f64 + f64::from(d.nanos) / 1e9;
    seconds_text(seconds)
}

/// Time from one moment to another; empty when the first is unset.
pub(crate) fn between(from: Option<&prost_types::Timestamp>, to: Option<&prost_types::Timestamp>) -> String {
    let Some(from) = from.filter(|t| t.seconds != 0) else { return String::new() };
    let seconds = |t: &prost_types::Timestamp| t.seconds as f64 + f64::from(t.nanos) / 1e9;
    let to = to.map_or_else(now, seconds);
    seconds_text((to - seconds(from)).max(0.0))
}

fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64()
}

fn seconds_text(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.2}s");
    }
    let whole = seconds as u64;
    if whole < 3600 {
        return format!("{}m{:02}s", whole / 60, whole % 60);
    }
    format!("{}h{:02}m", whole / 3600, whole % 3600 / 60)
}

/// `2026-01-31 12:00:05` in local time.
pub(crate) fn moment(t: Option<&prost_types::Timestamp>) -> String {
    t.filter(|t| t.seconds != 0)
        .and_then(|t| jiff::Timestamp::new(t.seconds, t.nanos).ok())
        .map(|t| t.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_naturally() {
        for (seconds, nanos, want) in [(0, 50_000_000, "0.05s"), (61, 0, "1m01s"), (7_260, 0, "2h01m")] {
            assert_eq!(duration(&prost_types::Duration { seconds, nanos }), want);
        }
    }
}
