//! Lends the plugins of the plugin room to the worker.

use std::sync::Arc;

use async_trait::async_trait;
use plugins::pools::Pools;
use plugins::{Host, ResolveError};
use proto::pinion::plugin::v1::{
    AbortRequest, AbortResponse, FinalizeRequest, FinalizeResponse, HandleRequest, HandleResponse,
    PluginState,
};
use tokio::sync::watch;

use crate::plugin::{Fault, Plugin, PluginSource, Unavailable};

/// Capability of plugins that want the inputs within the request.
const INPUTS_INLINE: &str = "inputs-inline";
const DESCRIBES_ONLY: &str = "describes-only";

/// The plugins that a [`Host`] loaded.
#[derive(Debug)]
pub struct Loaded {
    host: Arc<Host>,
}

impl Loaded {
    /// Lends the plugins of `host`, and declares their resource pools.
    pub fn new(host: Arc<Host>, pools: &Pools) -> Self {
        for plugin in host.plugins() {
            for pool in &plugin.meta().declared.resource_pools {
                if let Err(error) = pools.declare(&plugin.meta().metadata.id, pool) {
                    tracing::error!(%error, "a resource pool is not declared");
                }
            }
        }
        Self { host }
    }

    fn find(&self, task_type: &str, pin: &str) -> Result<Arc<plugins::Plugin>, Unavailable> {
        let mut parts = pin.split_whitespace();
        let Some(id) = parts.next() else {
            return self.host.resolve(task_type).map_err(|error| Unavailable {
                gone: !matches!(error, ResolveError::Quarantined { .. }),
                reason: error.to_string(),
                again_in: None,
            });
        };
        self.host.plugin(id, parts.next().unwrap_or_default()).ok_or_else(|| Unavailable {
            reason: format!("plugin {id}, which drives this task, is not loaded"),
            gone: true,
            again_in: None,
        })
    }
}

impl PluginSource for Loaded {
    fn resolve(&self, task_type: &str, pin: &str) -> Result<Arc<dyn Plugin>, Unavailable> {
        let plugin = self.find(task_type, pin)?;
        match plugin.quarantined() {
            Some(reason) => Err(quarantined(&plugin, &reason)),
            None => {
                let metadata = &plugin.meta().metadata;
                let identity = format!("{} {} {}", metadata.id, metadata.version, plugin.meta().sha256);
                Ok(Arc::new(Lent { identity, plugin }))
            }
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        // The set of loaded plugins does not change; what changes is whether one in quarantine is called again.
        self.host.recoveries()
    }
}

fn quarantined(plugin: &plugins::Plugin, reason: &str) -> Unavailable {
    let id = &plugin.meta().metadata.id;
    Unavailable {
        reason: format!("plugin {id} is quarantined: {reason}"),
        gone: false,
        again_in: plugin.quarantine_ends_in(),
    }
}

/// One loaded plugin.
struct Lent {
    identity: String,
    plugin: Arc<plugins::Plugin>,
}

impl Lent {
    fn fault(&self, fault: plugins::Fault) -> Fault {
        match fault {
            plugins::Fault::Status(status) => Fault::Status(status),
            plugins::Fault::Quarantined(reason) => Fault::Unavailable(quarantined(&self.plugin, &reason)),
            plugins::Fault::Panicked(_)
            | plugins::Fault::Timeout(_)
            | plugins::Fault::Crashed { .. }
            | plugins::Fault::Incompatible(_) => {
                let message = format!("plugin {}: {fault}", self.id());
                Fault::Broken { code: fault.code().to_owned(), message }
            }
        }
    }
}

#[async_trait]
impl Plugin for Lent {
    fn id(&self) -> &str {
        &self.plugin.meta().metadata.id
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn inputs_inline(&self) -> bool {
        self.plugin.meta().has(INPUTS_INLINE)
    }

    fn describes_only(&self) -> bool {
        self.plugin.meta().has(DESCRIBES_ONLY)
    }

    async fn handle(&self, request: HandleRequest) -> Result<HandleResponse, Fault> {
        self.plugin.handle(request).await.map_err(|fault| self.fault(fault))
    }

    async fn abort(&self, request: AbortRequest) -> Result<AbortResponse, Fault> {
        self.plugin.abort(request).await.map_err(|fault| self.fault(fault))
    }

    async fn finalize(&self, request: FinalizeRequest) -> Result<FinalizeResponse, Fault> {
        self.plugin.finalize(request).await.map_err(|fault| self.fault(fault))
    }

    async fn migrate_state(&self, state: PluginState) -> Result<PluginState, Fault> {
        self.plugin.migrate_state(state).await.map_err(|fault| self.fault(fault))
    }
}
