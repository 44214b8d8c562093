//! Decides whether a failed attempt gets a successor, how long attempts may take, and where they may run.

use model::time::duration_micros;
use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::error;
use crate::state::NodeState;

/// What applies to every node of an execution, settled at launch and from configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many task, array and launch plan nodes may be queued or running at once; 0 = any number. What an array
    /// holds does not count.
    pub max_parallelism: u32,
    /// Whether attempts may run on interruptible machines where node and task do not say.
    pub interruptible: bool,
    /// Attempts of a node where neither node nor task names retries.
    pub default_max_attempts: u32,
    /// How many failures by the system's fault are forgiven per node.
    pub max_system_failures: u32,
    /// When a node stops using interruptible machines: a positive number is a count of system failures, a
    /// negative one counts back from the last system attempt, 0 = never.
    pub interruptible_failure_threshold: i32,
    /// One budget for all failures, whoever's fault.
    pub ignore_retry_cause: bool,
    /// Longest run of one attempt where node and task do not say, in microseconds; 0 = unlimited.
    pub default_execution_timeout_micros: i64,
    /// Longest life of a node over all its attempts where node and task do not say, in microseconds;
    /// 0 = unlimited.
    pub default_active_timeout_micros: i64,
    /// How many elements of an array may be in flight where the array leaves it open.
    pub array_parallelism: ArrayParallelism,
    /// How many elements of the arrays of an execution may be in flight together, whatever they say. One that holds
    /// other elements lends its place to one of them, so arrays may lie in each other however deep.
    pub max_elements_in_flight: u32,
    /// How many nodes an execution may have, those that dynamic nodes make and elements of arrays included.
    pub max_nodes: u32,
    /// How many nodes one call of [`crate::Execution::apply`] takes over from the execution that is recovered.
    pub recovered_at_once: u32,
    /// Where the workflow's inputs are: the outputs of the start node.
    pub inputs_uri: Box<str>,
}

/// How many elements of an array may be in flight when the array names no number above 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArrayParallelism {
    /// Any number.
    #[default]
    Unlimited,
    /// As many as [`Settings::max_parallelism`] says for nodes.
    Workflow,
    /// Any number when the array says 0, as for nodes when it says nothing.
    Hybrid,
}

impl Settings {
    /// How many elements of an array that asks for `parallelism` may be in flight.
    pub(crate) fn elements_in_flight(&self, parallelism: Option<u32>) -> u32 {
        let as_nodes = if self.max_parallelism == 0 { u32::MAX } else { self.max_parallelism };
        let wanted = match (parallelism, self.array_parallelism) {
            (Some(exact @ 1..), _) => exact,
            (_, ArrayParallelism::Unlimited) | (Some(0), ArrayParallelism::Hybrid) => u32::MAX,
            (_, ArrayParallelism::Workflow) | (None, ArrayParallelism::Hybrid) => as_nodes,
        };
        wanted.min(self.max_elements_in_flight.max(1))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_parallelism: 25,
            interruptible: false,
            default_max_attempts: 1,
            max_system_failures: 3,
            interruptible_failure_threshold: -1,
            ignore_retry_cause: false,
            default_execution_timeout_micros: 0,
            default_active_timeout_micros: 0,
            array_parallelism: ArrayParallelism::default(),
            max_elements_in_flight: 5_000,
            max_nodes: 2_000_000,
            recovered_at_once: 5_000,
            inputs_uri: Box::default(),
        }
    }
}

/// What node and task say about attempts; the node wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptMetadata {
    /// Attempts, if either names retries.
    pub max_attempts: Option<u32>,
    /// Longest run of one attempt in microseconds; 0 = neither says.
    pub timeout_micros: i64,
    /// Whether it may run on interruptible machines, if either says.
    pub interruptible: Option<bool>,
}

