//! Makes one host the one that schedules: the others wait for its time to run out.

use std::sync::Arc;

use model::Timestamp;
use store::Leader;
use tokio_util::sync::CancellationToken;

use crate::clock::after;
use crate::ear::Ear;
use crate::{Error, Inner, backfill, fire, metric};

/// What is led.
pub(crate) const ROLE: &str = "scheduler";

/// Leads whenever it can, until it is told to stop.
pub(crate) async fn run(cx: &Arc<Inner>, stop: CancellationToken) -> Result<(), Error> {
    let gauge = metrics::gauge!(metric::LEADS);
    loop {
        (cx.deps.heartbeat)();
        let now = cx.now();
        let wait_until = match cx.deps.store.leader_acquire(ROLE, &cx.deps.host, cx.ttl(), now).await {
            Ok(Leader::Me) => {
                tracing::info!(host = cx.deps.host, "this host runs schedules and backfills");
                gauge.set(1.0);
                let ended = Box::pin(lead(cx, &stop)).await;
                gauge.set(0.0);
                match ended {
                    Ok(()) => cx.now(),
                    // As after a kill: nothing is given back.
                    Err(Error::Crashed) => return Err(Error::Crashed),
                    Err(error) => {
                        tracing::error!(
                            error = crate::launching::chain(&error),
                            "scheduling stopped; it begins anew"
                        );
                        after(cx.now(), cx.config.backoff_base.get())
                    }
                }
            }
            // Looked at as often as the leader renews: it may resign before its time is up.
            Ok(Leader::Other { expires_at, .. }) => expires_at.plus(1).min(after(now, cx.ttl() / 3)),
            Err(error) => {
                cx.note_store_error(&error);
                after(now, cx.ttl() / 3)
            }
        };
        tokio::select! {
            () = stop.cancelled() => {
                if let Err(error) = cx.deps.store.leader_resign(ROLE, &cx.deps.host).await {
                    tracing::debug!(%error, "leadership was not given up; it runs out");
                }
                return Ok(());
            }
            () = cx.deps.clock.sleep_until(wait_until) => {}
        }
    }
}

/// Runs schedules and backfills until leadership is lost or given up.
async fn lead(cx: &Arc<Inner>, stop: &CancellationToken) -> Result<(), Error> {
    let ear = Ear::default();
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        () = keep(cx) => Ok(()),
        () = ear.listen(&cx.deps.store) => Ok(()),
        ended = fire::run(cx, &ear) => ended,
        ended = backfill::run(cx, &ear) => ended,
    }
}

/// Keeps leadership; returns when it is lost.
async fn keep(cx: &Arc<Inner>) {
    let mut held_until: Timestamp = after(cx.now(), cx.ttl());
    loop {
        cx.deps.clock.sleep_until(after(cx.now(), cx.ttl() / 3)).await;
        (cx.deps.heartbeat)();
        let now = cx.now();
        match cx.deps.store.leader_acquire(ROLE, &cx.deps.host, cx.ttl(), now).await {
            Ok(Leader::Me) => held_until = after(now, cx.ttl()),
            Ok(Leader::Other { host, .. }) => {
                tracing::warn!(host, "another host runs schedules and backfills now");
                return;
            }
            Err(error) => {
                cx.note_store_error(&error);
                if cx.now() >= held_until {
                    return;
                }
            }
        }
    }
}

impl Inner {
    fn ttl(&self) -> std::time::Duration {
        self.config.lease_ttl.get()
    }

    /// Counts and logs that the store did not answer; the caller tries again later.
    pub(crate) fn note_store_error(&self, error: &store::Error) {
        metrics::counter!(metric::STORE_ERRORS).increment(1);
        tracing::warn!(error = crate::launching::chain(error), "store does not answer the scheduler");
    }
}
