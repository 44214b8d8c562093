//! Misbehaves on request: the plugin that the wall is tested with.
//!
//! What it does is chosen by `init` of its configuration, and for `handle` by the environment variable `HOSTILE` of the
//! task execution.
#![allow(unsafe_code, reason = "one of its tricks is a segmentation fault")]

use std::time::Duration;

use plugin_api::wire::{AbortRequest, AbortResponse, HandleRequest, HandleResponse, PhaseInfo, PluginState};
use plugin_api::{Host, LogLevel, PluginError, TaskPlugin, phase, response};
use serde::Deserialize;

plugin_api::export_plugin! {
    plugin: Hostile,
    id: "hostile",
    task_types: ["hostile"],
    config_schema: r#"{
        "type": "object", "additionalProperties": false,
        "properties": {"init": {"type": "string"}, "level": {"type": "integer"}}
    }"#,
}

/// Settings.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    init: String,
    level: u32,
}

/// The plugin.
#[derive(Debug)]
pub struct Hostile {
    host: Host,
}

impl TaskPlugin for Hostile {
    type Config = Config;

    async fn new(config: Self::Config, host: Host) -> Result<Self, PluginError> {
        let _ = config.level;
        match config.init.as_str() {
            "error" => Err(PluginError::user("BadCredentials", "the vault said no")),
            "panic" => panic!("init panics"),
            "hang" => {
                std::future::pending::<()>().await;
                Ok(Self { host })
            }
            "block" => {
                std::thread::sleep(Duration::from_secs(3600));
                Ok(Self { host })
            }
            "abort" => std::process::abort(),
            _ => Ok(Self { host }),
        }
    }

    async fn handle(&self, request: HandleRequest) -> Result<HandleResponse, PluginError> {
        let context = request.context.clone().unwrap_or_default();
        let trick = context.env.get("HOSTILE").map(String::as_str).unwrap_or_default();
        match trick {
            "panic" => panic!("boom in handle"),
            "hang" => std::future::pending::<()>().await,
            "block" => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
            "nap" => std::thread::sleep(Duration::from_millis(300)),
            "segfault" => {
                // SAFETY: none; the fault is the point.
                unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
            }
            "abort" => std::process::abort(),
            "exit" => std::process::exit(3),
            "tokio" => tokio::time::sleep(Duration::from_millis(1)).await,
            "oversized-state" => {
                let state = PluginState { data: vec![7; 65 << 10], version: 1 };
                return Ok(HandleResponse { state: Some(state), ..response::report(phase::running("")) });
            }
            "no-phase" => return Ok(HandleResponse::default()),
            "unknown-phase" => {
                return Ok(response::report(PhaseInfo { phase: 77, ..PhaseInfo::default() }));
            }
            "host-call" => {
                let data = self.host.blob_get(&context.input_uri).await?;
                return Ok(response::report(phase::running(String::from_utf8_lossy(&data))));
            }
            "log" => {
                self.host.log(LogLevel::Warn, "from the plugin", &[("answer", "42")]);
                self.host.count("tricks", 1.0, &[("kind", "log")]);
            }
            "user-error" => return Err(PluginError::user("Nope", "this task is wrong")),
            "spawn-child" => {
                let child = std::process::Command::new("sleep").arg("1000").spawn();
                let pid = child.map(|child| child.id()).unwrap_or_default();
                return Ok(response::report(phase::running(pid.to_string())));
            }
            "pid" => return Ok(response::report(phase::running(std::process::id().to_string()))),
            _ => {}
        }
        Ok(response::report(phase::succeeded("behaved")))
    }

    async fn abort(&self, request: AbortRequest) -> Result<AbortResponse, PluginError> {
        match request.reason.as_str() {
            "panic" => panic!("boom in abort"),
            _ => Ok(AbortResponse::default()),
        }
    }
}
