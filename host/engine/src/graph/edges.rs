//! Draws the edges of a graph and refuses circles.

use std::collections::HashMap;
use std::sync::Arc;

use proto::flyteidl::core;

use super::GraphNode;
use crate::error::Error;
use crate::inputs::promised_nodes;
use crate::step::NodeIdx;

/// Fills in `upstream` and `downstream` of every node.
pub(super) fn connect(
    nodes: &mut [GraphNode],
    template: &core::WorkflowTemplate,
    connections: Option<&core::ConnectionSet>,
    ids: &HashMap<Arc<str>, NodeIdx>,
    (start, end): (NodeIdx, NodeIdx),
) -> Result<(), Error> {
    let find = |node: &str, upstream: &str| {
        ids.get(upstream)
            .copied()
            .ok_or_else(|| Error::UnknownUpstream { node: node.to_owned(), upstream: upstream.to_owned() })
    };
    for (node, spec) in nodes.iter_mut().zip(&template.nodes) {
        let named = spec.upstream_node_ids.iter().map(String::as_str);
        for upstream in named.chain(promised_nodes(&node.bindings)) {
            node.upstream.push(find(&node.id, upstream)?);
        }
    }
    if let Some(set) = connections {
        let downstream =
            set.downstream.iter().flat_map(|(up, list)| list.ids.iter().map(move |down| (up, down)));
        let upstream = set.upstream.iter().flat_map(|(down, list)| list.ids.iter().map(move |up| (up, down)));
        for (up, down) in downstream.chain(upstream) {
            let (from, to) = (find(down, up)?, find(up, down)?);
            if let Some(node) = nodes.get_mut(to as usize) {
                node.upstream.push(from);
            }
        }
    }
    for (idx, node) in (0..).zip(nodes.iter_mut()) {
        if node.upstream.is_empty() && idx != start && idx != end {
            node.upstream.push(start);
        }
        node.upstream.sort_unstable();
        node.upstream.dedup();
    }
    turn_around(nodes);
    let leaves: Vec<NodeIdx> = (0..)
        .zip(nodes.iter())
        .filter(|(idx, n)| n.downstream.is_empty() && *idx != end)
        .map(|(i, _)| i)
        .collect();
    if let Some(node) = nodes.get_mut(end as usize) {
        node.upstream.extend(&leaves);
        node.upstream.sort_unstable();
    }
    for leaf in leaves {
        if let Some(node) = nodes.get_mut(leaf as usize) {
            node.downstream.push(end);
        }
    }
    Ok(())
}

/// Derives `downstream` from `upstream`.
fn turn_around(nodes: &mut [GraphNode]) {
    let mut downstream: Vec<Vec<NodeIdx>> = vec![Vec::new(); nodes.len()];
    for (idx, node) in (0..).zip(nodes.iter()) {
        for up in &node.upstream {
            if let Some(list) = downstream.get_mut(*up as usize) {
                list.push(idx);
            }
        }
    }
    for (node, list) in nodes.iter_mut().zip(downstream) {
        node.downstream = list;
    }
}

/// Takes away nodes that wait for nothing until none is left; what remains waits in a circle.
pub(super) fn refuse_cycles(nodes: &[GraphNode]) -> Result<(), Error> {
    let mut waiting: Vec<usize> = nodes.iter().map(|node| node.upstream.len()).collect();
    let mut free: Vec<&GraphNode> = nodes.iter().filter(|node| node.upstream.is_empty()).collect();
    let mut taken = 0;
    while let Some(node) = free.pop() {
        taken += 1;
        for down in &node.downstream {
            if let (Some(count), Some(next)) = (waiting.get_mut(*down as usize), nodes.get(*down as usize)) {
                *count -= 1;
                if *count == 0 {
                    free.push(next);
                }
            }
        }
    }
    if taken == nodes.len() {
        return Ok(());
    }
    let stuck = nodes.iter().zip(waiting).find(|(_, count)| *count > 0);
    Err(Error::Cycle { node: stuck.map(|(node, _)| node.id.to_string()).unwrap_or_default() })
}
