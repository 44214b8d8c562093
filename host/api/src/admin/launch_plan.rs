//! Registers, reads, lists and activates launch plans.

use model::{
    EntityId, EntityKind, Timestamp,
    raw::{self, Type},
};
use prost::Message;
use proto::flyteidl::admin::{
    ActiveLaunchPlanListRequest, ActiveLaunchPlanRequest, LaunchPlan, LaunchPlanClosure,
    LaunchPlanCreateRequest, LaunchPlanCreateResponse, LaunchPlanList, LaunchPlanSpec, LaunchPlanState,
    LaunchPlanUpdateRequest, LaunchPlanUpdateResponse, NamedEntityIdentifierList,
    NamedEntityIdentifierListRequest, ObjectGetRequest, ResourceListRequest,
};
use store::{Inserted, LaunchPlanRow, ListQuery, Scope};

use super::{registration, scope, workflow};
use crate::{
    Error,
    context::{Context, decode, entity_id},
    diff,
    error::Result,
    expected::{self, Completed},
    list,
    raw::{self as api_raw, Encoded},
    schedule,
};

const CONTENT_TYPE: &str = "flyteidl.admin.LaunchPlan";

/// Field numbers of what a launch plan is put together of.
mod number {
    /// Of `admin.LaunchPlan`.
    pub(super) const SPEC: u32 = 2;
    pub(super) const CLOSURE: u32 = 3;
    /// Of `admin.LaunchPlanSpec`.
    pub(super) const DEFAULT_INPUTS: u32 = 3;
    /// Of `admin.LaunchPlanClosure`.
    pub(super) const EXPECTED_INPUTS: u32 = 2;
    pub(super) const EXPECTED_OUTPUTS: u32 = 3;
    /// Of `core.TypedInterface`.
    pub(super) const OUTPUTS: u32 = 2;
}

pub(super) async fn create(
    cx: &Context,
    request: LaunchPlanCreateRequest,
    arrived: &[u8],
) -> Result<LaunchPlanCreateResponse> {
    let id = entity_id(EntityKind::LaunchPlan, request.id.as_ref())?;
    let spec = request.spec.ok_or(Error::Missing("spec"))?;
    cx.check_place(&id.project, &id.domain).await?;
    let workflow_id = spec.workflow_id.as_ref().ok_or(Error::Missing("spec.workflow_id"))?;
    let workflow_id = EntityId::from_proto(EntityKind::Workflow, workflow_id)
        .map_err(|source| Error::Id { field: "spec.workflow_id", source })?;
    check_labels(cx, &spec)?;
    let interface = workflow::interface(cx, &workflow_id).await?;
    let completed = expected::complete(spec, &decode(&interface, "interface", &workflow_id)?)?;
    let arrived = raw::field(arrived, registration::number::SPEC);
    insert(cx, row(id, workflow_id, &completed, &arrived, &interface)).await?;
    Ok(LaunchPlanCreateResponse {})
}

fn check_labels(cx: &Context, spec: &LaunchPlanSpec) -> Result<()> {
    let max = cx.launcher.config().max_label_entries;
    if let Some(labels) = &spec.labels {
        launch::labels::check_labels(&labels.values, max)
            .map_err(|source| launch::Error::Labels { field: "spec.labels", source })?;
    }
    if let Some(annotations) = &spec.annotations {
        launch::labels::check_annotations(&annotations.values, max)
            .map_err(|source| launch::Error::Labels { field: "spec.annotations", source })?;
    }
    Ok(())
}

/// `arrived` is the spec, `interface` that of the workflow, as bytes.
fn row(
    id: EntityId,
    workflow: EntityId,
    completed: &Completed,
    arrived: &[u8],
    interface: &[u8],
) -> LaunchPlanRow {
    let spec = Type::named("flyteidl.admin.LaunchPlanSpec").keep(arrived, &completed.spec);
    let mut closure =
        LaunchPlanClosure { expected_inputs: None, expected_outputs: None, ..completed.closure.clone() }
            .encode_to_vec();
    raw::put(number::EXPECTED_INPUTS, &raw::field(&spec, number::DEFAULT_INPUTS), &mut closure);
    raw::put(number::EXPECTED_OUTPUTS, &raw::field(interface, number::OUTPUTS), &mut closure);
    let canonical = [completed.spec.encode_to_vec(), completed.closure.encode_to_vec()].concat();
    let now = Timestamp::now();
    LaunchPlanRow {
        digest: registration::digest(CONTENT_TYPE, &content(&spec, &closure), &canonical),
        id,
        workflow,
        spec,
        closure,
        state: LaunchPlanState::Inactive as i32,
        schedule_type: completed.schedule_type.as_str().to_owned(),
        created_at: now,
        updated_at: now,
    }
}

