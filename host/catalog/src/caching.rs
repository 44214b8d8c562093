//! Says whether a node's outputs are to be cached: the node may say other than its task. Pure.

use proto::flyteidl::core::node_metadata::{CacheSerializableValue, CacheVersionValue, CacheableValue};
use proto::flyteidl::core::{NodeMetadata, TaskTemplate};

/// How a node's outputs are to be cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caching {
    /// Whether they are to be cached at all.
    pub is_on: bool,
    /// The cache version, for [`crate::Signature::of_version`]; empty when none is given.
    pub cache_version: String,
    /// Whether one computes while the others wait.
    pub is_serialized: bool,
}

impl Caching {
    /// Reads it from the task and what the node says in its place.
    pub fn of(template: &TaskTemplate, node: Option<&NodeMetadata>) -> Self {
        let task = template.metadata.as_ref();
        let is_on = node.and_then(|node| node.cacheable_value.as_ref());
        let version = node.and_then(|node| node.cache_version_value.as_ref());
        let is_serialized = node.and_then(|node| node.cache_serializable_value.as_ref());
        Self {
            is_on: match is_on {
                Some(CacheableValue::Cacheable(is_on)) => *is_on,
                None => task.is_some_and(|task| task.discoverable),
            },
            cache_version: match version {
                Some(CacheVersionValue::CacheVersion(version)) if !version.is_empty() => version.clone(),
                _ => task.map(|task| task.discovery_version.clone()).unwrap_or_default(),
            },
            is_serialized: match is_serialized {
                Some(CacheSerializableValue::CacheSerializable(is_serialized)) => *is_serialized,
                None => task.is_some_and(|task| task.cache_serializable),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::flyteidl::core::TaskMetadata;

    use super::*;

    #[test]
    fn the_node_has_the_last_word() {
        let template = |discoverable| TaskTemplate {
            metadata: Some(TaskMetadata {
                discoverable,
                discovery_version: "1".to_owned(),
                cache_serializable: true,
                ..TaskMetadata::default()
            }),
            ..TaskTemplate::default()
        };
        let caching = |is_on, version: &str, is_serialized| Caching {
            is_on,
            cache_version: version.to_owned(),
            is_serialized,
        };
        assert_eq!(Caching::of(&template(true), None), caching(true, "1", true));
        assert_eq!(Caching::of(&template(false), Some(&NodeMetadata::default())), caching(false, "1", true));
        let node = NodeMetadata {
            cacheable_value: Some(CacheableValue::Cacheable(false)),
            cache_version_value: Some(CacheVersionValue::CacheVersion("2".to_owned())),
            cache_serializable_value: Some(CacheSerializableValue::CacheSerializable(false)),
            ..NodeMetadata::default()
        };
        assert_eq!(Caching::of(&template(true), Some(&node)), caching(false, "2", false));
        assert_eq!(Caching::of(&TaskTemplate::default(), None), caching(false, "", false));
    }
}
