//! Answers what the shell asks about an execution and its nodes.

use std::ops::Range;
use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::core;

use super::Execution;
use super::scope::Kind;
use crate::attempt::{Rules, Settings};
use crate::graph::{Graph, GraphIdx, GraphNode};
use crate::inputs::promised_nodes;
use crate::phase::Phase;
use crate::recall::Outcome;
use crate::state::NodeState;
use crate::step::NodeIdx;

impl Execution {
    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The `core.WorkflowExecution.Phase` number.
    pub fn wire_phase(&self) -> i32 {
        self.phase.wire()
    }

    /// Whether it has ended and every attempt is cleaned up.
    pub fn is_done(&self) -> bool {
        self.phase.is_terminal() && self.root().live.is_empty()
    }

    /// Why it fails or failed.
    pub fn error(&self) -> Option<&core::ExecutionError> {
        self.error.as_deref()
    }

    /// Where the outputs are; empty until it succeeded or when it has none.
    pub fn outputs_uri(&self) -> &str {
        match self.phase {
            Phase::Succeeded => &self.node(self.graph().end).output_uri,
            Phase::Queued
            | Phase::Running
            | Phase::Failing
            | Phase::Failed
            | Phase::Aborting
            | Phase::Aborted => "",
        }
    }

    /// When it was created.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// When it began to run.
    pub fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    /// When it ended.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at
    }

    /// The workflow it runs.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.root().graph
    }

    /// What applies to all its nodes.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The rules a node's attempts follow.
    pub fn rules(&self, node: NodeIdx) -> Rules<'_> {
        Rules { metadata: &self.graph_node(node).metadata, settings: &self.settings }
    }

    /// The state of a node.
    ///
    /// # Panics
    /// When the execution does not know `node` (see [`Self::knows`]).
    pub fn node(&self, node: NodeIdx) -> &NodeState {
        self.nodes.get(node).expect("invariant: a node position is one of this execution")
    }

    /// All nodes that are kept, those that have not started included, ascending.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeIdx, &NodeState)> {
        self.nodes.iter()
    }

    /// How many positions there are, those of nodes that are not kept any more included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: there are a start and an end node.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 0
    }

    /// How many nodes are kept in memory.
    pub fn n_kept(&self) -> usize {
        self.nodes.n_kept()
    }

    /// How many nodes there ever were. In a later life, those of which no row tells and that are not kept don't count.
    pub fn n_made(&self) -> u64 {
        self.n_made
    }

    /// The graph that the node is in.
    pub fn graph_of(&self, node: NodeIdx) -> &Arc<Graph> {
        &self.scope(self.scope_of(node)).graph
    }

    /// The node in its graph.
    pub fn graph_node(&self, node: NodeIdx) -> &GraphNode {
        let graph = self.graph_of(node);
        graph.node(self.graph_idx(node)).expect("invariant: a scope's nodes are of its graph")
    }

    /// The node's position in its graph. Elements of an array share one.
    pub fn graph_idx(&self, node: NodeIdx) -> GraphIdx {
        let scope = self.scope(self.scope_of(node));
        match scope.kind {
            Kind::All => {
                let idx = node - scope.first;
                scope.graph.failure_node.filter(|_| idx >= scope.graph.top).unwrap_or(idx)
            }
            Kind::One(inner) | Kind::Elements(inner, _) => inner,
        }
    }

    /// The node that holds it; none at the top.
    pub fn parent(&self, node: NodeIdx) -> Option<NodeIdx> {
        self.scope(self.scope_of(node)).owner
    }

    /// Its index, when it is an element of an array.
    pub fn element(&self, node: NodeIdx) -> Option<u32> {
        let scope = self.scope(self.scope_of(node));
        matches!(scope.kind, Kind::Elements(..)).then(|| node - scope.first)
    }

    /// Positions of an array's elements, once its size is known.
    pub fn elements(&self, array: NodeIdx) -> Option<Range<NodeIdx>> {
        let scope = self.scope(self.inner(array)?);
        matches!(scope.kind, Kind::Elements(..)).then(|| scope.range())
    }

    /// The end node of the workflow that a sub-workflow or dynamic node runs, once it does.
    pub fn end_of(&self, container: NodeIdx) -> Option<NodeIdx> {
        let scope = self.scope(self.inner(container)?);
        matches!(scope.kind, Kind::All).then(|| scope.first + scope.graph.end)
    }

    /// The nearest dynamic node whose task made the node's graph and tasks; none = the execution's own workflow.
    pub fn closure_node(&self, node: NodeIdx) -> Option<NodeIdx> {
        self.scope(self.scope_of(node)).closure
    }

    /// Whether it is the failure node of its workflow.
    pub fn is_failure_node(&self, node: NodeIdx) -> bool {
        self.scope(self.scope_of(node)).failure_slot() == Some(node)
    }

    /// The node that a binding of `node` means by this id. What is inside a branch or an array looks around in the
    /// workflow that holds it; a node inside a branch is named by the branch.
    pub fn lookup(&self, node: NodeIdx, id: &str) -> Option<NodeIdx> {
        let around = self.scope(self.scope(self.scope_of(node)).around);
        let idx = around.graph.owner(around.graph.idx(id)?)?;
        (idx < around.graph.top).then(|| around.first + idx)
    }

    /// The nodes whose outputs the node's bindings name, each once, ascending. An element needs its array's inputs
    /// only, and so none.
    pub fn needed_nodes(&self, node: NodeIdx) -> Vec<NodeIdx> {
        if self.element(node).is_some() {
            return Vec::new();
        }
        let ids = promised_nodes(&self.graph_node(node).bindings);
        let mut found: Vec<NodeIdx> = ids.filter_map(|id| self.lookup(node, id)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The task the node runs, if it runs one.
    pub fn task(&self, node: NodeIdx) -> Option<&core::TaskTemplate> {
        self.graph_of(node).task(self.graph_idx(node))
    }

    /// For a failure node: what its workflow failed with, and the unique id of the node that failed.
    pub fn failure_for(&self, node: NodeIdx) -> Option<(&core::ExecutionError, String)> {
        let scope = self.scope(self.scope_of(node));
        if scope.failure_slot() != Some(node) {
            return None;
        }
        let error = match scope.owner {
            Some(owner) => self.node(owner).error.as_deref(),
            None => self.error(),
        };
        let failed = scope.last_failure.map(|node| self.unique_id(node).to_string());
        Some((error?, failed.unwrap_or_default()))
    }

    /// How the node stood in the execution that is recovered. Nothing of a failure node and what it holds: it handles
    /// the failure of this execution.
    pub fn recalled(&self, node: NodeIdx) -> Option<&Outcome> {
        let recalled = self.recalled.as_ref()?;
        let scope = self.scope(self.scope_of(node));
        let may_recall = scope.recalls && scope.failure_slot() != Some(node);
        recalled.by_id.get(&*self.unique_id(node)).filter(|_| may_recall)
    }

    /// The node's unique id in the execution: below another node `<its unique id>-<its attempt>-<node id>`. One
    /// over 20 characters becomes `f` and a hash of 64 bits: Flyte's 32 collide at tens of thousands of nodes.
    /// Elements of an array are `n<index>` and never hashed.
    pub fn unique_id(&self, node: NodeIdx) -> Arc<str> {
        use model::name::{HashWidth, fixed_length_unique_id};
        const LIMIT: usize = 20;
        let scope = self.scope(self.scope_of(node));
        match scope.kind {
            Kind::All if scope.owner.is_none() => Arc::clone(&self.graph_node(node).id),
            Kind::All | Kind::One(_) => {
                let id = format!("{}{}", scope.prefix, self.graph_node(node).id);
                fixed_length_unique_id(&id, LIMIT, HashWidth::Fnv64).into()
            }
            Kind::Elements(..) => format!("{}n{}", scope.prefix, node - scope.first).into(),
        }
    }
}
