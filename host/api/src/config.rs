//! Holds the settings of the API.

use config::Size;
use serde::{Deserialize, Serialize};

/// Limits of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Largest request message. Default 32 MiB.
    pub max_request_size: Size,
    /// Inputs and outputs up to this size are part of a reply; larger ones are given as a signed URL. Default 2 MiB,
    /// because clients take replies of 20 MiB at most.
    pub max_inline_size: Size,
    /// Most nodes of a workflow, its sub-workflows included. Default 100000.
    pub max_workflow_nodes: usize,
    /// Whether the server describes its services to tools such as grpcurl. Default true.
    pub reflection: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_request_size: Size::from_mib(32),
            max_inline_size: Size::from_mib(2),
            max_workflow_nodes: 100_000,
            reflection: true,
        }
    }
}

impl Config {
    /// Refuses settings under which nothing works.
    ///
    /// # Errors
    /// A sentence about the first contradiction.
    pub fn validate(&self) -> Result<(), String> {
        if self.max_request_size < Size::from_kib(64) {
            return Err(format!(
                "max-request-size: {} is too small to register a task",
                self.max_request_size
            ));
        }
        if self.max_inline_size > Size::from_mib(8) {
            let found = self.max_inline_size;
            return Err(format!(
                "max-inline-size: with {found}, inputs and outputs together may exceed 20 MiB"
            ));
        }
        if self.max_workflow_nodes == 0 {
            return Err("max-workflow-nodes: 0 would refuse every workflow".to_owned());
        }
        Ok(())
    }
}
