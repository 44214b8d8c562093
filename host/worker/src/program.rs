//! Holds a compiled workflow as executions share it: its graph, and the task templates as they arrived.

use std::sync::Arc;

use bytes::Bytes;
use engine::{Graph, NodeIdx, NodeKind};
use model::{EntityId, EntityKind};
use prost::Message;
use proto::flyteidl::admin::WorkflowClosure;
use proto::flyteidl::core::{
    CompiledWorkflowClosure, ExecutionError, VariableMap, execution_error::ErrorKind,
};

use crate::outcome::execution_error;
use crate::wire::raw_fields;

/// One task of a compiled workflow.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: EntityId,
    pub(crate) task_type: String,
    /// `core.TaskTemplate`, the bytes that arrived.
    pub(crate) template: Bytes,
    pub(crate) outputs: Option<VariableMap>,
    pub(crate) generates_deck: Option<bool>,
    pub(crate) is_eager: bool,
}

/// A compiled workflow.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) graph: Arc<Graph>,
    /// Size of the closure it was read from.
    pub(crate) n_bytes: usize,
    tasks: Vec<Task>,
}

impl Program {
    /// Reads an encoded `admin.WorkflowClosure`. The error is what the execution fails with.
    pub(crate) fn read(closure: &[u8]) -> Result<Self, Box<ExecutionError>> {
        let bad =
            |message: String| Box::new(execution_error(ErrorKind::System, "BadSpecificationError", message));
        let decoded = WorkflowClosure::decode(closure)
            .map_err(|error| bad(format!("the compiled workflow cannot be read: {error}")))?;
        let compiled = decoded
            .compiled_workflow
            .ok_or_else(|| bad("the workflow was registered without its compiled form".to_owned()))?;
        let graph = Graph::build(&compiled).map_err(|error| Box::new(error.execution_error()))?;
        let raw = raw_fields(closure, 1).last().map(|compiled| raw_fields(compiled, 3)).unwrap_or_default();
        let tasks = tasks(&compiled, &raw).map_err(bad)?;
        Ok(Self { n_bytes: closure.len(), graph: Arc::new(graph), tasks })
    }

    /// The task of a task node.
    pub(crate) fn task(&self, node: NodeIdx) -> Option<&Task> {
        match self.graph.node(node)?.kind {
            NodeKind::Task { task } => self.tasks.get(task),
            NodeKind::Start | NodeKind::End => None,
        }
    }

    /// `core.TaskNodeOverrides` of a node; empty without.
    pub(crate) fn overrides(&self, node: NodeIdx) -> Vec<u8> {
        let overrides = self.graph.node(node).and_then(|node| node.overrides.as_ref());
        overrides.map(Message::encode_to_vec).unwrap_or_default()
    }

    /// Unique id of a node; all nodes are top-level ones.
    pub(crate) fn node_id(&self, node: NodeIdx) -> Arc<str> {
        self.graph.node(node).map_or_else(|| Arc::from(""), |node| node.id.clone())
    }
}

fn tasks(compiled: &CompiledWorkflowClosure, raw: &[&[u8]]) -> Result<Vec<Task>, String> {
    let mut tasks = Vec::with_capacity(compiled.tasks.len());
    for (i, task) in compiled.tasks.iter().enumerate() {
        let template = task.template.as_ref().ok_or_else(|| format!("compiled task {i} has no template"))?;
        let id = template.id.as_ref().ok_or_else(|| format!("compiled task {i} has no id"))?;
        let id = EntityId::from_proto(EntityKind::Task, id)
            .map_err(|error| format!("compiled task {i}: {error}"))?;
        let arrived = raw.get(i).and_then(|task| raw_fields(task, 1).last().copied());
        let metadata = template.metadata.as_ref();
        tasks.push(Task {
            id,
            task_type: template.r#type.clone(),
            template: arrived.map_or_else(|| template.encode_to_vec().into(), Bytes::copy_from_slice),
            outputs: template.interface.as_ref().and_then(|interface| interface.outputs.clone()),
            generates_deck: metadata.and_then(|metadata| metadata.generates_deck),
            is_eager: metadata.is_some_and(|metadata| metadata.is_eager),
        });
    }
    Ok(tasks)
}
