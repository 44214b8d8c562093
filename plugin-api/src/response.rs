//! Builds the parts of a handle response: outputs, actions, wake hints.

use std::time::Duration;

use prost::Message;
use proto::flyteidl::core::LiteralMap;

use crate::object::Object;
use crate::wire::{
    AcquireToken, Action, ApplyObject, DeleteObject, HandleResponse, ObjectRef, OutputFiles, Outputs,
    PhaseInfo, ReleaseToken, ResourceConstraints, UploadTaskTemplate, WakeHint, action, outputs,
};

/// A response with a report and nothing else; the stored state stays.
pub fn report(phase: PhaseInfo) -> HandleResponse {
    HandleResponse { phase: Some(phase), ..HandleResponse::default() }
}

/// The task wrote its outputs under the output prefix itself.
pub fn output_files() -> Outputs {
    Outputs { value: Some(outputs::Value::Files(OutputFiles {})) }
}

/// The host writes these outputs.
pub fn inline_outputs(literal_map: &LiteralMap) -> Outputs {
    Outputs { value: Some(outputs::Value::Inline(literal_map.encode_to_vec())) }
}

/// Create the object and watch it.
pub fn apply(object: ObjectRef, json: &Object) -> Action {
    let apply = ApplyObject { object: Some(object), json: json.to_vec(), unmanaged: false };
    Action { action: Some(action::Action::Apply(apply)) }
}

/// Delete the object.
pub fn delete(object: ObjectRef) -> Action {
    let delete = DeleteObject { object: Some(object), grace_period_seconds: None };
    Action { action: Some(action::Action::Delete(delete)) }
}

/// Join the queue for a token.
pub fn acquire_token(
    resource_namespace: &str,
    token: &str,
    constraints: Option<ResourceConstraints>,
) -> Action {
    let acquire =
        AcquireToken { resource_namespace: resource_namespace.into(), token: token.into(), constraints };
    Action { action: Some(action::Action::Acquire(acquire)) }
}

/// Give a token back.
pub fn release_token(resource_namespace: &str, token: &str) -> Action {
    let release = ReleaseToken { resource_namespace: resource_namespace.into(), token: token.into() };
    Action { action: Some(action::Action::Release(release)) }
}

/// Write `task.pb` before any object of the same response is applied.
pub fn upload_task_template() -> Action {
    Action { action: Some(action::Action::UploadTaskTemplate(UploadTaskTemplate {})) }
}

/// Call again after a while even if nothing is observed.
pub fn wake_after(pause: Duration) -> WakeHint {
    WakeHint { after_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX) }
}
