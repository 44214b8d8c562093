//! Serves `flyteidl.service.AdminService`: one line per call, one file per family.

mod attributes;
mod description;
mod event;
mod execution;
mod launch_plan;
mod metrics;
mod named_entity;
mod node_execution;
mod project;
mod registration;
mod scope;
mod task;
mod task_execution;
mod version;
mod workflow;

use std::sync::Arc;

use proto::flyteidl::admin as pb;
use proto::flyteidl::service::admin_service_server::AdminService;
use tonic::{Request, Response, Status};

use crate::{context::Context, error::Result, http::caller, raw};

type Reply<T> = std::result::Result<Response<T>, Status>;

/// The service.
pub(crate) struct Admin(pub(crate) Arc<Context>);

fn reply<T>(result: Result<T>) -> Reply<T> {
    result.map(Response::new).map_err(Status::from)
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn create_task(&self, request: Request<pb::TaskCreateRequest>) -> Reply<pb::TaskCreateResponse> {
        let arrived = raw::arrived(&request);
        reply(task::create(&self.0, request.into_inner(), &arrived).await)
    }

    async fn get_task(&self, request: Request<pb::ObjectGetRequest>) -> Reply<pb::Task> {
        raw::reply(task::get(&self.0, request.into_inner()).await)
    }

    async fn list_task_ids(
        &self,
        request: Request<pb::NamedEntityIdentifierListRequest>,
    ) -> Reply<pb::NamedEntityIdentifierList> {
        reply(task::ids(&self.0, request.into_inner()).await)
    }

    async fn list_tasks(&self, request: Request<pb::ResourceListRequest>) -> Reply<pb::TaskList> {
        raw::reply(task::list(&self.0, request.into_inner()).await)
    }

    async fn create_workflow(
        &self,
        request: Request<pb::WorkflowCreateRequest>,
    ) -> Reply<pb::WorkflowCreateResponse> {
        let arrived = raw::arrived(&request);
        reply(workflow::create(&self.0, request.into_inner(), &arrived).await)
    }

    async fn get_workflow(&self, request: Request<pb::ObjectGetRequest>) -> Reply<pb::Workflow> {
        raw::reply(workflow::get(&self.0, request.into_inner()).await)
    }

    async fn list_workflow_ids(
        &self,
        request: Request<pb::NamedEntityIdentifierListRequest>,
    ) -> Reply<pb::NamedEntityIdentifierList> {
        reply(workflow::ids(&self.0, request.into_inner()).await)
    }

    async fn list_workflows(&self, request: Request<pb::ResourceListRequest>) -> Reply<pb::WorkflowList> {
        raw::reply(workflow::list(&self.0, request.into_inner()).await)
    }

    async fn create_launch_plan(
        &self,
        request: Request<pb::LaunchPlanCreateRequest>,
    ) -> Reply<pb::LaunchPlanCreateResponse> {
        let arrived = raw::arrived(&request);
        reply(launch_plan::create(&self.0, request.into_inner(), &arrived).await)
    }

    async fn get_launch_plan(&self, request: Request<pb::ObjectGetRequest>) -> Reply<pb::LaunchPlan> {
        raw::reply(launch_plan::get(&self.0, request.into_inner()).await)
    }

    async fn get_active_launch_plan(
        &self,
        request: Request<pb::ActiveLaunchPlanRequest>,
    ) -> Reply<pb::LaunchPlan> {
        raw::reply(launch_plan::get_active(&self.0, request.into_inner()).await)
    }

    async fn list_active_launch_plans(
        &self,
        request: Request<pb::ActiveLaunchPlanListRequest>,
    ) -> Reply<pb::LaunchPlanList> {
        raw::reply(launch_plan::list_active(&self.0, request.into_inner()).await)
    }

    async fn list_launch_plan_ids(
        &self,
        request: Request<pb::NamedEntityIdentifierListRequest>,
    ) -> Reply<pb::NamedEntityIdentifierList> {
        reply(launch_plan::ids(&self.0, request.into_inner()).await)
    }

    async fn list_launch_plans(
        &self,
        request: Request<pb::ResourceListRequest>,
    ) -> Reply<pb::LaunchPlanList> {
        raw::reply(launch_plan::list(&self.0, request.into_inner()).await)
    }

    async fn update_launch_plan(
        &self,
        request: Request<pb::LaunchPlanUpdateRequest>,
    ) -> Reply<pb::LaunchPlanUpdateResponse> {
        reply(launch_plan::update(&self.0, request.into_inner()).await)
    }

    async fn create_execution(
        &self,
        request: Request<pb::ExecutionCreateRequest>,
    ) -> Reply<pb::ExecutionCreateResponse> {
        let caller = caller(&request);
        let arrived = raw::arrived(&request);
        reply(execution::create(&self.0, request.into_inner(), &arrived, &caller).await)
    }

    async fn relaunch_execution(
        &self,
        request: Request<pb::ExecutionRelaunchRequest>,
    ) -> Reply<pb::ExecutionCreateResponse> {
        let caller = caller(&request);
        reply(execution::relaunch(&self.0, request.into_inner(), &caller).await)
    }

    async fn recover_execution(
        &self,
        request: Request<pb::ExecutionRecoverRequest>,
    ) -> Reply<pb::ExecutionCreateResponse> {
        let caller = caller(&request);
        reply(execution::recover(&self.0, request.into_inner(), &caller).await)
    }

    async fn get_execution(&self, request: Request<pb::WorkflowExecutionGetRequest>) -> Reply<pb::Execution> {
        raw::reply(execution::get(&self.0, request.into_inner()).await)
    }

    async fn update_execution(
        &self,
        request: Request<pb::ExecutionUpdateRequest>,
    ) -> Reply<pb::ExecutionUpdateResponse> {
        reply(execution::update(&self.0, request.into_inner()).await)
    }

    async fn get_execution_data(
        &self,
        request: Request<pb::WorkflowExecutionGetDataRequest>,
    ) -> Reply<pb::WorkflowExecutionGetDataResponse> {
        raw::reply(execution::data(&self.0, request.into_inner()).await)
    }

    async fn list_executions(&self, request: Request<pb::ResourceListRequest>) -> Reply<pb::ExecutionList> {
        raw::reply(execution::list(&self.0, request.into_inner()).await)
    }

    async fn terminate_execution(
        &self,
        request: Request<pb::ExecutionTerminateRequest>,
    ) -> Reply<pb::ExecutionTerminateResponse> {
        let caller = caller(&request);
        let is_forced = execution::is_forced(request.metadata());
        reply(execution::terminate(&self.0, request.into_inner(), &caller, is_forced).await)
    }

    async fn get_node_execution(
        &self,
        request: Request<pb::NodeExecutionGetRequest>,
    ) -> Reply<pb::NodeExecution> {
        reply(node_execution::get(&self.0, request.into_inner()).await)
    }

    async fn get_dynamic_node_workflow(
        &self,
        request: Request<pb::GetDynamicNodeWorkflowRequest>,
    ) -> Reply<pb::DynamicNodeWorkflowResponse> {
        raw::reply(node_execution::dynamic_workflow(&self.0, request.into_inner()).await)
    }

    async fn list_node_executions(
        &self,
        request: Request<pb::NodeExecutionListRequest>,
    ) -> Reply<pb::NodeExecutionList> {
        reply(node_execution::list(&self.0, request.into_inner()).await)
    }

    async fn list_node_executions_for_task(
        &self,
        request: Request<pb::NodeExecutionForTaskListRequest>,
    ) -> Reply<pb::NodeExecutionList> {
        reply(node_execution::list_for_task(&self.0, request.into_inner()).await)
    }

    async fn get_node_execution_data(
        &self,
        request: Request<pb::NodeExecutionGetDataRequest>,
    ) -> Reply<pb::NodeExecutionGetDataResponse> {
        raw::reply(node_execution::data(&self.0, request.into_inner()).await)
    }

    async fn register_project(
        &self,
        request: Request<pb::ProjectRegisterRequest>,
    ) -> Reply<pb::ProjectRegisterResponse> {
        reply(project::register(&self.0, request.into_inner()).await)
    }

    async fn update_project(&self, request: Request<pb::Project>) -> Reply<pb::ProjectUpdateResponse> {
        reply(project::update(&self.0, request.into_inner()).await)
    }

    async fn get_project(&self, request: Request<pb::ProjectGetRequest>) -> Reply<pb::Project> {
        reply(project::get(&self.0, request.into_inner()).await)
    }

    async fn list_projects(&self, request: Request<pb::ProjectListRequest>) -> Reply<pb::Projects> {
        reply(project::list(&self.0, request.into_inner()).await)
    }

    async fn get_domains(&self, _request: Request<pb::GetDomainRequest>) -> Reply<pb::GetDomainsResponse> {
        Ok(Response::new(project::domains(&self.0)))
    }

    async fn create_workflow_event(
        &self,
        request: Request<pb::WorkflowExecutionEventRequest>,
    ) -> Reply<pb::WorkflowExecutionEventResponse> {
        reply(event::create_workflow(&self.0, request.into_inner()).await)
    }

    async fn create_node_event(
        &self,
        request: Request<pb::NodeExecutionEventRequest>,
    ) -> Reply<pb::NodeExecutionEventResponse> {
        reply(Box::pin(event::create_node(&self.0, request.into_inner())).await)
    }

    async fn create_task_event(
        &self,
        request: Request<pb::TaskExecutionEventRequest>,
    ) -> Reply<pb::TaskExecutionEventResponse> {
        reply(event::create_task(&self.0, request.into_inner()).await)
    }

    async fn get_task_execution(
        &self,
        request: Request<pb::TaskExecutionGetRequest>,
    ) -> Reply<pb::TaskExecution> {
        reply(task_execution::get(&self.0, request.into_inner()).await)
    }

    async fn list_task_executions(
        &self,
        request: Request<pb::TaskExecutionListRequest>,
    ) -> Reply<pb::TaskExecutionList> {
        reply(task_execution::list(&self.0, request.into_inner()).await)
    }

    async fn get_task_execution_data(
        &self,
        request: Request<pb::TaskExecutionGetDataRequest>,
    ) -> Reply<pb::TaskExecutionGetDataResponse> {
        raw::reply(task_execution::data(&self.0, request.into_inner()).await)
    }

    async fn update_project_domain_attributes(
        &self,
        request: Request<pb::ProjectDomainAttributesUpdateRequest>,
    ) -> Reply<pb::ProjectDomainAttributesUpdateResponse> {
        reply(attributes::update_project_domain(&self.0, request.into_inner()).await)
    }

    async fn get_project_domain_attributes(
        &self,
        request: Request<pb::ProjectDomainAttributesGetRequest>,
    ) -> Reply<pb::ProjectDomainAttributesGetResponse> {
        reply(attributes::get_project_domain(&self.0, request.into_inner()).await)
    }

    async fn delete_project_domain_attributes(
        &self,
        request: Request<pb::ProjectDomainAttributesDeleteRequest>,
    ) -> Reply<pb::ProjectDomainAttributesDeleteResponse> {
        reply(attributes::delete_project_domain(&self.0, request.into_inner()).await)
    }

    async fn update_project_attributes(
        &self,
        request: Request<pb::ProjectAttributesUpdateRequest>,
    ) -> Reply<pb::ProjectAttributesUpdateResponse> {
        reply(attributes::update_project(&self.0, request.into_inner()).await)
    }

    async fn get_project_attributes(
        &self,
        request: Request<pb::ProjectAttributesGetRequest>,
    ) -> Reply<pb::ProjectAttributesGetResponse> {
        reply(attributes::get_project(&self.0, request.into_inner()).await)
    }

    async fn delete_project_attributes(
        &self,
        request: Request<pb::ProjectAttributesDeleteRequest>,
    ) -> Reply<pb::ProjectAttributesDeleteResponse> {
        reply(attributes::delete_project(&self.0, request.into_inner()).await)
    }

    async fn update_workflow_attributes(
        &self,
        request: Request<pb::WorkflowAttributesUpdateRequest>,
    ) -> Reply<pb::WorkflowAttributesUpdateResponse> {
        reply(attributes::update_workflow(&self.0, request.into_inner()).await)
    }

    async fn get_workflow_attributes(
        &self,
        request: Request<pb::WorkflowAttributesGetRequest>,
    ) -> Reply<pb::WorkflowAttributesGetResponse> {
        reply(attributes::get_workflow(&self.0, request.into_inner()).await)
    }

    async fn delete_workflow_attributes(
        &self,
        request: Request<pb::WorkflowAttributesDeleteRequest>,
    ) -> Reply<pb::WorkflowAttributesDeleteResponse> {
        reply(attributes::delete_workflow(&self.0, request.into_inner()).await)
    }

    async fn list_matchable_attributes(
        &self,
        request: Request<pb::ListMatchableAttributesRequest>,
    ) -> Reply<pb::ListMatchableAttributesResponse> {
        reply(attributes::list(&self.0, request.into_inner()).await)
    }

    async fn list_named_entities(
        &self,
        request: Request<pb::NamedEntityListRequest>,
    ) -> Reply<pb::NamedEntityList> {
        reply(named_entity::list(&self.0, request.into_inner()).await)
    }

    async fn get_named_entity(&self, request: Request<pb::NamedEntityGetRequest>) -> Reply<pb::NamedEntity> {
        reply(named_entity::get(&self.0, request.into_inner()).await)
    }

    async fn update_named_entity(
        &self,
        request: Request<pb::NamedEntityUpdateRequest>,
    ) -> Reply<pb::NamedEntityUpdateResponse> {
        reply(named_entity::update(&self.0, request.into_inner()).await)
    }

    async fn get_version(&self, _request: Request<pb::GetVersionRequest>) -> Reply<pb::GetVersionResponse> {
        Ok(Response::new(version::get(&self.0)))
    }

    async fn get_description_entity(
        &self,
        request: Request<pb::ObjectGetRequest>,
    ) -> Reply<pb::DescriptionEntity> {
        reply(description::get(&self.0, request.into_inner()).await)
    }

    async fn list_description_entities(
        &self,
        request: Request<pb::DescriptionEntityListRequest>,
    ) -> Reply<pb::DescriptionEntityList> {
        reply(description::list(&self.0, request.into_inner()).await)
    }

    async fn get_execution_metrics(
        &self,
        request: Request<pb::WorkflowExecutionGetMetricsRequest>,
    ) -> Reply<pb::WorkflowExecutionGetMetricsResponse> {
        reply(metrics::get(&self.0, request.into_inner()).await)
    }
}