/// Spec and closure as one `admin.LaunchPlan`.
fn content(spec: &[u8], closure: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(spec.len() + closure.len() + 16);
    raw::put(number::SPEC, spec, &mut out);
    raw::put(number::CLOSURE, closure, &mut out);
    out
}

async fn insert(cx: &Context, row: LaunchPlanRow) -> Result<()> {
    match cx.store.launch_plan_insert(&row).await? {
        Inserted::New => Ok(()),
        Inserted::Identical => Err(Error::Registered(row.id)),
        Inserted::Different(old) => {
            // The closure follows from the spec and the workflow's interface, so that one message tells it all.
            let changes = diff::messages(
                CONTENT_TYPE,
                &content(&old.spec, &old.closure),
                &content(&row.spec, &row.closure),
            );
            Err(registration::refuse(row.id, changes))
        }
    }
}

async fn fetch(cx: &Context, id: &EntityId) -> Result<LaunchPlanRow> {
    cx.store.launch_plan_get(id).await?.ok_or_else(|| Error::NotRegistered(id.clone()))
}

pub(super) async fn get(cx: &Context, request: ObjectGetRequest) -> Result<Encoded<LaunchPlan>> {
    let id = entity_id(EntityKind::LaunchPlan, request.id.as_ref())?;
    Ok(api_raw::launch_plan(&fetch(cx, &id).await?))
}

pub(super) async fn get_active(
    cx: &Context,
    request: ActiveLaunchPlanRequest,
) -> Result<Encoded<LaunchPlan>> {
    let scope = scope::of_resource(request.id.as_ref())?;
    let name = scope.name.ok_or(Error::Missing("id.name"))?;
    let row = cx.store.launch_plan_fetch_active(&scope.project, &scope.domain, &name).await?;
    let shown = format!("{}:{}:{name}", scope.project, scope.domain);
    Ok(api_raw::launch_plan(&row.ok_or_else(|| Error::not_found("active launch plan", shown))?))
}

pub(super) async fn list(cx: &Context, request: ResourceListRequest) -> Result<Encoded<LaunchPlanList>> {
    let scope = scope::of_resource(request.id.as_ref())?;
    let query = list::query(request.limit, &request.token, &request.filters, request.sort_by.as_ref())?;
    page(cx, &scope, false, &query).await
}

pub(super) async fn list_active(
    cx: &Context,
    request: ActiveLaunchPlanListRequest,
) -> Result<Encoded<LaunchPlanList>> {
    let scope = scope::of_place(&request.project, &request.domain, None)?;
    let query = list::query(request.limit, &request.token, "", request.sort_by.as_ref())?;
    page(cx, &scope, true, &query).await
}

async fn page(
    cx: &Context,
    scope: &Scope,
    active_only: bool,
    query: &ListQuery,
) -> Result<Encoded<LaunchPlanList>> {
    let rows = cx.store.launch_plan_list(scope, active_only, query).await?;
    let list = LaunchPlanList { token: list::next_token(query, rows.len()), ..LaunchPlanList::default() };
    Ok(Encoded::of(&list).elements(1, rows.iter().map(api_raw::launch_plan)))
}

pub(super) async fn ids(
    cx: &Context,
    request: NamedEntityIdentifierListRequest,
) -> Result<NamedEntityIdentifierList> {
    scope::ids(cx, EntityKind::LaunchPlan, request).await
}

pub(super) async fn update(
    cx: &Context,
    request: LaunchPlanUpdateRequest,
) -> Result<LaunchPlanUpdateResponse> {
    let id = entity_id(EntityKind::LaunchPlan, request.id.as_ref())?;
    let state = LaunchPlanState::try_from(request.state)
        .map_err(|_| Error::invalid("state", format!("{} is no launch plan state", request.state)))?;
    let row = fetch(cx, &id).await?;
    let now = Timestamp::now();
    match state {
        LaunchPlanState::Active => {
            // Only what becomes active needs an active project: the rest of an archived one must be stoppable.
            cx.check_place(&id.project, &id.domain).await?;
            let spec: LaunchPlanSpec = crate::context::decode(&row.spec, "spec", &id)?;
            let schedule = schedule::of_plan(&spec)?;
            cx.store.launch_plan_activate(&id, schedule.as_ref(), now).await?;
        }
        LaunchPlanState::Inactive => cx.store.launch_plan_set_state(&id, state as i32, now).await?,
    }
    Ok(LaunchPlanUpdateResponse {})
}
