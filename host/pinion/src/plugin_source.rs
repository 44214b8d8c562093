//! Shows the loaded plugins to the worker in its own words.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use plugins::{Host, ResolveError};
use proto::pinion::plugin::v1::{
    AbortRequest, AbortResponse, FinalizeRequest, FinalizeResponse, HandleRequest, HandleResponse, PluginState,
};
use tokio::sync::watch;
use worker::{Fault, Plugin, PluginSource, Pool, Unavailable};

/// Capability of plugins that want the inputs within the request.
const INPUTS_INLINE: &str = "inputs-inline";

/// The worker's view of [`plugins::Host`].
pub(crate) struct Loaded {
    host: Arc<Host>,
    pools: BTreeMap<String, Pool>,
    changes: watch::Sender<u64>,
    /// One wrapper per plugin, so that an attempt's round allocates nothing.
    wrapped: Mutex<HashMap<String, Arc<dyn Plugin>>>,
}

impl Loaded {
    /// Wraps the plugins of a host.
    pub(crate) fn new(host: Arc<Host>) -> Self {
        let mut pools = BTreeMap::new();
        for plugin in host.plugins() {
            for pool in &plugin.meta().declared.resource_pools {
                let size = Pool { size: pool.size, project_cap: pool.project_cap, domain_cap: pool.domain_cap };
                pools.insert(pool.resource_namespace.clone(), size);
            }
        }
        Self { host, pools, changes: watch::Sender::new(0), wrapped: Mutex::default() }
    }

    fn wrap(&self, plugin: &Arc<plugins::Plugin>) -> Arc<dyn Plugin> {
        let meta = plugin.meta();
        let identity = identity(meta);
        let mut wrapped = self.wrapped.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = wrapped.entry(identity.clone()).or_insert_with(|| {
            Arc::new(Wrapped { inputs_inline: meta.has(INPUTS_INLINE), plugin: Arc::clone(plugin), identity })
        });
        Arc::clone(entry)
    }
}

/// Id, version and digest.
fn identity(meta: &plugins::PluginMeta) -> String {
    format!("{}@{} {}", meta.metadata.id, meta.metadata.version, meta.sha256)
}

/// Id and version out of an identity.
fn parse_identity(identity: &str) -> Option<(&str, &str)> {
    identity.split(' ').next()?.split_once('@')
}

impl PluginSource for Loaded {
    fn resolve(&self, task_type: &str, pin: &str) -> Result<Arc<dyn Plugin>, Unavailable> {
        if let Some((id, version)) = parse_identity(pin) {
            let plugin = self.host.plugin(id, version).ok_or_else(|| Unavailable {
                reason: format!("plugin {id} {version}, which this attempt belongs to, is not loaded"),
                gone: true,
            })?;
            return available(&plugin).map(|()| self.wrap(&plugin));
        }
        let plugin = self.host.resolve(task_type).map_err(|error| Unavailable {
            gone: matches!(error, ResolveError::Unclaimed { .. }),
            reason: error.to_string(),
        })?;
        available(&plugin).map(|()| self.wrap(&plugin))
    }

    fn pool(&self, namespace: &str) -> Option<Pool> {
        self.pools.get(namespace).cloned()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn available(plugin: &plugins::Plugin) -> Result<(), Unavailable> {
    match plugin.quarantined() {
        None => Ok(()),
        Some(reason) => Err(Unavailable {
            reason: format!("plugin {} is quarantined: {reason}", plugin.meta().metadata.id),
            gone: false,
        }),
    }
}

/// One plugin.
struct Wrapped {
    plugin: Arc<plugins::Plugin>,
    identity: String,
    inputs_inline: bool,
}

fn fault(fault: plugins::Fault) -> Fault {
    match fault {
        plugins::Fault::Status(status) => Fault::Status(status),
        plugins::Fault::Quarantined(reason) => Fault::Unavailable(Unavailable { reason, gone: false }),
        other => Fault::Broken { code: other.code().to_owned(), message: other.to_string() },
    }
}

#[async_trait]
impl Plugin for Wrapped {
    fn id(&self) -> &str {
        &self.plugin.meta().metadata.id
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn inputs_inline(&self) -> bool {
        self.inputs_inline
    }

    async fn handle(&self, request: HandleRequest) -> Result<HandleResponse, Fault> {
        self.plugin.handle(request).await.map_err(fault)
    }

    async fn abort(&self, request: AbortRequest) -> Result<AbortResponse, Fault> {
        self.plugin.abort(request).await.map_err(fault)
    }

    async fn finalize(&self, request: FinalizeRequest) -> Result<FinalizeResponse, Fault> {
        self.plugin.finalize(request).await.map_err(fault)
    }

    async fn migrate_state(&self, state: PluginState) -> Result<PluginState, Fault> {
        self.plugin.migrate_state(state).await.map_err(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_back() {
        assert_eq!(parse_identity("pod@1.2.3 abc"), Some(("pod", "1.2.3")));
        assert_eq!(parse_identity(""), None);
    }
}
