//! Takes the lease that makes executions this host's own, and keeps it.

use std::sync::Arc;

use store::row::Lease;
use tokio_util::sync::CancellationToken;

use crate::clock::after;
use crate::clusters::with_causes;
use crate::ownership::Hints;
use crate::shared::{Deps, Shared};
use crate::{Error, backoff, config::Config};

/// Takes a lease, as soon as the store can give one. `None` when the host is to stop before.
pub(crate) async fn acquire(
    config: &Config,
    deps: &Deps,
    drain: &CancellationToken,
) -> Result<Option<Lease>, Error> {
    let mut n_tried = 0;
    loop {
        let now = deps.clock.now();
        match deps.store.lease_acquire(&deps.host, config.lease_ttl.get(), now).await {
            Ok(lease) => return Ok(Some(lease)),
            Err(error) if error.is_transient() => {
                tracing::warn!(error = %with_causes(&error), "cannot take a lease, trying again");
            }
            Err(source) => return Err(Error::Store { action: "take a lease", source }),
        }
        let pause = backoff::pause(&config.plugin_calls, n_tried);
        n_tried = n_tried.saturating_add(1);
        tokio::select! {
            () = drain.cancelled() => return Ok(None),
            () = deps.clock.sleep_until(after(now, pause)) => {}
        }
    }
}

/// Renews the lease three times in its life, until it is lost.
pub(crate) async fn keep(shared: Arc<Shared>, lease: Lease, hints: Arc<Hints>) -> Result<(), Error> {
    let ttl = shared.config.lease_ttl.get();
    let fenced = || Error::Fenced { host: lease.host.clone() };
    let mut renewed_at = shared.clock.now();
    let mut wait = ttl / 3;
    loop {
        shared.clock.sleep_until(after(shared.clock.now(), wait)).await;
        let now = shared.clock.now();
        match shared.store.lease_renew(&lease, ttl, now).await {
            Ok(()) => {
                renewed_at = now;
                wait = ttl / 3;
                (shared.heartbeat)("worker.lease");
                hints.beat();
                shared.committer.beat();
            }
            Err(store::Error::Fenced { .. }) => return Err(fenced()),
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "cannot renew the lease, trying again");
                // Others may count on it: once it has run out, nothing may be done in its name.
                if shared.clock.now() >= after(renewed_at, ttl) {
                    return Err(fenced());
                }
                wait = ttl / 30;
            }
        }
    }
}
