//! Walks downstream: who used something. Like the walk upstream, by distance first and as a tree at the end.

use std::collections::{HashMap, HashSet, VecDeque};

use futures::future::BoxFuture;
use proto::flyteidl::admin::NodeExecutionClosure;
use proto::flyteidl::admin::node_execution_closure::TargetMetadata;
use proto::flyteidl::core::{Binding, Node, node, workflow_node};

use super::place::{NodeRef, Place, Site, Walk, arms, is_start, path, promises, runs};
use super::{Use, UseKind};
use crate::error::{Result, decode};
use crate::evict::shown;

/// Uses from the cache that are followed for one artifact.
const MAX_HITS: u32 = 100;

/// What is used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// An output of a node, or all of them.
    Output(NodeRef, Option<String>),
    /// An input of a node, by what that node runs; what runs nothing makes outputs of it.
    Input(NodeRef, String),
}

/// A use, and what is used further.
#[derive(Clone)]
struct Link {
    head: Use,
    then: Then,
}

#[derive(Clone)]
enum Then {
    Next(Key),
    Links(Vec<Link>),
}

impl Walk<'_> {
    /// The nodes that used an output, or any output, to a depth.
    pub(crate) async fn uses(
        &mut self,
        node: &NodeRef,
        output: Option<&str>,
        depth: u32,
    ) -> Result<Vec<Use>> {
        let root = Key::Output(node.clone(), output.map(str::to_owned));
        let mut known: HashMap<Key, Vec<Link>> = HashMap::new();
        let mut queue = VecDeque::from([(root.clone(), depth)]);
        while let Some((key, depth)) = queue.pop_front() {
            if known.contains_key(&key) || depth == 0 || !self.has_room() {
                continue;
            }
            let links = match &key {
                Key::Output(node, output) => self.of_output(node, output.as_deref()).await?,
                Key::Input(node, input) => self.of_input_within(node, input).await?,
            };
            next_keys(&links, &mut |key| queue.push_back((key.clone(), depth - 1)));
            known.insert(key, links);
        }
        let mut tree = Tree { known: &known, seen: HashSet::new(), is_cut: false };
        let (uses, _) = tree.uses(&root);
        if tree.is_cut {
            self.cut();
        }
        Ok(uses)
    }

    /// Calls itself for each workflow around the node only.
    fn of_output<'s>(
        &'s mut self,
        id: &'s NodeRef,
        output: Option<&'s str>,
    ) -> BoxFuture<'s, Result<Vec<Link>>> {
        Box::pin(async move {
            let Some(place) = self.place(id).await? else { return Ok(Vec::new()) };
            let mut links = self.inputs_of(&place.site, &place.node.id, output).await?;
            self.outputs_around(&place, output, &mut links).await?;
            self.cache_hits(id, &mut links).await?;
            Ok(links)
        })
    }

    async fn of_input_within(&mut self, id: &NodeRef, input: &str) -> Result<Vec<Link>> {
        let Some(place) = self.place(id).await? else { return Ok(Vec::new()) };
        if let Some(site) = self.run_by(&place).await? {
            let links = self.inputs_of(&site, "", Some(input)).await?;
            if !links.is_empty() {
                return Ok(links);
            }
        }
        self.of_output(id, None).await
    }

    /// The nodes of a workflow that have a promise of one of its nodes, or, of the start node, of its inputs.
    async fn inputs_of(&mut self, site: &Site, of: &str, output: Option<&str>) -> Result<Vec<Link>> {
        let mut bound: Vec<(NodeRef, String, bool, String)> = Vec::new();
        for node in site.scope.template.nodes.iter().filter(|node| node.id != "end-node") {
            collect(node, &site.scope.unique_id(&node.id), &mut |node, unique| {
                for binding in node.inputs.iter().filter(|binding| leads_to(binding, of, output)) {
                    let id = NodeRef::new(&site.run.row.id, unique);
                    bound.push((id, binding.var.clone(), starts_execution(node), runs(node)));
                }
            });
        }
        let mut links = Vec::with_capacity(bound.len());
        for (id, input, starts, runs) in bound {
            // What has no row was not reached: a branch that was not taken, or an execution that failed before.
            let Some(place) = self.place(&id).await? else { continue };
            if !self.has_run(&id).await? {
                continue;
            }
            let head = Use {
                kind: if starts { UseKind::LaunchPlan } else { UseKind::Input },
                execution: path(&id.execution),
                node: id.node_id.clone(),
                runs,
                input: input.clone(),
                started: if starts { started(&place)? } else { String::new() },
                at: place.row.started_at.map(shown).unwrap_or_default(),
                then: Vec::new(),
                cut: false,
            };
            links.push(Link { head, then: Then::Next(Key::Input(id, input)) });
        }
        Ok(links)
    }

    /// Outputs of the workflow around a node: of the execution, or of the node that runs the workflow.
    async fn outputs_around(
        &mut self,
        place: &Place,
        output: Option<&str>,
        links: &mut Vec<Link>,
    ) -> Result<()> {
        let execution = place.site.run.row.id.clone();
        // What a branch runs becomes the branch's output; what an array runs, the array's.
        let parent = NodeRef::new(&execution, &place.row.parent_id);
        if !place.row.parent_id.is_empty()
            && let Some(around) = self.place(&parent).await?
            && matches!(around.node.target, Some(node::Target::BranchNode(_) | node::Target::ArrayNode(_)))
        {
            links.extend(self.of_output(&parent, output).await?);
            return Ok(());
        }
        let outputs = place.site.scope.template.outputs.clone();
        for binding in outputs.iter().filter(|binding| leads_to(binding, &place.node.id, output)) {
            match &place.site.scope.parent {
                Some((parent, _)) => {
                    let parent = NodeRef::new(&execution, parent);
                    links.extend(self.of_output(&parent, Some(&binding.var)).await?);
                }
                None => {
                    let head = Use {
                        kind: UseKind::Output,
                        execution: path(&execution),
                        node: "end-node".to_owned(),
                        runs: String::new(),
                        input: binding.var.clone(),
                        started: String::new(),
                        at: String::new(),
                        then: Vec::new(),
                        cut: false,
                    };
                    let then = Then::Links(self.of_execution(place, &binding.var).await?);
                    links.push(Link { head, then });
                }
            }
        }
        Ok(())
    }

    /// Who used an output of an execution: those who used the node that started it.
    async fn of_execution(&mut self, place: &Place, output: &str) -> Result<Vec<Link>> {
        let Some((key, node)) = &place.site.run.row.parent_node else { return Ok(Vec::new()) };
        let Some(parent) = self.catalog.store.execution_get_by_key(*key).await? else {
            return Ok(Vec::new());
        };
        self.of_output(&NodeRef::new(&parent.id, node), Some(output)).await
    }

    /// The nodes that took from the cache what this one had made.
    async fn cache_hits(&mut self, id: &NodeRef, links: &mut Vec<Link>) -> Result<()> {
        for artifact in self.catalog.made_by(&id.execution, &id.node_id).await? {
            for hit in self.catalog.store.catalog_uses_of(&artifact, MAX_HITS).await? {
                let node = NodeRef::new(&hit.execution, &hit.node_id);
                let head = Use {
                    kind: UseKind::CacheHit,
                    execution: path(&hit.execution),
                    node: hit.node_id,
                    runs: self.place(&node).await?.map(|place| runs(&place.node)).unwrap_or_default(),
                    input: String::new(),
                    started: String::new(),
                    at: shown(hit.used_at),
                    then: Vec::new(),
                    cut: false,
                };
                links.push(Link { head, then: Then::Next(Key::Output(node, None)) });
            }
        }
        Ok(())
    }
}

