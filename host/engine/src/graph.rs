//! Builds the graph of nodes from a compiled workflow: who waits for whom, and what each node is.

mod edges;

use std::collections::HashMap;
use std::sync::Arc;

use proto::flyteidl::core;
use proto::flyteidl::core::node::Target;

use crate::attempt::AttemptMetadata;
use crate::error::Error;
use crate::step::NodeIdx;

/// Id of the node that stands for the workflow's inputs.
pub const START_NODE_ID: &str = "start-node";
/// Id of the node that stands for the workflow's outputs.
pub const END_NODE_ID: &str = "end-node";

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Its outputs are the workflow's inputs.
    Start,
    /// Its inputs are the workflow's outputs.
    End,
    /// Runs a task.
    Task {
        /// Position in [`Graph::tasks`].
        task: usize,
    },
}

/// A node and its place in the graph.
#[derive(Clone, Debug)]
pub struct GraphNode {
    /// Its id in the workflow.
    pub id: Arc<str>,
    /// Name shown to people.
    pub name: String,
    /// What it does.
    pub kind: NodeKind,
    /// Nodes it waits for, each once, ascending.
    pub upstream: Vec<NodeIdx>,
    /// Nodes that wait for it, each once, ascending.
    pub downstream: Vec<NodeIdx>,
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
#[derive(Clone, Debug)]
pub struct Graph {
    /// All nodes, in the order of the template.
    pub nodes: Vec<GraphNode>,
    /// The start node.
    pub start: NodeIdx,
    /// The end node.
    pub end: NodeIdx,
    /// The tasks nodes run.
    pub tasks: Vec<core::CompiledTask>,
    /// Inputs and outputs of the workflow.
    pub interface: core::TypedInterface,
    /// Whether a failure lets the nodes that do not depend on it run on
    /// (`FAIL_AFTER_EXECUTABLE_NODES_COMPLETE`).
    pub continue_on_failure: bool,
    ids: HashMap<Arc<str>, NodeIdx>,
}

impl Graph {
    /// Builds the graph. Edges are taken from the connections where present, from bindings and from named
    /// upstream nodes; a node with no other upstream waits for the start node, and the end node for every node
    /// nothing else waits for.
    pub fn build(closure: &core::CompiledWorkflowClosure) -> Result<Self, Error> {
        let primary = closure.primary.as_ref().ok_or(Error::NoTemplate)?;
        let template = primary.template.as_ref().ok_or(Error::NoTemplate)?;
        if let Some(node) = &template.failure_node {
            return Err(Error::UnknownNodeKind { node: node.id.clone(), kind: "failure node" });
        }
        let ids = index(&template.nodes)?;
        let start = *ids.get(START_NODE_ID).ok_or(Error::NodeMissing { node: START_NODE_ID })?;
        let end = *ids.get(END_NODE_ID).ok_or(Error::NodeMissing { node: END_NODE_ID })?;
        let tasks = TaskIndex::new(&closure.tasks);
        let mut nodes =
            template.nodes.iter().map(|node| graph_node(node, &tasks)).collect::<Result<Vec<_>, _>>()?;
        if let Some(node) = nodes.get_mut(end as usize)
            && node.bindings.is_empty()
        {
            node.bindings.clone_from(&template.outputs);
        }
        edges::connect(&mut nodes, template, primary.connections.as_ref(), &ids, (start, end))?;
        edges::refuse_cycles(&nodes)?;
        let on_failure = template.metadata.as_ref().map(core::WorkflowMetadata::on_failure);
        Ok(Self {
            nodes,
            start,
            end,
            tasks: closure.tasks.clone(),
            interface: template.interface.clone().unwrap_or_default(),
            continue_on_failure: on_failure
                == Some(core::workflow_metadata::OnFailurePolicy::FailAfterExecutableNodesComplete),
            ids,
        })
    }

    /// Position of the node with this id.
    pub fn idx(&self, id: &str) -> Option<NodeIdx> {
        self.ids.get(id).copied()
    }

    /// The node at this position.
    pub fn node(&self, idx: NodeIdx) -> Option<&GraphNode> {
        self.nodes.get(idx as usize)
    }

