//! Registers, reads, lists and updates projects.

use model::Timestamp;
use prost::Message;
use proto::flyteidl::admin::{
    Domain, GetDomainsResponse, Labels, Project, ProjectGetRequest, ProjectListRequest,
    ProjectRegisterRequest, ProjectRegisterResponse, ProjectUpdateResponse, Projects, project::ProjectState,
};
use store::{Filter, FilterFunction, ProjectRow};

use crate::{
    Error,
    context::{Context, decode},
    error::Result,
    list,
};

/// Most characters of a display name.
const MAX_NAME: usize = 64;
/// Most characters of a description.
const MAX_DESCRIPTION: usize = 300;
/// Most characters of a project's id, as of any DNS-1123 label.
const MAX_ID: usize = 63;

pub(super) async fn register(
    cx: &Context,
    request: ProjectRegisterRequest,
) -> Result<ProjectRegisterResponse> {
    let project = request.project.ok_or(Error::Missing("project"))?;
    if !project.domains.is_empty() {
        return Err(Error::invalid(
            "project.domains",
            "domains are global and can't be given with a project",
        ));
    }
    let row = row(cx, project, Timestamp::now())?;
    match cx.store.project_insert(&row).await {
        Err(store::Error::Exists { .. }) => Err(Error::Exists { what: "project", id: row.id }),
        other => Ok(other.map(|()| ProjectRegisterResponse {})?),
    }
}

/// Replaces the state, and whatever else is not empty.
pub(super) async fn update(cx: &Context, project: Project) -> Result<ProjectUpdateResponse> {
    let is_named = !project.name.is_empty();
    let update = row(cx, project, Timestamp::now())?;
    let old = cx.store.project_get(&update.id).await?;
    let old = old.ok_or_else(|| Error::not_found("project", &update.id))?;
    let merged = ProjectRow {
        name: if is_named { update.name } else { old.name },
        description: if update.description.is_empty() { old.description } else { update.description },
        labels: if update.labels.is_empty() { old.labels } else { update.labels },
        ..update
    };
    cx.store.project_update(&merged).await?;
    Ok(ProjectUpdateResponse {})
}

pub(super) async fn get(cx: &Context, request: ProjectGetRequest) -> Result<Project> {
    if request.id.is_empty() {
        return Err(Error::Missing("id"));
    }
    let row = cx.store.project_get(&request.id).await?;
    project(cx, &row.ok_or_else(|| Error::not_found("project", &request.id))?)
}

/// Without filters, archived projects are hidden. Without order, projects come by id.
pub(super) async fn list(cx: &Context, request: ProjectListRequest) -> Result<Projects> {
    let sort = request.sort_by.as_ref();
    let mut query = list::query_without_limit(request.limit, &request.token, &request.filters, sort)?;
    if query.filters.is_empty() {
        let archived = [ProjectState::Archived, ProjectState::SystemArchived];
        query.filters.push(Filter {
            entity: None,
            field: "state".to_owned(),
            function: FilterFunction::ValueNotIn,
            values: archived.map(|state| (state as i32).to_string()).to_vec(),
        });
    }
    let rows = cx.store.project_list(&query).await?;
    let projects = rows.iter().map(|row| project(cx, row)).collect::<Result<_>>()?;
    Ok(Projects { projects, token: list::next_token(&query, rows.len()) })
}

pub(super) fn domains(cx: &Context) -> GetDomainsResponse {
    GetDomainsResponse { domains: domain_list(cx) }
}

fn domain_list(cx: &Context) -> Vec<Domain> {
    let domain = |id: &String| Domain { id: id.clone(), name: id.clone() };
    cx.launcher.config().domains.iter().map(domain).collect()
}

fn project(cx: &Context, row: &ProjectRow) -> Result<Project> {
    let labels: Labels = decode(&row.labels, "labels", &row.id)?;
    Ok(Project {
        id: row.id.clone(),
        name: row.name.clone(),
        domains: domain_list(cx),
        description: row.description.clone(),
        labels: Some(labels).filter(|labels| !labels.values.is_empty()),
        state: row.state,
        ..Project::default()
    })
}

fn row(cx: &Context, project: Project, created_at: Timestamp) -> Result<ProjectRow> {
    check_id(&project.id)?;
    for (field, text, max) in
        [("name", &project.name, MAX_NAME), ("description", &project.description, MAX_DESCRIPTION)]
    {
        let n_chars = text.chars().count();
        if n_chars > max {
            let reason = format!("has {n_chars} characters, more than the limit of {max}");
            return Err(Error::invalid(format!("project.{field}"), reason));
        }
    }
    ProjectState::try_from(project.state)
        .map_err(|_| Error::invalid("project.state", format!("{} is no project state", project.state)))?;
    let labels = project.labels.unwrap_or_default();
    launch::labels::check_labels(&labels.values, cx.launcher.config().max_label_entries)
        .map_err(|source| launch::Error::Labels { field: "project.labels", source })?;
    Ok(ProjectRow {
        name: if project.name.is_empty() { project.id.clone() } else { project.name },
        id: project.id,
        description: project.description,
        labels: labels.encode_to_vec(),
        state: project.state,
        created_at,
    })
}

fn check_id(id: &str) -> Result<()> {
    if id.is_empty() {
        return Err(Error::Missing("project.id"));
    }
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = id.len() <= MAX_ID
        && id.starts_with(inner)
        && id.ends_with(inner)
        && id.chars().all(|c| inner(c) || c == '-');
    if fits {
        return Ok(());
    }
    let shown: String = id.chars().take(100).collect();
    let rule = "a project id has lower-case letters, digits and dashes, with a letter or digit at both ends";
    Err(Error::invalid("project.id", format!("`{shown}`: {rule}, and at most {MAX_ID} characters")))
}
