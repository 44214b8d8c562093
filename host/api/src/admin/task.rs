//! Registers, reads and lists tasks.

use launch::attributes::Attributes;
use model::{
    EntityId, EntityKind, Timestamp,
    raw::{self, Type},
};
use prost::Message;
use proto::flyteidl::admin::{
    NamedEntityIdentifierList, NamedEntityIdentifierListRequest, ObjectGetRequest, ResourceListRequest, Task,
    TaskClosure, TaskCreateRequest, TaskCreateResponse, TaskList,
};
use proto::flyteidl::core::TaskTemplate;
use store::{AttributePlace, EntityRow};

use super::{
    registration::{self, number},
    scope,
};
use crate::{
    Error,
    context::{Context, entity_id},
    error::Result,
    list,
    raw::{self as api_raw, Encoded},
};

const CLOSURE_TYPE: &str = "flyteidl.admin.TaskClosure";
/// Number of `core.TaskTemplate.interface`.
const INTERFACE: u32 = 4;
/// What a template lies in, from the inside: `core.CompiledTask.template`, `admin.TaskClosure.compiled_task`.
const WRAPPERS: [u32; 2] = [1, 1];

pub(super) async fn create(
    cx: &Context,
    request: TaskCreateRequest,
    arrived: &[u8],
) -> Result<TaskCreateResponse> {
    let id = entity_id(EntityKind::Task, request.id.as_ref())?;
    let spec = request.spec.ok_or(Error::Missing("spec"))?;
    let mut template = spec.template.ok_or(Error::Missing("spec.template"))?;
    cx.check_place(&id.project, &id.domain).await?;
    template.id = Some(id.to_proto());
    let arrived = raw::field(arrived, number::SPEC);
    let description =
        registration::Description::new(&id, spec.description, &arrived, number::task_spec::DESCRIPTION);
    let task_type = template.r#type.clone();
    compiler::validate_task(&id.to_proto(), &template)
        .map_err(|errors| Error::invalid("spec.template", errors.to_string()))?;
    check_limits(cx, &id, &template).await?;
    let rest = registration::Rest::of("flyteidl.admin.TaskSpec", &arrived);
    let arrived = raw::field(&arrived, number::task_spec::TEMPLATE);
    let stored = Type::named("flyteidl.core.TaskTemplate").keep(&arrived, &template);
    let interface = raw::field(&stored, INTERFACE).into_owned();
    let content = WRAPPERS.iter().fold(stored, |inner, number| wrapped(*number, &inner));
    let closure = TaskClosure { compiled_task: Some(compiler::compile_task(template)), created_at: None };
    let row = EntityRow {
        digest: registration::digest(CLOSURE_TYPE, &content, &closure.encode_to_vec()),
        task_type,
        short_description: description.short(),
        closure: content,
        interface,
        created_at: Timestamp::now(),
        id,
    };
    registration::insert(cx, row, description.bytes(), &rest, CLOSURE_TYPE).await?;
    Ok(TaskCreateResponse {})
}

/// Refuses a task that asks for more than the attributes of its place allow.
async fn check_limits(cx: &Context, id: &EntityId, template: &TaskTemplate) -> Result<()> {
    let place =
        AttributePlace { project: id.project.clone(), domain: id.domain.clone(), workflow: String::new() };
    let attributes = Attributes::read(&cx.store.attribute_matching(&place).await?)?;
    let Some(limits) = attributes.task_resources().and_then(|resources| resources.limits.as_ref()) else {
        return Ok(());
    };
    let allowed = [
        ("cpu", limits.cpu.as_str()),
        ("gpu", &limits.gpu),
        ("memory", &limits.memory),
        ("storage", &limits.storage),
        ("ephemeral-storage", &limits.ephemeral_storage),
    ];
    compiler::check_task_limits(template, &allowed)
        .map_err(|errors| Error::invalid("spec.template", errors.to_string()))
}

fn wrapped(number: u32, inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(inner.len() + 8);
    raw::put(number, inner, &mut out);
    out
}

pub(super) async fn get(cx: &Context, request: ObjectGetRequest) -> Result<Encoded<Task>> {
    let id = entity_id(EntityKind::Task, request.id.as_ref())?;
    let row = cx.store.entity_get(&id).await?.ok_or_else(|| Error::NotRegistered(id))?;
    Ok(api_raw::task(&row))
}

pub(super) async fn list(cx: &Context, request: ResourceListRequest) -> Result<Encoded<TaskList>> {
    let scope = scope::of_resource(request.id.as_ref())?;
    let query = list::query(request.limit, &request.token, &request.filters, request.sort_by.as_ref())?;
    let rows = cx.store.entity_list(EntityKind::Task, &scope, &query).await?;
    let token = list::next_token(&query, rows.len());
    Ok(Encoded::of(&TaskList { token, ..TaskList::default() }).elements(1, rows.iter().map(api_raw::task)))
}

pub(super) async fn ids(
    cx: &Context,
    request: NamedEntityIdentifierListRequest,
) -> Result<NamedEntityIdentifierList> {
    scope::ids(cx, EntityKind::Task, request).await
}