    /// The task the node at this position runs, if it runs one.
    pub fn task(&self, idx: NodeIdx) -> Option<&core::TaskTemplate> {
        match self.node(idx)?.kind {
            NodeKind::Task { task } => self.tasks.get(task)?.template.as_ref(),
            NodeKind::Start | NodeKind::End => None,
        }
    }
}

fn index(nodes: &[core::Node]) -> Result<HashMap<Arc<str>, NodeIdx>, Error> {
    let mut ids = HashMap::with_capacity(nodes.len());
    for (position, node) in nodes.iter().enumerate() {
        let idx = NodeIdx::try_from(position).map_err(|_| Error::TooManyNodes { nodes: nodes.len() })?;
        if ids.insert(Arc::from(node.id.as_str()), idx).is_some() {
            return Err(Error::DuplicateNode { node: node.id.clone() });
        }
    }
    Ok(ids)
}

fn graph_node(node: &core::Node, tasks: &TaskIndex<'_>) -> Result<GraphNode, Error> {
    let kind = kind(node, tasks)?;
    let metadata = node.metadata.clone().unwrap_or_default();
    let task = match kind {
        NodeKind::Task { task } => tasks.all.get(task).and_then(|task| task.template.as_ref()),
        NodeKind::Start | NodeKind::End => None,
    };
    let overrides = match &node.target {
        Some(Target::TaskNode(task)) => task.overrides.clone(),
        Some(
            Target::WorkflowNode(_) | Target::BranchNode(_) | Target::GateNode(_) | Target::ArrayNode(_),
        )
        | None => None,
    };
    Ok(GraphNode {
        id: Arc::from(node.id.as_str()),
        name: if metadata.name.is_empty() { node.id.clone() } else { metadata.name.clone() },
        kind,
        upstream: Vec::new(),
        downstream: Vec::new(),
        bindings: node.inputs.clone(),
        output_aliases: node.output_aliases.clone(),
        metadata: AttemptMetadata::new(Some(&metadata), task.and_then(|task| task.metadata.as_ref())),
        template_metadata: metadata,
        overrides,
    })
}

fn kind(node: &core::Node, tasks: &TaskIndex<'_>) -> Result<NodeKind, Error> {
    use core::workflow_node::Reference;
    let unknown = |kind| Err(Error::UnknownNodeKind { node: node.id.clone(), kind });
    match node.id.as_str() {
        START_NODE_ID => return Ok(NodeKind::Start),
        END_NODE_ID => return Ok(NodeKind::End),
        _ => {}
    }
    match &node.target {
        Some(Target::TaskNode(target)) => tasks.find(&node.id, target),
        Some(Target::WorkflowNode(target)) => match &target.reference {
            Some(Reference::LaunchplanRef(_)) => unknown("launch plan node"),
            Some(Reference::SubWorkflowRef(_)) => unknown("sub-workflow node"),
            None => unknown("workflow node without a reference"),
        },
        Some(Target::BranchNode(_)) => unknown("branch node"),
        Some(Target::GateNode(_)) => unknown("gate node"),
        Some(Target::ArrayNode(_)) => unknown("array node"),
        None => unknown("node without a target"),
    }
}

/// Finds tasks by reference; the resource type is left out because references do not always carry it.
struct TaskIndex<'a> {
    all: &'a [core::CompiledTask],
    by_id: HashMap<[&'a str; 4], usize>,
}

impl<'a> TaskIndex<'a> {
    fn new(all: &'a [core::CompiledTask]) -> Self {
        let key = |(position, task): (usize, &'a core::CompiledTask)| {
            Some((task_key(task.template.as_ref()?.id.as_ref()?), position))
        };
        Self { all, by_id: all.iter().enumerate().filter_map(key).collect() }
    }

    fn find(&self, node: &str, target: &core::TaskNode) -> Result<NodeKind, Error> {
        use core::task_node::Reference::ReferenceId;
        let unknown = |task| Error::UnknownTask { node: node.to_owned(), task };
        let Some(ReferenceId(id)) = &target.reference else {
            return Err(unknown("without a reference".to_owned()));
        };
        let key = task_key(id);
        let task = self.by_id.get(&key).ok_or_else(|| unknown(key.join(":")))?;
        Ok(NodeKind::Task { task: *task })
    }
}

fn task_key(id: &core::Identifier) -> [&str; 4] {
    [&id.project, &id.domain, &id.name, &id.version]
}

#[cfg(test)]
mod tests;
