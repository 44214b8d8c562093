//! Finds the edges between the nodes of one workflow, and an order in which every node comes after those it needs.

use std::collections::{BTreeMap, HashMap};

use proto::flyteidl::core::binding_data::Value;
use proto::flyteidl::core::connection_set::IdList;
use proto::flyteidl::core::{BindingData, ConnectionSet, Node, WorkflowTemplate};

use crate::error::{Error, ErrorCode};
use crate::node::{inner_nodes, is_branch};

/// Position of the start node; [`crate::normalize`] puts it first.
const START: usize = 0;
/// Position of the end node.
const END: usize = 1;

/// A node that has edges: one of the workflow, the failure node, or one inside a branch.
pub(crate) struct Entry<'a> {
    pub(crate) node: &'a Node,
    /// Position of the node of the workflow that holds it; its own unless it is inside a branch.
    owner: usize,
    /// Positions of the nodes directly inside it.
    pub(crate) children: Vec<usize>,
    /// Positions of the nodes it needs, sorted.
    upstream: Vec<usize>,
}

/// The nodes of one workflow with their edges; a node comes before those inside it.
pub(crate) struct Graph<'a> {
    pub(crate) entries: Vec<Entry<'a>>,
    index: HashMap<&'a str, usize>,
    /// How many entries are not inside another; they come first.
    n_owners: usize,
    failure: Option<usize>,
}

impl<'a> Graph<'a> {
    /// The graph of a normalized template. What is wrong with ids and references goes to `errors`.
    pub(crate) fn new(template: &'a WorkflowTemplate, errors: &mut Vec<Error>) -> Self {
        let n_nodes = template.nodes.len();
        let mut graph = Self {
            entries: Vec::with_capacity(n_nodes),
            index: HashMap::with_capacity(n_nodes),
            n_owners: n_nodes + usize::from(template.failure_node.is_some()),
            failure: template.failure_node.as_ref().map(|_| n_nodes),
        };
        for (owner, node) in template.nodes.iter().chain(&template.failure_node).enumerate() {
            graph.entries.push(Entry { node, owner, children: Vec::new(), upstream: Vec::new() });
        }
        let mut next = 0;
        while let Some(&Entry { node, owner, .. }) = graph.entries.get(next) {
            graph.add_id(next, errors);
            if is_branch(node) {
                for inner in inner_nodes(node) {
                    let position = graph.entries.len();
                    graph.entries[next].children.push(position);
                    let entry = Entry { node: inner, owner, children: Vec::new(), upstream: Vec::new() };
                    graph.entries.push(entry);
                }
            }
            next += 1;
        }
        for position in 0..graph.entries.len() {
            let upstream = graph.resolve(graph.entries[position].node, errors);
            graph.entries[position].upstream = upstream;
        }
        graph
    }

    /// Position of the node with that id, unless nothing may refer to it.
    pub(crate) fn position(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied().filter(|position| Some(*position) != self.failure)
    }

    fn add_id(&mut self, position: usize, errors: &mut Vec<Error>) {
        let id = self.entries[position].node.id.as_str();
        if id.is_empty() {
            errors.push(Error::required(id, "Id"));
        } else if *self.index.entry(id).or_insert(position) != position {
            let text = format!("Trying to insert two nodes with the same id [{id}].");
            errors.push(Error::new(ErrorCode::DuplicateId, id, text));
        }
    }

