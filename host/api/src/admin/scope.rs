//! Reads which part of the registry a list covers, and lists bare names.

use model::EntityKind;
use proto::flyteidl::admin::{
    NamedEntityIdentifier, NamedEntityIdentifierList, NamedEntityIdentifierListRequest,
};
use store::Scope;

use crate::{Error, context::Context, error::Result, list};

/// The scope of a list of versions: project and domain, and the name if one is given.
pub(super) fn of_resource(id: Option<&NamedEntityIdentifier>) -> Result<Scope> {
    let id = id.ok_or(Error::Missing("id"))?;
    of_place(&id.project, &id.domain, Some(&id.name).filter(|name| !name.is_empty()))
}

/// The scope of a list in a project and domain.
pub(super) fn of_place(project: &str, domain: &str, name: Option<&String>) -> Result<Scope> {
    for (value, field) in [(project, "project"), (domain, "domain")] {
        if value.is_empty() {
            return Err(Error::Missing(field));
        }
    }
    Ok(Scope { project: project.to_owned(), domain: domain.to_owned(), name: name.cloned() })
}

/// Lists the names under which entities of a kind are registered.
pub(super) async fn ids(
    cx: &Context,
    kind: EntityKind,
    request: NamedEntityIdentifierListRequest,
) -> Result<NamedEntityIdentifierList> {
    let scope = of_place(&request.project, &request.domain, None)?;
    let query = list::query(request.limit, &request.token, &request.filters, request.sort_by.as_ref())?;
    let rows = cx.store.entity_names(kind, &scope, &query).await?;
    let token = list::next_token(&query, rows.len());
    let entities = rows
        .into_iter()
        .map(|(project, domain, name)| NamedEntityIdentifier { project, domain, name, ..Default::default() })
        .collect();
    Ok(NamedEntityIdentifierList { entities, token })
}
