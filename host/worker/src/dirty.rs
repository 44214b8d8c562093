//! Notes which rows of an execution differ from what is stored.

use std::collections::BTreeSet;

use engine::NodeIdx;
use model::Timestamp;

use crate::mailbox::AttemptKey;

/// Rows to write with the next commit.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    pub(crate) execution: bool,
    pub(crate) nodes: BTreeSet<NodeIdx>,
    pub(crate) attempts: BTreeSet<AttemptKey>,
    urgent: bool,
    since: Option<Timestamp>,
}

/// Whether anyone waits for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Something is done once it is durable.
    Urgent,
    /// A crash that loses it only repeats an idempotent act.
    Lazy,
}

impl Dirty {
    pub(crate) fn attempt(&mut self, key: AttemptKey, haste: Haste, now: Timestamp) {
        self.attempts.insert(key);
        self.note(haste, now);
    }

    pub(crate) fn note(&mut self, haste: Haste, now: Timestamp) {
        self.urgent |= haste == Haste::Urgent;
        self.since.get_or_insert(now);
    }

    /// Whether a commit is due now.
    pub(crate) fn urgent(&self) -> bool {
        self.urgent
    }

    /// Whether there is anything to write.
    pub(crate) fn any(&self) -> bool {
        self.since.is_some()
    }

    /// Since when there is something to write.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.since
    }
}
