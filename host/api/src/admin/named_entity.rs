//! Reads and changes what is said about a name, whatever its versions: description and state.

use model::EntityKind;
use proto::flyteidl::admin::{
    NamedEntity, NamedEntityGetRequest, NamedEntityIdentifier, NamedEntityList, NamedEntityListRequest,
    NamedEntityMetadata, NamedEntityState, NamedEntityUpdateRequest, NamedEntityUpdateResponse,
};
use proto::flyteidl::core::ResourceType;
use store::NamedEntityRow;

use super::scope;
use crate::{Error, context::Context, error::Result, list};

/// Most characters of a description.
const MAX_DESCRIPTION: usize = 300;

pub(super) async fn get(cx: &Context, request: NamedEntityGetRequest) -> Result<NamedEntity> {
    let row = fetch(cx, request.resource_type, request.id.as_ref()).await?;
    Ok(named_entity(row))
}

pub(super) async fn list(cx: &Context, request: NamedEntityListRequest) -> Result<NamedEntityList> {
    let kind = kind(request.resource_type)?;
    let scope = scope::of_place(&request.project, &request.domain, None)?;
    let query = list::query(request.limit, &request.token, &request.filters, request.sort_by.as_ref())?;
    let rows = cx.store.named_entity_list(kind as i32, &scope, &query).await?;
    let token = list::next_token(&query, rows.len());
    Ok(NamedEntityList { entities: rows.into_iter().map(named_entity).collect(), token })
}

pub(super) async fn update(
    cx: &Context,
    request: NamedEntityUpdateRequest,
) -> Result<NamedEntityUpdateResponse> {
    let metadata = request.metadata.ok_or(Error::Missing("metadata"))?;
    NamedEntityState::try_from(metadata.state)
        .map_err(|_| Error::invalid("metadata.state", format!("{} is no state of a name", metadata.state)))?;
    let n_chars = metadata.description.chars().count();
    if n_chars > MAX_DESCRIPTION {
        let reason = format!("has {n_chars} characters, more than the limit of {MAX_DESCRIPTION}");
        return Err(Error::invalid("metadata.description", reason));
    }
    let row = fetch(cx, request.resource_type, request.id.as_ref()).await?;
    let row = NamedEntityRow { description: metadata.description, state: metadata.state, ..row };
    cx.store.named_entity_upsert(&row).await?;
    Ok(NamedEntityUpdateResponse {})
}

async fn fetch(
    cx: &Context,
    resource_type: i32,
    id: Option<&NamedEntityIdentifier>,
) -> Result<NamedEntityRow> {
    let kind = kind(resource_type)?;
    let scope = scope::of_resource(id)?;
    let name = scope.name.ok_or(Error::Missing("id.name"))?;
    let row = cx.store.named_entity_get(kind as i32, &scope.project, &scope.domain, &name).await?;
    row.ok_or_else(|| Error::not_found(kind.word(), format!("{}:{}:{name}", scope.project, scope.domain)))
}

/// The kinds that have names of their own.
pub(super) fn kind(resource_type: i32) -> Result<EntityKind> {
    match ResourceType::try_from(resource_type) {
        Ok(ResourceType::Task) => Ok(EntityKind::Task),
        Ok(ResourceType::Workflow) => Ok(EntityKind::Workflow),
        Ok(ResourceType::LaunchPlan) => Ok(EntityKind::LaunchPlan),
        Ok(ResourceType::Unspecified | ResourceType::Dataset) | Err(_) => {
            let reason = format!("{resource_type} is none of TASK, WORKFLOW, LAUNCH_PLAN");
            Err(Error::invalid("resource_type", reason))
        }
    }
}

fn named_entity(row: NamedEntityRow) -> NamedEntity {
    NamedEntity {
        resource_type: row.resource_type,
        id: Some(NamedEntityIdentifier {
            project: row.project,
            domain: row.domain,
            name: row.name,
            ..NamedEntityIdentifier::default()
        }),
        metadata: Some(NamedEntityMetadata { description: row.description, state: row.state }),
    }
}
