//! Checks tasks, workflows and launch plans at registration and compiles workflows.
//!
//! In comes what an SDK wrote: templates whose nodes name each other and whose inputs are bound to outputs. Out goes
//! the same with every name resolved and every type checked, plus the edges between the nodes in both directions, so
//! that the engine never asks again whether a workflow makes sense. `api` calls it once per registration, `launch`
//! for single tasks. Pure: what is registered elsewhere is asked for with [`requirements`] and handed in.
//!
//! A workflow goes through four stages: `normalize` rewrites the template, `graph` finds the edges and their
//! order, `node` finds the interface of each node in that order (one file per kind of node), and `binding` checks
//! what flows along the edges. All four take time in proportion to the size of the workflow and never recurse over
//! the depth of the graph; only messages nested in messages are recursed into, and decoding bounds that nesting.
//!
//! Invariant: nothing here panics on any input.

mod arrived;
mod binding;
mod dynamic;
mod error;
mod graph;
mod launch_plan;
mod library;
mod node;
mod normalize;
mod requirements;
mod single_task;
mod task;
pub mod typing;
mod workflow;

pub use arrived::{Arrived, encode_compiled};
pub use dynamic::{compile_dynamic, dynamic_node_count, dynamic_requirements};
pub use error::{Error, ErrorCode, Errors};
pub use launch_plan::{LaunchPlanInterface, expected_inputs};
pub use requirements::{Requirements, requirements};
pub use single_task::workflow_of_task;
pub use task::{check_task_limits, compile_task, validate_task};
pub use workflow::compile_workflow;

/// Id of the node whose outputs are the inputs of the workflow.
pub const START_NODE: &str = "start-node";
/// Id of the node whose inputs are the outputs of the workflow.
pub const END_NODE: &str = "end-node";
