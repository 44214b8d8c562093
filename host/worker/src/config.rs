//! Holds the settings of the worker.

use std::collections::BTreeMap;
use std::path::PathBuf;

use config::{Duration, Size};
use serde::{Deserialize, Serialize};

use crate::Error;

/// How executions are driven.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// How long executions stay owned by this host after it was last heard of. It is renewed three times as often; a
    /// dead host's executions are taken over after it.
    pub lease_ttl: Duration,
    /// Most executions held in memory at once; the others wait in the store.
    pub max_live_executions: usize,
    /// Most rows written by one commit.
    pub commit_max_rows: usize,
    /// How long a commit waits for company. 0: whatever came while the last one was written goes together.
    pub commit_linger: Duration,
    /// How long changes that no one waits for (an attempt is cleaned up) wait for a commit they can join.
    pub close_linger: Duration,
    /// Most plugin calls and storage operations under way at once, over all executions.
    pub step_concurrency: usize,
    /// How often the store is asked for executions and aborts whose notification was lost.
    pub safety_sweep: Duration,
    /// How long calls under way may take when the host stops.
    pub drain_grace: Duration,
    /// Most nodes of a workflow that a task makes while it runs, its sub-workflows included.
    pub max_dynamic_nodes: usize,
    /// Most elements of one array node.
    pub max_array_elements: u32,
    /// Most elements of the array nodes of one execution that are under way at once, whatever their parallelism says. An
    /// element that holds other arrays passes its place on to one of their elements.
    pub max_elements_in_flight: u32,
    /// Most nodes of one execution, with those that its tasks make while it runs and the elements of its arrays.
    pub max_execution_nodes: u32,
    /// What an array node without a parallelism of its own may run at once.
    pub array_parallelism: ArrayParallelism,
    /// Base URL of the console, for links given to tasks.
    pub console_url: String,
    /// Calls into plugins.
    pub plugin_calls: PluginCalls,
    /// What is kept in memory.
    pub cache: Cache,
    /// Defaults and limits of tasks.
    pub tasks: Tasks,
    /// Large values of tasks.
    pub literal_offloading: LiteralOffloading,
    /// Where secrets that plugins ask for are found.
    pub secrets: Secrets,
}

/// What an array node without a parallelism of its own may run at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArrayParallelism {
    /// All its elements.
    #[default]
    Unlimited,
    /// As many as the execution may run nodes at once.
    Workflow,
    /// All where it says 0, as many as the execution may run nodes where it says nothing.
    Hybrid,
}

/// Large values of tasks: written beside the outputs, which then only name them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LiteralOffloading {
    /// Whether tasks are told to write large values beside their outputs, and lists that array nodes collect are
    /// written so. Such values are read either way.
    pub enabled: bool,
    /// From this size on; whole MiB count.
    pub min_size: Size,
    /// Larger values are refused; whole MiB count.
    pub max_size: Size,
}

impl Default for LiteralOffloading {
    fn default() -> Self {
        Self { enabled: false, min_size: Size::from_mib(10), max_size: Size::from_mib(1000) }
    }
}

/// Where secrets that plugins ask for are found: first the environment of the host, then files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Secrets {
    /// A secret is in the variable `<prefix><GROUP>_<KEY>`, in upper case.
    pub env_prefix: String,
    /// A secret is in the file `<dir>/<group>/<key>`.
    pub dir: PathBuf,
}

/// Deadlines and retries of calls into plugins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PluginCalls {
    /// Cuts a call that the deadlines of the plugin room did not cut; to be longer than those.
    pub backstop: Duration,
    /// How often `abort` and `finalize` are tried before the host cleans up by itself and closes the attempt.
    pub cleanup_tries: u32,
    /// First pause between tries of clean-ups, applies and storage; it doubles with each try.
    pub backoff_base: Duration,
    /// Longest pause between tries.
    pub backoff_max: Duration,
    /// How often a waiting task asks for its token again, so that its place in the line is kept (at most 60 s).
    pub token_retry: Duration,
    /// Highest phase version a plugin may report; beyond it the task fails.
    pub max_phase_version: u32,
}

/// Sizes of caches.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cache {
    /// Outputs and inputs of nodes, so that a node need not read what the last one wrote.
    pub values: Size,
    /// Compiled workflows.
    pub closures: Size,
    /// How often a task says that it still computes what equal tasks wait for (`cache_serialize`). One that is silent
    /// for several times that has lost its turn.
    pub reservation_heartbeat: Duration,
}

