//! Makes a workflow of what a dynamic task wrote while it ran, and finds again one that was made (execution.md A12).
//!
//! `futures.pb` is what the task wrote; `dynamic_compiled.pb` beside it is what became of it, and what every later life
//! and every client reads. The compiled file is written before anyone is told that the node expanded.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use compiler::LaunchPlanInterface;
use engine::{Expansion, NodeIdx, Observation};
use model::{EntityId, EntityKind, Timestamp, raw};
use prost::Message;
use proto::flyteidl::admin::{LaunchPlanClosure, LaunchPlanSpec, TaskClosure};
use proto::flyteidl::core::{
    CompiledTask, CompiledWorkflowClosure, DynamicJobSpec, ExecutionError, Identifier, LiteralMap,
    ResourceType, TaskTemplate, VariableMap, execution_error::ErrorKind,
};
use store::row::{EntityRow, LaunchPlanRow};

use crate::call::retried;
use crate::clusters::with_causes;
use crate::driver::{Done, Driver};
use crate::files::{self, Files};
use crate::mailbox::AttemptKey;
use crate::outcome::execution_error;
use crate::place::Place;
use crate::program::{Program, TaskRef};
use crate::shared::Shared;

/// Code of an error about a workflow that a task wrote and that cannot be run.
const BUILD_FAILED: &str = "DynamicWorkflowBuildFailed";
const COMPILED: &str = "dynamic_compiled.pb";
/// Number of `admin.TaskClosure.compiled_task`.
const COMPILED_TASK: u32 = 1;

/// A workflow that a task made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// Where the task wrote it.
    pub(crate) spec_uri: String,
    pub(crate) program: Arc<Program>,
}

impl Made {
    /// What the engine is to know.
    pub(crate) fn expansion(&self) -> Expansion {
        Expansion { graph: Arc::clone(&self.program.graph), spec_uri: self.spec_uri.clone() }
    }
}

/// Why there is no workflow.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The node fails with this.
    Bad(Box<ExecutionError>),
    /// Storage or store have no answer.
    Unknown(String),
}

impl From<files::Error> for Failure {
    fn from(error: files::Error) -> Self {
        Self::Unknown(with_causes(&error))
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Unknown(with_causes(&error))
    }
}

fn bad(message: String) -> Failure {
    Failure::Bad(Box::new(execution_error(ErrorKind::User, BUILD_FAILED, message)))
}

/// What a task wrote, and what it is compiled with.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Its `futures.pb`.
    pub(crate) spec_uri: String,
    /// Name that the workflow gets.
    pub(crate) id: Identifier,
    /// The task, encoded.
    pub(crate) parent: Bytes,
}

impl Source {
    /// The name of the workflow that an attempt makes.
    pub(crate) fn workflow_id(place: &Place, attempt: u32) -> Identifier {
        let execution = &place.id.execution;
        Identifier {
            resource_type: ResourceType::Workflow.into(),
            project: execution.project.to_string(),
            domain: execution.domain.to_string(),
            name: format!("dynamic_{}", place.id.node),
            version: format!("{}-{attempt}", execution.name),
            ..Identifier::default()
        }
    }
}

/// Compiles what a task wrote and keeps the result beside it.
pub(crate) async fn make(shared: &Shared, source: &Source) -> Result<Made, Failure> {
    let bytes = read_spec(shared, &source.spec_uri).await?;
    let spec = DynamicJobSpec::decode(bytes.clone())
        .map_err(|error| bad(format!("{} is no dynamic job spec: {error}", source.spec_uri)))?;
    let (actual, allowed) = (compiler::dynamic_node_count(&spec), shared.config.max_dynamic_nodes);
    if actual > allowed {
        return Err(bad(format!(
            "the workflow has {actual} nodes, more than the limit of {allowed} (worker.max-dynamic-nodes)"
        )));
    }
    let parent = TaskTemplate::decode(source.parent.clone()).map_err(|error| bad(error.to_string()))?;
    let needed = compiler::dynamic_requirements(&spec);
    let (tasks, stored) = tasks(shared, &needed.tasks).await?.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
    let plans = launch_plans(shared, &needed.launch_plans).await?;
    let id = source.id.clone();
    let compiled = tokio::task::spawn_blocking(move || {
        let compiled = compiler::compile_dynamic(spec, id, &parent, &tasks, &plans)
            .map_err(|errors| bad(format!("the workflow does not compile: {errors}")))?;
        let mut arrived = compiler::Arrived::of_dynamic(&bytes);
        arrived.tasks.extend(stored.into_iter().map(Cow::Owned));
        let bytes = Bytes::from(compiler::encode_compiled(&compiled, &arrived));
        let program = Program::of_compiled(&compiled, &bytes).map_err(Failure::Bad)?;
        Ok::<_, Failure>((program, bytes))
    });
    let (program, bytes) =
        compiled.await.map_err(|error| Failure::Unknown(format!("compiling it was cut off: {error}")))??;
    let compiled_uri = compiled_uri(&source.spec_uri);
    retried(shared, || shared.files.write(&compiled_uri, bytes.clone())).await?;
    let program = Arc::new(program);
    shared.remember_made(&source.spec_uri, &program);
    Ok(Made { spec_uri: source.spec_uri.clone(), program })
}

/// Finds a workflow that was made before.
pub(crate) async fn load(shared: &Shared, spec_uri: &str) -> Result<Made, Failure> {
    let made = |program| Made { spec_uri: spec_uri.to_owned(), program };
    if let Some(program) = shared.made_program(spec_uri) {
        return Ok(made(program));
    }
    let uri = compiled_uri(spec_uri);
    let bytes = retried(shared, || shared.files.read_unlimited(&uri)).await?;
    let read = tokio::task::spawn_blocking(move || {
        let compiled = CompiledWorkflowClosure::decode(bytes.clone())
            .map_err(|error| bad(format!("the compiled workflow cannot be read: {error}")))?;
        Program::of_compiled(&compiled, &bytes).map_err(Failure::Bad)
    });
    let program = read.await.map_err(|error| Failure::Unknown(error.to_string()))??;
    let program = Arc::new(program);
    shared.remember_made(spec_uri, &program);
    Ok(made(program))
}

