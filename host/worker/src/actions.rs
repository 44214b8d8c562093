//! Does outside what a plugin asked for, once the row that says so is committed.
//!
//! Every action may be repeated: a crash between an action and the row that says it is done repeats it.

use std::sync::Arc;

use bytes::Bytes;
use model::ExecutionId;
use proto::pinion::plugin::v1::{
    AcquireToken, Action, ApplyObject, ObjectError, ObjectRef, ObservedObject, TaskExecutionContext,
    TokenStatus, action, observed_object::Observed,
};

use crate::clusters::{object_error, to_cluster};
use crate::mailbox::{AttemptKey, Mailbox};
use crate::shared::Shared;

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Actions to perform for one attempt.
pub(crate) struct Act {
    pub(crate) execution: ExecutionId,
    pub(crate) context: Arc<TaskExecutionContext>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) attempt: AttemptKey,
    pub(crate) actions: Vec<Action>,
    /// Objects to read afterwards.
    pub(crate) refresh: Vec<ObjectRef>,
}

/// What came of them.
#[derive(Debug, Default)]
pub(crate) struct Acted {
    /// Objects that were read, or that could not be applied.
    pub(crate) observed: Vec<ObservedObject>,
    /// How the tokens asked for stand.
    pub(crate) tokens: Vec<TokenStatus>,
    /// What could not be done now and is to be tried again.
    pub(crate) remaining: Vec<Action>,
    /// Why.
    pub(crate) obstacle: Option<String>,
}

/// The object an action is about, with the cluster it lives on.
pub(crate) fn object_of(action: &Action, cluster: &str) -> Option<ObjectRef> {
    let object = match action.action.as_ref()? {
        action::Action::Apply(apply) => named(apply, cluster).ok()?,
        action::Action::Delete(delete) => delete.object.clone()?,
        action::Action::Acquire(_) | action::Action::Release(_) | action::Action::UploadTaskTemplate(_) => {
            return None;
        }
    };
    Some(placed(object, cluster))
}

fn placed(mut object: ObjectRef, cluster: &str) -> ObjectRef {
    if object.cluster.is_empty() {
        cluster.clone_into(&mut object.cluster);
    }
    if object.namespace.is_empty() {
        "default".clone_into(&mut object.namespace);
    }
    object
}

/// The coordinates of an object to apply: those of the action, else those in the object itself.
fn named(apply: &ApplyObject, cluster: &str) -> Result<ObjectRef, ObjectError> {
    if let Some(object) = &apply.object {
        return Ok(placed(object.clone(), cluster));
    }
    let json = parse(&apply.json)?;
    let object = cluster::ObjectRef::of(cluster, &json).map_err(|error| object_error(&error))?;
    Ok(crate::clusters::from_cluster(&object))
}

fn parse(json: &[u8]) -> Result<serde_json::Value, ObjectError> {
    serde_json::from_slice(json).map_err(|error| ObjectError {
        code: 400,
        reason: "BadRequest".to_owned(),
        message: format!("the plugin's object is not JSON: {error}"),
        ..ObjectError::default()
    })
}

/// Performs actions in order; after one that must be tried again the rest waits with it.
pub(crate) async fn perform(shared: &Shared, act: Act) -> Acted {
    let mut acted = Acted::default();
    let mut actions = act.actions.iter();
    while let Some(action) = actions.next() {
        let Some(action) = &action.action else { continue };
        let obstacle = match action {
            action::Action::Apply(apply) => apply_object(shared, &act, apply, &mut acted).await,
            action::Action::Delete(delete) => match &delete.object {
                Some(object) => delete_object(shared, placed(object.clone(), &act.context.cluster)).await,
                None => None,
            },
            action::Action::Acquire(acquire) => acquire_token(shared, &act, acquire, &mut acted).await,
            action::Action::Release(release) => {
                let released =
                    shared.places.release(&act.execution, &release.resource_namespace, &release.token).await;
                released.err().map(|error| crate::clusters::with_causes(&error))
            }
            action::Action::UploadTaskTemplate(_) => {
                let bytes = Bytes::copy_from_slice(&act.context.task_template);
                let written = shared.files.write(&act.context.task_template_uri, bytes).await;
                written.err().map(|error| crate::clusters::with_causes(&error))
            }
        };
        if let Some(obstacle) = obstacle {
            acted.obstacle = Some(obstacle);
            acted.remaining.push(Action { action: Some(action.clone()) });
            acted.remaining.extend(actions.cloned());
            break;
        }
    }
    for object in &act.refresh {
        acted.observed.push(shared.clusters.observe(object).await);
    }
    acted
}

