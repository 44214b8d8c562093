//! Builds and reads [`PhaseInfo`], the report of where a task attempt is.

use proto::flyteidl::core::execution_error::ErrorKind;
use proto::flyteidl::core::{ExecutionError, TaskLog};

use crate::error::Kind;
use crate::wire::{ExternalResource, Phase, PhaseInfo, Reason};

fn report(phase: Phase, reason: impl Into<String>) -> PhaseInfo {
    PhaseInfo { phase: phase.into(), reason: reason.into(), ..PhaseInfo::default() }
}

/// A prerequisite is missing.
pub fn not_ready(reason: impl Into<String>) -> PhaseInfo {
    report(Phase::NotReady, reason)
}

/// A quota or token is not granted yet.
pub fn waiting_for_resources(reason: impl Into<String>) -> PhaseInfo {
    report(Phase::WaitingForResources, reason)
}

/// Submitted, not started.
pub fn queued(reason: impl Into<String>) -> PhaseInfo {
    report(Phase::Queued, reason)
}

/// Starting up: images are pulled, a cluster is formed.
pub fn initializing(reason: impl Into<String>) -> PhaseInfo {
    report(Phase::Initializing, reason)
}

/// Executing. Versions of this phase belong to the plugin: raise the version with each change worth reporting.
pub fn running(reason: impl Into<String>) -> PhaseInfo {
    report(Phase::Running, reason)
}

/// Ended well.
pub fn succeeded(reason: impl Into<String>) -> PhaseInfo {
    report(Phase::Succeeded, reason)
}

/// Ended by an abort.
pub fn aborted(reason: impl Into<String>) -> PhaseInfo {
    report(Phase::Aborted, reason)
}

/// Failed in a way that another attempt may survive; `kind` chooses the retry budget.
pub fn retryable_failure(kind: Kind, code: impl Into<String>, message: impl Into<String>) -> PhaseInfo {
    failure(Phase::RetryableFailure, kind, code, message)
}

/// Failed for good.
pub fn permanent_failure(kind: Kind, code: impl Into<String>, message: impl Into<String>) -> PhaseInfo {
    failure(Phase::PermanentFailure, kind, code, message)
}

fn failure(phase: Phase, kind: Kind, code: impl Into<String>, message: impl Into<String>) -> PhaseInfo {
    let message = message.into();
    let kind = match kind {
        Kind::User => ErrorKind::User,
        Kind::System => ErrorKind::System,
    };
    let error = ExecutionError {
        code: code.into(),
        message: message.clone(),
        kind: kind.into(),
        ..ExecutionError::default()
    };
    PhaseInfo { error: Some(error), ..report(phase, message) }
}

/// What can be said about and added to a [`PhaseInfo`].
pub trait PhaseInfoExt: Sized {
    /// Sets the version, which orders reports within one phase.
    #[must_use]
    fn with_version(self, version: u32) -> Self;
    /// Sets the links to logs.
    #[must_use]
    fn with_logs(self, logs: Vec<TaskLog>) -> Self;
    /// Sets free-form details shown to users.
    #[must_use]
    fn with_custom_info(self, custom_info: prost_types::Struct) -> Self;
    /// Adds one thing the task created outside.
    #[must_use]
    fn with_external_resource(self, resource: ExternalResource) -> Self;
    /// Sets when it happened, in whole seconds since 1970.
    #[must_use]
    fn at(self, seconds: i64) -> Self;
    /// Adds one more reason beside the main one.
    #[must_use]
    fn with_additional_reason(self, reason: Reason) -> Self;
    /// Has the host call abort after this failure, so that what still runs outside is removed.
    #[must_use]
    fn with_cleanup(self) -> Self;
    /// Whether no later phase can follow in this attempt.
    fn is_terminal(&self) -> bool;
    /// Whether the attempt ended well.
    fn is_success(&self) -> bool;
    /// Whether the attempt failed.
    fn is_failure(&self) -> bool;
}

impl PhaseInfoExt for PhaseInfo {
    fn with_version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    fn with_logs(mut self, logs: Vec<TaskLog>) -> Self {
        self.logs = logs;
        self
    }

    fn with_custom_info(mut self, custom_info: prost_types::Struct) -> Self {
        self.custom_info = Some(custom_info);
        self
    }

    fn with_external_resource(mut self, resource: ExternalResource) -> Self {
        self.external_resources.push(resource);
        self
    }

    fn at(mut self, seconds: i64) -> Self {
        self.occurred_at = Some(prost_types::Timestamp { seconds, nanos: 0 });
        self
    }

    fn with_additional_reason(mut self, reason: Reason) -> Self {
        self.additional_reasons.push(reason);
        self
    }

    fn with_cleanup(mut self) -> Self {
        self.cleanup_on_failure = true;
        self
    }

    fn is_terminal(&self) -> bool {
        self.is_success() || self.is_failure() || self.phase() == Phase::Aborted
    }

    fn is_success(&self) -> bool {
        self.phase() == Phase::Succeeded
    }

    fn is_failure(&self) -> bool {
        matches!(self.phase(), Phase::RetryableFailure | Phase::PermanentFailure)
    }
}
