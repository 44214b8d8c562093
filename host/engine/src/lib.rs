//! Decides how an execution goes on: the pure core, without I/O, clock, randomness or threads.
//!
//! In comes an [`Observation`] with the time it was made; [`Execution::apply`] changes the state and says with
//! [`Changes`] which rows the change shows in. Out goes, by [`Execution::plan`], each [`Step`] that is due. The
//! `worker` room is the shell: it commits the rows, performs the steps, brings back what it saw, and after a
//! crash restores the state from the rows and says [`Observation::Start`] again.
//!
//! An execution is a tree of scopes: the workflow's own nodes; below a sub-workflow node those of that workflow; below a
//! dynamic node those of the workflow its task made; below a branch the arm it chose; below an array its elements. A
//! scope opens when the node that holds it starts, and all nodes of all scopes are numbered through.
//!
//! # Design notes
//! - Invariant: a step marked guarded is handed out only after the change that causes it, and all that a later
//!   life needs to hand it out again is in the rows of that change. A crash repeats steps and loses none.
//! - Everything costs in proportion to what changes: counters of undecided upstream nodes instead of walks over
//!   the graph, a queue of ready nodes, a set of live nodes per scope, a heap of deadlines whose stale entries are
//!   dropped when they surface. Outcomes travel through a queue, so neither depth nor nesting is a limit.
//! - An outcome shows as soon as it is decided. The clean-up of a succeeded attempt runs behind it;
//!   [`Execution::is_done`] tells when nothing is left to do. A node that holds others fails in two steps: it is
//!   failing while they are cleaned up and its failure node runs, and only then decided for its surroundings.
//! - An answer that no longer fits (an earlier attempt, an ended node) changes nothing and is no error: delayed and
//!   repeated answers are ordinary.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod attempt;
mod cost;
mod deadline;
mod duration;
mod error;
pub mod execution;
pub mod graph;
pub mod inputs;
pub mod node;
pub mod phase;
pub mod recall;
pub mod state;
pub mod step;
#[cfg(test)]
mod testing;
pub mod transition;

pub use attempt::{ArrayParallelism, Settings};
pub use error::Error;
pub use execution::{Execution, Released, holders};
pub use graph::{GateKind, Graph, GraphIdx, GraphNode, NodeKind};
pub use phase::{NodePhase, Phase};
pub use recall::{Outcome, Recalled};
pub use state::{AttemptRow, ExecutionSnapshot, NodeSnapshot, NodeState, RowLife};
pub use step::*;
