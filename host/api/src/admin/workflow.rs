//! Registers, reads and lists workflows.

use std::borrow::Cow;

use compiler::LaunchPlanInterface;
use model::{EntityId, EntityKind, Timestamp, raw};
use prost::Message;
use proto::flyteidl::admin::{
    NamedEntityIdentifierList, NamedEntityIdentifierListRequest, ObjectGetRequest, ResourceListRequest,
    TaskClosure, Workflow, WorkflowClosure, WorkflowCreateRequest, WorkflowCreateResponse, WorkflowList,
};
use proto::flyteidl::core::{CompiledTask, CompiledWorkflowClosure, Identifier, WorkflowTemplate};
use store::EntityRow;

use super::{
    registration::{self, number},
    scope,
};
use crate::{
    Error,
    context::{Context, decode, entity_id},
    error::Result,
    list,
    raw::{self as api_raw, Encoded},
    read,
};

const CLOSURE_TYPE: &str = "flyteidl.admin.WorkflowClosure";
/// Number of `admin.WorkflowClosure.compiled_workflow` and of `admin.TaskClosure.compiled_task`.
const COMPILED: u32 = 1;
/// From the outside: `compiled_workflow`, `primary`, `template`, `interface`.
const INTERFACE: [u32; 4] = [1, 1, 1, 3];

/// Nodes from which on compiling may take so long that it gets a thread of its own.
const MANY_NODES: usize = 500;

