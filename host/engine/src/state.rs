//! Holds what is known about each node, and the snapshots a lost state is restored from.

use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::core;

use crate::phase::{NodePhase, Phase};
use crate::step::Expansion;

/// All the engine keeps about a node; what a client reads comes from here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeState {
    /// Where it stands.
    pub phase: NodePhase,
    /// Current attempt, from 0.
    pub attempt: u32,
    /// How many attempts ended by the system's fault, the last one included.
    pub system_failures: u32,
    /// Whether the current attempt may run on interruptible machines.
    pub interruptible_now: bool,
    /// Whether the current attempt is open: made, and not yet cleaned up.
    pub open: bool,
    /// Whether the current attempt ended by itself, so that finalizing it is enough.
    pub(crate) ended: bool,
    /// Whether it holds nodes: it is decided for its surroundings only when its phase is terminal.
    pub(crate) expanded: bool,
    /// Why it failed or was aborted.
    pub error: Option<Box<core::ExecutionError>>,
    /// What its inputs decided, stored with it: of a branch the chosen arm + 1, of an array its size + 1; 0 = none.
    pub detail: i64,
    /// Where the specification is that its task made (`futures.pb`), once it did.
    pub spec_uri: Option<Box<str>>,
    /// Where its inputs are; empty when it has none. Elements of an array share one text.
    pub input_uri: Arc<str>,
    /// Where its outputs are; empty until it succeeded or when it has none.
    pub output_uri: Arc<str>,
    /// Where its deck is; empty without one.
    pub deck_uri: Box<str>,
    /// A word about the last change, for people; at most 1024 characters, not stored.
    pub message: Box<str>,
    /// When its inputs were ready and its first attempt was opened.
    pub queued_at: Option<Timestamp>,
    /// When its first attempt began to run.
    pub started_at: Option<Timestamp>,
    /// When the current attempt began to run; waiting does not count.
    pub attempt_started_at: Option<Timestamp>,
    /// When its outcome was decided.
    pub ended_at: Option<Timestamp>,
}

impl NodeState {
    /// Whether its outcome counts for its surroundings.
    pub fn is_decided(&self) -> bool {
        self.phase.is_terminal() || (self.phase.is_failure() && !self.expanded)
    }

    /// The `core.NodeExecution.Phase` number. As in Flyte, an outcome shows when it is decided, not when the
    /// clean-up behind it is done; an abort shows when it is done.
    pub fn wire_phase(&self) -> i32 {
        use core::node_execution::Phase as Wire;
        let wire = match self.phase {
            NodePhase::NotYetStarted => Wire::Undefined,
            NodePhase::Queued => Wire::Queued,
            NodePhase::Running | NodePhase::RetryableFailure | NodePhase::Succeeding => Wire::Running,
            NodePhase::DynamicRunning => Wire::DynamicRunning,
            NodePhase::Failing | NodePhase::TimingOut if self.expanded => Wire::Failing,
            NodePhase::Failing | NodePhase::Failed => Wire::Failed,
            NodePhase::Succeeded => Wire::Succeeded,
            NodePhase::Recovered => Wire::Recovered,
            NodePhase::Skipped => Wire::Skipped,
            NodePhase::TimingOut | NodePhase::TimedOut => Wire::TimedOut,
            NodePhase::Aborting if self.started_at.is_some() => Wire::Running,
            NodePhase::Aborting => Wire::Queued,
            NodePhase::Aborted => Wire::Aborted,
        };
        wire as i32
    }

    /// Notes a word for people, cut to what Flyte keeps.
    pub(crate) fn say(&mut self, message: &str) {
        const LIMIT: usize = 1024;
        let cut = message.char_indices().nth(LIMIT).map_or(message.len(), |(at, _)| at);
        self.message = message.get(..cut).unwrap_or_default().into();
    }
}

/// How the task row of a node's current attempt stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttemptRow {
    /// There is none.
    #[default]
    Absent,
    /// Open; the plugin has not said that it ended, or it asked to be aborted when it did.
    Live,
    /// Open; the plugin said that it ended and did not ask to be aborted, so finalizing is enough.
    Ended,
    /// Closed.
    Closed,
}

/// A node as it is stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeSnapshot {
    /// Its unique id in the execution.
    pub id: String,
    /// Unique id of the node that holds it; empty at the top.
    pub parent: String,
    /// See [`NodeState::phase`]; stored as [`NodePhase::number`].
    pub phase: NodePhase,
    /// See [`NodeState::attempt`].
    pub attempt: u32,
    /// The task row of that attempt.
    pub attempt_row: AttemptRow,
    /// See [`NodeState::system_failures`].
    pub system_failures: u32,
    /// See [`NodeState::detail`].
    pub detail: i64,
    /// See [`NodeState::spec_uri`].
    pub spec_uri: Option<String>,
    /// What its task made, loaded again where [`Self::spec_uri`] is stored, and the node runs or is one of the
    /// [`crate::holders`].
    pub expansion: Option<Expansion>,
    /// See [`NodeState::error`].
    pub error: Option<core::ExecutionError>,
    /// See [`NodeState::input_uri`].
    pub input_uri: String,
    /// See [`NodeState::output_uri`].
    pub output_uri: String,
    /// See [`NodeState::deck_uri`].
    pub deck_uri: String,
    /// See [`NodeState::queued_at`].
    pub queued_at: Option<Timestamp>,
    /// See [`NodeState::started_at`].
    pub started_at: Option<Timestamp>,
    /// See [`NodeState::attempt_started_at`].
    pub attempt_started_at: Option<Timestamp>,
    /// See [`NodeState::ended_at`].
    pub ended_at: Option<Timestamp>,
}

impl NodeSnapshot {
    /// Whether its row says that something is under way, and what it lies in.
    pub fn life(&self) -> RowLife<'_> {
        let open = matches!(self.attempt_row, AttemptRow::Live | AttemptRow::Ended);
        RowLife { id: &self.id, parent: &self.parent, is_live: open || self.phase.is_in_flight() }
    }
}

/// What tells whether nodes are to be taken up again.
#[derive(Clone, Copy, Debug)]
pub struct RowLife<'a> {
    /// See [`NodeSnapshot::id`].
    pub id: &'a str,
    /// See [`NodeSnapshot::parent`].
    pub parent: &'a str,
    /// Whether it is in flight, or its attempt is not closed.
    pub is_live: bool,
}

/// An execution as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutionSnapshot {
    /// Where it stands; stored as [`Phase::wire`].
    pub phase: Phase,
    /// The persisted intent to abort it, with its cause.
    pub abort_cause: Option<String>,
    /// Whether that abort is not to wait for any clean-up.
    pub abort_forced: bool,
    /// Why it fails or failed.
    pub error: Option<core::ExecutionError>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it began to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}