/// Applies an object. An obstacle is what may pass; a refusal is an observation for the plugin.
async fn apply_object(shared: &Shared, act: &Act, apply: &ApplyObject, acted: &mut Acted) -> Option<String> {
    let refused = |object: Option<ObjectRef>, error: ObjectError| ObservedObject {
        object,
        observed: Some(Observed::Error(error)),
        events: Vec::new(),
    };
    let (object, mut json) =
        match named(apply, &act.context.cluster).and_then(|o| Ok((o, parse(&apply.json)?))) {
            Ok(found) => found,
            Err(error) => {
                acted.observed.push(refused(apply.object.clone(), error));
                return None;
            }
        };
    let Some(cluster) = shared.clusters.get(&object.cluster) else {
        let error = shared.clusters.unknown(&object.cluster);
        acted.observed.push(refused(Some(object), error));
        return None;
    };
    complete(&mut json, &object, apply.unmanaged);
    match cluster.apply(json).await {
        Ok(cluster::ApplyOutcome::Created) => None,
        Ok(cluster::ApplyOutcome::Existed) => {
            // Its changes may have been told before anyone listened.
            acted.observed.push(shared.clusters.observe(&object).await);
            None
        }
        Err(error) => {
            let obstacle = error.is_transient().then(|| crate::clusters::with_causes(&error));
            acted.observed.push(refused(Some(object), object_error(&error)));
            obstacle
        }
    }
}

/// Writes the coordinates of the action and the host's label into the object.
fn complete(json: &mut serde_json::Value, object: &ObjectRef, unmanaged: bool) {
    let Some(root) = json.as_object_mut() else { return };
    root.entry("apiVersion").or_insert_with(|| object.api_version.clone().into());
    root.entry("kind").or_insert_with(|| object.kind.clone().into());
    let metadata = root.entry("metadata").or_insert_with(|| serde_json::Map::new().into());
    let Some(metadata) = metadata.as_object_mut() else { return };
    metadata.insert("name".to_owned(), object.name.clone().into());
    metadata.insert("namespace".to_owned(), object.namespace.clone().into());
    if !unmanaged {
        let labels = metadata.entry("labels").or_insert_with(|| serde_json::Map::new().into());
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(MANAGED_BY.to_owned(), "pinion".into());
        }
    }
}

/// Deletes an object.
pub(crate) async fn delete_object(shared: &Shared, object: ObjectRef) -> Option<String> {
    let cluster = shared.clusters.get(&object.cluster)?;
    match cluster.delete(&to_cluster(&object)).await {
        Ok(()) | Err(cluster::Error::NotFound(_)) => None,
        Err(error) => {
            tracing::warn!(object = ?object, error = %crate::clusters::with_causes(&error), "cannot delete an object");
            error.is_transient().then(|| crate::clusters::with_causes(&error))
        }
    }
}

async fn acquire_token(
    shared: &Shared,
    act: &Act,
    acquire: &AcquireToken,
    acted: &mut Acted,
) -> Option<String> {
    let asked = (acquire.resource_namespace.as_str(), acquire.token.as_str());
    let waiter = Some((&act.mailbox, act.attempt));
    let now = shared.clock.now();
    match shared.places.acquire(&act.execution, asked, acquire.constraints, waiter, now).await {
        Ok(status) => {
            acted.tokens.push(status);
            None
        }
        Err(error) => Some(crate::clusters::with_causes(&error)),
    }
}
