//! Turns refusals into gRPC statuses: the one place that knows codes, details and how long a message may be.
//!
//! Invariant: never `UNKNOWN` and, without authentication, never `UNAUTHENTICATED`; clients answer both with a
//! login.

use model::EntityKind;
use prost::Message;
use prost_types::Any;
use proto::flyteidl::admin::{
    CreateWorkflowFailureReason, EventErrorAlreadyInTerminalState, EventErrorIncompatibleCluster,
    EventFailureReason, InactiveProject, WorkflowErrorExistsDifferentStructure,
    WorkflowErrorExistsIdenticalStructure, create_workflow_failure_reason::Reason as WorkflowReason,
    event_failure_reason::Reason as EventReason,
};
use tonic::{Code, Status};

use crate::Error;

/// Room for the percent-encoded message in the trailers; clients cap all their metadata at 32 KiB.
const MAX_ENCODED_MESSAGE: usize = 6 * 1024;

/// `google.rpc.Status`, the envelope of details.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = code(&error);
        let text = cut(&chain(&error), MAX_ENCODED_MESSAGE);
        if matches!(code, Code::Internal | Code::Unavailable | Code::DataLoss) {
            tracing::error!(error = %chain(&error), ?code, "call failed");
        }
        match details(&error) {
            None => Self::new(code, text),
            Some(any) => {
                let status = RpcStatus { code: code as i32, message: cut(&text, 512), details: vec![any] };
                Self::with_details(code, text, status.encode_to_vec().into())
            }
        }
    }
}

/// The code of each refusal.
fn code(error: &Error) -> Code {
    match error {
        Error::Missing(_)
        | Error::Id { .. }
        | Error::Invalid { .. }
        | Error::TooLarge { .. }
        | Error::Changed { .. }
        | Error::Compile { .. } => Code::InvalidArgument,
        Error::NotFound { .. } | Error::NotRegistered(_) => Code::NotFound,
        Error::Exists { .. } | Error::Registered(_) | Error::Recorded { .. } => Code::AlreadyExists,
        Error::Unsupported(_) => Code::Unimplemented,
        Error::AlreadyTerminal { .. } | Error::PhaseChange { .. } | Error::ForeignEvent { .. } => {
            Code::FailedPrecondition
        }
        Error::Decode { .. } | Error::CutOff(_) => Code::Internal,
        Error::Launch(error) => launch_code(error),
        Error::Catalog(error) => catalog_code(error),
        Error::Store(error) => store_code(error),
        Error::Blob(error) => blob_code(error),
    }
}

fn catalog_code(error: &catalog::Error) -> Code {
    use catalog::Error as E;
    match error {
        E::Invalid(_) | E::Key(_) => Code::InvalidArgument,
        E::NotFound { .. } => Code::NotFound,
        E::Decode { .. } => Code::Internal,
        E::Store(error) => store_code(error),
        // The keys are the catalog's own, so that whatever goes wrong here is not the caller's fault.
        E::Blob(error) if error.is_transient() => Code::Unavailable,
        E::Blob(_) => Code::Internal,
    }
}

fn launch_code(error: &launch::Error) -> Code {
    use launch::Error as E;
    match error {
        E::Missing(_)
        | E::Id { .. }
        | E::Target { .. }
        | E::Name { .. }
        | E::UnknownProject { .. }
        | E::InactiveProject { .. }
        | E::UnknownDomain { .. }
        | E::Inputs { .. }
        | E::InputsTooLarge { .. }
        | E::Labels { .. }
        | E::Notifications(_)
        | E::Prefix { .. }
        | E::Quantity(_)
        | E::ClusterPool { .. }
        | E::OutOfRange { .. }
        | E::SingleTask { .. } => Code::InvalidArgument,
        E::NotRegistered(_) | E::UnknownExecution(_) | E::UnknownNode { .. } => Code::NotFound,
        E::Exists(_) => Code::AlreadyExists,
        // Flyte says ALREADY_EXISTS, on which clients ask for the execution they did not name.
        E::AtLimit { .. } => Code::ResourceExhausted,
        E::TooDeep { .. } => Code::FailedPrecondition,
        E::Decode { .. } => Code::Internal,
        E::Store(error) => store_code(error),
        // The keys are the launcher's own, so that whatever goes wrong here is not the caller's fault.
        E::Blob(error) if error.is_transient() => Code::Unavailable,
        E::Blob(_) => Code::Internal,
    }
}

fn store_code(error: &store::Error) -> Code {
    use store::Error as E;
    match error {
        E::Exists { .. } => Code::AlreadyExists,
        E::NotFound { .. } => Code::NotFound,
        E::InvalidFilter { .. } | E::InvalidSort { .. } | E::InvalidToken { .. } => Code::InvalidArgument,
        E::SignalSettled { .. } => Code::FailedPrecondition,
        E::Closed => Code::Unavailable,
        error if error.is_transient() => Code::Unavailable,
        // `store::Error` may grow; what is not named above is not the caller's fault.
        _ => Code::Internal,
    }
}

