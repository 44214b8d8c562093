//! Registers, reads and lists workflows.

use compiler::LaunchPlanInterface;
use model::{EntityId, EntityKind, Timestamp, digest};
use prost::Message;
use proto::flyteidl::admin::{
    NamedEntityIdentifierList, NamedEntityIdentifierListRequest, ObjectGetRequest, ResourceListRequest,
    TaskClosure, Workflow, WorkflowClosure, WorkflowCreateRequest, WorkflowCreateResponse, WorkflowList,
};
use proto::flyteidl::core::{
    CompiledTask, CompiledWorkflowClosure, Identifier, TypedInterface, WorkflowTemplate,
};
use store::EntityRow;

use super::{registration, scope};
use crate::{
    Error,
    context::{Context, decode, entity_id},
    error::Result,
    list, read,
};

/// Nodes from which on compiling may take so long that it gets a thread of its own.
const MANY_NODES: usize = 500;

pub(super) async fn create(cx: &Context, request: WorkflowCreateRequest) -> Result<WorkflowCreateResponse> {
    let id = entity_id(EntityKind::Workflow, request.id.as_ref())?;
    let spec = request.spec.ok_or(Error::Missing("spec"))?;
    let mut template = spec.template.ok_or(Error::Missing("spec.template"))?;
    cx.check_place(&id.project, &id.domain).await?;
    template.id = Some(id.to_proto());
    let n_nodes = template.nodes.len() + spec.sub_workflows.iter().map(|sub| sub.nodes.len()).sum::<usize>();
    check_size(cx, &id, n_nodes)?;
    check_supported(&id, &template, &spec.sub_workflows)?;

    let interface = template.interface.clone().unwrap_or_default();
    let compiled = compile(cx, &id, template, spec.sub_workflows, n_nodes).await?;
    let description = registration::Description::new(&id, spec.description);
    let closure = WorkflowClosure { compiled_workflow: Some(compiled), created_at: None };
    let row = EntityRow {
        digest: digest::of_message(&closure).to_vec(),
        task_type: String::new(),
        short_description: description.short(),
        closure: closure.encode_to_vec(),
        interface: interface.encode_to_vec(),
        created_at: Timestamp::now(),
        id,
    };
    registration::insert(cx, row, description.bytes(), "flyteidl.admin.WorkflowClosure").await?;
    Ok(WorkflowCreateResponse {})
}

fn check_size(cx: &Context, id: &EntityId, n_nodes: usize) -> Result<()> {
    let allowed = cx.config.max_workflow_nodes;
    if n_nodes <= allowed {
        return Ok(());
    }
    let what = format!("number of nodes of {id}");
    Err(Error::TooLarge { what, actual: n_nodes as u64, allowed: allowed as u64 })
}

fn check_supported(id: &EntityId, template: &WorkflowTemplate, subs: &[WorkflowTemplate]) -> Result<()> {
    let found = compiler::unsupported_nodes(template, subs);
    if found.is_empty() {
        return Ok(());
    }
    let named: Vec<_> = found.iter().take(10).map(|(node, kind)| format!("`{node}` ({kind} node)")).collect();
    Err(Error::UnsupportedNodes { id: Box::new(id.clone()), nodes: named.join(", ") })
}

async fn compile(
    cx: &Context,
    id: &EntityId,
    template: WorkflowTemplate,
    subs: Vec<WorkflowTemplate>,
    n_nodes: usize,
) -> Result<CompiledWorkflowClosure> {
    let needed = compiler::requirements(&template, &subs);
    let tasks = tasks(cx, &needed.tasks).await?;
    let plans = launch_plans(cx, &needed.launch_plans).await?;
    let run = move || compiler::compile_workflow(template, subs, &tasks, &plans);
    let compiled = if n_nodes < MANY_NODES {
        run()
    } else {
        tokio::task::spawn_blocking(run).await.map_err(|_| Error::CutOff("compiling the workflow"))?
    };
    compiled.map_err(|errors| Error::Compile { id: Box::new(id.clone()), errors: errors.to_string() })
}

/// The registered ones; what is missing is the compiler's finding.
async fn tasks(cx: &Context, ids: &[Identifier]) -> Result<Vec<CompiledTask>> {
    let ids: Vec<_> = ids.iter().filter_map(|id| EntityId::from_proto(EntityKind::Task, id).ok()).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = cx.store.entity_get_many(&ids).await?;
    let position: std::collections::HashMap<_, _> =
        ids.iter().enumerate().map(|(idx, id)| (id, idx)).collect();
    rows.sort_by_key(|row| position.get(&row.id).copied());
    let task = |row: &EntityRow| {
        let closure: TaskClosure = decode(&row.closure, "closure", &row.id)?;
        Ok(closure.compiled_task.unwrap_or_default())
    };
    rows.iter().map(task).collect()
}

async fn launch_plans(cx: &Context, ids: &[Identifier]) -> Result<Vec<LaunchPlanInterface>> {
    let mut found = Vec::new();
    for id in ids {
        let Ok(id) = EntityId::from_proto(EntityKind::LaunchPlan, id) else { continue };
        if let Some(row) = cx.store.launch_plan_get(&id).await? {
            let plan = read::entity::launch_plan(&row)?;
            let closure = plan.closure.unwrap_or_default();
            found.push(LaunchPlanInterface {
                id: id.to_proto(),
                expected_inputs: closure.expected_inputs.unwrap_or_default(),
                fixed_inputs: plan.spec.and_then(|spec| spec.fixed_inputs).unwrap_or_default(),
                expected_outputs: closure.expected_outputs.unwrap_or_default(),
            });
        }
    }
    Ok(found)
}

/// The interface a launch plan is checked against.
pub(super) async fn interface(cx: &Context, id: &EntityId) -> Result<TypedInterface> {
    let rows = cx.store.entity_get_many(std::slice::from_ref(id)).await?;
    let row = rows.first().ok_or_else(|| Error::not_found("workflow", id))?;
    decode(&row.interface, "interface", id)
}

pub(super) async fn get(cx: &Context, request: ObjectGetRequest) -> Result<Workflow> {
    let id = entity_id(EntityKind::Workflow, request.id.as_ref())?;
    let row = cx.store.entity_get(&id).await?.ok_or_else(|| Error::not_found("workflow", &id))?;
    read::entity::workflow(&row)
}

pub(super) async fn list(cx: &Context, request: ResourceListRequest) -> Result<WorkflowList> {
    let scope = scope::of_resource(request.id.as_ref())?;
    let query = list::query(request.limit, &request.token, &request.filters, request.sort_by.as_ref())?;
    let rows = cx.store.entity_list(EntityKind::Workflow, &scope, &query).await?;
    let workflows = rows.iter().map(read::entity::workflow_of_list).collect::<Result<_>>()?;
    Ok(WorkflowList { workflows, token: list::next_token(&query, rows.len()) })
}

pub(super) async fn ids(
    cx: &Context,
    request: NamedEntityIdentifierListRequest,
) -> Result<NamedEntityIdentifierList> {
    scope::ids(cx, EntityKind::Workflow, request).await
}