fn compiled_uri(spec_uri: &str) -> String {
    let dir = spec_uri.rsplit_once('/').map_or("", |(dir, _)| dir);
    format!("{dir}/{COMPILED}")
}

async fn read_spec(shared: &Shared, uri: &str) -> Result<Bytes, Failure> {
    match retried(shared, || shared.files.read(uri)).await {
        Ok(bytes) => Ok(bytes),
        Err(error) => match Files::too_large(&error) {
            Some((size, max)) => Err(bad(format!("{uri} has {size} bytes, more than the limit of {max}"))),
            None => Err(error.into()),
        },
    }
}

/// The registered ones, read and as they are stored; what is missing is the compiler's finding.
async fn tasks(shared: &Shared, ids: &[Identifier]) -> Result<Vec<(CompiledTask, Vec<u8>)>, Failure> {
    let ids: Vec<_> = ids.iter().filter_map(|id| EntityId::from_proto(EntityKind::Task, id).ok()).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = shared.store.entity_get_many(&ids).await?;
    let task = |row: &EntityRow| {
        let closure = TaskClosure::decode(row.closure.as_slice())
            .map_err(|error| bad(format!("{} is registered but cannot be read: {error}", row.id)))?;
        let stored = raw::field(&row.closure, COMPILED_TASK).into_owned();
        Ok((closure.compiled_task.unwrap_or_default(), stored))
    };
    rows.iter().map(task).collect()
}

async fn launch_plans(shared: &Shared, ids: &[Identifier]) -> Result<Vec<LaunchPlanInterface>, Failure> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let Ok(id) = EntityId::from_proto(EntityKind::LaunchPlan, id) else { continue };
        if let Some(row) = shared.store.launch_plan_get(&id).await? {
            found.push(interface(&row)?);
        }
    }
    Ok(found)
}

fn interface(row: &LaunchPlanRow) -> Result<LaunchPlanInterface, Failure> {
    let unreadable =
        |error: prost::DecodeError| bad(format!("{} is registered but cannot be read: {error}", row.id));
    let spec = LaunchPlanSpec::decode(row.spec.as_slice()).map_err(unreadable)?;
    let closure = LaunchPlanClosure::decode(row.closure.as_slice()).map_err(unreadable)?;
    Ok(LaunchPlanInterface {
        id: row.id.to_proto(),
        expected_inputs: closure.expected_inputs.unwrap_or_default(),
        fixed_inputs: spec.fixed_inputs.unwrap_or_default(),
        expected_outputs: closure.expected_outputs.unwrap_or_default(),
    })
}

impl Driver {
    /// Loads the workflow that a recovered dynamic node made in the execution it is recovered from.
    pub(crate) fn load_expansion(&mut self, node: NodeIdx, spec_uri: String) {
        let shared = Arc::clone(&self.shared);
        self.work.spawn(async move {
            let made = load(&shared, &spec_uri).await.map_err(|failure| match failure {
                Failure::Bad(error) => error,
                Failure::Unknown(text) => Box::new(execution_error(
                    ErrorKind::System,
                    BUILD_FAILED,
                    format!("cannot load the workflow made before: {text}"),
                )),
            });
            Done::Loaded { node, made }
        });
    }

    /// Takes in a workflow that was loaded.
    pub(crate) fn expansion_loaded(
        &mut self,
        node: NodeIdx,
        made: Result<Made, Box<ExecutionError>>,
        now: Timestamp,
    ) {
        let result = match made {
            Ok(made) => {
                self.programs.add(node, &made.program, &self.mailbox);
                Ok(made.expansion())
            }
            Err(error) => Err(*error),
        };
        self.apply(Observation::Expanded { node, result }, now);
    }
}

impl Driver {
    /// Checks what the workflow that a task made gave against what the task promises, and keeps it if it is cached.
    pub(crate) fn gather_expansion(&mut self, node: NodeIdx) {
        let end = self.engine.end_of(node);
        let uri = end.map(|end| self.engine.node(end).output_uri.to_string()).unwrap_or_default();
        let task = self.programs.task_ref(&self.engine, node);
        let populate = self.populate(AttemptKey { node, attempt: self.engine.node(node).attempt });
        let shared = Arc::clone(&self.shared);
        self.work.spawn(async move {
            let declared = task.as_ref().and_then(TaskRef::declared);
            let outputs = check(&shared, &uri, declared.as_deref()).await;
            let populated = match (&outputs, populate) {
                (Ok(outputs), Some(populate)) => Some(populate.put(&shared, Arc::clone(outputs)).await),
                _ => None,
            };
            Done::Gathered { node, result: outputs.map(|_| uri).map_err(|error| *error), populated }
        });
    }
}

async fn check(
    shared: &Shared,
    uri: &str,
    declared: Option<&VariableMap>,
) -> Result<Arc<LiteralMap>, Box<ExecutionError>> {
    let outputs = retried(shared, || shared.files.map(uri)).await.map_err(|error| {
        let message = format!("cannot read the outputs of the workflow it made: {}", with_causes(&error));
        Box::new(execution_error(ErrorKind::System, "DynamicWorkflowOutputsNotFound", message))
    })?;
    if let Some(declared) = declared {
        engine::inputs::check_outputs(declared, &outputs).map_err(Box::new)?;
    }
    Ok(outputs)
}
