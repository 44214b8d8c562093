//! Builds the graph of nodes from a compiled workflow: who waits for whom, and what each node is.

mod build;
mod edges;
mod kind;
mod library;

use std::collections::HashMap;
use std::sync::Arc;

use proto::flyteidl::core;

use crate::attempt::AttemptMetadata;
use crate::error::Error;

pub use kind::{BranchCase, GateKind, NodeKind, Otherwise};

/// Id of the node that stands for the workflow's inputs.
pub const START_NODE_ID: &str = "start-node";
/// Id of the node that stands for the workflow's outputs.
pub const END_NODE_ID: &str = "end-node";
/// How deep sub-workflows may lie in each other.
pub const MAX_NESTING: usize = 1_000;

/// Position of a node in [`Graph::nodes`].
pub type GraphIdx = u32;

/// A node and its place in the graph.
#[derive(Clone, Debug)]
pub struct GraphNode {
    /// Its id in the workflow.
    pub id: Arc<str>,
    /// Name shown to people.
    pub name: String,
    /// What it does.
    pub kind: NodeKind,
    /// Nodes it waits for, each once, ascending. Those inside a branch wait for nothing: the branch does.
    pub upstream: Vec<GraphIdx>,
    /// Nodes that wait for it, each once, ascending.
    pub downstream: Vec<GraphIdx>,
    /// Where its inputs come from; for the end node the workflow's outputs.
    pub bindings: Vec<core::Binding>,
    /// Names under which its outputs are used, beside their own.
    pub output_aliases: Vec<core::Alias>,
    /// What node and task say about attempts.
    pub metadata: AttemptMetadata,
    /// The node's metadata as compiled: caching, config.
    pub template_metadata: core::NodeMetadata,
    /// What the node changes about its task.
    pub overrides: Option<core::TaskNodeOverrides>,
}

/// A workflow ready to be run. Shared by all executions of it and never changed.
#[derive(Debug)]
pub struct Graph {
    /// All nodes: those of the template in its order, then its failure node, then those inside other nodes.
    pub nodes: Vec<GraphNode>,
    /// How many nodes the template has; they come first.
    pub top: GraphIdx,
    /// The start node.
    pub start: GraphIdx,
    /// The end node.
    pub end: GraphIdx,
    /// The node to run when the others failed.
    pub failure_node: Option<GraphIdx>,
    /// The tasks nodes run; one list for all graphs of one closure.
    pub tasks: Arc<Vec<core::CompiledTask>>,
    /// The sub-workflows its own nodes run.
    pub subs: Vec<Arc<Graph>>,
    /// Inputs and outputs of the workflow.
    pub interface: core::TypedInterface,
    /// Whether a failure lets the nodes that do not depend on it run on
    /// (`FAIL_AFTER_EXECUTABLE_NODES_COMPLETE`).
    pub continue_on_failure: bool,
    /// Of each node the one of the template (or the failure node) that holds it; itself unless it is inside another.
    owners: Vec<GraphIdx>,
    ids: HashMap<Arc<str>, GraphIdx>,
}

impl Graph {
    /// Builds the graph. Edges are taken from the connections where present, from bindings and from named
    /// upstream nodes; a node with no other upstream waits for the start node, and the end node for every node
    /// nothing else waits for. A branch also waits for what the nodes in its arms need, so that any of them can
    /// start at once.
    ///
    /// # Errors
    /// Whatever makes the workflow impossible to run: missing nodes, tasks and sub-workflows, circles, nesting over
    /// [`MAX_NESTING`].
    pub fn build(closure: &core::CompiledWorkflowClosure) -> Result<Self, Error> {
        library::build(closure)
    }

    /// Position of the node with this id: one of the template, inside a branch, or the failure node.
    pub fn idx(&self, id: &str) -> Option<GraphIdx> {
        self.ids.get(id).copied()
    }

    /// The node at this position.
    pub fn node(&self, idx: GraphIdx) -> Option<&GraphNode> {
        self.nodes.get(idx as usize)
    }

    /// The node of the template (or the failure node) that holds the node at this position, or is it.
    pub fn owner(&self, idx: GraphIdx) -> Option<GraphIdx> {
        self.owners.get(idx as usize).copied()
    }

    /// The task the node at this position runs, if it runs one.
    pub fn task(&self, idx: GraphIdx) -> Option<&core::TaskTemplate> {
        match self.node(idx)?.kind {
            NodeKind::Task { task } => self.tasks.get(task)?.template.as_ref(),
            NodeKind::Start
            | NodeKind::End
            | NodeKind::SubWorkflow { .. }
            | NodeKind::LaunchPlan { .. }
            | NodeKind::Branch { .. }
            | NodeKind::Array { .. }
            | NodeKind::Gate(_) => None,
        }
    }

    /// Whether outputs of the node at this position may be found in the catalog: what the node says, else its task.
    pub fn is_cacheable(&self, idx: GraphIdx) -> bool {
        use core::node_metadata::CacheableValue::Cacheable;
        let Some(node) = self.node(idx) else { return false };
        let of_task = self.task(idx).and_then(|task| task.metadata.as_ref());
        match node.template_metadata.cacheable_value {
            Some(Cacheable(of_node)) => of_node && self.task(idx).is_some(),
            None => of_task.is_some_and(|metadata| metadata.discoverable),
        }
    }
}

impl Drop for Graph {
    /// Takes nested graphs apart in a loop: dropping one inside the other would exhaust the stack.
    fn drop(&mut self) {
        let mut left = std::mem::take(&mut self.subs);
        while let Some(sub) = left.pop() {
            if let Some(mut graph) = Arc::into_inner(sub) {
                left.append(&mut graph.subs);
            }
        }
    }
}

#[cfg(test)]
mod tests;
