//! Says what the shell is asked to do (`Step`) and what it brings back (`Observation`).

use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::core;

use crate::graph::Graph;

/// Position of a node in the execution, all its scopes counted through; those of the workflow's own nodes are their
/// positions in [`Graph::nodes`].
pub type NodeIdx = u32;

/// Something the shell does for the core. Every step may be repeated after a crash. Steps about one attempt are
/// performed in the order in which they were handed out.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Free. Read the outputs the node's bindings name, write its `inputs.pb`; answer
    /// [`Observation::InputsResolved`]. The end node's inputs are the workflow's outputs and are written to its
    /// `outputs.pb`; the answer names that. Handed out for an element of an array only when it needs inputs of its
    /// own or a look-up in the catalog; its inputs are then made of the array's.
    ResolveInputs {
        /// The node.
        node: NodeIdx,
    },
    /// Guarded. Drive the node's current attempt for the first time (in this life of the host): call the
    /// plugin, start or find the child execution, look at the signal; answer [`Observation::TaskReported`], at once
    /// and later on each change.
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
    /// Guarded. Finalize an attempt that has ended; answer [`Observation::Cleaned`]. For task nodes only.
    Finalize {
        /// The node.
        node: NodeIdx,
        /// The attempt.
        attempt: u32,
    },
    /// Free. Of an array: write the collected outputs of its elements. Of a dynamic node: check the outputs of its
    /// end node against the task's interface. Answer [`Observation::OutputsWritten`].
    GatherOutputs {
        /// The node.
        node: NodeIdx,
    },
    /// Free. Load what the node's task made in the execution that is recovered; answer [`Observation::Expanded`].
    LoadExpansion {
        /// The node.
        node: NodeIdx,
        /// Where its specification is (`futures.pb`).
        spec_uri: String,
    },
}

impl Step {
    /// The node it is about.
    pub fn node(&self) -> NodeIdx {
        match self {
            Self::ResolveInputs { node }
            | Self::StartAttempt { node, .. }
            | Self::Abort { node, .. }
            | Self::Finalize { node, .. }
            | Self::GatherOutputs { node }
            | Self::LoadExpansion { node, .. } => *node,
        }
    }

    /// Whether the step touches nothing but blobs under fixed keys and so need not wait for a commit.
    pub fn is_free(&self) -> bool {
        match self {
            Self::ResolveInputs { .. } | Self::GatherOutputs { .. } | Self::LoadExpansion { .. } => true,
            Self::StartAttempt { .. } | Self::Abort { .. } | Self::Finalize { .. } => false,
        }
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
        /// What was found, or why its inputs could not be made.
        result: Result<Resolved, core::ExecutionError>,
    },
    /// An answer about an attempt, already checked against the rules of the wall.
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
    /// Answer to [`Step::GatherOutputs`].
    OutputsWritten {
        /// The node.
        node: NodeIdx,
        /// Where the outputs are (empty: none declared), or why there are none.
        result: Result<String, core::ExecutionError>,
    },
    /// Answer to [`Step::LoadExpansion`].
    Expanded {
        /// The node.
        node: NodeIdx,
        /// What its task made, or why it cannot be had.
        result: Result<Expansion, core::ExecutionError>,
    },
    /// The persisted intent to abort the execution was seen.
    AbortRequested {
        /// Why.
        cause: String,
        /// Who asked.
        principal: String,
        /// Whether it ends at once and is cleaned up behind.
        force: bool,
    },
    /// A deadline named by [`crate::Execution::next_deadline`] has passed.
    DeadlinePassed,
}

/// A node's inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Where `inputs.pb` is (of the end node: `outputs.pb`; empty when there are none).
    pub uri: String,
    /// What was decided by them.
    pub detail: Detail,
}

/// What a node's inputs decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    Plain,
    /// The arm of a branch, counted from 0 (see [`crate::inputs::decide_branch`]).
    Arm(u32),
    /// How many elements an array has (see [`crate::inputs::array_size`]).
    Size(u32),
    /// The catalog has the outputs: the node succeeds without an attempt.
    CacheHit {
        /// Where `outputs.pb` is.
        output_uri: String,
    },
    /// Another execution makes these outputs: the node is queued without an attempt, and
    /// [`Observation::InputsResolved`] is said again when that ended.
    CacheWait,
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
    /// Ended well, and what it gave is a workflow to run.
    Expanded {
        /// The workflow.
        expansion: Expansion,
        /// Where the deck is; empty without one.
        deck_uri: String,
    },
}

/// A workflow that a task made.
#[derive(Clone, Debug)]
pub struct Expansion {
    /// The workflow, ready to be run.
    pub graph: Arc<Graph>,
    /// Where the specification is (`futures.pb`); its compiled form is `dynamic_compiled.pb` beside it.
    pub spec_uri: String,
}

impl PartialEq for Expansion {
    /// Whether both are one graph of one specification; graphs are not compared by content.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.graph, &other.graph) && self.spec_uri == other.spec_uri
    }
}

/// Which rows a call changed; the shell writes them with the next commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The execution itself changed.
    pub execution: bool,
    /// Nodes that changed, each once, in order of first change.
    pub nodes: Vec<NodeIdx>,
    /// Attempts that were opened, closed, or ended by the engine itself (abort, deadline), not by a report. Those of
    /// nodes that run no task have no task row.
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
