//! Holds the settings of the plugin room.

use std::collections::BTreeMap;
use std::path::PathBuf;

use config::{Duration, Size};
use serde::{Deserialize, Serialize};

/// Which plugins are loaded, from where, and how they are kept in check.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Directories whose `*.so` files are loaded, in this order. Missing ones are skipped.
    pub dirs: Vec<PathBuf>,
    /// Directories whose plugins are first-party: they run in this process unless they or the configuration say
    /// otherwise. Default: `plugins` beside the executable and `../lib/pinion/plugins`.
    pub trusted_dirs: Vec<PathBuf>,
    /// Where verified copies of plugin files are kept, one per digest; only this user can write there.
    pub cache_dir: PathBuf,
    /// Whether files outside `trusted-dirs` are loaded without a `sha256` (then in a process of their own).
    pub allow_unpinned: bool,
    /// Whether files and directories that everybody can write to are accepted. Only for experiments.
    pub allow_world_writable: bool,
    /// Settings by plugin id.
    pub plugins: BTreeMap<String, PluginConfig>,
    /// Which plugin serves a task type, where several could or another one is wanted.
    pub task_types: BTreeMap<String, String>,
    /// Plugin processes.
    pub runner: RunnerConfig,
    /// How long calls may take.
    pub deadlines: Deadlines,
    /// How much a plugin may use.
    pub limits: Limits,
}

/// Settings of one plugin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PluginConfig {
    /// Whether it is loaded.
    pub enabled: bool,
    /// Its file. Without one, the file with this id in `dirs`.
    pub path: Option<PathBuf>,
    /// Digest that the file must have, as 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// Where it runs. Default: what the plugin says if it is first-party or pinned, else `process`.
    pub isolation: Option<Isolation>,
    /// Binary interface to use. Default: abi_stable if the library offers it, else the C table.
    pub interface: Option<Interface>,
    /// Environment variables that its process gets beside `PATH`, `HOME`, `LANG` and `TZ`.
    pub pass_env: Vec<String>,
    /// The plugin's own settings, checked against the schema that it carries.
    pub config: serde_json::Value,
}

/// Where a plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// In the host: a call takes under a microsecond; a segmentation fault ends the host.
    InProcess,
    /// In a process of its own: a call takes tens of microseconds; nothing it does harms the host.
    Process,
}

impl std::fmt::Display for Isolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InProcess => "in-process",
            Self::Process => "process",
        })
    }
}

/// Binary interface between the host and a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    /// The abi_stable root module.
    AbiStable,
    /// The C table.
    C,
}

/// Plugin processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RunnerConfig {
    /// Executable that becomes a plugin process. Default: this one.
    pub executable: Option<PathBuf>,
    /// Arguments that make the executable a plugin process; the plugin's own follow.
    pub arguments: Vec<String>,
    /// Longest time from start to first answer.
    pub start_timeout: Duration,
    /// How long a process may take to answer a cancelled call before it is killed.
    pub cancel_grace: Duration,
    /// Pause before the first restart after a crash; doubles with each further one.
    pub restart_pause: Duration,
    /// Longest pause before a restart.
    pub longest_restart_pause: Duration,
    /// This many crashes within `crash-window` quarantine the plugin.
    pub max_crashes: u32,
    /// See `max-crashes`; also how long the quarantine lasts before one more try.
    pub crash_window: Duration,
    /// Address space of a plugin process; 0: no limit.
    pub memory_limit: Size,
}

/// How long calls may take.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Deadlines {
    /// Loading the library and initialising the plugin, each.
    pub init: Duration,
    /// One `handle`.
    pub handle: Duration,
    /// One `abort`.
    pub abort: Duration,
    /// One `finalize`.
    pub finalize: Duration,
    /// One call of a plugin to a host service.
    pub host_call: Duration,
    /// Background work at shutdown.
    pub drain: Duration,
}

/// How much a plugin may use.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Calls at a time per plugin; later ones wait for their turn, within their deadline.
    pub concurrent_calls: u32,
    /// Largest plugin state.
    pub state: Size,
    /// Largest message to or from a plugin.
    pub message: Size,
    /// Threads per plugin that run its calls when it does not answer at once.
    pub threads: u32,
    /// Threads that may hang in a plugin past their deadline before it is quarantined.
    pub lost_threads: u32,
    /// Longest stretch in which a plugin may hold a thread of the host without being moved to its own threads.
    pub poll_budget: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let beside = default_dirs();
        Self {
            dirs: beside.clone(),
            trusted_dirs: beside,
            cache_dir: std::env::temp_dir().join(format!("pinion-plugins-{}", nix::unistd::getuid())),
            allow_unpinned: true,
            allow_world_writable: false,
            plugins: BTreeMap::new(),
            task_types: BTreeMap::new(),
            runner: RunnerConfig::default(),
            deadlines: Deadlines::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            path: None,
            sha256: None,
            isolation: None,
            interface: None,
            pass_env: Vec::new(),
            config: serde_json::Value::Object(serde_json::Map::new()),
        }
    }
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self {
            executable: None,
            arguments: vec!["plugin-runner".to_owned()],
            start_timeout: Duration::from_secs(10),
            cancel_grace: Duration::from_secs(1),
            restart_pause: Duration::from_millis(100),
            longest_restart_pause: Duration::from_secs(30),
            max_crashes: 5,
            crash_window: Duration::from_mins(10),
            memory_limit: Size::default(),
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            init: Duration::from_secs(10),
            handle: Duration::from_secs(30),
            abort: Duration::from_secs(30),
            finalize: Duration::from_secs(30),
            host_call: Duration::from_secs(60),
            drain: Duration::from_secs(5),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent_calls: 1024,
            state: Size::from_bytes(64 << 10),
            message: Size::from_bytes(64 << 20),
            threads: 4,
            lost_threads: 3,
            poll_budget: Duration::from_millis(50),
        }
    }
}

impl Config {
    /// Settings of a plugin; the defaults when it is not mentioned.
    pub fn plugin(&self, id: &str) -> PluginConfig {
        self.plugins.get(id).cloned().unwrap_or_default()
    }

    /// Finds what is wrong with the settings before any file is looked at.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (id, plugin) in &self.plugins {
            if let Some(sha256) = &plugin.sha256
                && (sha256.len() != 64 || hex::decode(sha256).is_err())
            {
                problems.push(format!(
                    "plugins.{id}.sha256: `{sha256}` is no SHA-256 digest (64 hexadecimal digits)"
                ));
            }
            if !plugin.config.is_object() && !plugin.config.is_null() {
                problems.push(format!("plugins.{id}.config: must be a mapping"));
            }
        }
        for (name, value) in [
            ("concurrent-calls", self.limits.concurrent_calls),
            ("threads", self.limits.threads),
            ("lost-threads", self.limits.lost_threads),
        ] {
            if value == 0 {
                problems.push(format!("limits.{name}: must be at least 1"));
            }
        }
        problems
    }
}

fn default_dirs() -> Vec<PathBuf> {
    let executable = std::env::current_exe().ok();
    let Some(dir) = executable.as_deref().and_then(std::path::Path::parent) else { return Vec::new() };
    vec![dir.join("plugins"), dir.join("../lib/pinion/plugins")]
}
