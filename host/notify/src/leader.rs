//! Sees to it that one host hands events out: takes the lease, runs the readers, and ends them when it is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Timestamp;
use store::{OutboxCursor, OutboxLease};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::deliver::Deliverer;
use crate::place::Place;
use crate::planner::{self, Planner};
use crate::pump::Pump;
use crate::seam::Step;
use crate::shared::{Ended, Shared, sleep_unless};
use crate::{Error, metric};

/// Events removed by one statement.
const PRUNED_AT_ONCE: u32 = 2_000;

/// Shortest time between two removals.
const PRUNE_GAP: Duration = Duration::from_secs(1);

/// Time between two looks for deliveries that are too old.
const PURGE_GAP: Duration = Duration::from_secs(600);

/// Deliveries removed by one statement.
const PURGED_AT_ONCE: u32 = 1_000;

/// How long a reader may take to note its place when the host stops.
const GRACE: Duration = Duration::from_secs(5);

/// Hands out events whenever no other host does, until it is told to stop.
pub(crate) async fn run(shared: Arc<Shared>, drain: CancellationToken) -> Result<(), Error> {
    let ttl = shared.config.lease_ttl.get();
    while !drain.is_cancelled() {
        shared.health.beat();
        let take = || shared.store.outbox_lease_take(&shared.host, ttl, Timestamp::now());
        let taken = tokio::select! {
            () = drain.cancelled() => return Ok(()),
            taken = shared.persist("take the lease of the outbox", take) => taken,
        };
        let ended = match taken {
            Ok(Some(lease)) => {
                tracing::info!(epoch = lease.epoch, "this host hands out events");
                metrics::gauge!(metric::LEADER).set(1.0);
                let ended = lead(&shared, &lease, &drain).await;
                metrics::gauge!(metric::LEADER).set(0.0);
                shared.forget_places();
                ended
            }
            Ok(None) => {
                sleep_unless(&drain, ttl / 3).await;
                Ok(())
            }
            Err(ended) => Err(ended),
        };
        match ended {
            Ok(()) => {}
            Err(Ended::Fenced) => tracing::warn!("another host hands out events now"),
            Err(Ended::Closed) => return Err(Error::StoreClosed),
            Err(Ended::Crashed(step)) => return Err(Error::Crashed(step)),
        }
    }
    Ok(())
}

/// Runs the readers until the lease is lost or the host stops.
async fn lead(shared: &Arc<Shared>, lease: &OutboxLease, drain: &CancellationToken) -> Result<(), Ended> {
    let stop = drain.child_token();
    let mut parts: JoinSet<Result<(), Ended>> = JoinSet::new();
    for (name, cursor) in cursors(shared, lease).await? {
        shared.place(&name, cursor);
        let place = Place::new(&name, lease.clone(), cursor);
        let (shared, bell, stop) = (Arc::clone(shared), shared.bells.events(), stop.clone());
        match shared.sinks.get(&name).cloned() {
            Some(sink) => parts.spawn(Pump { shared, sink, place, bell, stop }.run()),
            None => parts.spawn(Planner { shared, place, bell, stop }.run()),
        };
    }
    let bell = shared.bells.deliveries();
    let deliverer = Deliverer { shared: Arc::clone(shared), lease: lease.clone(), bell, stop: stop.clone() };
    parts.spawn(deliverer.run());
    parts.spawn(renew(Arc::clone(shared), lease.clone(), stop.clone()));
    parts.spawn(prune(Arc::clone(shared), lease.clone(), stop.clone()));
    parts.spawn(purge(Arc::clone(shared), stop.clone()));

    let ended = loop {
        tokio::select! {
            () = drain.cancelled() => break Ok(()),
            Some(ended) = parts.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(ended)) => break Err(ended),
                Err(error) => {
                    // The others stop, and everything starts anew from what is stored.
                    tracing::error!(%error, "a part of the room panicked");
                    break Ok(());
                }
            },
        }
    };
    stop.cancel();
    if ended.is_ok() {
        let rest = async { while parts.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE + shared.config.timeout.get(), rest).await.is_err() {
            tracing::warn!("some messages were on their way for too long; they are sent again");
        }
        if drain.is_cancelled()
            && let Err(error) = shared.store.outbox_lease_release(lease).await
        {
            tracing::debug!(%error, "the lease of the outbox ends by itself");
        }
    }
    parts.shutdown().await;
    ended
}

/// Where every reader goes on; places of sinks that are not configured any more are forgotten.
async fn cursors(shared: &Shared, lease: &OutboxLease) -> Result<Vec<(String, OutboxCursor)>, Ended> {
    let known =
        shared.persist("read how far events were handed out", || shared.store.outbox_cursors()).await?;
    for (name, _) in &known {
        if name != planner::NAME && !shared.sinks.contains_key(name) {
            tracing::warn!(
                sink = name,
                "the sink is not configured any more; its place in the outbox is forgotten"
            );
            shared.persist("forget a sink", || shared.store.outbox_forget(lease, name)).await?;
        }
    }
    let names = shared.sinks.keys().map(String::as_str).chain([planner::NAME]);
    let place = |name: &str| known.iter().find(|(other, _)| other == name).map(|(_, cursor)| *cursor);
    Ok(names.map(|name| (name.to_owned(), place(name).unwrap_or_default())).collect())
}

/// Prolongs the lease, and ends everything when that was not possible for too long.
async fn renew(shared: Arc<Shared>, lease: OutboxLease, stop: CancellationToken) -> Result<(), Ended> {
    let ttl = shared.config.lease_ttl.get();
    let mut renewed = Instant::now();
    while sleep_unless(&stop, ttl / 3).await {
        match shared.store.outbox_lease_renew(&lease, ttl, Timestamp::now()).await {
            Ok(()) => {
                renewed = Instant::now();
                shared.health.beat();
            }
            Err(store::Error::Fenced { .. }) => return Err(Ended::Fenced),
            Err(store::Error::Closed) => return Err(Ended::Closed),
            Err(error) => tracing::warn!(%error, "cannot prolong the lease of the outbox"),
        }
        if renewed.elapsed() > ttl * 2 / 3 {
            return Err(Ended::Fenced);
        }
    }
    Ok(())
}

/// Removes events that every reader has passed.
async fn prune(shared: Arc<Shared>, lease: OutboxLease, stop: CancellationToken) -> Result<(), Ended> {
    let mut pruned = OutboxCursor::default();
    while sleep_unless(&stop, PRUNE_GAP).await {
        let Some(passed) = shared.passed_by_all().filter(|passed| *passed > pruned) else {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = shared.moved.notified() => continue,
            }
        };
        loop {
            let remove = || shared.store.outbox_prune(&lease, passed, PRUNED_AT_ONCE);
            let n = shared.persist("remove events", remove).await?;
            shared.pass(Step::Pruned).await?;
            if n < u64::from(PRUNED_AT_ONCE) {
                break;
            }
        }
        pruned = passed;
    }
    Ok(())
}

/// Removes deliveries that are too old.
async fn purge(shared: Arc<Shared>, stop: CancellationToken) -> Result<(), Ended> {
    let keep = shared.config.log_retention.get();
    if keep.is_zero() {
        return Ok(());
    }
    loop {
        let before = Timestamp::now().plus(-i64::try_from(keep.as_micros()).unwrap_or(i64::MAX));
        let remove = || shared.store.delivery_purge(before, PURGED_AT_ONCE);
        let n = shared.persist("remove old deliveries", remove).await?;
        if n < u64::from(PURGED_AT_ONCE) && !sleep_unless(&stop, PURGE_GAP).await {
            return Ok(());
        }
    }
}