fn blob_code(error: &blob::Error) -> Code {
    use blob::Error as E;
    match error {
        E::InvalidReference { .. }
        | E::InvalidKey { .. }
        | E::KeyConflict { .. }
        | E::ForeignScheme { .. }
        | E::OutOfRange { .. }
        | E::TooLarge { .. }
        | E::ExpiryTooLong { .. } => Code::InvalidArgument,
        E::NotFound { .. } => Code::NotFound,
        E::ConditionFailed { .. } => Code::AlreadyExists,
        E::Config(_) => Code::Internal,
        E::Io { .. } | E::Store { .. } if error.is_transient() => Code::Unavailable,
        E::Io { .. } | E::Store { .. } => Code::Internal,
    }
}

fn details(error: &Error) -> Option<Any> {
    match error {
        Error::AlreadyTerminal { phase, .. } => {
            let state = EventErrorAlreadyInTerminalState { current_phase: (*phase).to_owned() };
            let reason = EventFailureReason { reason: Some(EventReason::AlreadyInTerminalState(state)) };
            Some(any("EventFailureReason", &reason))
        }
        Error::ForeignEvent { cluster, .. } => {
            let found = EventErrorIncompatibleCluster { cluster: cluster.clone() };
            let reason = EventFailureReason { reason: Some(EventReason::IncompatibleCluster(found)) };
            Some(any("EventFailureReason", &reason))
        }
        Error::Registered(id) if id.kind == EntityKind::Workflow => {
            let found = WorkflowErrorExistsIdenticalStructure { id: Some(id.to_proto()) };
            Some(workflow_reason(WorkflowReason::ExistsIdenticalStructure(found)))
        }
        Error::Changed { id, .. } if id.kind == EntityKind::Workflow => {
            let found = WorkflowErrorExistsDifferentStructure { id: Some(id.to_proto()) };
            Some(workflow_reason(WorkflowReason::ExistsDifferentStructure(found)))
        }
        Error::Launch(launch::Error::InactiveProject { project }) => {
            let found = InactiveProject { id: project.clone(), ..InactiveProject::default() };
            Some(any("InactiveProject", &found))
        }
        _ => None,
    }
}

fn workflow_reason(reason: WorkflowReason) -> Any {
    any("CreateWorkflowFailureReason", &CreateWorkflowFailureReason { reason: Some(reason) })
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/flyteidl.admin.{name}"), value: message.encode_to_vec() }
}

/// The error and its causes in one line of thought; no text twice.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// Cuts a text so that its percent-encoded form has at most `max` bytes, and says that it was cut.
fn cut(text: &str, max: usize) -> String {
    const MARK: &str = " ... (cut)";
    if encoded_len(text) <= max {
        return text.to_owned();
    }
    let mut left = max.saturating_sub(encoded_len(MARK));
    let mut out = String::new();
    for c in text.chars() {
        match left.checked_sub(encoded_len(c.encode_utf8(&mut [0; 4]))) {
            Some(rest) => left = rest,
            None => break,
        }
        out.push(c);
    }
    out + MARK
}

/// At most so many bytes in trailers: whatever is no letter or digit may be percent-encoded.
fn encoded_len(text: &str) -> usize {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_fit_into_trailers() {
        let error = Error::invalid("spec", "\n".repeat(100_000));
        let status = Status::from(error);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(encoded_len(status.message()) <= MAX_ENCODED_MESSAGE);
        assert!(status.message().ends_with("(cut)"));
    }

    #[test]
    fn short_messages_stay_whole() {
        assert_eq!(cut("short: ä", 100), "short: ä");
    }

    #[test]
    fn details_are_a_status_envelope() {
        let status = Status::from(Error::AlreadyTerminal {
            what: "execution",
            id: "p:d:e".to_owned(),
            phase: "SUCCEEDED",
        });
        assert_eq!(status.code(), Code::FailedPrecondition);
        let envelope = RpcStatus::decode(status.details()).unwrap();
        assert_eq!(envelope.code, 9);
        assert_eq!(envelope.details[0].type_url, "type.googleapis.com/flyteidl.admin.EventFailureReason");
    }

    #[test]
    fn a_concurrency_limit_is_no_name_that_is_taken() {
        let [project, domain, name, version] = ["p", "d", "plan", "v"].map(Into::into);
        let plan = model::EntityId { kind: EntityKind::LaunchPlan, project, domain, name, version };
        let error = launch::Error::AtLimit { launch_plan: Box::new(plan), limit: 1, skip: true };
        assert_eq!(launch_code(&error), Code::ResourceExhausted);
    }

    #[test]
    fn a_cause_is_said_once() {
        let error = Error::Id { field: "id", source: model::id::IdError::Missing("name") };
        assert_eq!(chain(&error), "invalid id: missing name");
    }
}
