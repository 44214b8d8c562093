//! Finds the place of a node: its template, the workflow around it, and what its bindings mean there.

use std::collections::HashMap;
use std::sync::Arc;

use blob::DataReference;
use model::{ExecutionId, name};
use prost::Message;
use proto::flyteidl::admin::{NodeExecutionClosure, WorkflowClosure};
use proto::flyteidl::core::{
    BindingData, CompiledWorkflowClosure, LiteralMap, Node, WorkflowTemplate, binding_data, node,
    workflow_node,
};
use store::{CatalogArtifactRow, CatalogFilter, CatalogPage, ExecutionRow, NodeExecutionRow};

use super::target::{Named, Target};
use crate::catalog::Catalog;
use crate::error::{Error, Result, decode};
use crate::value;

/// Largest object that is read to show a value.
const MAX_VALUES: u64 = 4 << 20;
/// Largest compiled workflow that is read.
const MAX_COMPILED: u64 = 64 << 20;
const START: &str = "start-node";

/// A node of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeRef {
    pub(crate) execution: ExecutionId,
    pub(crate) node_id: String,
}

impl NodeRef {
    pub(crate) fn new(execution: &ExecutionId, node_id: &str) -> Self {
        Self { execution: execution.clone(), node_id: node_id.to_owned() }
    }
}

/// An execution with the workflow it runs.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) row: ExecutionRow,
    closure: Arc<CompiledWorkflowClosure>,
}

impl Run {
    /// The workflow of the execution itself.
    pub(crate) fn scope(&self) -> Scope {
        Scope { closure: Arc::clone(&self.closure), template: template_of(&self.closure), parent: None }
    }
}

/// A workflow whose nodes see each other.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    closure: Arc<CompiledWorkflowClosure>,
    pub(crate) template: Arc<WorkflowTemplate>,
    /// The node that runs it, and the attempt of that; `None` for the workflow of the execution.
    pub(crate) parent: Option<(String, u32)>,
}

impl Scope {
    /// The unique id of a node of this workflow.
    pub(crate) fn unique_id(&self, node: &str) -> String {
        match &self.parent {
            Some((parent, attempt)) => name::child_node_id(parent, *attempt, node),
            None => node.to_owned(),
        }
    }
}

/// A workflow of an execution, in which bindings have a meaning.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) run: Arc<Run>,
    pub(crate) scope: Scope,
}

impl Site {
    /// What a promise points at.
    pub(crate) fn promised(&self, node: &str, var: &str) -> Promise {
        let execution = &self.run.row.id;
        if is_start(node) {
            return match &self.scope.parent {
                Some((parent, _)) => Promise::ParentInput(NodeRef::new(execution, parent), var.to_owned()),
                None => Promise::Given(var.to_owned()),
            };
        }
        Promise::Output(NodeRef::new(execution, &self.scope.unique_id(node)), var.to_owned())
    }
}

/// Where a node stands.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) site: Site,
    pub(crate) row: NodeExecutionRow,
    pub(crate) node: Node,
    /// The node whose bindings give it its inputs: the array node for an element of it.
    pub(crate) bound: Node,
}

/// What a promise points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// An output of a node.
    Output(NodeRef, String),
    /// An input of the node that runs this workflow.
    ParentInput(NodeRef, String),
    /// An input of the execution.
    Given(String),
}

