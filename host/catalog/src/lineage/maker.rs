//! Walks upstream: what made something, and from what.
//!
//! Nodes are read in the order of their distance, so that how deep a lineage is does not count for the stack; what was
//! read is put together as a tree at the end.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use futures::future::BoxFuture;
use model::ExecutionId;
use proto::flyteidl::admin::NodeExecutionClosure;
use proto::flyteidl::admin::node_execution_closure::TargetMetadata;
use proto::flyteidl::core::catalog_metadata::SourceExecution;
use proto::flyteidl::core::{Binding, CatalogCacheStatus, node, node_execution};

use super::place::{NodeRef, Place, Promise, Run, Site, Walk, arms, path, promises, runs};
use super::{How, Input, Maker, Source, Taken};
use crate::error::{Result, decode};
use crate::evict::shown;
use crate::value;

/// A node, and which of its outputs where that makes a difference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    node: NodeRef,
    output: Option<String>,
}

/// What is known of a node.
struct Facts {
    /// Without what is around it.
    head: Maker,
    around: Option<Around>,
}

/// What is around a node.
#[derive(Default)]
struct Around {
    taken: Option<(How, Key)>,
    within: Vec<Origin>,
    inputs: Vec<(String, String, Vec<Origin>)>,
}

/// A source whose node is named only.
#[derive(Clone)]
enum Origin {
    Output(String, Key),
    Given { input: String, execution: String, from: Vec<Origin> },
    Constant,
    Unknown(String),
}

/// Visits the nodes that origins name.
fn visit<'o>(origins: &'o [Origin], found: &mut impl FnMut(&'o Key)) {
    for origin in origins {
        match origin {
            Origin::Output(_, key) => found(key),
            Origin::Given { from, .. } => visit_dyn(from, found),
            Origin::Constant | Origin::Unknown(_) => {}
        }
    }
}

fn visit_dyn<'o>(origins: &'o [Origin], found: &mut dyn FnMut(&'o Key)) {
    visit(origins, &mut |key| found(key));
}

