//! Rewrites a template into the form in which it is stored: with start and end node and full node ids.

use proto::flyteidl::core::binding_data::Value;
use proto::flyteidl::core::{Binding, Node, WorkflowTemplate};

use crate::node::{inner_nodes_mut, is_branch};
use crate::{END_NODE, START_NODE};

/// Adds the start and end node, names the start node where promises leave it out, and puts the id of a branch before
/// the ids of the nodes inside it.
pub(crate) fn normalize(mut template: WorkflowTemplate) -> WorkflowTemplate {
    name_start(&mut template.outputs);
    let mut rest: Vec<&mut Node> = template.nodes.iter_mut().chain(&mut template.failure_node).collect();
    while let Some(node) = rest.pop() {
        name_start(&mut node.inputs);
        node.upstream_node_ids.sort_unstable();
        let prefix = is_branch(node).then(|| node.id.clone());
        for inner in inner_nodes_mut(node) {
            if let Some(prefix) = &prefix {
                inner.id = format!("{prefix}-{}", inner.id);
            }
            rest.push(inner);
        }
    }
    let start = Node { id: START_NODE.to_owned(), ..Node::default() };
    let end = Node { id: END_NODE.to_owned(), inputs: template.outputs.clone(), ..Node::default() };
    template.nodes.splice(0..0, [start, end]);
    template
}

fn name_start(bindings: &mut [Binding]) {
    let mut rest: Vec<_> = bindings.iter_mut().filter_map(|binding| binding.binding.as_mut()).collect();
    while let Some(data) = rest.pop() {
        match &mut data.value {
            Some(Value::Promise(promise)) if promise.node_id.is_empty() => {
                START_NODE.clone_into(&mut promise.node_id);
            }
            Some(Value::Collection(collection)) => rest.extend(&mut collection.bindings),
            Some(Value::Map(map)) => rest.extend(map.bindings.values_mut()),
            _ => {}
        }
    }
}
