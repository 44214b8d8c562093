//! Carries what the place of an execution settles about it, from its launch to whoever runs it.
//!
//! What clients see is in the execution's spec; this is the rest. It is stored with the execution as it was at launch,
//! so that a later change of attributes does not reach an execution that runs.

use std::collections::BTreeMap;

use prost::Message;
use proto::flyteidl::admin::{PluginOverride, TaskResourceAttributes};

/// Settings of an execution that are not part of its spec. Stored encoded; fields are only ever added.
#[derive(Clone, PartialEq, Message)]
pub struct LaunchSettings {
    /// Which plugins run a task type here, instead of those that ask for it. At most one for each task type.
    #[prost(message, repeated, tag = "1")]
    pub plugin_overrides: Vec<PluginOverride>,
    /// Default and highest resources of the tasks; they replace those of the configuration.
    #[prost(message, optional, tag = "2")]
    pub task_resources: Option<TaskResourceAttributes>,
    /// Queue that batch services run the tasks in; empty leaves it to them.
    #[prost(string, tag = "3")]
    pub queue: String,
    /// Values for the templates of cluster resources.
    #[prost(btree_map = "string, string", tag = "4")]
    pub cluster_resources: BTreeMap<String, String>,
    /// How long the execution may wait before it runs; none is any time.
    #[prost(message, optional, tag = "5")]
    pub queueing_budget: Option<prost_types::Duration>,
}

impl LaunchSettings {
    /// What is said about the plugins of a task type.
    pub fn plugin_override(&self, task_type: &str) -> Option<&PluginOverride> {
        self.plugin_overrides.iter().find(|one| one.task_type == task_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_back_as_written() {
        let settings = LaunchSettings {
            plugin_overrides: vec![PluginOverride {
                task_type: "a".to_owned(),
                plugin_id: vec!["p".to_owned()],
                missing_plugin_behavior: 1,
            }],
            queue: "fast".to_owned(),
            cluster_resources: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            ..LaunchSettings::default()
        };
        assert_eq!(LaunchSettings::decode(settings.encode_to_vec().as_slice()).unwrap(), settings);
        assert!(settings.plugin_override("a").is_some());
        assert!(settings.plugin_override("b").is_none());
        // An execution of an earlier version has none.
        assert_eq!(LaunchSettings::decode([].as_slice()).unwrap(), LaunchSettings::default());
    }
}
