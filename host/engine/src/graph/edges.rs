//! Draws the edges of a graph and refuses circles.

use std::collections::HashMap;
use std::sync::Arc;

use proto::flyteidl::core;

use super::{GraphIdx, GraphNode};
use crate::error::Error;
use crate::inputs::promised_nodes;

/// Nodes by id, and which of them have edges.
pub(super) struct Named<'a> {
    pub(super) ids: &'a HashMap<Arc<str>, GraphIdx>,
    /// Of each node the one that has its edges.
    pub(super) owners: &'a [GraphIdx],
    /// Nodes from here on have no edges.
    pub(super) top: GraphIdx,
}

impl Named<'_> {
    /// The node that has the edges of the one with this id, unless that is the failure node, or is inside it.
    fn find(&self, node: &str, upstream: &str) -> Result<GraphIdx, Error> {
        let idx = self.ids.get(upstream).and_then(|idx| self.owners.get(*idx as usize)).copied();
        idx.filter(|idx| *idx < self.top)
            .ok_or_else(|| Error::UnknownUpstream { node: node.to_owned(), upstream: upstream.to_owned() })
    }
}

/// Fills in `upstream` and `downstream` of every node of the template. `upstream_ids` are what each node names, in
/// the order of `nodes`. What a node inside another needs, the outer one waits for.
pub(super) fn connect(
    nodes: &mut [GraphNode],
    upstream_ids: &[&[String]],
    connections: Option<&core::ConnectionSet>,
    named: &Named<'_>,
    (start, end): (GraphIdx, GraphIdx),
) -> Result<(), Error> {
    let mut edges: Vec<(GraphIdx, GraphIdx)> = Vec::new();
    for (idx, ((node, ids), owner)) in (0..).zip(nodes.iter().zip(upstream_ids).zip(named.owners)) {
        for upstream in ids.iter().map(String::as_str).chain(promised_nodes(&node.bindings)) {
            let from = named.find(&node.id, upstream)?;
            // What is inside may name the node it is in; any other node that names itself waits in a circle.
            if *owner < named.top && (from != *owner || idx == *owner) {
                edges.push((from, *owner));
            }
        }
    }
    if let Some(set) = connections {
        let downstream =
            set.downstream.iter().flat_map(|(up, list)| list.ids.iter().map(move |down| (up, down)));
        let upstream = set.upstream.iter().flat_map(|(down, list)| list.ids.iter().map(move |up| (up, down)));
        for (up, down) in downstream.chain(upstream) {
            let unknown = || Error::UnknownUpstream { node: up.clone(), upstream: down.clone() };
            let idx = *named.ids.get(down.as_str()).ok_or_else(unknown)?;
            let to = named.owners.get(idx as usize).copied().ok_or_else(unknown)?;
            let from = named.find(down, up)?;
            if to < named.top && (from != to || idx == to) {
                edges.push((from, to));
            }
        }
    }
    for (from, to) in edges {
        if let Some(node) = nodes.get_mut(to as usize) {
            node.upstream.push(from);
        }
    }
    let nodes = nodes.get_mut(..named.top as usize).unwrap_or_default();
    for (idx, node) in (0..).zip(nodes.iter_mut()) {
        if node.upstream.is_empty() && idx != start && idx != end {
            node.upstream.push(start);
        }
        node.upstream.sort_unstable();
        node.upstream.dedup();
    }
    turn_around(nodes);
    join_leaves(nodes, end);
    Ok(())
}

/// Derives `downstream` from `upstream`.
fn turn_around(nodes: &mut [GraphNode]) {
    let mut downstream: Vec<Vec<GraphIdx>> = vec![Vec::new(); nodes.len()];
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

/// Lets the end node wait for every node nothing else waits for.
fn join_leaves(nodes: &mut [GraphNode], end: GraphIdx) {
    let leaves: Vec<GraphIdx> = (0..)
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