/// A walk through nodes, which reads each thing once and stops when it is too much.
pub(crate) struct Walk<'a> {
    pub(crate) catalog: &'a Catalog,
    runs: HashMap<ExecutionId, Option<Arc<Run>>>,
    places: HashMap<NodeRef, Option<Arc<Place>>>,
    room: usize,
    is_cut: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(catalog: &'a Catalog, room: usize) -> Self {
        let (runs, places) = Default::default();
        Self { catalog, runs, places, room, is_cut: false }
    }

    /// Begins another walk with what was read.
    pub(crate) fn restart(&mut self, room: usize) {
        self.room = room;
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether one more node may be read.
    pub(super) fn has_room(&mut self) -> bool {
        let has_room = self.room > 0;
        self.room = self.room.saturating_sub(1);
        self.is_cut |= !has_room;
        has_room
    }

    /// Notes that something is left out.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
    }

    /// The node that a target names.
    pub(crate) async fn find(&mut self, target: &Target) -> Result<NodeRef> {
        let found = match &target.node {
            Named::Node(execution, node_id) => NodeRef::new(execution, node_id),
            Named::Artifact(id) => {
                let row = self.catalog.artifact(id).await?;
                let row = row.ok_or_else(|| Error::not_found("artifact", id))?;
                if row.source.execution.name.is_empty() {
                    let reason = "was made by an engine that does not say by what";
                    return Err(Error::Invalid(format!("artifact {id} {reason}")));
                }
                NodeRef::new(&row.source.execution, &row.source.node_id)
            }
        };
        if self.run(&found.execution).await?.is_none() {
            return Err(Error::not_found("execution", &found.execution));
        }
        let id = format!("{}:{}", found.execution, found.node_id);
        match self.place(&found).await? {
            Some(_) => Ok(found),
            None => Err(Error::not_found("node", id)),
        }
    }

    pub(crate) async fn run(&mut self, id: &ExecutionId) -> Result<Option<Arc<Run>>> {
        if let Some(run) = self.runs.get(id) {
            return Ok(run.clone());
        }
        let row = self.catalog.store.execution_get(id).await?;
        let run = match row {
            Some(row) => Some(Arc::new(self.load(row).await?)),
            None => None,
        };
        self.runs.insert(id.clone(), run.clone());
        Ok(run)
    }

    async fn load(&self, row: ExecutionRow) -> Result<Run> {
        let entity = self.catalog.store.entity_get(&row.workflow).await?;
        let entity = entity.ok_or_else(|| Error::not_found("workflow", &row.workflow))?;
        let closure: WorkflowClosure = decode(&entity.closure, "closure", &row.workflow)?;
        Ok(Run { row, closure: Arc::new(closure.compiled_workflow.unwrap_or_default()) })
    }

    /// Where a node stands; `None` when it has no row or its template is not known.
    pub(crate) async fn place(&mut self, node: &NodeRef) -> Result<Option<Arc<Place>>> {
        if let Some(place) = self.places.get(node) {
            return Ok(place.clone());
        }
        let place = Box::pin(self.look(node)).await?.map(Arc::new);
        self.places.insert(node.clone(), place.clone());
        Ok(place)
    }

    async fn look(&mut self, id: &NodeRef) -> Result<Option<Place>> {
        let Some(run) = self.run(&id.execution).await? else { return Ok(None) };
        let row = self.catalog.store.node_execution_get(run.row.key, &id.node_id).await?;
        let Some(row) = row else { return Ok(None) };
        let spec = if row.spec_node_id.is_empty() { &row.node_id } else { &row.spec_node_id };
        if row.parent_id.is_empty() {
            let scope = run.scope();
            let node = scope.template.nodes.iter().find(|node| node.id == *spec).cloned();
            let site = Site { run, scope };
            return Ok(node.map(|node| Place { bound: node.clone(), site, row, node }));
        }
        let parent = NodeRef::new(&id.execution, &row.parent_id);
        let Some(parent) = self.place(&parent).await? else { return Ok(None) };
        let attempt = row.retry_group.parse().unwrap_or_default();
        let (scope, node, bound) = match &parent.node.target {
            Some(node::Target::BranchNode(branch)) => {
                let arm = arms(branch).into_iter().find(|arm| arm.id == *spec).cloned();
                (parent.site.scope.clone(), arm.clone(), arm)
            }
            Some(node::Target::ArrayNode(array)) => {
                let inner = array.node.as_deref().cloned();
                (parent.site.scope.clone(), inner, Some(parent.bound.clone()))
            }
            _ => {
                let Some(scope) = self.inside(&parent, attempt).await? else { return Ok(None) };
                let node = scope.template.nodes.iter().find(|node| node.id == *spec).cloned();
                (scope, node.clone(), node)
            }
        };
        let (Some(node), Some(bound)) = (node, bound) else { return Ok(None) };
        Ok(Some(Place { site: Site { run, scope }, row, node, bound }))
    }

    /// The workflow that an attempt of a node runs within its own execution: a sub-workflow, or one that a task made.
    pub(crate) async fn inside(&self, place: &Place, attempt: u32) -> Result<Option<Scope>> {
        let parent = Some((place.row.node_id.clone(), attempt));
        match &place.node.target {
            Some(node::Target::WorkflowNode(workflow)) => {
                let Some(workflow_node::Reference::SubWorkflowRef(wanted)) = &workflow.reference else {
                    return Ok(None);
                };
                let closure = &place.site.scope.closure;
                let templates =
                    closure.sub_workflows.iter().filter_map(|workflow| workflow.template.as_ref());
                let template = templates.into_iter().find(|template| template.id.as_ref() == Some(wanted));
                Ok(template.map(|template| Scope {
                    closure: Arc::clone(closure),
                    template: Arc::new(template.clone()),
                    parent,
                }))
            }
            Some(node::Target::TaskNode(_)) => {
                let closure = self.dynamic(&place.row).await?;
                Ok(closure.map(|closure| Scope { template: template_of(&closure), closure, parent }))
            }
            _ => Ok(None),
        }
    }

    /// The workflow that a task made at run time.
    async fn dynamic(&self, row: &NodeExecutionRow) -> Result<Option<Arc<CompiledWorkflowClosure>>> {
        let closure: NodeExecutionClosure = decode(&row.extra, "closure", &row.node_id)?;
        let Some((dir, _)) = closure.dynamic_job_spec_uri.rsplit_once('/') else { return Ok(None) };
        let Ok(reference) = DataReference::parse(format!("{dir}/dynamic_compiled.pb")) else {
            return Ok(None);
        };
        match self.catalog.outputs.blob.get_limited(&reference, MAX_COMPILED).await {
            Ok(bytes) => Ok(CompiledWorkflowClosure::decode(bytes).ok().map(Arc::new)),
            Err(error) if error.is_transient() => Err(error.into()),
            Err(_) => Ok(None),
        }
    }
}