impl AttemptMetadata {
    /// Reads both.
    pub fn new(node: Option<&core::NodeMetadata>, task: Option<&core::TaskMetadata>) -> Self {
        use core::node_metadata::InterruptibleValue::Interruptible as OfNode;
        use core::task_metadata::InterruptibleValue::Interruptible as OfTask;
        let timeout = |d: Option<&prost_types::Duration>| d.map(duration_micros).filter(|micros| *micros > 0);
        let of_node = node.and_then(|n| n.interruptible_value.as_ref()).map(|OfNode(value)| *value);
        let of_task = task.and_then(|t| t.interruptible_value.as_ref()).map(|OfTask(value)| *value);
        Self {
            max_attempts: max_attempts(node, task),
            timeout_micros: timeout(node.and_then(|n| n.timeout.as_ref()))
                .or_else(|| timeout(task.and_then(|t| t.timeout.as_ref())))
                .unwrap_or(0),
            interruptible: of_node.or(of_task),
        }
    }
}

/// Attempts that node or task ask for: retries and one. No retries leave it to the configuration.
pub fn max_attempts(node: Option<&core::NodeMetadata>, task: Option<&core::TaskMetadata>) -> Option<u32> {
    let asked = |strategy: Option<&core::RetryStrategy>| strategy.map(|s| s.retries).filter(|n| *n > 0);
    asked(node.and_then(|n| n.retries.as_ref()))
        .or_else(|| asked(task.and_then(|t| t.retries.as_ref())))
        .map(|retries| retries.saturating_add(1))
}

/// The rules one node's attempts follow: its own, completed by the execution's.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Of the node and its task.
    pub metadata: &'a AttemptMetadata,
    /// Of the execution.
    pub settings: &'a Settings,
}

/// What follows a failure that another attempt may mend.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Another attempt.
    Retry,
    /// None is left: the node fails with this.
    Fail(core::ExecutionError),
}

