//! Runs `echo` tasks: copies the inputs to the outputs, without any process. Also the no-op of benchmarks.
#![forbid(unsafe_code)]

mod config;
mod copy;

pub use config::Config;

use std::time::Duration;

use plugin_api::wire::{HandleRequest, HandleResponse, PluginState};
use plugin_api::{Host, PluginError, TaskContext, TaskPlugin, phase, response};

plugin_api::export_plugin! {
    plugin: Echo,
    id: "echo",
    task_types: ["echo"],
    capabilities: ["inputs-inline", "describes-only"],
    config_schema: include_str!("../schema.json"),
    license: "Apache-2.0",
}

/// Version of the state: the time at which the sleep ends, in milliseconds since 1970, little-endian.
const STATE_VERSION: u32 = 1;

/// The plugin.
#[derive(Debug)]
pub struct Echo {
    config: Config,
    host: Host,
}

impl TaskPlugin for Echo {
    type Config = Config;

    async fn new(config: Self::Config, host: Host) -> Result<Self, PluginError> {
        Ok(Self { config, host })
    }

    async fn handle(&self, request: HandleRequest) -> Result<HandleResponse, PluginError> {
        let (cx, state) = TaskContext::from_request(request)?;
        let sleep = self.sleep(&cx)?;
        if sleep.is_zero() {
            return self.complete(&cx).await;
        }
        let now = cx.now_ms;
        let (ends, fresh) = match &state {
            Some(state) => (read_state(state)?, false),
            None => (now.saturating_add(i64::try_from(sleep.as_millis()).unwrap_or(i64::MAX)), true),
        };
        if now >= ends {
            return self.complete(&cx).await;
        }
        let left = Duration::from_millis(ends.abs_diff(now));
        Ok(HandleResponse {
            state: fresh.then(|| PluginState { data: ends.to_le_bytes().to_vec(), version: STATE_VERSION }),
            wake: Some(response::wake_after(left)),
            ..response::report(phase::running("sleeping"))
        })
    }
}

impl Echo {
    async fn complete(&self, cx: &TaskContext) -> Result<HandleResponse, PluginError> {
        let interface = cx.template()?.interface.clone().unwrap_or_default();
        let report = |report| Ok(response::report(report));
        let pairs = match copy::pairs(&interface) {
            Ok(pairs) => pairs,
            Err(error) => return report(phase::permanent_failure(error.kind, error.code, error.message)),
        };
        let outputs = if pairs.is_empty() {
            Default::default()
        } else {
            let inputs = self.host.inputs(cx).await?;
            match copy::outputs(&pairs, &inputs) {
                Ok(outputs) => outputs,
                Err(error) => return report(phase::permanent_failure(error.kind, error.code, error.message)),
            }
        };
        Ok(HandleResponse {
            outputs: Some(response::inline_outputs(&outputs)),
            ..response::report(phase::succeeded(""))
        })
    }

    /// The sleep of the task (`custom.sleep-ms`), else that of the configuration.
    fn sleep(&self, cx: &TaskContext) -> Result<Duration, PluginError> {
        let custom = cx.template()?.custom.as_ref();
        let own = custom.and_then(|custom| custom.fields.get("sleep-ms"));
        let own = own.map(|value| plugin_api::json::number(value).filter(|ms| *ms >= 0.0));
        match own {
            None => Ok(Duration::from_millis(self.config.sleep_ms)),
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates; tested above"
            )]
            Some(Some(ms)) => Ok(Duration::from_millis(ms as u64)),
            Some(None) => Err(PluginError::user(
                "BadTaskSpecification",
                "custom.sleep-ms must be a number of milliseconds",
            )),
        }
    }
}

fn read_state(state: &PluginState) -> Result<i64, PluginError> {
    let bytes: [u8; 8] = match (state.version, state.data.as_slice().try_into()) {
        (STATE_VERSION, Ok(bytes)) => bytes,
        _ => return Err(PluginError::unknown_state_version(state.version)),
    };
    Ok(i64::from_le_bytes(bytes))
}
