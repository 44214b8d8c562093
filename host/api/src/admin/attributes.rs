//! Sets, reads and removes matchable attributes: what a project, a domain of it, or a workflow settles about its
//! executions. `launch` says what they do.

use launch::attributes::{check, kind, merge};
use model::Timestamp;
use prost::Message;
use proto::flyteidl::admin::{
    ListMatchableAttributesRequest, ListMatchableAttributesResponse, MatchableAttributesConfiguration,
    MatchableResource, MatchingAttributes, ProjectAttributes, ProjectAttributesDeleteRequest,
    ProjectAttributesDeleteResponse, ProjectAttributesGetRequest, ProjectAttributesGetResponse,
    ProjectAttributesUpdateRequest, ProjectAttributesUpdateResponse, ProjectDomainAttributes,
    ProjectDomainAttributesDeleteRequest, ProjectDomainAttributesDeleteResponse,
    ProjectDomainAttributesGetRequest, ProjectDomainAttributesGetResponse,
    ProjectDomainAttributesUpdateRequest, ProjectDomainAttributesUpdateResponse, WorkflowAttributes,
    WorkflowAttributesDeleteRequest, WorkflowAttributesDeleteResponse, WorkflowAttributesGetRequest,
    WorkflowAttributesGetResponse, WorkflowAttributesUpdateRequest, WorkflowAttributesUpdateResponse,
    WorkflowExecutionConfig, matching_attributes::Target,
};
use store::{AttributePlace, AttributeRow};

use crate::{
    Error,
    context::{Context, decode},
    error::Result,
};

pub(super) async fn update_project(
    cx: &Context,
    request: ProjectAttributesUpdateRequest,
) -> Result<ProjectAttributesUpdateResponse> {
    let ProjectAttributes { project, matching_attributes, .. } =
        request.attributes.ok_or(Error::Missing("attributes"))?;
    let place = AttributePlace { project, ..AttributePlace::default() };
    update(cx, place, matching_attributes).await?;
    Ok(ProjectAttributesUpdateResponse {})
}

pub(super) async fn update_project_domain(
    cx: &Context,
    request: ProjectDomainAttributesUpdateRequest,
) -> Result<ProjectDomainAttributesUpdateResponse> {
    let ProjectDomainAttributes { project, domain, matching_attributes, .. } =
        request.attributes.ok_or(Error::Missing("attributes"))?;
    required(&[(&domain, "domain")])?;
    update(cx, AttributePlace { project, domain, ..AttributePlace::default() }, matching_attributes).await?;
    Ok(ProjectDomainAttributesUpdateResponse {})
}

pub(super) async fn update_workflow(
    cx: &Context,
    request: WorkflowAttributesUpdateRequest,
) -> Result<WorkflowAttributesUpdateResponse> {
    let WorkflowAttributes { project, domain, workflow, matching_attributes, .. } =
        request.attributes.ok_or(Error::Missing("attributes"))?;
    required(&[(&domain, "domain"), (&workflow, "workflow")])?;
    update(cx, AttributePlace { project, domain, workflow }, matching_attributes).await?;
    Ok(WorkflowAttributesUpdateResponse {})
}

/// The execution config of a project is filled up with what the platform applies.
pub(super) async fn get_project(
    cx: &Context,
    request: ProjectAttributesGetRequest,
) -> Result<ProjectAttributesGetResponse> {
    required(&[(&request.project, "project")])?;
    let resource = resource(request.resource_type)?;
    let project = request.project;
    if cx.store.project_get(&project).await?.is_none() {
        return Err(launch::Error::UnknownProject { project }.into());
    }
    let place = AttributePlace { project, ..AttributePlace::default() };
    let row = cx.store.attribute_get(&place, resource as i32).await?;
    let mut found = row.as_ref().map(matching).transpose()?;
    if resource == MatchableResource::WorkflowExecutionConfig {
        let own = match found.take().and_then(|found| found.target) {
            Some(Target::WorkflowExecutionConfig(config)) => config,
            _ => WorkflowExecutionConfig::default(),
        };
        let target = Target::WorkflowExecutionConfig(fill(own, cx.launcher.config().execution_config()));
        found = Some(MatchingAttributes { target: Some(target) });
    }
    let matching_attributes = Some(found.ok_or_else(|| missing(&place))?);
    let attributes =
        ProjectAttributes { project: place.project, matching_attributes, ..ProjectAttributes::default() };
    Ok(ProjectAttributesGetResponse { attributes: Some(attributes) })
}

