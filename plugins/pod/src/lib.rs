//! Runs tasks as pods: task types `python-task`, `container` and `sidecar`.
//!
//! Creates one Pod per attempt, named after the attempt, and reads the task's phase from the pod's status. What the
//! task writes under its output prefix decides about success; the pod only says that it ended.

mod config;

use config::Config;
use plugin_api::phase::PhaseInfoExt;
use plugin_api::wire::{Diagnostic, WatchedKind};
use plugin_api::{
    Host, Object, Phase, PhaseInfo, PluginError, Resource, ResourcePlugin, ResourceProperties, TaskContext,
};
use support::{command_template, log_links, pod_phase, pod_spec};

/// The plugin.
#[derive(Debug)]
pub struct Pod {
    config: Config,
}

impl ResourcePlugin for Pod {
    type Config = Config;

    fn validate_config(config: &Config) -> Vec<Diagnostic> {
        config.validate()
    }

    fn new(config: Config, _host: Host) -> Result<Self, PluginError> {
        Ok(Self { config })
    }

    fn watched_kinds(&self) -> Vec<WatchedKind> {
        vec![WatchedKind { api_version: "v1".into(), kind: "Pod".into() }]
    }

    fn properties(&self) -> ResourceProperties {
        ResourceProperties {
            delete_on_finalize: self.config.pods.delete_resource_on_finalize,
            send_object_events: self.config.send_object_events,
            ..ResourceProperties::default()
        }
    }

    fn needs_inputs(&self, cx: &TaskContext) -> Result<bool, PluginError> {
        Ok(command_template::uses_inputs(&pod_spec::rendered_texts(cx)?))
    }

    fn build(&self, cx: &TaskContext) -> Result<Object, PluginError> {
        pod_spec::build(cx, &self.config.pods)
    }

    fn phase(&self, cx: &TaskContext, pod: &Object) -> Result<PhaseInfo, PluginError> {
        let info = pod_phase::read(pod, &self.config.pods, cx.now_ms);
        let is_early = matches!(info.phase(), Phase::Queued | Phase::Initializing);
        if is_early || self.config.log_links.is_empty() {
            return Ok(info);
        }
        let version = u32::from(info.phase() == Phase::Running);
        Ok(info.with_version(version).with_logs(log_links::links(cx, pod, &self.config.log_links)))
    }
}

plugin_api::export_plugin! {
    plugin: Resource<Pod>,
    id: "pod",
    task_types: ["python-task", "container", "sidecar", "*"],
    default_for: ["python-task", "container", "sidecar", "*"],
    config_schema: include_str!("../config.schema.json"),
    license: "Apache-2.0",
}

#[cfg(test)]
mod tests;
