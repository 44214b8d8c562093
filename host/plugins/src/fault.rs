//! Says why a call of a plugin has no usable answer.

use std::time::Duration;

use proto::pinion::plugin::v1::Status;

/// Why a call has no usable answer. A failed task is none of these: that is an answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    /// The plugin answered with an error.
    #[error("{}: {}", .0.error_code, .0.message)]
    Status(Status),
    /// The plugin panicked; other calls are not affected.
    #[error("{0}")]
    Panicked(String),
    /// The plugin did not answer within the deadline of the call.
    #[error("the plugin did not answer within {0:?}")]
    Timeout(Duration),
    /// The process of the plugin ended during the call.
    #[error("the plugin process ended: {reason}")]
    Crashed {
        /// Signal that ended it, if one did.
        signal: Option<i32>,
        /// How it ended, in words.
        reason: String,
    },
    /// The answer breaks the contract.
    #[error("the plugin gave an unusable answer: {0}")]
    Incompatible(String),
    /// The plugin is not called any more.
    #[error("the plugin is quarantined: {0}")]
    Quarantined(String),
}

impl Fault {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status(status) => status.retryable,
            Self::Panicked(_) | Self::Timeout(_) | Self::Crashed { .. } | Self::Quarantined(_) => true,
            Self::Incompatible(_) => false,
        }
    }

    /// Short stable name for users and metrics.
    pub fn code(&self) -> &str {
        match self {
            Self::Status(status) if !status.error_code.is_empty() => &status.error_code,
            Self::Status(_) => "PluginError",
            Self::Panicked(_) => "PluginPanicked",
            Self::Timeout(_) => "PluginTimeout",
            Self::Crashed { .. } => "PluginCrashed",
            Self::Incompatible(_) => "PluginContractBroken",
            Self::Quarantined(_) => "PluginQuarantined",
        }
    }
}