/// What holds there: of several, the most particular, with the place it was set for.
pub(super) async fn get_project_domain(
    cx: &Context,
    request: ProjectDomainAttributesGetRequest,
) -> Result<ProjectDomainAttributesGetResponse> {
    let ProjectDomainAttributesGetRequest { project, domain, resource_type, .. } = request;
    let place = AttributePlace { project, domain, ..AttributePlace::default() };
    let row = matching_row(cx, place, resource_type).await?;
    let attributes = ProjectDomainAttributes {
        matching_attributes: Some(matching(&row)?),
        project: row.place.project,
        domain: row.place.domain,
        ..ProjectDomainAttributes::default()
    };
    Ok(ProjectDomainAttributesGetResponse { attributes: Some(attributes) })
}

/// What holds there: of several, the most particular, with the place it was set for.
pub(super) async fn get_workflow(
    cx: &Context,
    request: WorkflowAttributesGetRequest,
) -> Result<WorkflowAttributesGetResponse> {
    let WorkflowAttributesGetRequest { project, domain, workflow, resource_type, .. } = request;
    required(&[(&workflow, "workflow")])?;
    let row = matching_row(cx, AttributePlace { project, domain, workflow }, resource_type).await?;
    let attributes = WorkflowAttributes {
        matching_attributes: Some(matching(&row)?),
        project: row.place.project,
        domain: row.place.domain,
        workflow: row.place.workflow,
        ..WorkflowAttributes::default()
    };
    Ok(WorkflowAttributesGetResponse { attributes: Some(attributes) })
}

pub(super) async fn delete_project(
    cx: &Context,
    request: ProjectAttributesDeleteRequest,
) -> Result<ProjectAttributesDeleteResponse> {
    let place = AttributePlace { project: request.project, ..AttributePlace::default() };
    delete(cx, place, request.resource_type).await?;
    Ok(ProjectAttributesDeleteResponse {})
}

pub(super) async fn delete_project_domain(
    cx: &Context,
    request: ProjectDomainAttributesDeleteRequest,
) -> Result<ProjectDomainAttributesDeleteResponse> {
    let ProjectDomainAttributesDeleteRequest { project, domain, resource_type, .. } = request;
    required(&[(&domain, "domain")])?;
    delete(cx, AttributePlace { project, domain, ..AttributePlace::default() }, resource_type).await?;
    Ok(ProjectDomainAttributesDeleteResponse {})
}

pub(super) async fn delete_workflow(
    cx: &Context,
    request: WorkflowAttributesDeleteRequest,
) -> Result<WorkflowAttributesDeleteResponse> {
    let WorkflowAttributesDeleteRequest { project, domain, workflow, resource_type, .. } = request;
    required(&[(&domain, "domain"), (&workflow, "workflow")])?;
    delete(cx, AttributePlace { project, domain, workflow }, resource_type).await?;
    Ok(WorkflowAttributesDeleteResponse {})
}

pub(super) async fn list(
    cx: &Context,
    request: ListMatchableAttributesRequest,
) -> Result<ListMatchableAttributesResponse> {
    let rows = cx.store.attribute_list(resource(request.resource_type)? as i32).await?;
    let configuration = |row: AttributeRow| {
        Ok(MatchableAttributesConfiguration {
            attributes: Some(matching(&row)?),
            project: row.place.project,
            domain: row.place.domain,
            workflow: row.place.workflow,
            ..MatchableAttributesConfiguration::default()
        })
    };
    let configurations = rows.into_iter().map(configuration).collect::<Result<_>>()?;
    Ok(ListMatchableAttributesResponse { configurations })
}

