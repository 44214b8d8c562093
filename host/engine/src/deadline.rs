//! Keeps the deadlines of attempts and nodes, earliest first.
//!
//! An entry is not searched for when its node moves on: it grows stale, and is dropped when it surfaces, or when there
//! are twice as many entries as the last time that all were looked at.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use model::Timestamp;

use crate::execution::AllNodes;
use crate::phase::NodePhase;
use crate::state::NodeState;
use crate::step::NodeIdx;

/// What passes at a deadline; at the same instant the node's goes before the attempt's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Limit {
    /// The while a gate waits.
    Sleep,
    /// The life of the node over all attempts.
    Active,
    /// The run of this attempt.
    Execution {
        /// Which.
        attempt: u32,
    },
}

/// A deadline; ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline {
    /// When.
    pub(crate) at: Timestamp,
    /// What.
    pub(crate) limit: Limit,
    /// Whose.
    pub(crate) node: NodeIdx,
}

/// All deadlines of an execution.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<Deadline>>,
    /// How many entries there may be before the stale ones are looked for.
    allowed: usize,
}

/// Fewer entries are never searched.
const FEW: usize = 64;

impl Deadlines {
    pub(crate) fn push(&mut self, deadline: Deadline) {
        self.heap.push(Reverse(deadline));
    }

    /// The earliest. It is live as long as [`Self::drop_stale`] follows each change.
    pub(crate) fn earliest(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse(deadline)| deadline.at)
    }

    /// Takes the earliest live deadline that has passed.
    pub(crate) fn pop_due(&mut self, nodes: &AllNodes, now: Timestamp) -> Option<Deadline> {
        self.drop_stale(nodes);
        if self.earliest()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(deadline)| deadline)
    }

    /// Drops stale deadlines off the top, and all of them whenever their number has doubled.
    pub(crate) fn drop_stale(&mut self, nodes: &AllNodes) {
        let is_live = |it: &Deadline| nodes.get(it.node).is_some_and(|node| it.limit.applies_to(node));
        if self.heap.len() > self.allowed.max(FEW) {
            self.heap.retain(|Reverse(deadline)| {
                crate::cost::tick();
                is_live(deadline)
            });
            self.allowed = 2 * self.heap.len();
            self.heap.shrink_to(self.allowed);
        }
        while let Some(Reverse(top)) = self.heap.peek() {
            if is_live(top) {
                return;
            }
            crate::cost::tick();
            self.heap.pop();
        }
    }
}

impl Limit {
    /// Whether the node is still in a phase it limits.
    pub(crate) fn applies_to(self, node: &NodeState) -> bool {
        match self {
            Self::Sleep => node.phase == NodePhase::Running,
            Self::Active => {
                node.phase.is_active()
                    || matches!(node.phase, NodePhase::RetryableFailure | NodePhase::DynamicRunning)
            }
            Self::Execution { attempt } => {
                matches!(node.phase, NodePhase::Running | NodePhase::DynamicRunning)
                    && node.attempt == attempt
                    && node.attempt_started_at.is_some()
            }
        }
    }
}
