//! Reads the descriptions that came with registrations.

use model::{EntityId, EntityKind};
use proto::flyteidl::admin::{
    DescriptionEntity, DescriptionEntityList, DescriptionEntityListRequest, ObjectGetRequest,
};

use super::{named_entity, scope};
use crate::{
    Error,
    context::{Context, decode, entity_id},
    error::Result,
    list,
};

pub(super) async fn get(cx: &Context, request: ObjectGetRequest) -> Result<DescriptionEntity> {
    let kind = request.id.as_ref().map(|id| named_entity::kind(id.resource_type)).transpose()?;
    let id = entity_id(kind.unwrap_or(EntityKind::Task), request.id.as_ref())?;
    fetch(cx, &id).await?.ok_or_else(|| Error::not_found("description of", &id))
}

/// Versions without a description are left out; the token counts versions.
pub(super) async fn list(
    cx: &Context,
    request: DescriptionEntityListRequest,
) -> Result<DescriptionEntityList> {
    let kind = named_entity::kind(request.resource_type)?;
    let scope = scope::of_resource(request.id.as_ref())?;
    let query = list::query(request.limit, &request.token, &request.filters, request.sort_by.as_ref())?;
    if kind == EntityKind::LaunchPlan {
        return Ok(DescriptionEntityList::default());
    }
    let rows = cx.store.entity_description_list(kind, &scope, &query).await?;
    let found = rows.iter().flatten();
    let description_entities =
        found.map(|bytes| decode(bytes, "description", kind.word())).collect::<Result<_>>()?;
    Ok(DescriptionEntityList { description_entities, token: list::next_token(&query, rows.len()) })
}

async fn fetch(cx: &Context, id: &EntityId) -> Result<Option<DescriptionEntity>> {
    let bytes = cx.store.entity_description_get(id).await?;
    bytes.map(|bytes| decode(&bytes, "description", id)).transpose()
}