async fn update(cx: &Context, place: AttributePlace, attributes: Option<MatchingAttributes>) -> Result<()> {
    check_place(cx, &place).await?;
    let attributes = attributes.ok_or(Error::Missing("attributes.matching_attributes"))?;
    let kind = kind(&attributes).ok_or_else(|| {
        Error::invalid("attributes.matching_attributes", "the attributes are of no known kind")
    })?;
    check(&attributes, cx.launcher.config().max_label_entries)?;
    let row = AttributeRow {
        place,
        kind: kind as i32,
        attributes: attributes.encode_to_vec(),
        updated_at: Timestamp::now(),
    };
    Ok(cx.store.attribute_put(row, merge).await?)
}

async fn delete(cx: &Context, place: AttributePlace, resource_type: i32) -> Result<()> {
    let resource = resource(resource_type)?;
    check_place(cx, &place).await?;
    match cx.store.attribute_delete(&place, resource as i32).await {
        Err(store::Error::NotFound { .. }) => Err(missing(&place)),
        other => Ok(other?),
    }
}

async fn matching_row(cx: &Context, place: AttributePlace, resource_type: i32) -> Result<AttributeRow> {
    required(&[(&place.project, "project"), (&place.domain, "domain")])?;
    let resource = resource(resource_type)?;
    check_place(cx, &place).await?;
    let rows = cx.store.attribute_matching(&place).await?;
    let row = rows.into_iter().find(|row| row.kind == resource as i32);
    row.ok_or_else(|| missing(&place))
}

/// Refuses places where nothing is started.
async fn check_place(cx: &Context, place: &AttributePlace) -> Result<()> {
    required(&[(&place.project, "project")])?;
    if place.domain.is_empty() {
        return Ok(launch::place::check_project(&cx.store, &place.project).await.map(drop)?);
    }
    cx.check_place(&place.project, &place.domain).await
}

fn matching(row: &AttributeRow) -> Result<MatchingAttributes> {
    decode(&row.attributes, "attributes", &row.place.project)
}

/// `own` where it says something, else `platform`.
fn fill(own: WorkflowExecutionConfig, platform: WorkflowExecutionConfig) -> WorkflowExecutionConfig {
    WorkflowExecutionConfig {
        max_parallelism: if own.max_parallelism == 0 {
            platform.max_parallelism
        } else {
            own.max_parallelism
        },
        security_context: own.security_context.or(platform.security_context),
        raw_output_data_config: own.raw_output_data_config.or(platform.raw_output_data_config),
        labels: own.labels.filter(|labels| !labels.values.is_empty()).or(platform.labels),
        annotations: own.annotations.filter(|all| !all.values.is_empty()).or(platform.annotations),
        interruptible: own.interruptible.or(platform.interruptible),
        overwrite_cache: own.overwrite_cache || platform.overwrite_cache,
        envs: own.envs.filter(|envs| !envs.values.is_empty()).or(platform.envs),
        execution_env_assignments: own.execution_env_assignments,
    }
}

fn missing(place: &AttributePlace) -> Error {
    let AttributePlace { project, domain, workflow } = place;
    let parts = [project, domain, workflow].map(String::as_str);
    let named: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Error::not_found("attributes of", named.join(":"))
}

fn required(fields: &[(&String, &'static str)]) -> Result<()> {
    match fields.iter().find(|(value, _)| value.is_empty()) {
        Some((_, field)) => Err(Error::Missing(field)),
        None => Ok(()),
    }
}

fn resource(number: i32) -> Result<MatchableResource> {
    MatchableResource::try_from(number)
        .map_err(|_| Error::invalid("resource_type", format!("{number} is no matchable resource")))
}
