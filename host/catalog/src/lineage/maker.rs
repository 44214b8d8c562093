//! Walks upstream: what made something, and from what.

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

impl Walk<'_> {
    /// The node that made an output, and from what, to a depth.
    pub(crate) fn maker<'s>(
        &'s mut self,
        id: &'s NodeRef,
        output: Option<&'s str>,
        depth: u32,
    ) -> BoxFuture<'s, Result<Maker>> {
        Box::pin(async move {
            let mut maker = Maker {
                execution: path(&id.execution),
                node: id.node_id.clone(),
                ..Maker::default()
            };
            let Some(place) = self.place(id).await? else { return Ok(maker) };
            maker.attempt = u32::try_from(place.row.attempt).unwrap_or_default();
            maker.runs = runs(&place.node);
            maker.name = place.node.metadata.as_ref().map(|it| it.name.clone()).unwrap_or_default();
            maker.at = place.row.duration.map(|_| shown(place.row.updated_at)).unwrap_or_default();
            if !self.enter(id, depth) {
                maker.cut = true;
                return Ok(maker);
            }
            maker.taken_from = self.taken(&place, output, depth).await?.map(Box::new);
            if let Some(output) = output {
                maker.within = self.within(id, &place, output, depth).await?;
            }
            maker.inputs = self.inputs(&place, depth).await?;
            Ok(maker)
        })
    }

    async fn inputs(&mut self, place: &Place, depth: u32) -> Result<Vec<Input>> {
        let values = self.catalog.literals(&place.row.input_uri).await;
        let mut inputs = Vec::with_capacity(place.bound.inputs.len());
        for binding in &place.bound.inputs {
            inputs.push(Input {
                name: binding.var.clone(),
                value: values.literals.get(&binding.var).map(value::short).unwrap_or_default(),
                from: self.sources(&place.site, binding, depth).await?,
            });
        }
        Ok(inputs)
    }

    /// What a binding is made of.
    fn sources<'s>(
        &'s mut self,
        site: &'s Site,
        binding: &'s Binding,
        depth: u32,
    ) -> BoxFuture<'s, Result<Vec<Source>>> {
        Box::pin(async move {
            let mut wanted: Vec<(&str, &str)> = Vec::new();
            if let Some(data) = &binding.binding {
                promises(data, &mut |node, var| wanted.push((node, var)));
            }
            wanted.sort_unstable();
            wanted.dedup();
            let mut sources = Vec::with_capacity(wanted.len().max(1));
            for (node, var) in &wanted {
                match site.promised(node, var) {
                    Promise::Output(id, output) => {
                        let maker = self.maker(&id, Some(&output), depth - 1).await?;
                        sources.push(Source::Output { output, maker });
                    }
                    Promise::ParentInput(parent, input) => {
                        sources.extend(self.of_input(&parent, &input, depth).await?);
                    }
                    Promise::Given(input) => sources.push(self.given(site, input, depth).await?),
                }
            }
            if wanted.is_empty() {
                sources.push(Source::Constant);
            }
            Ok(sources)
        })
    }

    /// What an input of a node is made of.
    async fn of_input(&mut self, node: &NodeRef, input: &str, depth: u32) -> Result<Vec<Source>> {
        let unknown = |reason: String| Ok(vec![Source::Unknown { reason }]);
        let Some(place) = self.place(node).await? else {
            return unknown(format!("the template of node {} is not known", node.node_id));
        };
        match place.bound.inputs.iter().find(|binding| binding.var == input) {
            Some(binding) => self.sources(&place.site, binding, depth).await,
            None => unknown(format!("node {} has no binding for `{input}`", node.node_id)),
        }
    }

    /// An input of the execution: what the node that started it gave, or whoever else did.
    async fn given(&mut self, site: &Site, input: String, depth: u32) -> Result<Source> {
        let execution = path(&site.run.row.id);
        let from = match &site.run.row.parent_node {
            None => Vec::new(),
            Some((key, node)) => match self.catalog.store.execution_get_by_key(*key).await? {
                Some(parent) => {
                    let parent = NodeRef::new(&parent.id, node);
                    if depth > 1 { self.of_input(&parent, &input, depth - 1).await? } else { Vec::new() }
                }
                None => Vec::new(),
            },
        };
        Ok(Source::Given { input, execution, from })
    }

    /// Where a node took its outputs from, if it did not make them.
    async fn taken(&mut self, place: &Place, output: Option<&str>, depth: u32) -> Result<Option<Taken>> {
        let closure: NodeExecutionClosure = decode(&place.row.extra, "closure", &place.row.node_id)?;
        if let Some(TargetMetadata::TaskNodeMetadata(task)) = closure.target_metadata
            && task.cache_status() == CatalogCacheStatus::CacheHit
            && let Some(key) = task.catalog_key
            && let Some(SourceExecution::SourceTaskExecution(source)) = key.source_execution
            && let Some(node) = source.node_execution_id
            && let Some(execution) = node.execution_id
        {
            let execution = ExecutionId::new(&execution.project, &execution.domain, &execution.name);
            let origin = NodeRef::new(&execution, &node.node_id);
            let maker = self.maker(&origin, output, depth - 1).await?;
            return Ok(Some(Taken { how: How::Cache, maker }));
        }
        let is_recovered = place.row.phase == node_execution::Phase::Recovered as i32;
        if let Some(source) = place.site.run.row.source.clone().filter(|_| is_recovered) {
            let origin = NodeRef::new(&source, &place.row.node_id);
            let maker = self.maker(&origin, output, depth - 1).await?;
            return Ok(Some(Taken { how: How::Recovery, maker }));
        }
        Ok(None)
    }

    /// The nodes within a node that made its output.
    async fn within(
        &mut self,
        id: &NodeRef,
        place: &Place,
        output: &str,
        depth: u32,
    ) -> Result<Vec<Source>> {
        if let Some(node::Target::BranchNode(branch)) = &place.node.target {
            let attempt = u32::try_from(place.row.attempt).unwrap_or_default();
            let mut sources = Vec::new();
            for arm in arms(branch) {
                let arm = model::name::child_node_id(&id.node_id, attempt, &arm.id);
                let arm = NodeRef::new(&id.execution, &arm);
                if self.has_run(&arm).await? {
                    let maker = self.maker(&arm, Some(output), depth - 1).await?;
                    sources.push(Source::Output { output: output.to_owned(), maker });
                }
            }
            return Ok(sources);
        }
        let Some(site) = self.run_by(place).await? else { return Ok(Vec::new()) };
        let template = Arc::clone(&site.scope.template);
        match template.outputs.iter().find(|binding| binding.var == output) {
            Some(binding) => self.sources(&site, binding, depth).await,
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
        let Some(TargetMetadata::WorkflowNodeMetadata(child)) = closure.target_metadata else { return Ok(None) };
        let Some(child) = child.execution_id else { return Ok(None) };
        self.run(&ExecutionId::new(&child.project, &child.domain, &child.name)).await
    }

    pub(super) async fn has_run(&mut self, node: &NodeRef) -> Result<bool> {
        let skipped = node_execution::Phase::Skipped as i32;
        Ok(self.place(node).await?.is_some_and(|place| place.row.phase != skipped))
    }
}
