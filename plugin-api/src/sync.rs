//! Turns "just compute the outputs" into a plugin: the layer for tasks that end within one call.

use std::future::Future;

use proto::flyteidl::core::LiteralMap;
use serde::de::DeserializeOwned;

use crate::context::TaskContext;
use crate::error::PluginError;
use crate::host::Host;
use crate::plugin::TaskPlugin;
use crate::wire::{Diagnostic, HandleRequest, HandleResponse};
use crate::{phase, response};

/// A plugin whose task ends within one call.
///
/// Wrap it in [`Sync`] for `export_plugin!`. There is no state and nothing to abort; a crash of the host repeats the
/// call, so what it does outside must be repeatable.
pub trait SyncPlugin: Send + std::marker::Sync + Sized + 'static {
    /// Read from the plugin's section of the host configuration. Use `#[serde(deny_unknown_fields)]`.
    type Config: DeserializeOwned + Send + 'static;

    /// Finds what is wrong with a configuration beyond its schema.
    fn validate_config(config: &Self::Config) -> Vec<Diagnostic> {
        let _ = config;
        Vec::new()
    }

    /// Creates the one instance of this process. An error quarantines the plugin.
    fn new(config: Self::Config, host: Host) -> Result<Self, PluginError>;

    /// Computes the outputs; [`TaskContext::inputs`] are there. An error with `retryable` is asked again, any other one
    /// fails the task for good with its code.
    fn run(&self, cx: &TaskContext) -> impl Future<Output = Result<LiteralMap, PluginError>> + Send;
}

/// The adapter: a [`TaskPlugin`] made of a [`SyncPlugin`].
#[derive(Debug)]
pub struct Sync<P> {
    plugin: P,
    host: Host,
}

impl<P: SyncPlugin> TaskPlugin for Sync<P> {
    type Config = P::Config;

    fn validate_config(config: &Self::Config) -> Vec<Diagnostic> {
        P::validate_config(config)
    }

    async fn new(config: Self::Config, host: Host) -> Result<Self, PluginError> {
        Ok(Self { plugin: P::new(config, host.clone())?, host })
    }

    async fn handle(&self, request: HandleRequest) -> Result<HandleResponse, PluginError> {
        let (mut cx, _) = TaskContext::from_request(request)?;
        if cx.inputs().is_none() {
            let inputs = self.host.inputs(&cx).await?;
            cx.set_inputs(inputs);
        }
        match self.plugin.run(&cx).await {
            Ok(outputs) => Ok(HandleResponse {
                outputs: Some(response::inline_outputs(&outputs)),
                ..response::report(phase::succeeded(""))
            }),
            Err(error) if error.retryable => Err(error),
            Err(error) => {
                Ok(response::report(phase::permanent_failure(error.kind, error.code, error.message)))
            }
        }
    }
}