/// Defaults and limits of tasks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tasks {
    /// Attempts of a task that names no number of retries.
    pub max_attempts: u32,
    /// Retries for failures that are the system's fault, besides those of the user.
    pub system_retries: u32,
    /// After how many system failures an interruptible task runs on uninterruptible machines; negative: counted from
    /// the last one back.
    pub interruptible_failure_threshold: i32,
    /// Longest time of one attempt, when the task names none. 0: no limit.
    pub execution_timeout: Duration,
    /// Longest time of a node over all attempts, when it names none. 0: no limit.
    pub active_timeout: Duration,
    /// Nodes of an execution that may run at once, when the execution names no number. 0: no limit.
    pub max_parallelism: u32,
    /// Largest `outputs.pb` and `error.pb` that is read.
    pub max_output_size: Size,
    /// URL under which tasks reach the API, handed to them as `FLYTE_PLATFORM_URL` and `FLYTE_PLATFORM_INSECURE`;
    /// eager tasks start executions through it. Empty: they are told nothing.
    pub platform_url: String,
    /// Environment variables of every task; those of the execution win.
    pub env: BTreeMap<String, String>,
    /// Labels of every object made for a task; those of the execution win.
    pub labels: BTreeMap<String, String>,
    /// Annotations of every object made for a task; those of the execution win.
    pub annotations: BTreeMap<String, String>,
    /// Service account of tasks whose execution names none.
    pub service_account: String,
    /// Requests of tasks that name none, as resource name to quantity (`cpu: 500m`).
    pub default_resources: BTreeMap<String, String>,
    /// Most a task may ask for, as resource name to quantity.
    pub limit_resources: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(15),
            max_live_executions: 10_000,
            commit_max_rows: 4_000,
            commit_linger: Duration::ZERO,
            close_linger: Duration::from_millis(20),
            step_concurrency: 512,
            safety_sweep: Duration::from_mins(5),
            drain_grace: Duration::from_secs(10),
            max_dynamic_nodes: 100_000,
            max_array_elements: 1_000_000,
            max_elements_in_flight: 5_000,
            max_execution_nodes: 2_000_000,
            array_parallelism: ArrayParallelism::default(),
            console_url: "http://localhost:30080/console".to_owned(),
            plugin_calls: PluginCalls::default(),
            cache: Cache::default(),
            tasks: Tasks::default(),
            literal_offloading: LiteralOffloading::default(),
            secrets: Secrets::default(),
        }
    }
}

impl Default for Secrets {
    fn default() -> Self {
        Self { env_prefix: "_FSEC_".to_owned(), dir: PathBuf::from("/etc/secrets") }
    }
}

impl Default for PluginCalls {
    fn default() -> Self {
        Self {
            backstop: Duration::from_mins(5),
            cleanup_tries: 8,
            backoff_base: Duration::from_millis(250),
            backoff_max: Duration::from_secs(20),
            token_retry: Duration::from_secs(15),
            max_phase_version: 100_000,
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            values: Size::from_mib(64),
            closures: Size::from_mib(64),
            reservation_heartbeat: Duration::from_secs(10),
        }
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            max_attempts: 1,
            system_retries: 3,
            interruptible_failure_threshold: -1,
            execution_timeout: Duration::ZERO,
            active_timeout: Duration::ZERO,
            max_parallelism: 0,
            max_output_size: Size::from_mib(256),
            platform_url: String::new(),
            env: BTreeMap::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            service_account: String::new(),
            default_resources: BTreeMap::new(),
            limit_resources: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Checks what can be checked without I/O.
    ///
    /// # Errors
    /// A limit that would stop all work, named by its key.
    pub fn validate(&self) -> Result<(), Error> {
        let at_least_one = [
            ("max-live-executions", self.max_live_executions),
            ("commit-max-rows", self.commit_max_rows),
            ("step-concurrency", self.step_concurrency),
            ("plugin-calls.cleanup-tries", self.plugin_calls.cleanup_tries as usize),
            ("tasks.max-attempts", self.tasks.max_attempts as usize),
            ("max-dynamic-nodes", self.max_dynamic_nodes),
            ("max-array-elements", self.max_array_elements as usize),
            ("max-elements-in-flight", self.max_elements_in_flight as usize),
            ("max-execution-nodes", self.max_execution_nodes as usize),
        ];
        let above_zero = [
            ("lease-ttl", self.lease_ttl),
            ("safety-sweep", self.safety_sweep),
            ("cache.reservation-heartbeat", self.cache.reservation_heartbeat),
            ("plugin-calls.backstop", self.plugin_calls.backstop),
            ("plugin-calls.backoff-base", self.plugin_calls.backoff_base),
            ("plugin-calls.token-retry", self.plugin_calls.token_retry),
        ];
        let zero = at_least_one.iter().find(|(_, value)| *value == 0).map(|(key, _)| *key);
        let zero = zero.or_else(|| above_zero.iter().find(|(_, value)| value.is_zero()).map(|(key, _)| *key));
        match zero {
            Some(key) => Err(Error::Config(format!("{key} must be greater than 0"))),
            None if self.plugin_calls.backoff_max < self.plugin_calls.backoff_base => Err(Error::Config(
                "plugin-calls.backoff-max is shorter than plugin-calls.backoff-base".to_owned(),
            )),
            None => Ok(()),
        }
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
        let mut config = Config { step_concurrency: 0, ..Config::default() };
        assert!(config.validate().unwrap_err().to_string().contains("step-concurrency"));
        config = Config { lease_ttl: Duration::ZERO, ..Config::default() };
        assert!(config.validate().unwrap_err().to_string().contains("lease-ttl"));
    }
}
