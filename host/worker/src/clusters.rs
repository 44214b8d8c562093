//! Finds clusters by name and translates between their words and those of the wall.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::Cluster;
use proto::pinion::plugin::v1::{
    ObjectError, ObjectGone, ObjectRef, ObservedObject, observed_object::Observed,
};

/// The clusters objects can go to. Cheap to clone.
#[derive(Clone)]
pub struct Clusters {
    by_name: Arc<BTreeMap<String, Arc<dyn Cluster>>>,
    default: String,
}

impl std::fmt::Debug for Clusters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clusters")
            .field("names", &self.by_name.keys())
            .field("default", &self.default)
            .finish()
    }
}

impl Clusters {
    /// All clusters; the first is the one of executions that name none.
    pub fn new(clusters: impl IntoIterator<Item = Arc<dyn Cluster>>) -> Self {
        let mut default = None;
        let mut by_name = BTreeMap::new();
        for cluster in clusters {
            let name = cluster.name().to_owned();
            default.get_or_insert_with(|| name.clone());
            by_name.insert(name, cluster);
        }
        Self { by_name: Arc::new(by_name), default: default.unwrap_or_default() }
    }

    /// The cluster of an execution that names `name`; the default one when it names none.
    pub(crate) fn resolve_name(&self, name: &str) -> String {
        if name.is_empty() { self.default.clone() } else { name.to_owned() }
    }

    /// A cluster by name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<dyn Cluster>> {
        self.by_name.get(name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<dyn Cluster>> {
        self.by_name.values()
    }

    /// Reads an object as it is now.
    pub(crate) async fn observe(&self, object: &ObjectRef) -> ObservedObject {
        let observed = match self.get(&object.cluster) {
            None => Observed::Error(self.unknown(&object.cluster)),
            Some(cluster) => match cluster.get(&to_cluster(object)).await {
                Ok(Some(found)) => Observed::Json(found.to_string().into_bytes()),
                Ok(None) => Observed::Gone(ObjectGone {}),
                Err(error) => Observed::Error(object_error(&error)),
            },
        };
        ObservedObject { object: Some(object.clone()), observed: Some(observed), events: Vec::new() }
    }

    /// What is said of a cluster that is not configured.
    pub(crate) fn unknown(&self, name: &str) -> ObjectError {
        let known: Vec<_> = self.by_name.keys().map(String::as_str).collect();
        ObjectError {
            code: 404,
            reason: "UnknownCluster".to_owned(),
            message: format!("there is no cluster {name:?}; configured: {}", known.join(", ")),
            ..ObjectError::default()
        }
    }
}

/// Key of an object among all objects.
pub(crate) fn key_of(object: &ObjectRef) -> String {
    [&object.cluster, &object.api_version, &object.kind, &object.namespace, &object.name]
        .map(String::as_str)
        .join("|")
}

pub(crate) fn to_cluster(object: &ObjectRef) -> cluster::ObjectRef {
    cluster::ObjectRef {
        cluster: object.cluster.clone(),
        api_version: object.api_version.clone(),
        kind: object.kind.clone(),
        namespace: object.namespace.clone(),
        name: object.name.clone(),
    }
}

pub(crate) fn from_cluster(object: &cluster::ObjectRef) -> ObjectRef {
    ObjectRef {
        cluster: object.cluster.clone(),
        api_version: object.api_version.clone(),
        kind: object.kind.clone(),
        namespace: object.namespace.clone(),
        name: object.name.clone(),
    }
}

/// A cluster's refusal, as plugins know it.
pub(crate) fn object_error(error: &cluster::Error) -> ObjectError {
    let (code, reason) = match error {
        cluster::Error::InvalidObject { .. } => (422, "Invalid"),
        cluster::Error::UnsupportedKind { .. } => (400, "BadRequest"),
        cluster::Error::NotFound(_) => (404, "NotFound"),
        _ if error.is_transient() => (0, "Unavailable"),
        _ => (500, "InternalError"),
    };
    ObjectError {
        code,
        reason: reason.to_owned(),
        message: with_causes(error),
        backing_off: error.is_transient(),
        exceeds_limit: false,
    }
}

/// An error's text with those of its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