impl Rules<'_> {
    /// All attempts the user's own failures may take.
    pub fn max_attempts(&self) -> u32 {
        self.metadata.max_attempts.unwrap_or(self.settings.default_max_attempts)
    }

    /// Judges a recoverable failure of the node's current attempt. `node.system_failures` does not count it yet.
    pub fn judge(&self, node: &NodeState, failure: &core::ExecutionError) -> Verdict {
        let (current, max) = if self.settings.ignore_retry_cause {
            (node.attempt.saturating_add(1), self.max_attempts())
        } else if failure.kind() == ErrorKind::System {
            (node.system_failures, self.settings.max_system_failures)
        } else {
            (node.attempt.saturating_add(1).saturating_sub(node.system_failures), self.max_attempts())
        };
        if current < max {
            return Verdict::Retry;
        }
        let kind = failure.kind().as_str_name();
        let message =
            format!("[{current}/{max}] currentAttempt done. Last Error: {kind}::{}", failure.message);
        Verdict::Fail(core::ExecutionError {
            error_uri: failure.error_uri.clone(),
            timestamp: failure.timestamp,
            worker: failure.worker.clone(),
            ..error::user(&format!("RetriesExhausted|{}", failure.code), message)
        })
    }

    /// Whether the node's current attempt may run on interruptible machines.
    pub fn interruptible(&self, node: &NodeState) -> bool {
        if !self.metadata.interruptible.unwrap_or(self.settings.interruptible) {
            return false;
        }
        let threshold = self.settings.interruptible_failure_threshold;
        let (spent, last) = if self.settings.ignore_retry_cause {
            if node.attempt == 0 {
                return true;
            }
            (node.attempt, self.max_attempts())
        } else {
            (node.system_failures, self.settings.max_system_failures.saturating_add(1))
        };
        match threshold {
            0 => true,
            1.. => spent < threshold.unsigned_abs(),
            ..0 => i64::from(spent) < i64::from(last) + i64::from(threshold),
        }
    }

    /// Longest run of one attempt in microseconds; 0 = unlimited.
    pub fn execution_timeout(&self) -> i64 {
        match self.metadata.timeout_micros {
            0 => self.settings.default_execution_timeout_micros,
            own => own,
        }
    }

    /// Longest life of the node over all attempts in microseconds; 0 = unlimited. A timeout named by node or
    /// task grants twice its length.
    pub fn active_timeout(&self) -> i64 {
        match self.metadata.timeout_micros {
            0 => self.settings.default_active_timeout_micros,
            own => own.saturating_mul(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::boom;

    fn node(attempt: u32, system_failures: u32) -> NodeState {
        NodeState { attempt, system_failures, ..NodeState::default() }
    }

    #[test]
    fn interruptible_falls_back_with_system_failures() {
        // (says the node, says the execution, threshold, system failures) -> interruptible
        let cases = [
            (None, false, -1, 0, false),
            (None, true, -1, 0, true),
            (Some(false), true, -1, 0, false),
            (Some(true), false, -1, 2, true),
            (Some(true), false, -1, 3, false),
            (Some(true), false, -2, 1, true),
            (Some(true), false, -2, 2, false),
            (Some(true), false, 1, 0, true),
            (Some(true), false, 1, 1, false),
            (Some(true), false, 0, 9, true),
            (Some(true), false, i32::MIN, 0, false),
            (Some(true), false, i32::MAX, 9, true),
        ];
        for (own, all, threshold, failures, expected) in cases {
            let metadata = AttemptMetadata { interruptible: own, ..Default::default() };
            let settings = Settings {
                interruptible: all,
                interruptible_failure_threshold: threshold,
                ..Default::default()
            };
            let rules = Rules { metadata: &metadata, settings: &settings };
            assert_eq!(rules.interruptible(&node(9, failures)), expected, "{threshold} {failures}");
        }
    }

    #[test]
    fn one_budget_covers_all_causes() {
        let metadata =
            AttemptMetadata { max_attempts: Some(3), interruptible: Some(true), ..Default::default() };
        let settings = Settings { ignore_retry_cause: true, ..Default::default() };
        let rules = Rules { metadata: &metadata, settings: &settings };
        for kind in [ErrorKind::User, ErrorKind::System] {
            assert_eq!(rules.judge(&node(1, 1), &boom(kind)), Verdict::Retry);
            assert!(matches!(rules.judge(&node(2, 0), &boom(kind)), Verdict::Fail(_)));
        }
        let machines: Vec<_> = (0..3).map(|attempt| rules.interruptible(&node(attempt, 0))).collect();
        assert_eq!(machines, [true, true, false]);
    }

    #[test]
    fn exhausted_error_keeps_where_it_came_from() {
        let failure = core::ExecutionError {
            error_uri: "s3://e".into(),
            worker: "w-1".into(),
            ..boom(ErrorKind::System)
        };
        let rules = Rules { metadata: &AttemptMetadata::default(), settings: &Settings::default() };
        let Verdict::Fail(error) = rules.judge(&node(3, 3), &failure) else { panic!("a retry too many") };
        assert_eq!((error.error_uri.as_str(), error.worker.as_str()), ("s3://e", "w-1"));
    }

    #[test]
    fn active_timeout_is_twice_the_timeout() {
        let settings = Settings { default_active_timeout_micros: 5, ..Default::default() };
        for (own, execution, active) in [(0, 0, 5), (7, 7, 14), (i64::MAX, i64::MAX, i64::MAX)] {
            let metadata = AttemptMetadata { timeout_micros: own, ..Default::default() };
            let rules = Rules { metadata: &metadata, settings: &settings };
            assert_eq!((rules.execution_timeout(), rules.active_timeout()), (execution, active));
        }
    }

    #[test]
    fn retries_without_bound_do_not_overflow() {
        let all = core::TaskMetadata {
            retries: Some(core::RetryStrategy { retries: u32::MAX }),
            ..Default::default()
        };
        assert_eq!(max_attempts(None, Some(&all)), Some(u32::MAX));
        assert_eq!(max_attempts(None, None), None);
    }
}
