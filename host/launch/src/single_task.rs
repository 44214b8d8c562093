//! Registers, once, the workflow and launch plan around a task that is started by itself.

use compiler::{Arrived, workflow_of_task};
use model::{EntityId, EntityKind, Timestamp, digest, raw};
use prost::Message;
use proto::flyteidl::admin::{LaunchPlanClosure, LaunchPlanSpec, NamedEntityState, TaskClosure};
use proto::flyteidl::core::{CompiledTask, TypedInterface};
use store::{EntityRow, LaunchPlanRow, NamedEntityRow, Store};

use crate::{Error, inputs};

/// Number of `admin.TaskClosure.compiled_task`.
const COMPILED_TASK: u32 = 1;
/// Number of `admin.WorkflowClosure.compiled_workflow`.
const COMPILED_WORKFLOW: u32 = 1;

/// What the names of generated workflows start with.
pub const NAME_PREFIX: &str = ".flytegen.";

/// The workflow generated around a task.
pub fn workflow_id(task: &EntityId) -> EntityId {
    EntityId { kind: EntityKind::Workflow, name: format!("{NAME_PREFIX}{}", task.name), ..task.clone() }
}

/// Makes sure that the workflow around a task is registered, and returns the task's interface.
///
/// # Errors
/// An unknown task, a task that no workflow can hold, or the store.
pub(crate) async fn prepare(store: &Store, task: &EntityId) -> Result<TypedInterface, Error> {
    let row = store.entity_get(task).await?.ok_or_else(|| Error::NotRegistered(task.clone()))?;
    let closure = TaskClosure::decode(row.closure.as_slice()).map_err(|source| Error::Decode {
        what: "closure",
        id: task.to_string(),
        source,
    })?;
    let compiled = closure.compiled_task.unwrap_or_default();
    let interface = compiled.template.as_ref().and_then(|t| t.interface.clone()).unwrap_or_default();
    let workflow = workflow_id(task);
    if store.entity_get_many(std::slice::from_ref(&workflow)).await?.is_empty() {
        let stored = raw::field(&row.closure, COMPILED_TASK).into_owned();
        register(store, task, workflow, (compiled, stored), &interface).await?;
    }
    Ok(interface)
}

/// Safe to repeat and to race: whoever comes second finds the same rows. The workflow comes last, because its
/// presence says that all of it is there.
async fn register(
    store: &Store,
    task: &EntityId,
    workflow: EntityId,
    compiled: (CompiledTask, Vec<u8>),
    interface: &TypedInterface,
) -> Result<(), Error> {
    let now = Timestamp::now();
    let plan = launch_plan_row(&workflow, interface, now);
    let row = workflow_row(task, workflow, compiled, interface, now)?;
    for resource_type in [EntityKind::Workflow, EntityKind::LaunchPlan] {
        let named = NamedEntityRow {
            resource_type: resource_type as i32,
            project: task.project.clone(),
            domain: task.domain.clone(),
            name: row.id.name.clone(),
            description: String::new(),
            state: NamedEntityState::SystemGenerated as i32,
        };
        store.named_entity_upsert(&named).await?;
    }
    store.launch_plan_insert(&plan).await?;
    store.entity_insert(&row, None).await?;
    Ok(())
}

fn workflow_row(
    task: &EntityId,
    workflow: EntityId,
    (compiled, stored): (CompiledTask, Vec<u8>),
    interface: &TypedInterface,
    now: Timestamp,
) -> Result<EntityRow, Error> {
    let template = compiled.template.clone().unwrap_or_default();
    let (mut generated, _node_id) = workflow_of_task(&template);
    generated.id = Some(workflow.to_proto());
    let compiled_workflow = compiler::compile_workflow(generated, Vec::new(), &[compiled], &[])
        .map_err(|errors| Error::SingleTask { task: Box::new(task.clone()), errors: errors.to_string() })?;
    let arrived = Arrived { tasks: vec![stored.into()], ..Arrived::default() };
    let mut content = Vec::new();
    raw::put(COMPILED_WORKFLOW, &compiler::encode_compiled(&compiled_workflow, &arrived), &mut content);
    Ok(EntityRow {
        id: workflow,
        digest: digest::of_bytes(&content).to_vec(),
        task_type: String::new(),
        short_description: String::new(),
        closure: content,
        interface: interface.encode_to_vec(),
        created_at: now,
    })
}

fn launch_plan_row(workflow: &EntityId, interface: &TypedInterface, now: Timestamp) -> LaunchPlanRow {
    let expected = inputs::all_required(&interface.inputs.clone().unwrap_or_default());
    let spec = LaunchPlanSpec {
        workflow_id: Some(workflow.to_proto()),
        default_inputs: Some(expected.clone()),
        ..LaunchPlanSpec::default()
    };
    let closure = LaunchPlanClosure {
        expected_inputs: Some(expected),
        expected_outputs: interface.outputs.clone(),
        ..LaunchPlanClosure::default()
    };
    let mut content = spec.encode_to_vec();
    content.extend(closure.encode_to_vec());
    LaunchPlanRow {
        id: EntityId { kind: EntityKind::LaunchPlan, ..workflow.clone() },
        workflow: workflow.clone(),
        digest: digest::of_bytes(&content).to_vec(),
        spec: spec.encode_to_vec(),
        closure: closure.encode_to_vec(),
        state: 0,
        schedule_type: "NONE".to_owned(),
        created_at: now,
        updated_at: now,
    }
}
