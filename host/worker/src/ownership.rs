//! Claims executions and keeps one driver for each.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use model::Timestamp;
use store::Wake;
use store::row::{Batch, ExecutionKey, ExecutionRow, Lease};
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::after;
use crate::clusters::with_causes;
use crate::committer::Refusal;
use crate::driver::Ended;
use crate::events::Events;
use crate::mailbox::{Abort, Mail, Mailbox};
use crate::recover::{self, Obstacle};
use crate::registry::Registry;
use crate::shared::Shared;
use crate::{Error, backoff, metric, rows};

const CLAIMED_AT_ONCE: usize = 256;

/// What the store's notifications asked for since the owner looked last.
#[derive(Debug, Default)]
struct Asked {
    claim: bool,
    aborts: BTreeSet<ExecutionKey>,
    /// Notifications were lost, or a sweep is due: everything is to be looked at.
    sweep: bool,
    beat: bool,
}

/// Gathers notifications, so that a busy owner misses none.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    asked: Mutex<Asked>,
    notify: Notify,
}

impl Hints {
    fn note(&self, write: impl FnOnce(&mut Asked)) {
        write(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner));
        self.notify.notify_one();
    }

    fn take(&self) -> Asked {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks the owner for a sign of life.
    pub(crate) fn beat(&self) {
        self.note(|asked| asked.beat = true);
    }

    /// Listens until the store is closed.
    pub(crate) async fn gather(&self, mut wakes: broadcast::Receiver<Wake>, registry: &Registry) {
        let leave = |key, write: fn(&mut Mail)| {
            if let Some(mailbox) = registry.get(key) {
                mailbox.leave(write);
            }
        };
        loop {
            match wakes.recv().await {
                Ok(Wake::Created(_)) => self.note(|asked| asked.claim = true),
                Ok(Wake::AbortRequested(key)) => {
                    registry.child_changed(key);
                    self.note(|asked| {
                        asked.aborts.insert(key);
                    });
                }
                Ok(Wake::Changed(key)) => registry.child_changed(key),
                Ok(Wake::Signalled(key)) => leave(key, |mail| mail.signalled = true),
                Ok(Wake::ChildEnded(key)) => leave(key, |mail| mail.child_ended = true),
                Ok(Wake::Nudge(key)) => leave(key, |mail| mail.nudged = true),
                Ok(Wake::Scheduler | Wake::Events | Wake::Deliveries) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => self.note(|asked| asked.sweep = true),
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

/// Owns executions until the host stops.
pub(crate) struct Owner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lease: Lease,
    pub(crate) hints: Arc<Hints>,
    pub(crate) drain: CancellationToken,
    drivers: JoinSet<()>,
    /// More executions wait than there was room for.
    backlog: bool,
}

impl Owner {
    pub(crate) fn new(
        shared: Arc<Shared>,
        lease: Lease,
        hints: Arc<Hints>,
        drain: CancellationToken,
    ) -> Self {
        Self { shared, lease, hints, drain, drivers: JoinSet::new(), backlog: true }
    }

    /// Runs until the host stops and every driver has come to rest.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        let mut plugins = self.shared.plugins.changes();
        let mut plugins_live = true;
        let mut asked = Asked { claim: true, ..Asked::default() };
        let mut sweep_at = self.next_sweep();
        loop {
            (self.shared.heartbeat)("worker.owner");
            if self.shared.clock.now() >= sweep_at {
                sweep_at = self.next_sweep();
                asked.sweep = true;
            }
            self.answer(std::mem::take(&mut asked)).await?;
            let clock = Arc::clone(&self.shared.clock);
            tokio::select! {
                () = self.drain.cancelled() => break,
                () = self.hints.notify.notified() => asked = self.hints.take(),
                Some(_) = self.drivers.join_next() => {
                    while self.drivers.try_join_next().is_some() {}
                    asked.claim = self.backlog;
                }
                changed = plugins.changed(), if plugins_live => {
                    plugins_live = changed.is_ok();
                    self.shared.registry.each(|mailbox| mailbox.leave(|mail| mail.plugins_changed = true));
                }
                () = clock.sleep_until(sweep_at) => {}
            }
        }
        self.drain_all().await;
        Ok(())
    }

    fn next_sweep(&self) -> Timestamp {
        after(self.shared.clock.now(), self.shared.config.safety_sweep.get())
    }

    async fn answer(&mut self, mut asked: Asked) -> Result<(), Error> {
        if asked.sweep {
            asked.aborts.extend(self.shared.registry.keys());
            self.shared.registry.each(|mailbox| mailbox.leave(|mail| mail.sweep = true));
            if let Err(error) = self.shared.store.token_sweep().await {
                tracing::warn!(error = %with_causes(&error), "cannot sweep tokens");
            }
        }
        for key in asked.aborts {
            self.pass_abort(key).await;
        }
        if asked.claim || asked.sweep {
            self.claim().await?;
        }
        metrics::gauge!(metric::LIVE).set(self.shared.registry.n_live() as f64);
        Ok(())
    }

    /// Tells a driver of an abort; an execution that is not in memory is told when it is claimed.
    async fn pass_abort(&self, key: ExecutionKey) {
        let Some(mailbox) = self.shared.registry.get(key) else { return };
        match self.shared.store.execution_get_by_key(key).await {
            Ok(Some(ExecutionRow { aborted_by: Some(principal), abort_cause, abort_forced, .. })) => {
                let abort = Abort { cause: abort_cause, principal, forced: abort_forced };
                mailbox.leave(|mail| mail.abort = Some(abort));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(error = %with_causes(&error), "cannot read an execution that is to be aborted");
                self.hints.note(|asked| {
                    asked.aborts.insert(key);
                });
                let pause = backoff::pause(&self.shared.config.plugin_calls, 0);
                self.shared.clock.sleep_until(after(self.shared.clock.now(), pause)).await;
            }
        }
    }

    async fn claim(&mut self) -> Result<(), Error> {
        loop {
            let room = self.shared.config.max_live_executions.saturating_sub(self.drivers.len());
            let limit = room.min(CLAIMED_AT_ONCE);
            if limit == 0 {
                self.backlog = true;
                return Ok(());
            }
            let now = self.shared.clock.now();
            let wanted = u32::try_from(limit).unwrap_or(u32::MAX);
            match self.shared.store.executions_claim(&self.lease, wanted, now).await {
                Ok(claimed) => {
                    self.backlog = claimed.len() >= limit;
                    claimed.into_iter().for_each(|row| self.drive(row));
                    if !self.backlog {
                        return Ok(());
                    }
                }
                Err(store::Error::Fenced { host, .. }) => return Err(Error::Fenced { host }),
                Err(error) => {
                    tracing::warn!(error = %with_causes(&error), "cannot claim executions, trying again");
                    let pause = backoff::pause(&self.shared.config.plugin_calls, 1);
                    self.shared.clock.sleep_until(after(self.shared.clock.now(), pause)).await;
                    self.hints.note(|asked| asked.claim = true);
                    return Ok(());
                }
            }
        }
    }

    fn drive(&mut self, row: ExecutionRow) {
        let Some(mailbox) = self.shared.registry.insert(row.key, row.id.clone()) else { return };
        let shared = Arc::clone(&self.shared);
        self.drivers.spawn(async move {
            let key = row.key;
            Box::pin(drive(&shared, row, &mailbox)).await;
            shared.troubles.clear(key);
            shared.places.forget(&mailbox);
            shared.registry.remove(key);
        });
    }

    /// Lets rounds under way come to their end, for a while.
    async fn drain_all(&mut self) {
        self.shared.registry.each(|mailbox| mailbox.leave(|mail| mail.drain = true));
        let deadline = after(self.shared.clock.now(), self.shared.config.drain_grace.get());
        let clock = Arc::clone(&self.shared.clock);
        let all = async { while self.drivers.join_next().await.is_some() {} };
        tokio::select! {
            () = all => {}
            () = clock.sleep_until(deadline) => {
                tracing::warn!("calls are still under way, the next owner repeats them");
            }
        }
        self.drivers.shutdown().await;
    }
}

/// Why a driver is to be started again.
enum Setback {
    /// The store gave no answer.
    Store(String),
    /// Something is wrong with the execution or the host.
    Fault(String),
}

/// Drives an execution to its end, again from its rows should that fail, for as long as that takes: giving up would
/// leave what it has open outside without an owner.
async fn drive(shared: &Arc<Shared>, mut row: ExecutionRow, mailbox: &Arc<Mailbox>) {
    let mut n_tried = 0;
    loop {
        let setback = match AssertUnwindSafe(once(shared, &row, mailbox)).catch_unwind().await {
            Ok(Ok(Ended::Done | Ended::Drained | Ended::Refused(Refusal::Stopped))) => return,
            Ok(Ok(Ended::Refused(Refusal::Rejected(text)))) => Setback::Fault(text),
            Ok(Err(error)) => Setback::Store(error),
            Err(_) => {
                metrics::counter!(metric::DRIVER_PANICS).increment(1);
                Setback::Fault("its driver panicked".to_owned())
            }
        };
        n_tried += 1;
        match setback {
            Setback::Store(error) => {
                tracing::warn!(execution = %row.id, %error, n_tried, "cannot read an execution, trying again");
            }
            Setback::Fault(error) => {
                tracing::error!(execution = %row.id, %error, n_tried, "an execution cannot go on, trying again");
                shared.troubles.note(row.key, &row.id, &error);
            }
        }
        let pause = backoff::pause(&shared.config.plugin_calls, n_tried);
        if !waited(shared, mailbox, pause).await {
            return;
        }
        match shared.store.execution_get_by_key(row.key).await {
            Ok(Some(newest)) if newest.live => row = newest,
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(execution = %row.id, error = %with_causes(&error), "cannot read it again")
            }
        }
    }
}

/// Waits; says whether the host goes on until then.
async fn waited(shared: &Shared, mailbox: &Mailbox, pause: std::time::Duration) -> bool {
    let mut over = shared.clock.sleep_until(after(shared.clock.now(), pause));
    loop {
        tokio::select! {
            () = &mut over => return true,
            () = mailbox.arrived() => {
                if mailbox.is_draining() {
                    return false;
                }
            }
        }
    }
}

/// One life of a driver. An error is one of store or storage.
async fn once(shared: &Arc<Shared>, row: &ExecutionRow, mailbox: &Arc<Mailbox>) -> Result<Ended, String> {
    // Boxed: what it needs, the driver itself included, is not kept here while the driver runs.
    let loaded = Box::pin(async {
        let driver = recover::load(shared, row, Arc::clone(mailbox)).await?;
        Ok(Box::pin(driver.run()))
    });
    match loaded.await {
        Ok(running) => Ok(running.await),
        Err(Obstacle::Unavailable(error)) => Err(error),
        Err(Obstacle::Unreadable(text)) => {
            Ok(Ended::Refused(Refusal::Rejected(format!("its rows are not of this version: {text}"))))
        }
        Err(Obstacle::Hopeless(error)) => {
            let update = rows::stillborn(row, &error, shared.clock.now());
            let events = Events::of_stillborn(shared.store.events_wanted(), row, &update);
            let batch = Batch { executions: vec![update], events, ..Batch::default() };
            Ok(shared.committer.commit(batch).await.map_or_else(Ended::Refused, |()| Ended::Done))
        }
    }
}