/// The execution that a launch plan node started, as `project/domain/execution`.
fn started(place: &Place) -> Result<String> {
    let closure: NodeExecutionClosure = decode(&place.row.extra, "closure", &place.row.node_id)?;
    let Some(TargetMetadata::WorkflowNodeMetadata(child)) = closure.target_metadata else {
        return Ok(String::new());
    };
    let child = child.execution_id;
    Ok(child.map(|id| format!("{}/{}/{}", id.project, id.domain, id.name)).unwrap_or_default())
}

fn next_keys(links: &[Link], found: &mut dyn FnMut(&Key)) {
    for link in links {
        match &link.then {
            Then::Next(key) => found(key),
            Then::Links(links) => next_keys(links, found),
        }
    }
}

/// Visits a node and those within its branches, with their unique ids. A branch has one attempt.
fn collect(node: &Node, unique: &str, visit: &mut dyn FnMut(&Node, &str)) {
    visit(node, unique);
    if let Some(node::Target::BranchNode(branch)) = &node.target {
        for arm in arms(branch) {
            collect(arm, &model::name::child_node_id(unique, 0, &arm.id), visit);
        }
    }
}

fn leads_to(binding: &Binding, node: &str, output: Option<&str>) -> bool {
    let mut found = false;
    if let Some(data) = &binding.binding {
        promises(data, &mut |of, var| {
            let is_it = of == node || (is_start(of) && is_start(node));
            found |= is_it && output.is_none_or(|output| output == var);
        });
    }
    found
}

fn starts_execution(node: &Node) -> bool {
    let Some(node::Target::WorkflowNode(workflow)) = &node.target else { return false };
    matches!(workflow.reference, Some(workflow_node::Reference::LaunchplanRef(_)))
}

/// Puts together what was read: each use once with what follows.
struct Tree<'k> {
    known: &'k HashMap<Key, Vec<Link>>,
    seen: HashSet<Key>,
    is_cut: bool,
}

impl Tree<'_> {
    /// The uses, and whether they are left out here.
    fn uses(&mut self, key: &Key) -> (Vec<Use>, bool) {
        let Some(links) = self.known.get(key) else {
            self.is_cut = true;
            return (Vec::new(), true);
        };
        if !self.seen.insert(key.clone()) {
            return (Vec::new(), !links.is_empty());
        }
        (self.linked(links), false)
    }

    fn linked(&mut self, links: &[Link]) -> Vec<Use> {
        let whole = |link: &Link| {
            let (then, cut) = match &link.then {
                Then::Next(key) => self.uses(key),
                Then::Links(links) => (self.linked(links), false),
            };
            Use { then, cut, ..link.head.clone() }
        };
        links.iter().map(whole).collect()
    }
}
