//! Defines `TaskPlugin`, the raw author trait that every other layer is turned into.

use std::future::Future;

use serde::de::DeserializeOwned;

use crate::error::PluginError;
use crate::host::Host;
use crate::wire::{
    AbortRequest, AbortResponse, Diagnostic, FinalizeRequest, FinalizeResponse, HandleRequest,
    HandleResponse, PluginProperties, PluginState, ResourcePool, WatchedKind,
};

/// What a plugin tells the host once, after it was created.
#[derive(Debug, Clone, Default)]
pub struct Declaration {
    /// Capability strings beside those in the metadata.
    pub capabilities: Vec<String>,
    /// Quotas that the plugin wants the host to keep.
    pub resource_pools: Vec<ResourcePool>,
    /// Kinds of objects that the plugin asks the host to apply; the host watches them.
    pub watched_kinds: Vec<WatchedKind>,
    /// Properties of the plugin.
    pub properties: PluginProperties,
}

/// A plugin in its rawest form: messages in, messages out.
///
/// Every verb is idempotent: the host may repeat any call with the same request, in another process, after a crash, and
/// expects the same answer. Nothing may be kept between calls but what is in the state of the answer. Without
/// `own_runtime` in `export_plugin!` the futures are polled by the host and find no Tokio reactor: they may await
/// [`Host`] calls and nothing else.
pub trait TaskPlugin: Send + Sync + Sized + 'static {
    /// Read from the plugin's section of the host configuration. Use `#[serde(deny_unknown_fields)]`.
    type Config: DeserializeOwned + Send + 'static;

    /// Finds what is wrong with a configuration beyond its schema. Called before `new`, any number of times, without
    /// side effects.
    fn validate_config(config: &Self::Config) -> Vec<Diagnostic> {
        let _ = config;
        Vec::new()
    }

    /// Creates the one instance of this process, before any other verb. An error quarantines the plugin.
    fn new(config: Self::Config, host: Host) -> impl Future<Output = Result<Self, PluginError>> + Send;

    /// Says what the host must know; called once after `new`.
    fn declare(&self) -> Declaration {
        Declaration::default()
    }

    /// Advances one attempt. Called at its start, when something it waits for happened, and after restarts of the host.
    fn handle(
        &self,
        request: HandleRequest,
    ) -> impl Future<Output = Result<HandleResponse, PluginError>> + Send;

    /// Ends what the attempt started. May come before any `handle`, and more than once. Works without inputs.
    fn abort(
        &self,
        request: AbortRequest,
    ) -> impl Future<Output = Result<AbortResponse, PluginError>> + Send {
        let _ = request;
        std::future::ready(Ok(AbortResponse::default()))
    }

    /// Releases what the attempt holds; called at least once after its end, whatever the end was.
    fn finalize(
        &self,
        request: FinalizeRequest,
    ) -> impl Future<Output = Result<FinalizeResponse, PluginError>> + Send {
        let _ = request;
        std::future::ready(Ok(FinalizeResponse::default()))
    }

    /// Brings a state to the version this plugin writes now. Called once after the plugin's file has changed, before
    /// the next `handle` of the attempt; the version may be the present one. By default the state stays as it is, and
    /// `handle` refuses versions that it does not know with [`PluginError::unknown_state_version`].
    fn migrate_state(&self, state: PluginState) -> Result<PluginState, PluginError> {
        Ok(state)
    }

    /// Ends background work; no call follows. The host waits until its own deadline.
    fn drain(&self, deadline_ms: u64) -> impl Future<Output = Result<(), PluginError>> + Send {
        let _ = deadline_ms;
        std::future::ready(Ok(()))
    }
}