impl Walk<'_> {
    /// The node that made an output, and from what, to a depth.
    pub(crate) async fn maker(&mut self, node: &NodeRef, output: Option<&str>, depth: u32) -> Result<Maker> {
        let root = Key { node: node.clone(), output: output.map(str::to_owned) };
        let mut known: HashMap<Key, Facts> = HashMap::new();
        let mut queue = VecDeque::from([(root.clone(), depth)]);
        while let Some((key, depth)) = queue.pop_front() {
            if known.contains_key(&key) || !self.has_room() {
                continue;
            }
            let facts = self.facts(&key, depth).await?;
            if let Some(around) = &facts.around {
                let mut next = |key: &Key| queue.push_back((key.clone(), depth - 1));
                around.taken.iter().for_each(|(_, key)| next(key));
                visit(&around.within, &mut next);
                around.inputs.iter().for_each(|(_, _, from)| visit(from, &mut next));
            }
            known.insert(key, facts);
        }
        let mut tree = Tree { known: &known, seen: HashSet::new(), is_cut: false };
        let maker = tree.maker(&root);
        if tree.is_cut {
            self.cut();
        }
        Ok(maker)
    }

    async fn facts(&mut self, key: &Key, depth: u32) -> Result<Facts> {
        let id = &key.node;
        let mut head = Maker { execution: path(&id.execution), node: id.node_id.clone(), ..Maker::default() };
        let Some(place) = self.place(id).await? else {
            return Ok(Facts { head, around: Some(Around::default()) });
        };
        head.attempt = u32::try_from(place.row.attempt).unwrap_or_default();
        head.runs = runs(&place.node);
        head.name = place.node.metadata.as_ref().map(|it| it.name.clone()).unwrap_or_default();
        head.at = place.row.duration.map(|_| shown(place.row.updated_at)).unwrap_or_default();
        if depth == 0 {
            return Ok(Facts { head, around: None });
        }
        let output = key.output.as_deref();
        let around = Around {
            taken: self.taken(&place, output).await?,
            within: match output {
                Some(output) => self.within(id, &place, output).await?,
                None => Vec::new(),
            },
            inputs: self.inputs(&place).await?,
        };
        Ok(Facts { head, around: Some(around) })
    }

    /// Names a node by an output of it; for a task that is the whole node.
    async fn key(&mut self, node: NodeRef, output: &str) -> Result<Key> {
        let place = self.place(&node).await?;
        let is_plain = place.is_some_and(|place| {
            let is_dynamic = place.row.flags & store::NodeFlags::IS_DYNAMIC != 0;
            matches!(place.node.target, Some(node::Target::TaskNode(_))) && !is_dynamic
        });
        Ok(Key { node, output: if is_plain { None } else { Some(output.to_owned()) } })
    }

    async fn inputs(&mut self, place: &Place) -> Result<Vec<(String, String, Vec<Origin>)>> {
        let values = self.catalog.literals(&place.row.input_uri).await;
        let mut inputs = Vec::with_capacity(place.bound.inputs.len());
        for binding in &place.bound.inputs {
            let value = values.literals.get(&binding.var).map(value::short).unwrap_or_default();
            inputs.push((binding.var.clone(), value, self.origins(&place.site, binding).await?));
        }
        Ok(inputs)
    }

    /// What a binding is made of. Calls itself for each workflow around the node only.
    fn origins<'s>(&'s mut self, site: &'s Site, binding: &'s Binding) -> BoxFuture<'s, Result<Vec<Origin>>> {
        Box::pin(async move {
            let mut wanted: Vec<(&str, &str)> = Vec::new();
            if let Some(data) = &binding.binding {
                promises(data, &mut |node, var| wanted.push((node, var)));
            }
            wanted.sort_unstable();
            wanted.dedup();
            let mut origins = Vec::with_capacity(wanted.len().max(1));
            for (node, var) in &wanted {
                match site.promised(node, var) {
                    Promise::Output(node, output) => {
                        let key = self.key(node, &output).await?;
                        origins.push(Origin::Output(output, key));
                    }
                    Promise::ParentInput(parent, input) => {
                        origins.extend(self.of_input(&parent, &input).await?);
                    }
                    Promise::Given(input) => origins.push(self.given(site, input).await?),
                }
            }
            if wanted.is_empty() {
                origins.push(Origin::Constant);
            }
            Ok(origins)
        })
    }

    /// What an input of a node is made of.
    async fn of_input(&mut self, node: &NodeRef, input: &str) -> Result<Vec<Origin>> {
        let unknown = |reason: String| Ok(vec![Origin::Unknown(reason)]);
        let Some(place) = self.place(node).await? else {
            return unknown(format!("the template of node {} is not known", node.node_id));
        };
        match place.bound.inputs.iter().find(|binding| binding.var == input) {
            Some(binding) => self.origins(&place.site, binding).await,
            None => unknown(format!("node {} has no binding for `{input}`", node.node_id)),
        }
    }

    /// An input of the execution: what the node that started it gave, or whoever else did.
    async fn given(&mut self, site: &Site, input: String) -> Result<Origin> {
        let execution = path(&site.run.row.id);
        let mut from = Vec::new();
        if let Some((key, node)) = &site.run.row.parent_node
            && let Some(parent) = self.catalog.store.execution_get_by_key(*key).await?
        {
            from = self.of_input(&NodeRef::new(&parent.id, node), &input).await?;
        }
        Ok(Origin::Given { input, execution, from })
    }

    /// Where a node took its outputs from, if it did not make them.
    async fn taken(&mut self, place: &Place, output: Option<&str>) -> Result<Option<(How, Key)>> {
        let output = output.map(str::to_owned);
        let closure: NodeExecutionClosure = decode(&place.row.extra, "closure", &place.row.node_id)?;
        if let Some(TargetMetadata::TaskNodeMetadata(task)) = closure.target_metadata
            && task.cache_status() == CatalogCacheStatus::CacheHit
            && let Some(key) = task.catalog_key
            && let Some(SourceExecution::SourceTaskExecution(source)) = key.source_execution
            && let Some(node) = source.node_execution_id
            && let Some(execution) = node.execution_id
        {
            let execution = ExecutionId::new(&execution.project, &execution.domain, &execution.name);
            let node = NodeRef::new(&execution, &node.node_id);
            return Ok(Some((How::Cache, Key { node, output })));
        }
        let is_recovered = place.row.phase == node_execution::Phase::Recovered as i32;
        let source = place.site.run.row.source.as_ref().filter(|_| is_recovered);
        Ok(source.map(|source| {
            let node = NodeRef::new(source, &place.row.node_id);
            (How::Recovery, Key { node, output })
        }))
    }

    /// The nodes within a node that made its output.
    async fn within(&mut self, id: &NodeRef, place: &Place, output: &str) -> Result<Vec<Origin>> {
        if let Some(node::Target::BranchNode(branch)) = &place.node.target {
            let attempt = u32::try_from(place.row.attempt).unwrap_or_default();
            let mut origins = Vec::new();
            for arm in arms(branch) {
                let arm = model::name::child_node_id(&id.node_id, attempt, &arm.id);
                let arm = NodeRef::new(&id.execution, &arm);
                if self.has_run(&arm).await? {
                    let key = self.key(arm, output).await?;
                    origins.push(Origin::Output(output.to_owned(), key));
                }
            }
            return Ok(origins);
        }
        let Some(site) = self.run_by(place).await? else { return Ok(Vec::new()) };
        let template = Arc::clone(&site.scope.template);
        match template.outputs.iter().find(|binding| binding.var == output) {
            Some(binding) => self.origins(&site, binding).await,
            None => Ok(Vec::new()),
        }
    }

    /// The workflow that a node runs: a sub-workflow, one that a task made, or that of the execution it started.
    pub(super) async fn run_by(&mut self, place: &Place) -> Result<Option<Site>> {
        if let Some(run) = self.child_of(place).await? {
            return Ok(Some(Site { scope: run.scope(), run }));
        }
        let attempt = u32::try_from(place.row.attempt).unwrap_or_default();
        let scope = self.inside(place, attempt).await?;
        Ok(scope.map(|scope| Site { run: Arc::clone(&place.site.run), scope }))
    }

    /// The execution that a launch plan node started.
    async fn child_of(&mut self, place: &Place) -> Result<Option<Arc<Run>>> {
        let closure: NodeExecutionClosure = decode(&place.row.extra, "closure", &place.row.node_id)?;
        let Some(TargetMetadata::WorkflowNodeMetadata(child)) = closure.target_metadata else {
            return Ok(None);
        };
        let Some(child) = child.execution_id else { return Ok(None) };
        self.run(&ExecutionId::new(&child.project, &child.domain, &child.name)).await
    }

    pub(super) async fn has_run(&mut self, node: &NodeRef) -> Result<bool> {
        let skipped = node_execution::Phase::Skipped as i32;
        Ok(self.place(node).await?.is_some_and(|place| place.row.phase != skipped))
    }
}