    fn resolve(&self, node: &Node, errors: &mut Vec<Error>) -> Vec<usize> {
        let mut missing: Vec<&str> = Vec::new();
        let mut found = Vec::new();
        let bindings = node.inputs.iter().filter_map(|binding| binding.binding.as_ref());
        for id in promises(bindings).chain(node.upstream_node_ids.iter().map(String::as_str)) {
            match self.position(if id.is_empty() { crate::START_NODE } else { id }) {
                Some(position) => found.push(position),
                None => missing.push(id),
            }
        }
        missing.sort_unstable();
        missing.dedup();
        errors.extend(missing.into_iter().map(|id| {
            let text = format!("Referenced node [{id}] not found.");
            Error::new(ErrorCode::NodeReferenceNotFound, &node.id, text)
        }));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// All positions, each after those it needs and a branch after what it holds. Circles and nodes that wait for the
    /// end go to `errors`; such nodes come last.
    pub(crate) fn order(&self, errors: &mut Vec<Error>) -> Vec<usize> {
        let n_owners = self.n_owners;
        let mut members = vec![Vec::new(); n_owners];
        let mut needs: Vec<Vec<usize>> = vec![Vec::new(); n_owners];
        let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); n_owners];
        for (position, entry) in self.entries.iter().enumerate() {
            members[entry.owner].push(position);
            for &upstream in &entry.upstream {
                if upstream == END {
                    let text = format!("The Workflow contain unreachable nodes [{}].", entry.node.id);
                    errors.push(Error::new(ErrorCode::UnreachableNodes, &entry.node.id, text));
                    continue;
                }
                let upstream = self.entries[upstream].owner;
                needs[entry.owner].push(upstream);
                needed_by[upstream].push(entry.owner);
            }
        }
        let mut waits: Vec<usize> = needs.iter().map(Vec::len).collect();
        let mut ready: Vec<usize> = (0..n_owners).filter(|owner| waits[*owner] == 0).collect();
        let mut next = 0;
        while let Some(&owner) = ready.get(next) {
            for &downstream in &needed_by[owner] {
                waits[downstream] -= 1;
                if waits[downstream] == 0 {
                    ready.push(downstream);
                }
            }
            next += 1;
        }
        if let Some(first) = (0..n_owners).find(|owner| waits[*owner] > 0) {
            errors.push(self.cycle(first, &needs, &waits));
            ready.extend((0..n_owners).filter(|owner| waits[*owner] > 0));
        }
        ready.iter().flat_map(|owner| members[*owner].iter().rev().copied()).collect()
    }

    /// Names a circle that `from` needs; every node that still waits needs another one that waits.
    fn cycle(&self, from: usize, needs: &[Vec<usize>], waits: &[usize]) -> Error {
        let mut path = Vec::new();
        let mut place = vec![None; needs.len()];
        let mut at = Some(from);
        while let Some(owner) = at
            && place[owner].is_none()
        {
            place[owner] = Some(path.len());
            path.push(owner);
            at = needs[owner].iter().copied().find(|upstream| waits[*upstream] > 0);
        }
        let begin = at.and_then(|owner| place[owner]).unwrap_or(0);
        let mut circle: Vec<&str> =
            path[begin..].iter().rev().map(|owner| self.entries[*owner].node.id.as_str()).collect();
        circle.extend(circle.first().copied());
        let text = format!("The workflow contains a cycle: {}.", shorten(&circle));
        Error::new(ErrorCode::CycleDetected, circle.first().copied().unwrap_or_default(), text)
    }

    /// The edges in both directions. Nodes without upstream follow the start node, nodes of the workflow without
    /// downstream precede the end node; nodes inside branches and the failure node have no downstream.
    pub(crate) fn connections(&self) -> ConnectionSet {
        let mut upstream: Vec<Vec<usize>> = self.entries.iter().map(|entry| entry.upstream.clone()).collect();
        let mut downstream: Vec<Vec<usize>> = vec![Vec::new(); self.entries.len()];
        let is_plain = |position: usize| position < self.n_owners && Some(position) != self.failure;
        for (position, upstream) in upstream.iter_mut().enumerate() {
            if upstream.is_empty() && position != START && position != END {
                upstream.push(START);
            }
            if is_plain(position) {
                upstream.iter().for_each(|from| downstream[*from].push(position));
            }
        }
        for position in (0..self.entries.len()).filter(|position| is_plain(*position) && *position > END) {
            if downstream[position].is_empty() {
                downstream[position].push(END);
                upstream[END].push(position);
            }
        }
        // A workflow without nodes.
        if upstream[END].is_empty() {
            upstream[END].push(START);
            downstream[START].push(END);
        }
        ConnectionSet { upstream: self.id_lists(upstream), downstream: self.id_lists(downstream) }
    }

    fn id_lists(&self, edges: Vec<Vec<usize>>) -> BTreeMap<String, IdList> {
        let id = |position: usize| self.entries[position].node.id.clone();
        let lists = edges.into_iter().enumerate().filter(|(_, to)| !to.is_empty()).map(|(position, to)| {
            let mut ids: Vec<String> = to.into_iter().map(id).collect();
            ids.sort_unstable();
            (id(position), IdList { ids })
        });
        lists.collect()
    }
}

/// The node ids that bindings name.
fn promises<'a>(bindings: impl Iterator<Item = &'a BindingData>) -> impl Iterator<Item = &'a str> {
    let mut rest: Vec<&BindingData> = bindings.collect();
    std::iter::from_fn(move || {
        while let Some(data) = rest.pop() {
            match &data.value {
                Some(Value::Promise(promise)) => return Some(promise.node_id.as_str()),
                Some(Value::Collection(collection)) => rest.extend(&collection.bindings),
                Some(Value::Map(map)) => rest.extend(map.bindings.values()),
                _ => {}
            }
        }
        None
    })
}

/// Joins ids, leaving out the middle of a long list.
fn shorten(ids: &[&str]) -> String {
    const ENDS: usize = 10;
    if ids.len() <= 2 * ENDS {
        return ids.join(" -> ");
    }
    format!("{} -> ... -> {}", ids[..ENDS].join(" -> "), ids[ids.len() - ENDS..].join(" -> "))
}
