//! Holds a compiled workflow as executions share it: its graph, and the task templates as they arrived.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use engine::{Execution, Graph, NodeIdx, NodeKind};
use model::{EntityId, EntityKind};
use prost::Message;
use proto::flyteidl::admin::WorkflowClosure;
use proto::flyteidl::core::{
    CompiledWorkflowClosure, ExecutionError, Secret, VariableMap, execution_error::ErrorKind,
};

use crate::mailbox::Mailbox;
use crate::outcome::execution_error;
use crate::unwrapped;
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
    /// Secrets that it may read.
    pub(crate) secrets: Vec<Secret>,
}

/// A compiled workflow.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) graph: Arc<Graph>,
    /// Size of the closure it was read from.
    pub(crate) n_bytes: usize,
    tasks: Vec<Task>,
}

fn bad(message: String) -> Box<ExecutionError> {
    Box::new(execution_error(ErrorKind::System, "BadSpecificationError", message))
}

impl Program {
    /// Reads an encoded `admin.WorkflowClosure`. The error is what the execution fails with.
    pub(crate) fn read(closure: &[u8]) -> Result<Self, Box<ExecutionError>> {
        let decoded = WorkflowClosure::decode(closure)
            .map_err(|error| bad(format!("the compiled workflow cannot be read: {error}")))?;
        let compiled = decoded
            .compiled_workflow
            .ok_or_else(|| bad("the workflow was registered without its compiled form".to_owned()))?;
        let raw = raw_fields(closure, 1).last().copied().unwrap_or_default();
        Self::of_compiled(&compiled, raw)
    }

    /// One of its tasks.
    pub(crate) fn task_by_id(&self, id: &EntityId) -> Option<&Task> {
        self.tasks.iter().find(|task| task.id == *id)
    }

    /// How much memory it counts for: the graph and the templates are several times the encoded closure.
    pub(crate) fn weight(&self) -> u32 {
        const FACTOR: usize = 6;
        u32::try_from(self.n_bytes.saturating_mul(FACTOR)).unwrap_or(u32::MAX)
    }

    /// Makes it of a compiled closure and its bytes. The error is what the execution or node fails with.
    pub(crate) fn of_compiled(
        compiled: &CompiledWorkflowClosure,
        bytes: &[u8],
    ) -> Result<Self, Box<ExecutionError>> {
        let graph = Graph::build(compiled).map_err(|error| Box::new(error.execution_error()))?;
        let tasks = tasks(compiled, &raw_fields(bytes, 3)).map_err(bad)?;
        Ok(Self { n_bytes: bytes.len(), graph: Arc::new(graph), tasks })
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
            secrets: template.security_context.as_ref().map(|it| it.secrets.clone()).unwrap_or_default(),
        });
    }
    Ok(tasks)
}

/// The compiled workflows of an execution: its own, and those that its tasks made.
#[derive(Debug)]
pub(crate) struct Programs {
    own: Arc<Program>,
    made: HashMap<NodeIdx, Arc<Program>>,
}

impl Programs {
    pub(crate) fn new(own: Arc<Program>, mailbox: &Mailbox) -> Self {
        mailbox.declared().add(&own);
        Self { own, made: HashMap::new() }
    }

    /// Notes the workflow that a node made.
    pub(crate) fn add(&mut self, node: NodeIdx, program: &Arc<Program>, mailbox: &Mailbox) {
        mailbox.declared().add(program);
        if let Some(former) = self.made.insert(node, Arc::clone(program)) {
            mailbox.declared().remove(&former);
        }
    }

    /// Forgets the workflow that a node made: nothing runs in it any more.
    pub(crate) fn remove(&mut self, node: NodeIdx, mailbox: &Mailbox) {
        if let Some(program) = self.made.remove(&node) {
            mailbox.declared().remove(&program);
        }
    }

    /// The workflow a node belongs to.
    fn of(&self, engine: &Execution, node: NodeIdx) -> &Arc<Program> {
        engine.closure_node(node).and_then(|maker| self.made.get(&maker)).unwrap_or(&self.own)
    }

    /// The task that a node runs, if it runs one.
    pub(crate) fn task(&self, engine: &Execution, node: NodeIdx) -> Option<&Task> {
        match engine.graph_node(node).kind {
            NodeKind::Task { task } => self.of(engine, node).tasks.get(task),
            _ => None,
        }
    }

    /// The same, to be taken along.
    pub(crate) fn task_ref(&self, engine: &Execution, node: NodeIdx) -> Option<TaskRef> {
        let NodeKind::Task { task } = engine.graph_node(node).kind else { return None };
        let program = Arc::clone(self.of(engine, node));
        program.tasks.get(task)?;
        Some(TaskRef { is_element: unwrapped::is_wanted(engine, node), program, task })
    }

    /// The task that the elements of an array node run, if they run one.
    pub(crate) fn task_of_elements(&self, engine: &Execution, array: NodeIdx) -> Option<&Task> {
        let NodeKind::Array { inner, .. } = engine.graph_node(array).kind else { return None };
        match engine.graph_of(array).node(inner)?.kind {
            NodeKind::Task { task } => self.of(engine, array).tasks.get(task),
            _ => None,
        }
    }
}

/// A task of a compiled workflow, as one of its nodes runs it.
#[derive(Clone, Debug)]
pub(crate) struct TaskRef {
    program: Arc<Program>,
    task: usize,
    /// It is described as giving lists, and run for one item of them.
    is_element: bool,
}

impl TaskRef {
    /// The task.
    pub(crate) fn task(&self) -> &Task {
        self.program.tasks.get(self.task).expect("invariant: made for a task that is there")
    }

    /// The outputs that this node gives.
    pub(crate) fn declared(&self) -> Option<Cow<'_, VariableMap>> {
        let outputs = self.task().outputs.as_ref()?;
        Some(if self.is_element { Cow::Owned(unwrapped::items(outputs)) } else { Cow::Borrowed(outputs) })
    }
}