/// Puts together what was read: each node once with what is around it.
struct Tree<'k> {
    known: &'k HashMap<Key, Facts>,
    seen: HashSet<Key>,
    is_cut: bool,
}

impl Tree<'_> {
    fn maker(&mut self, key: &Key) -> Maker {
        let Some(facts) = self.known.get(key) else {
            self.is_cut = true;
            let (execution, node) = (path(&key.node.execution), key.node.node_id.clone());
            return Maker { execution, node, cut: true, ..Maker::default() };
        };
        let mut maker = facts.head.clone();
        let Some(around) = &facts.around else {
            self.is_cut = true;
            return Maker { cut: true, ..maker };
        };
        if !self.seen.insert(key.clone()) {
            return Maker { cut: true, ..maker };
        }
        maker.taken_from =
            around.taken.as_ref().map(|(how, key)| Box::new(Taken { how: *how, maker: self.maker(key) }));
        maker.within = self.sources(&around.within);
        maker.inputs = around
            .inputs
            .iter()
            .map(|(name, value, from)| Input {
                name: name.clone(),
                value: value.clone(),
                from: self.sources(from),
            })
            .collect();
        maker
    }

    fn sources(&mut self, origins: &[Origin]) -> Vec<Source> {
        let source = |origin: &Origin| match origin {
            Origin::Output(output, key) => Source::Output { output: output.clone(), maker: self.maker(key) },
            Origin::Given { input, execution, from } => {
                Source::Given { input: input.clone(), execution: execution.clone(), from: self.sources(from) }
            }
            Origin::Constant => Source::Constant,
            Origin::Unknown(reason) => Source::Unknown { reason: reason.clone() },
        };
        origins.iter().map(source).collect()
    }
}
