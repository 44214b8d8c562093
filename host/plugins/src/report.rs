//! Tells operators what became of each plugin file.

use std::path::PathBuf;

use serde::Serialize;

use crate::config::Isolation;
use crate::refusal::Refusal;

/// What became of one plugin file, or of one plugin that the configuration names.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PluginReport {
    /// Id, if the metadata could be read.
    pub id: Option<String>,
    /// Version, if the metadata could be read.
    pub version: Option<String>,
    /// The file; none for a configured plugin without one.
    pub file: Option<PathBuf>,
    /// SHA-256 of the file, if it could be read.
    pub sha256: Option<String>,
    /// Task types that it can serve.
    pub task_types: Vec<String>,
    /// Where it runs, if it is loaded.
    pub isolation: Option<Isolation>,
    /// What became of it.
    pub state: PluginState,
}

/// What became of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
pub enum PluginState {
    /// It serves.
    Loaded,
    /// The configuration turns it off.
    Disabled,
    /// It is not called, for this reason.
    Quarantined(Refusal),
}
