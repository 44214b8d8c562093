//! Answers for settings by project, domain and workflow, of which this version keeps none.

use proto::flyteidl::admin::{
    ListMatchableAttributesRequest, ListMatchableAttributesResponse, MatchableResource, MatchingAttributes,
    ProjectAttributes, ProjectAttributesGetRequest, ProjectAttributesGetResponse,
    ProjectDomainAttributesGetRequest, ProjectDomainAttributesGetResponse, WorkflowAttributesGetRequest,
    WorkflowAttributesGetResponse, WorkflowExecutionConfig, matching_attributes::Target,
};

use crate::{Error, context::Context, error::Result};

const WHAT: &str = "attributes of";

/// What `Update` and `Delete` answer.
pub(super) fn unsupported() -> Error {
    Error::Unsupported("attributes can't be changed in this version")
}

/// The execution config of a project is what the platform applies.
pub(super) fn of_project(
    cx: &Context,
    request: ProjectAttributesGetRequest,
) -> Result<ProjectAttributesGetResponse> {
    if request.project.is_empty() {
        return Err(Error::Missing("project"));
    }
    if resource(request.resource_type)? != MatchableResource::WorkflowExecutionConfig {
        return Err(Error::not_found(WHAT, format!("project {}", request.project)));
    }
    let config = WorkflowExecutionConfig {
        max_parallelism: cx.launcher.config().max_parallelism,
        ..WorkflowExecutionConfig::default()
    };
    let matching = MatchingAttributes { target: Some(Target::WorkflowExecutionConfig(config)) };
    Ok(ProjectAttributesGetResponse {
        attributes: Some(ProjectAttributes {
            project: request.project,
            matching_attributes: Some(matching),
            ..ProjectAttributes::default()
        }),
    })
}

pub(super) fn of_project_domain(
    request: &ProjectDomainAttributesGetRequest,
) -> Result<ProjectDomainAttributesGetResponse> {
    required(&[(&request.project, "project"), (&request.domain, "domain")])?;
    resource(request.resource_type)?;
    Err(Error::not_found(WHAT, format!("project {} and domain {}", request.project, request.domain)))
}

pub(super) fn of_workflow(request: &WorkflowAttributesGetRequest) -> Result<WorkflowAttributesGetResponse> {
    let WorkflowAttributesGetRequest { project, domain, workflow, .. } = request;
    required(&[(project, "project"), (domain, "domain"), (workflow, "workflow")])?;
    resource(request.resource_type)?;
    Err(Error::not_found(WHAT, format!("workflow {project}:{domain}:{workflow}")))
}

pub(super) fn list(request: &ListMatchableAttributesRequest) -> Result<ListMatchableAttributesResponse> {
    resource(request.resource_type)?;
    Ok(ListMatchableAttributesResponse::default())
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
