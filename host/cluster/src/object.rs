//! Names an object of a cluster by what Kubernetes calls its coordinates.

use serde::{Deserialize, Serialize};

use crate::Error;

/// A Kubernetes-shaped object: `apiVersion`, `kind`, `metadata`, `spec`, `status`.
pub type Object = serde_json::Value;

/// Where an object is to be found: cluster, type, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Name of the cluster it lives on.
    pub cluster: String,
    /// Such as `v1`.
    pub api_version: String,
    /// Such as `Pod`.
    pub kind: String,
    /// `default` where the object names none.
    pub namespace: String,
    /// Unique among the objects of its kind in its namespace.
    pub name: String,
}

impl ObjectRef {
    /// Reads the coordinates of an object that is to be applied to `cluster`.
    pub fn of(cluster: &str, object: &Object) -> Result<ObjectRef, Error> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Object::as_str).unwrap_or_default();
        let required = |field: &str, pointer: &str| match text(pointer) {
            "" => Err(Error::InvalidObject { reason: format!("{field} is missing") }),
            found => Ok(found.to_owned()),
        };
        let namespace = match text("/metadata/namespace") {
            "" => "default".to_owned(),
            named => named.to_owned(),
        };
        let found = ObjectRef {
            cluster: cluster.to_owned(),
            api_version: required("apiVersion", "/apiVersion")?,
            kind: required("kind", "/kind")?,
            namespace,
            name: required("metadata.name", "/metadata/name")?,
        };
        for (field, name) in [("metadata.name", &found.name), ("metadata.namespace", &found.namespace)] {
            if !is_dns_name(name) {
                let reason =
                    format!("{field} {name:?} is not made of lower-case letters, digits, '-' and '.'");
                return Err(Error::InvalidObject { reason });
            }
        }
        Ok(found)
    }

    /// Whether namespace and name are names at all; a reference can come from anywhere.
    pub(crate) fn is_valid(&self) -> bool {
        is_dns_name(&self.namespace) && is_dns_name(&self.name)
    }
}

/// Names become directories of the local cluster, so nothing but what Kubernetes allows may pass.
fn is_dns_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.len() <= 253
        && edge(name.chars().next())
        && edge(name.chars().next_back())
        && name.chars().all(inner)
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_read_with_a_default_namespace() {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a-0.b"}});
        let found = ObjectRef::of("here", &object).unwrap();
        assert_eq!((found.namespace.as_str(), found.name.as_str()), ("default", "a-0.b"));
    }

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for name in ["", "..", "a/b", "a..b", "-a", "A", "a\u{0}"] {
            let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
            assert!(ObjectRef::of("here", &object).is_err(), "{name:?}");
        }
    }
}