pub(super) async fn create(
    cx: &Context,
    request: WorkflowCreateRequest,
    arrived: &[u8],
) -> Result<WorkflowCreateResponse> {
    let id = entity_id(EntityKind::Workflow, request.id.as_ref())?;
    let spec = request.spec.ok_or(Error::Missing("spec"))?;
    let mut template = spec.template.ok_or(Error::Missing("spec.template"))?;
    cx.check_place(&id.project, &id.domain).await?;
    template.id = Some(id.to_proto());
    let n_nodes = template.nodes.len() + spec.sub_workflows.iter().map(|sub| sub.nodes.len()).sum::<usize>();
    check_size(cx, &id, n_nodes)?;

    let arrived = raw::field(arrived, number::SPEC).into_owned();
    let description =
        registration::Description::new(&id, spec.description, &arrived, number::workflow_spec::DESCRIPTION);
    let rest = registration::Rest::of("flyteidl.admin.WorkflowSpec", &arrived);
    let Compiled { content, digest } =
        compile(cx, &id, template, spec.sub_workflows, n_nodes, arrived).await?;
    let row = EntityRow {
        digest,
        task_type: String::new(),
        short_description: description.short(),
        interface: raw::field_at(&content, &INTERFACE).into_owned(),
        closure: content,
        created_at: Timestamp::now(),
        id,
    };
    registration::insert(cx, row, description.bytes(), &rest, CLOSURE_TYPE).await?;
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

/// What is stored of a workflow.
struct Compiled {
    /// `admin.WorkflowClosure`, with the bytes of what it was compiled of.
    content: Vec<u8>,
    digest: Vec<u8>,
}

async fn compile(
    cx: &Context,
    id: &EntityId,
    template: WorkflowTemplate,
    subs: Vec<WorkflowTemplate>,
    n_nodes: usize,
    arrived: Vec<u8>,
) -> Result<Compiled> {
    let needed = compiler::requirements(&template, &subs);
    let Tasks { compiled: tasks, encoded } = tasks(cx, &needed.tasks).await?;
    let plans = launch_plans(cx, &needed.launch_plans).await?;
    let run = move || {
        let compiled = compiler::compile_workflow(template, subs, &tasks, &plans)?;
        Ok(encode(compiled, &arrived, &encoded))
    };
    let compiled = if n_nodes < MANY_NODES {
        run()
    } else {
        tokio::task::spawn_blocking(run).await.map_err(|_| Error::CutOff("compiling the workflow"))?
    };
    compiled.map_err(|errors: compiler::Errors| Error::Compile {
        id: Box::new(id.clone()),
        errors: errors.to_string(),
    })
}

/// `arrived` is the encoded spec, `tasks` are the compiled tasks as they are stored.
fn encode(compiled: CompiledWorkflowClosure, arrived: &[u8], tasks: &[Vec<u8>]) -> Compiled {
    let arrived = compiler::Arrived {
        template: raw::field(arrived, number::workflow_spec::TEMPLATE),
        sub_workflows: raw::fields(arrived, number::workflow_spec::SUB_WORKFLOWS)
            .map(Cow::Borrowed)
            .collect(),
        tasks: tasks.iter().map(|task| Cow::Borrowed(task.as_slice())).collect(),
    };
    let encoded = compiler::encode_compiled(&compiled, &arrived);
    let mut content = Vec::with_capacity(encoded.len() + 8);
    raw::put(COMPILED, &encoded, &mut content);
    let closure = WorkflowClosure { compiled_workflow: Some(compiled), created_at: None };
    Compiled { digest: registration::digest(CLOSURE_TYPE, &content, &closure.encode_to_vec()), content }
}

/// Registered tasks, read and as they are stored.
struct Tasks {
    compiled: Vec<CompiledTask>,
    /// `core.CompiledTask` each.
    encoded: Vec<Vec<u8>>,
}

/// The registered ones; what is missing is the compiler's finding.
async fn tasks(cx: &Context, ids: &[Identifier]) -> Result<Tasks> {
    let ids: Vec<_> = ids.iter().filter_map(|id| EntityId::from_proto(EntityKind::Task, id).ok()).collect();
    if ids.is_empty() {
        return Ok(Tasks { compiled: Vec::new(), encoded: Vec::new() });
    }
    let mut rows = cx.store.entity_get_many(&ids).await?;
    let position: std::collections::HashMap<_, _> =
        ids.iter().enumerate().map(|(idx, id)| (id, idx)).collect();
    rows.sort_by_key(|row| position.get(&row.id).copied());
    let task = |row: &EntityRow| {
        let closure: TaskClosure = decode(&row.closure, "closure", &row.id)?;
        Ok(closure.compiled_task.unwrap_or_default())
    };
    Ok(Tasks {
        compiled: rows.iter().map(task).collect::<Result<_>>()?,
        encoded: rows.iter().map(|row| raw::field(&row.closure, COMPILED).into_owned()).collect(),
    })
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

/// The interface a launch plan is checked against, encoded.
pub(super) async fn interface(cx: &Context, id: &EntityId) -> Result<Vec<u8>> {
    let rows = cx.store.entity_get_many(std::slice::from_ref(id)).await?;
    let row = rows.into_iter().next().ok_or_else(|| Error::NotRegistered(id.clone()))?;
    Ok(row.interface)
}

pub(super) async fn get(cx: &Context, request: ObjectGetRequest) -> Result<Encoded<Workflow>> {
    let id = entity_id(EntityKind::Workflow, request.id.as_ref())?;
    let row = cx.store.entity_get(&id).await?.ok_or_else(|| Error::NotRegistered(id))?;
    Ok(api_raw::workflow(&row))
}

pub(super) async fn list(cx: &Context, request: ResourceListRequest) -> Result<Encoded<WorkflowList>> {
    let scope = scope::of_resource(request.id.as_ref())?;
    let query = list::query(request.limit, &request.token, &request.filters, request.sort_by.as_ref())?;
    let rows = cx.store.entity_list(EntityKind::Workflow, &scope, &query).await?;
    let list = WorkflowList { token: list::next_token(&query, rows.len()), ..WorkflowList::default() };
    Ok(Encoded::of(&list).elements(1, rows.iter().map(api_raw::workflow_of_list)))
}

pub(super) async fn ids(
    cx: &Context,
    request: NamedEntityIdentifierListRequest,
) -> Result<NamedEntityIdentifierList> {
    scope::ids(cx, EntityKind::Workflow, request).await
}
