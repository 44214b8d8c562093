//! Holds what all parts of the worker use: settings, other rooms, caches.

use std::sync::Arc;

use blob::Blob;
use catalog::Catalog;
use launch::Launcher;
use model::EntityId;
use moka::sync::Cache;
use plugins::pools::Pools;
use store::Store;
use tokio::sync::Semaphore;

use crate::cache::Populator;
use crate::clock::Clock;
use crate::clusters::Clusters;
use crate::committer::Committer;
use crate::config::Config;
use crate::files::Files;
use crate::observe::Routes;
use crate::places::Places;
use crate::plugin::PluginSource;
use crate::program::Program;
use crate::registry::Registry;
use crate::seam::Seam;
use crate::trouble::{OnTrouble, Troubles};

/// Called by each loop when it turns, with its name: `worker.lease`, `worker.committer`, `worker.owner`. Each turns at
/// least once in a third of the lease's life.
pub type Heartbeat = Arc<dyn Fn(&'static str) + Send + Sync>;

/// The rooms the worker uses.
#[derive(Clone)]
pub struct Deps {
    /// Unique id of this host. A host that keeps its id over a restart takes its own executions up again at once;
    /// another one waits until the lease has run out.
    pub host: String,
    /// Rows.
    pub store: Store,
    /// Files.
    pub blob: Blob,
    /// Starts executions for nodes.
    pub launcher: Launcher,
    /// Cached outputs.
    pub catalog: Catalog,
    /// Plugins.
    pub plugins: Arc<dyn PluginSource>,
    /// Resource pools.
    pub pools: Arc<Pools>,
    /// Clusters.
    pub clusters: Clusters,
    /// Where host services find the executions this worker drives.
    pub registry: Registry,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Told when a loop turns; a loop that is silent for a whole lease is wedged.
    pub heartbeat: Heartbeat,
    /// Told when executions cannot go on through the host's own fault.
    pub on_trouble: OnTrouble,
    /// For tests: sees every commit.
    pub seam: Arc<dyn Seam>,
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deps")
            .field("host", &self.host)
            .field("clusters", &self.clusters)
            .finish_non_exhaustive()
    }
}

/// What all parts of a running worker use.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) files: Files,
    pub(crate) launcher: Launcher,
    pub(crate) catalog: Catalog,
    pub(crate) populator: Populator,
    pub(crate) plugins: Arc<dyn PluginSource>,
    pub(crate) clusters: Clusters,
    pub(crate) places: Places,
    pub(crate) routes: Routes,
    pub(crate) registry: Registry,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) troubles: Troubles,
    pub(crate) committer: Committer,
    /// Plugin calls and storage operations that may be under way.
    pub(crate) permits: Semaphore,
    programs: Cache<ProgramKey, Arc<Program>>,
}

/// Where a workflow is from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ProgramKey {
    Registered(EntityId),
    /// Made by a task; where it wrote it.
    Made(Box<str>),
}

impl Shared {
    pub(crate) fn new(config: Config, deps: &Deps, committer: Committer, populator: Populator) -> Self {
        let weight = |_: &ProgramKey, program: &Arc<Program>| program.weight();
        Self {
            store: deps.store.clone(),
            files: Files::new(
                deps.blob.clone(),
                config.cache.values.bytes(),
                config.tasks.max_output_size.bytes(),
            ),
            launcher: deps.launcher.clone(),
            catalog: deps.catalog.clone(),
            populator,
            plugins: Arc::clone(&deps.plugins),
            clusters: deps.clusters.clone(),
            places: Places::new(Arc::clone(&deps.pools), deps.registry.clone()),
            routes: Routes::default(),
            registry: deps.registry.clone(),
            clock: Arc::clone(&deps.clock),
            heartbeat: Arc::clone(&deps.heartbeat),
            troubles: Troubles::new(Arc::clone(&deps.on_trouble)),
            committer,
            permits: Semaphore::new(config.step_concurrency.min(Semaphore::MAX_PERMITS)),
            programs: Cache::builder().max_capacity(config.cache.closures.bytes()).weigher(weight).build(),
            config,
        }
    }

    /// A workflow that was used lately.
    pub(crate) fn cached_program(&self, id: &EntityId) -> Option<Arc<Program>> {
        self.programs.get(&ProgramKey::Registered(id.clone()))
    }

    pub(crate) fn remember_program(&self, id: &EntityId, program: &Arc<Program>) {
        self.programs.insert(ProgramKey::Registered(id.clone()), Arc::clone(program));
    }

    /// A workflow that a task made and that was used lately.
    pub(crate) fn made_program(&self, spec_uri: &str) -> Option<Arc<Program>> {
        self.programs.get(&ProgramKey::Made(spec_uri.into()))
    }

    pub(crate) fn remember_made(&self, spec_uri: &str, program: &Arc<Program>) {
        self.programs.insert(ProgramKey::Made(spec_uri.into()), Arc::clone(program));
    }
}
