//! Says why a plugin has no answer, and converts that to and from the wire.

use crate::wire;

/// gRPC code numbers that a [`wire::Status`] carries.
pub mod code {
    /// The caller gave up.
    pub const CANCELLED: u32 = 1;
    /// The request is wrong whatever the state of the system is.
    pub const INVALID_ARGUMENT: u32 = 3;
    /// The call ran out of its time.
    pub const DEADLINE_EXCEEDED: u32 = 4;
    /// What was asked for is not there.
    pub const NOT_FOUND: u32 = 5;
    /// The caller may not do this.
    pub const PERMISSION_DENIED: u32 = 7;
    /// A quota or size limit is used up.
    pub const RESOURCE_EXHAUSTED: u32 = 8;
    /// The system is not in the state that the call needs.
    pub const FAILED_PRECONDITION: u32 = 9;
    /// The method is not known to this side.
    pub const UNIMPLEMENTED: u32 = 12;
    /// A bug: a panic, an answer that can not be read.
    pub const INTERNAL: u32 = 13;
    /// Not now; the same call may succeed later.
    pub const UNAVAILABLE: u32 = 14;
}

/// Whose fault an error is; decides which retry budget it spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The task or its configuration is wrong.
    User,
    /// The platform or something it depends on is at fault.
    System,
}

/// Why a plugin has no answer.
///
/// A task that failed is not an error: that is data, a [`crate::PhaseInfo`] made by
/// [`crate::phase::permanent_failure`] or [`crate::phase::retryable_failure`]. An error means "the answer is not known":
/// with `retryable` the host asks again and spends the system budget of the attempt, without it the attempt fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct PluginError {
    /// Whose fault it is.
    pub kind: Kind,
    /// Short stable name, for example `BadTaskSpecification`; users see it and match on it.
    pub code: String,
    /// What happened and what to do, in one sentence.
    pub message: String,
    /// Whether asking again may help.
    pub retryable: bool,
    /// gRPC code number on the wire, see [`code`].
    pub status: u32,
}

impl PluginError {
    /// The task is wrong; asking again does not help.
    pub fn user(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: Kind::User,
            code: code.into(),
            message: message.into(),
            retryable: false,
            status: code::INVALID_ARGUMENT,
        }
    }

    /// Something outside failed; asking again may help.
    pub fn system(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: Kind::System,
            code: code.into(),
            message: message.into(),
            retryable: true,
            status: code::UNAVAILABLE,
        }
    }

    /// The plugin broke its own rules; asking again does not help.
    pub fn bug(message: impl Into<String>) -> Self {
        Self { retryable: false, status: code::INTERNAL, ..Self::system("PluginBug", message) }
    }

    /// The stored state has a version this plugin can not read; the host parks the task with this reason.
    pub fn unknown_state_version(version: u32) -> Self {
        Self {
            retryable: false,
            status: code::FAILED_PRECONDITION,
            ..Self::system(
                "UnknownStateVersion",
                format!("plugin state has version {version}, which this plugin version can not read"),
            )
        }
    }

    /// The method number is not known to this side.
    pub fn unimplemented(what: impl std::fmt::Display) -> Self {
        Self {
            retryable: false,
            status: code::UNIMPLEMENTED,
            ..Self::system("Unimplemented", format!("{what} is not implemented"))
        }
    }

    /// The same error with another answer to "may asking again help".
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// The same error with another gRPC code number.
    #[must_use]
    pub fn with_status(mut self, status: u32) -> Self {
        self.status = status;
        self
    }

    /// The error as it crosses the wall.
    pub fn to_status(&self) -> wire::Status {
        wire::Status {
            code: self.status,
            kind: match self.kind {
                Kind::User => wire::Kind::User.into(),
                Kind::System => wire::Kind::System.into(),
            },
            error_code: self.code.clone(),
            message: self.message.clone(),
            retryable: self.retryable,
            details: Default::default(),
        }
    }
}

impl From<wire::Status> for PluginError {
    fn from(status: wire::Status) -> Self {
        Self {
            kind: if status.kind() == wire::Kind::User { Kind::User } else { Kind::System },
            code: if status.error_code.is_empty() { "Unknown".into() } else { status.error_code },
            message: status.message,
            retryable: status.retryable,
            status: status.code,
        }
    }
}

impl From<prost::DecodeError> for PluginError {
    fn from(error: prost::DecodeError) -> Self {
        Self::bug(format!("cannot decode a message: {error}")).with_status(code::INVALID_ARGUMENT)
    }
}
