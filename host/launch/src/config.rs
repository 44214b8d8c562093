//! Holds the settings of the launch room: defaults of executions and limits of requests.

use config::Size;
use serde::{Deserialize, Serialize};

/// Defaults of executions and limits of requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Domains that every project has. Default `development`, `staging`, `production`.
    pub domains: Vec<String>,
    /// How many nodes of one execution run at once, unless its launch plan or the request says so. 0 is no limit.
    /// Default 25.
    pub max_parallelism: i32,
    /// Largest input literal map, encoded. Default 16 MiB.
    pub max_inputs_size: Size,
    /// Most labels, and most annotations, of one execution. Default 16.
    pub max_label_entries: usize,
    /// How deep executions may start executions. Default 32.
    pub max_nesting: i32,
    /// Cluster named in executions that no rule assigned to one. Default empty: the worker's choice.
    pub cluster: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            domains: ["development", "staging", "production"].map(str::to_owned).to_vec(),
            max_parallelism: 25,
            max_inputs_size: Size::from_mib(16),
            max_label_entries: 16,
            max_nesting: 32,
            cluster: String::new(),
        }
    }
}

impl Config {
    /// Refuses settings under which nothing can be launched.
    ///
    /// # Errors
    /// A sentence about the first contradiction.
    pub fn validate(&self) -> Result<(), String> {
        if self.domains.is_empty() || self.domains.iter().any(String::is_empty) {
            return Err("domains: at least one is needed, and none may be empty".to_owned());
        }
        if self.max_parallelism < 0 {
            return Err(format!("max-parallelism: {} is negative; 0 is no limit", self.max_parallelism));
        }
        if self.max_inputs_size.bytes() == 0 {
            return Err("max-inputs-size: 0 would refuse every request".to_owned());
        }
        Ok(())
    }
}
