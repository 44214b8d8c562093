//! Says what the shell is asked to do (`Step`) and what it brings back (`Observation`).

use model::Timestamp;
use proto::flyteidl::core;

/// Position of a node in [`crate::Graph::nodes`].
pub type NodeIdx = u32;

/// Something the shell does for the core. Every step may be repeated after a crash. Steps about one attempt are
/// performed in the order in which they were handed out.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Free. Read the outputs the node's bindings name, write its `inputs.pb`; answer
    /// [`Observation::InputsResolved`]. The end node's inputs are the workflow's outputs and are written to its
    /// `outputs.pb`; the answer names that.
    ResolveInputs {
        /// The node.
        node: NodeIdx,
    },
    /// Guarded. Drive the node's current attempt for the first time (in this life of the host): call the
    /// plugin; answer [`Observation::TaskReported`], at once and later on each change.
    StartAttempt {
        /// The node.
        node: NodeIdx,
        /// The attempt, from 0.
        attempt: u32,
        /// Whether this attempt may have been started before (after a crash).
        recovered: bool,
    },
    /// Guarded. Abort, then finalize an attempt that has not ended by itself; answer [`Observation::Cleaned`].
    Abort {
        /// The node.
        node: NodeIdx,
        /// The attempt.
        attempt: u32,
        /// Why, for the plugin and its logs.
        reason: String,
    },
    /// Guarded. Finalize an attempt that has ended; answer [`Observation::Cleaned`].
    Finalize {
        /// The node.
        node: NodeIdx,
        /// The attempt.
        attempt: u32,
    },
}

impl Step {
    /// Whether the step touches nothing but blobs under fixed keys and so need not wait for a commit.
    pub fn is_free(&self) -> bool {
        matches!(self, Self::ResolveInputs { .. })
    }
}

/// Something the shell saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// The execution is owned and its state is loaded: begin, or go on.
    Start,
    /// Answer to [`Step::ResolveInputs`].
    InputsResolved {
        /// The node.
        node: NodeIdx,
        /// Where `inputs.pb` is (of the end node: `outputs.pb`; empty when there are none), or why it could not be
        /// made.
        result: Result<String, core::ExecutionError>,
    },
    /// A plugin's answer about an attempt, already checked against the rules of the wall.
    TaskReported {
        /// The node.
        node: NodeIdx,
        /// The attempt it is about; an answer about an earlier attempt is ignored.
        attempt: u32,
        /// What it says.
        report: Report,
    },
    /// Answer to [`Step::Abort`] and [`Step::Finalize`].
    Cleaned {
        /// The node.
        node: NodeIdx,
        /// The attempt.
        attempt: u32,
    },
    /// The persisted intent to abort the execution was seen.
    AbortRequested {
        /// Why.
        cause: String,
        /// Who asked.
        principal: String,
    },
    /// A deadline named by [`crate::Execution::next_deadline`] has passed.
    DeadlinePassed,
}

/// Where an attempt stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// Not yet running: waiting for a resource, queued or initializing.
    Waiting,
    /// Running.
    Running,
    /// Ended well; outputs were found, checked against the interface and are at this URI (empty: none declared).
    Succeeded {
        /// Where `outputs.pb` is.
        output_uri: String,
        /// Where the deck is; empty without one.
        deck_uri: String,
    },
    /// Ended badly.
    Failed {
        /// What happened; `kind` decides the budget.
        error: core::ExecutionError,
        /// Whether another attempt may help.
        recoverable: bool,
        /// Whether the plugin asks to be aborted before it is finalized.
        cleanup: bool,
    },
}

/// Which rows a call changed; the shell writes them with the next commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The execution itself changed.
    pub execution: bool,
    /// Nodes that changed, each once, in order of first change.
    pub nodes: Vec<NodeIdx>,
    /// Attempts whose task row was created or ended by the engine itself (start, abort, deadline), not by a report.
    pub attempts: Vec<AttemptChange>,
}

/// A change of an attempt that the engine decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptChange {
    /// The node.
    pub node: NodeIdx,
    /// The attempt.
    pub attempt: u32,
    /// What happened to it.
    pub kind: AttemptChangeKind,
    /// When.
    pub at: Timestamp,
}

/// See [`AttemptChange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptChangeKind {
    /// A new attempt begins: its task row is to be made, phase QUEUED.
    Opened,
    /// The engine ends it (abort, deadline, failure policy): phase ABORTED or FAILED with this reason.
    Ended {
        /// `core.TaskExecution.Phase` number.
        phase: i32,
        /// Why.
        reason: String,
    },
    /// Its clean-up is done: the task row closes.
    Closed,
}
