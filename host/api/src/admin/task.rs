//! Registers, reads and lists tasks.

use model::{EntityKind, Timestamp, digest};
use prost::Message;
use proto::flyteidl::admin::{
    NamedEntityIdentifierList, NamedEntityIdentifierListRequest, ObjectGetRequest, ResourceListRequest, Task,
    TaskClosure, TaskCreateRequest, TaskCreateResponse, TaskList,
};
use store::EntityRow;

use super::{registration, scope};
use crate::{
    Error,
    context::{Context, entity_id},
    error::Result,
    list, read,
};

pub(super) async fn create(cx: &Context, request: TaskCreateRequest) -> Result<TaskCreateResponse> {
    let id = entity_id(EntityKind::Task, request.id.as_ref())?;
    let spec = request.spec.ok_or(Error::Missing("spec"))?;
    let mut template = spec.template.ok_or(Error::Missing("spec.template"))?;
    cx.check_place(&id.project, &id.domain).await?;
    template.id = Some(id.to_proto());
    let description = registration::Description::new(&id, spec.description);
    let (task_type, interface) = (template.r#type.clone(), template.interface.clone());
    compiler::validate_task(&id.to_proto(), &template)
        .map_err(|errors| Error::invalid("spec.template", errors.to_string()))?;
    let closure = TaskClosure { compiled_task: Some(compiler::compile_task(template)), created_at: None };
    let row = EntityRow {
        digest: digest::of_message(&closure).to_vec(),
        task_type,
        short_description: description.short(),
        closure: closure.encode_to_vec(),
        interface: interface.unwrap_or_default().encode_to_vec(),
        created_at: Timestamp::now(),
        id,
    };
    registration::insert(cx, row, description.bytes(), "flyteidl.admin.TaskClosure").await?;
    Ok(TaskCreateResponse {})
}

pub(super) async fn get(cx: &Context, request: ObjectGetRequest) -> Result<Task> {
    let id = entity_id(EntityKind::Task, request.id.as_ref())?;
    let row = cx.store.entity_get(&id).await?.ok_or_else(|| Error::not_found("task", &id))?;
    read::entity::task(&row)
}

pub(super) async fn list(cx: &Context, request: ResourceListRequest) -> Result<TaskList> {
    let scope = scope::of_resource(request.id.as_ref())?;
    let query = list::query(request.limit, &request.token, &request.filters, request.sort_by.as_ref())?;
    let rows = cx.store.entity_list(EntityKind::Task, &scope, &query).await?;
    let tasks = rows.iter().map(read::entity::task).collect::<Result<_>>()?;
    Ok(TaskList { tasks, token: list::next_token(&query, rows.len()) })
}

pub(super) async fn ids(
    cx: &Context,
    request: NamedEntityIdentifierListRequest,
) -> Result<NamedEntityIdentifierList> {
    scope::ids(cx, EntityKind::Task, request).await
}
