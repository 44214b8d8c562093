//! Sleeps on a Tokio runtime of its own: the plugin that `own_runtime` is tested with.
#![forbid(unsafe_code)]

use std::time::Duration;

use plugin_api::wire::{HandleRequest, HandleResponse};
use plugin_api::{Host, PluginError, TaskPlugin, phase, response};

plugin_api::export_plugin! {
    plugin: Sleeper,
    id: "sleeper",
    task_types: ["sleeper"],
    config_schema: r#"{"type": "object"}"#,
    own_runtime: true,
}

/// The plugin.
#[derive(Debug)]
pub struct Sleeper {
    host: Host,
}

impl TaskPlugin for Sleeper {
    type Config = serde_json::Value;

    async fn new(_: Self::Config, host: Host) -> Result<Self, PluginError> {
        Ok(Self { host })
    }

    async fn handle(&self, request: HandleRequest) -> Result<HandleResponse, PluginError> {
        let context = request.context.unwrap_or_default();
        match context.env.get("HOSTILE").map(String::as_str) {
            Some("block") => std::thread::sleep(Duration::from_secs(3600)),
            Some("panic") => panic!("boom on the own runtime"),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        let data = self.host.blob_get(&context.input_uri).await?;
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        Ok(response::report(phase::running(format!("{} on {thread}", String::from_utf8_lossy(&data)))))
    }
}
