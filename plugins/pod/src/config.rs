//! Holds the settings of this plugin.

use plugin_api::wire::Diagnostic;
use schemars::JsonSchema;
use serde::Deserialize;
use support::log_links::LogLink;
use support::pod_config::PodConfig;

/// Settings of the `pod` plugin.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// How pods are built and read.
    pub pods: PodConfig,
    /// Links to logs, one per entry and container, shown with each task execution.
    pub log_links: Vec<LogLink>,
    /// Report the cluster's events about a pod as reasons of the task execution.
    pub send_object_events: bool,
}

impl Config {
    /// Finds what the schema can not.
    pub fn validate(&self) -> Vec<Diagnostic> {
        let mut out = Vec::new();
        let named = &self.pods.default_pod_template;
        if !named.is_empty() && !self.pods.pod_templates.contains_key(named) {
            out.push(Diagnostic {
                json_pointer: "/pods/default-pod-template".into(),
                message: format!("the pod template `{named}` is not among pod-templates"),
            });
        }
        for (name, template) in &self.pods.pod_templates {
            if !template.get("spec").is_some_and(serde_json::Value::is_object) {
                out.push(Diagnostic {
                    json_pointer: format!("/pods/pod-templates/{name}"),
                    message: "a pod template needs a `spec`".into(),
                });
            }
        }
        out
    }
}
