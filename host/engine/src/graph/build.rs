//! Builds the graph of one workflow.

use std::collections::HashMap;
use std::sync::Arc;

use proto::flyteidl::core;
use proto::flyteidl::core::node::Target;

use super::kind::{self, Nest, NodeKind};
use super::library::Library;
use super::{END_NODE_ID, Graph, GraphIdx, GraphNode, START_NODE_ID, edges};
use crate::attempt::AttemptMetadata;
use crate::error::Error;

/// A node to be built.
struct Entry<'a> {
    node: &'a core::Node,
    owner: GraphIdx,
    /// Whether other nodes can name it: the node inside an array cannot be named.
    named: bool,
}

/// The nodes found so far; each one's position is its place in the list.
struct Entries<'a> {
    all: Vec<Entry<'a>>,
    /// The one whose inner nodes are found now.
    current: usize,
}

impl<'a> Nest<'a> for Entries<'a> {
    fn take(&mut self, inner: &'a core::Node) -> GraphIdx {
        let Some(Entry { owner, named, node }) = self.all.get(self.current) else { return 0 };
        let named = *named && !matches!(node.target, Some(Target::ArrayNode(_)));
        self.all.push(Entry { node: inner, owner: *owner, named });
        (self.all.len() - 1) as GraphIdx
    }
}

/// The graph without its sub-workflows, which are left with the library.
pub(super) fn graph<'a>(
    workflow: &'a core::CompiledWorkflow,
    library: &mut Library<'a>,
) -> Result<Graph, Error> {
    let template = workflow.template.as_ref().ok_or(Error::NoTemplate)?;
    let n_nodes = template.nodes.len();
    let top = GraphIdx::try_from(n_nodes).map_err(|_| Error::TooManyNodes { nodes: n_nodes })?;
    let named = template.nodes.iter().chain(&template.failure_node);
    let entry = |(owner, node)| Entry { node, owner, named: true };
    let mut entries = Entries { all: (0..).zip(named).map(entry).collect(), current: 0 };
    let mut nodes: Vec<GraphNode> = Vec::with_capacity(entries.all.len());
    while let Some(Entry { node, .. }) = entries.all.get(entries.current) {
        let node = *node;
        nodes.push(graph_node(node, library, &mut entries)?);
        entries.current += 1;
    }
    let ids = index(&entries.all)?;
    let start = *ids.get(START_NODE_ID).ok_or(Error::NodeMissing { node: START_NODE_ID })?;
    let end = *ids.get(END_NODE_ID).ok_or(Error::NodeMissing { node: END_NODE_ID })?;
    if let Some(node) = nodes.get_mut(end as usize)
        && node.bindings.is_empty()
    {
        node.bindings.clone_from(&template.outputs);
    }
    let owners: Vec<GraphIdx> = entries.all.iter().map(|entry| entry.owner).collect();
    let named = edges::Named { ids: &ids, owners: &owners, top };
    let upstream =
        entries.all.iter().map(|entry| entry.node.upstream_node_ids.as_slice()).collect::<Vec<_>>();
    edges::connect(&mut nodes, &upstream, workflow.connections.as_ref(), &named, (start, end))?;
    edges::refuse_cycles(nodes.get(..n_nodes).unwrap_or_default())?;
    let on_failure = template.metadata.as_ref().map(core::WorkflowMetadata::on_failure);
    Ok(Graph {
        nodes,
        top,
        start,
        end,
        failure_node: template.failure_node.as_ref().map(|_| top),
        tasks: Arc::clone(&library.shared_tasks),
        subs: Vec::new(),
        interface: template.interface.clone().unwrap_or_default(),
        continue_on_failure: on_failure
            == Some(core::workflow_metadata::OnFailurePolicy::FailAfterExecutableNodesComplete),
        owners,
        ids,
    })
}

fn index(entries: &[Entry<'_>]) -> Result<HashMap<Arc<str>, GraphIdx>, Error> {
    let mut ids = HashMap::with_capacity(entries.len());
    for (position, Entry { node, named, .. }) in entries.iter().enumerate() {
        let idx = GraphIdx::try_from(position).map_err(|_| Error::TooManyNodes { nodes: entries.len() })?;
        if *named && ids.insert(Arc::from(node.id.as_str()), idx).is_some() {
            return Err(Error::DuplicateNode { node: node.id.clone() });
        }
    }
    Ok(ids)
}

fn graph_node<'a>(
    node: &'a core::Node,
    library: &mut Library<'a>,
    entries: &mut Entries<'a>,
) -> Result<GraphNode, Error> {
    let kind = kind::kind(node, library, entries)?;
    let metadata = node.metadata.clone().unwrap_or_default();
    let target = match &node.target {
        Some(Target::TaskNode(target)) if matches!(kind, NodeKind::Task { .. }) => Some(target),
        _ => None,
    };
    let task = target.map(|target| library.find_task(&node.id, target)).transpose()?;
    let of_task = task.and_then(|found| found.template).and_then(|task| task.metadata.as_ref());
    Ok(GraphNode {
        id: Arc::from(node.id.as_str()),
        name: if metadata.name.is_empty() { node.id.clone() } else { metadata.name.clone() },
        kind,
        upstream: Vec::new(),
        downstream: Vec::new(),
        bindings: node.inputs.clone(),
        output_aliases: node.output_aliases.clone(),
        metadata: AttemptMetadata::new(Some(&metadata), of_task),
        template_metadata: metadata,
        overrides: target.and_then(|target| target.overrides.clone()),
    })
}
