//! Holds what happened to an execution until its driver looks.
//!
//! Invariant: what a mailbox holds is bounded by what the execution has open, for news of the same attempt or object
//! overwrite each other. So no one ever waits to deliver.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::NodeIdx;
use proto::pinion::plugin::v1::PhaseInfo;
use store::row::ExecutionKey;
use tokio::sync::Notify;

use crate::declared::Declared;
use crate::observe::Sighting;

const MAX_REPORTS: usize = 64;

/// One attempt within an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AttemptKey {
    pub(crate) node: NodeIdx,
    pub(crate) attempt: u32,
}

/// What happened to one attempt.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Newest state of objects that changed, by key.
    pub(crate) observed: BTreeMap<String, Sighting>,
    /// A place was given back in a pool it waits for.
    pub(crate) token_released: bool,
    /// The plugin asked to be called.
    pub(crate) woken: bool,
    /// Reports beside those in answers; the newest few.
    pub(crate) reports: Vec<PhaseInfo>,
}

impl News {
    /// Notes a report, at the expense of the oldest.
    pub(crate) fn report(&mut self, info: PhaseInfo) {
        if self.reports.len() >= MAX_REPORTS {
            self.reports.remove(0);
        }
        self.reports.push(info);
    }
}

/// An abort that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Abort {
    pub(crate) cause: String,
    pub(crate) principal: String,
    /// It is to show as aborted at once, whatever is still to be cleaned up.
    pub(crate) forced: bool,
}

/// What happened since the driver looked last.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) attempts: BTreeMap<AttemptKey, News>,
    /// The same for attempts by the names the outside knows: unique node id and attempt.
    pub(crate) named: BTreeMap<(String, u32), News>,
    /// The newest wish to abort.
    pub(crate) abort: Option<Abort>,
    /// An execution that a node started has ended.
    pub(crate) child_ended: bool,
    /// Executions started by nodes whose rows changed: those that may have ended.
    pub(crate) children: BTreeSet<ExecutionKey>,
    /// A signal got a value.
    pub(crate) signalled: bool,
    /// A reservation that a node waits for was released.
    pub(crate) nudged: bool,
    /// Notifications may have been lost: everything outside is to be looked at.
    pub(crate) sweep: bool,
    /// The set of plugins changed: what waits for one looks again.
    pub(crate) plugins_changed: bool,
    /// The cluster's changes were missed: objects are to be read again.
    pub(crate) lagged: bool,
    /// The host stops: no new work.
    pub(crate) drain: bool,
}

/// Where news of one execution are left.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    mail: Mutex<Mail>,
    notify: Notify,
    declared: Mutex<Declared>,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its tasks declare.
    pub(crate) fn declared(&self) -> MutexGuard<'_, Declared> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves news and wakes the driver.
    pub(crate) fn leave(&self, write: impl FnOnce(&mut Mail)) {
        write(&mut self.lock());
        self.notify.notify_one();
    }

    /// Leaves a hint that need not wake the driver by itself.
    pub(crate) fn leave_quietly(&self, write: impl FnOnce(&mut Mail)) {
        write(&mut self.lock());
    }

    /// Takes all there is.
    pub(crate) fn take(&self) -> Mail {
        std::mem::take(&mut *self.lock())
    }

    /// Whether the host stops.
    pub(crate) fn is_draining(&self) -> bool {
        self.lock().drain
    }

    /// Returns when something was left since the last return.
    pub(crate) async fn arrived(&self) {
        self.notify.notified().await;
    }
}