/// The workflow that a closure is about.
fn template_of(closure: &CompiledWorkflowClosure) -> Arc<WorkflowTemplate> {
    Arc::new(closure.primary.as_ref().and_then(|primary| primary.template.clone()).unwrap_or_default())
}

/// The nodes that a branch may run.
pub(crate) fn arms(branch: &proto::flyteidl::core::BranchNode) -> Vec<&Node> {
    use proto::flyteidl::core::if_else_block::Default as Otherwise;
    let Some(block) = branch.if_else.as_deref() else { return Vec::new() };
    let cases = block.case.iter().map(|case| case.as_ref()).chain(&block.other);
    let mut out: Vec<&Node> = cases.filter_map(|case| case.then_node.as_deref()).collect();
    if let Some(Otherwise::ElseNode(node)) = &block.default {
        out.push(node);
    }
    out
}

/// Visits each promise within a binding.
pub(crate) fn promises<'b>(data: &'b BindingData, visit: &mut impl FnMut(&'b str, &'b str)) {
    match &data.value {
        Some(binding_data::Value::Promise(promise)) => visit(&promise.node_id, &promise.var),
        Some(binding_data::Value::Collection(list)) => {
            list.bindings.iter().for_each(|data| promises(data, visit));
        }
        Some(binding_data::Value::Map(map)) => {
            map.bindings.values().for_each(|data| promises(data, visit));
        }
        Some(binding_data::Value::Scalar(_) | binding_data::Value::OffloadedMetadata(_)) | None => {}
    }
}

/// What a node runs, in words.
pub(crate) fn runs(node: &Node) -> String {
    use proto::flyteidl::core::task_node;
    let named =
        |kind: &str, id: &proto::flyteidl::core::Identifier| format!("{kind} {}@{}", id.name, id.version);
    match &node.target {
        Some(node::Target::TaskNode(task)) => match &task.reference {
            Some(task_node::Reference::ReferenceId(id)) => named("task", id),
            None => "task".to_owned(),
        },
        Some(node::Target::WorkflowNode(workflow)) => match &workflow.reference {
            Some(workflow_node::Reference::SubWorkflowRef(id)) => named("workflow", id),
            Some(workflow_node::Reference::LaunchplanRef(id)) => named("launch plan", id),
            None => "workflow".to_owned(),
        },
        Some(node::Target::BranchNode(_)) => "branch".to_owned(),
        Some(node::Target::GateNode(_)) => "gate".to_owned(),
        Some(node::Target::ArrayNode(array)) => {
            let inner = array.node.as_deref().map(runs).unwrap_or_default();
            format!("map over {inner}")
        }
        _ => String::new(),
    }
}

/// Whether a promise of this node is one of the workflow's inputs.
pub(crate) fn is_start(node: &str) -> bool {
    node.is_empty() || node == START
}

/// `project/domain/execution`.
pub(crate) fn path(id: &ExecutionId) -> String {
    format!("{}/{}/{}", id.project, id.domain, id.name)
}

impl Catalog {
    /// The artifacts of the cache that a node made, evicted ones too.
    pub(crate) async fn made_by(
        &self,
        execution: &ExecutionId,
        node_id: &str,
    ) -> Result<Vec<CatalogArtifactRow>> {
        let filter = CatalogFilter {
            source: Some(execution.clone()),
            source_node: node_id.to_owned(),
            with_evicted: true,
            ..CatalogFilter::default()
        };
        let page = CatalogPage { limit: 100, ..CatalogPage::default() };
        Ok(self.store.catalog_artifact_list(&filter, page, false).await?)
    }

    /// The literals of a file; none when it can't be read.
    pub(crate) async fn literals(&self, uri: &str) -> LiteralMap {
        let Ok(reference) = DataReference::parse(uri) else { return LiteralMap::default() };
        let read = self.outputs.blob.get_limited(&reference, MAX_VALUES).await;
        read.ok().and_then(|bytes| LiteralMap::decode(bytes).ok()).unwrap_or_default()
    }

    /// The value of an output in short.
    pub(crate) async fn output_value(&self, node: &NodeRef, output: &str) -> String {
        let row = match self.store.execution_get(&node.execution).await {
            Ok(Some(run)) => self.store.node_execution_get(run.key, &node.node_id).await,
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let Ok(Some(row)) = row else { return String::new() };
        let outputs = self.literals(&row.output_uri).await;
        outputs.literals.get(output).map(value::short).unwrap_or_default()
    }
}
