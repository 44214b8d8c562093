//! Runs the worker's loops: lease, committer, owner, notifications, cluster changes.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cache::{Populator, populate_all};
use crate::committer::{self, Committer};
use crate::config::Config;
use crate::ownership::{Hints, Owner};
use crate::registry::Registry;
use crate::shared::{Deps, Shared};
use crate::{Error, clusters, lease, observe};

/// What ended.
enum Part {
    Committer(Result<(), Error>),
    Lease(Result<(), Error>),
    Owner(Result<(), Error>),
    /// A source of notifications; the slow sweep goes on without it. Or the loop that puts outputs into the catalog.
    Source,
}

/// Owns executions and drives them.
#[derive(Debug)]
pub struct Worker {
    config: Config,
    deps: Deps,
}

impl Worker {
    /// Opens nothing and starts nothing.
    pub fn new(config: Config, deps: Deps) -> Self {
        Self { config, deps }
    }

    /// Drives executions until `drain` is cancelled, then lets what is under way come to rest and frees them for
    /// others. Dropping the future is a crash: the next owner goes on from the rows.
    ///
    /// # Errors
    /// The lease is lost, the store gives none, or the configuration cannot work. Nothing is done after that.
    pub async fn run(self, drain: CancellationToken) -> Result<(), Error> {
        self.config.validate()?;
        let deps = self.deps;
        // Before the first claim, so that nothing falls between.
        let wakes = deps.store.subscribe();
        let events: Vec<_> =
            deps.clusters.all().map(|cluster| (Arc::clone(cluster), cluster.watch())).collect();
        let Some(lease) = lease::acquire(&self.config, &deps, &drain).await? else { return Ok(()) };
        tracing::info!(host = %lease.host, epoch = lease.epoch, "the worker owns executions from now on");
        let (committer, jobs) = Committer::new();
        let (populator, puts) = Populator::new();
        let shared = Arc::new(Shared::new(self.config.clone(), &deps, committer, populator));
        let hints = Arc::new(Hints::default());
        let mut parts = JoinSet::new();
        let writer = committer::Loop {
            store: deps.store.clone(),
            lease: lease.clone(),
            config: self.config,
            clock: Arc::clone(&deps.clock),
            seam: Arc::clone(&deps.seam),
            heartbeat: Arc::clone(&deps.heartbeat),
        };
        parts.spawn(async move { Part::Committer(Box::pin(writer.run(jobs)).await) });
        let populating = populate_all(deps.catalog.clone(), Arc::clone(&deps.clock), puts);
        parts.spawn(async move {
            populating.await;
            Part::Source
        });
        let keeper = lease::keep(Arc::clone(&shared), lease.clone(), Arc::clone(&hints));
        parts.spawn(async move { Part::Lease(keeper.await) });
        let (listener, registry) = (Arc::clone(&hints), deps.registry.clone());
        parts.spawn(async move {
            listener.gather(wakes, &registry).await;
            Part::Source
        });
        for (cluster, events) in events {
            let follow = observe::follow(cluster, events, shared.routes.clone(), shared.registry.clone());
            parts.spawn(async move {
                follow.await;
                Part::Source
            });
        }
        let owner = Owner::new(Arc::clone(&shared), lease.clone(), hints, drain);
        parts.spawn(async move { Part::Owner(Box::pin(owner.run()).await) });
        let _forgetful = Forgetful(deps.registry.clone());
        let result = first_end(&mut parts).await;
        parts.shutdown().await;
        if result.is_ok()
            && let Err(error) = deps.store.lease_release(&lease).await
        {
            tracing::warn!(error = %clusters::with_causes(&error), "cannot release the lease, it runs out by itself");
        }
        result
    }
}

/// Forgets all executions however the worker ends: nobody drives them any more.
struct Forgetful(Registry);

impl Drop for Forgetful {
    fn drop(&mut self) {
        self.0.clear();
    }
}

async fn first_end(parts: &mut JoinSet<Part>) -> Result<(), Error> {
    while let Some(part) = parts.join_next().await {
        match part {
            Ok(Part::Owner(result) | Part::Committer(result) | Part::Lease(result)) => return result,
            Ok(Part::Source) => {}
            Err(error) => {
                tracing::error!(%error, "a loop of the worker ended by a panic");
                return Err(Error::Panicked("worker"));
            }
        }
    }
    Ok(())
}
