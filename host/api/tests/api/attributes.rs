//! Matchable attributes: set, read, listed and removed at each level, and what they do to a launch.

use proto::flyteidl::admin::{matching_attributes::Target, *};
use proto::flyteidl::core::*;
use tonic::Code;

use super::world::*;

fn matching(target: Target) -> MatchingAttributes {
    MatchingAttributes { target: Some(target) }
}

fn one_of_each_kind() -> Vec<(MatchableResource, Target)> {
    let cpu = TaskResourceSpec { cpu: "2".to_owned(), ..TaskResourceSpec::default() };
    let resources = TaskResourceAttributes { defaults: Some(cpu.clone()), limits: Some(cpu) };
    let attributes = [("k".to_owned(), "v".to_owned())].into();
    let plugin = PluginOverride {
        task_type: "a".to_owned(),
        plugin_id: vec!["x".to_owned()],
        missing_plugin_behavior: 1,
    };
    let quality = quality_of_service::Designation::Tier(quality_of_service::Tier::High as i32);
    vec![
        (MatchableResource::TaskResource, Target::TaskResourceAttributes(resources)),
        (
            MatchableResource::ClusterResource,
            Target::ClusterResourceAttributes(ClusterResourceAttributes { attributes }),
        ),
        (
            MatchableResource::ExecutionQueue,
            Target::ExecutionQueueAttributes(ExecutionQueueAttributes { tags: vec!["t".to_owned()] }),
        ),
        (
            MatchableResource::ExecutionClusterLabel,
            Target::ExecutionClusterLabel(ExecutionClusterLabel { value: "gpu".to_owned() }),
        ),
        (
            MatchableResource::QualityOfServiceSpecification,
            Target::QualityOfService(QualityOfService { designation: Some(quality) }),
        ),
        (
            MatchableResource::PluginOverride,
            Target::PluginOverrides(PluginOverrides { overrides: vec![plugin] }),
        ),
        (MatchableResource::WorkflowExecutionConfig, Target::WorkflowExecutionConfig(parallelism(7))),
        (
            MatchableResource::ClusterAssignment,
            Target::ClusterAssignment(ClusterAssignment { cluster_pool_name: "pool".to_owned() }),
        ),
    ]
}

fn parallelism(max_parallelism: i32) -> WorkflowExecutionConfig {
    WorkflowExecutionConfig { max_parallelism, ..WorkflowExecutionConfig::default() }
}

fn project(attributes: MatchingAttributes) -> ProjectAttributesUpdateRequest {
    let attributes = ProjectAttributes {
        project: PROJECT.to_owned(),
        matching_attributes: Some(attributes),
        ..ProjectAttributes::default()
    };
    ProjectAttributesUpdateRequest { attributes: Some(attributes) }
}

fn domain(attributes: MatchingAttributes) -> ProjectDomainAttributesUpdateRequest {
    let attributes = ProjectDomainAttributes {
        project: PROJECT.to_owned(),
        domain: DOMAIN.to_owned(),
        matching_attributes: Some(attributes),
        ..ProjectDomainAttributes::default()
    };
    ProjectDomainAttributesUpdateRequest { attributes: Some(attributes) }
}

fn workflow(name: &str, attributes: MatchingAttributes) -> WorkflowAttributesUpdateRequest {
    let attributes = WorkflowAttributes {
        project: PROJECT.to_owned(),
        domain: DOMAIN.to_owned(),
        workflow: name.to_owned(),
        matching_attributes: Some(attributes),
        ..WorkflowAttributes::default()
    };
    WorkflowAttributesUpdateRequest { attributes: Some(attributes) }
}

fn get_project(resource: MatchableResource) -> ProjectAttributesGetRequest {
    ProjectAttributesGetRequest {
        project: PROJECT.to_owned(),
        resource_type: resource as i32,
        ..ProjectAttributesGetRequest::default()
    }
}

fn get_domain(resource: MatchableResource) -> ProjectDomainAttributesGetRequest {
    ProjectDomainAttributesGetRequest {
        project: PROJECT.to_owned(),
        domain: DOMAIN.to_owned(),
        resource_type: resource as i32,
        ..ProjectDomainAttributesGetRequest::default()
    }
}

fn get_workflow(name: &str, resource: MatchableResource) -> WorkflowAttributesGetRequest {
    WorkflowAttributesGetRequest {
        project: PROJECT.to_owned(),
        domain: DOMAIN.to_owned(),
        workflow: name.to_owned(),
        resource_type: resource as i32,
        ..WorkflowAttributesGetRequest::default()
    }
}

#[tokio::test]
async fn every_kind_lives_at_every_level() {
    let world = world().await;
    let mut admin = world.admin.clone();
    for (resource, target) in one_of_each_kind() {
        let attributes = matching(target);
        let list = ListMatchableAttributesRequest { resource_type: resource as i32, ..Default::default() };

        admin.update_workflow_attributes(workflow("wf", attributes.clone())).await.unwrap();
        let found = admin.get_workflow_attributes(get_workflow("wf", resource)).await.unwrap().into_inner();
        assert_eq!(found.attributes, workflow("wf", attributes.clone()).attributes, "{resource:?}");
        assert_eq!(
            code(admin.get_workflow_attributes(get_workflow("other", resource)).await),
            Code::NotFound
        );
        assert_eq!(code(admin.get_project_domain_attributes(get_domain(resource)).await), Code::NotFound);

        admin.update_project_domain_attributes(domain(attributes.clone())).await.unwrap();
        let found = admin.get_project_domain_attributes(get_domain(resource)).await.unwrap().into_inner();
        assert_eq!(found.attributes, domain(attributes.clone()).attributes);
        admin.update_project_attributes(project(attributes.clone())).await.unwrap();
        let found = admin.get_project_attributes(get_project(resource)).await.unwrap().into_inner();
        assert_eq!(found.attributes.unwrap().matching_attributes, Some(attributes.clone()));
        let all = admin.list_matchable_attributes(list.clone()).await.unwrap().into_inner();
        let places: Vec<_> = all.configurations.iter().map(|one| (&*one.domain, &*one.workflow)).collect();
        assert_eq!(places, [("", ""), (DOMAIN, ""), (DOMAIN, "wf")]);

        let delete = WorkflowAttributesDeleteRequest {
            project: PROJECT.to_owned(),
            domain: DOMAIN.to_owned(),
            workflow: "wf".to_owned(),
            resource_type: resource as i32,
            ..WorkflowAttributesDeleteRequest::default()
        };
        admin.delete_workflow_attributes(delete.clone()).await.unwrap();
        assert_eq!(code(admin.delete_workflow_attributes(delete).await), Code::NotFound);
        // What holds there now is what the domain says, and it says so.
        let found = admin.get_workflow_attributes(get_workflow("wf", resource)).await.unwrap().into_inner();
        assert_eq!(found.attributes.unwrap().workflow, "");
        let delete = ProjectDomainAttributesDeleteRequest {
            project: PROJECT.to_owned(),
            domain: DOMAIN.to_owned(),
            resource_type: resource as i32,
            ..ProjectDomainAttributesDeleteRequest::default()
        };
        admin.delete_project_domain_attributes(delete.clone()).await.unwrap();
        assert_eq!(code(admin.delete_project_domain_attributes(delete).await), Code::NotFound);
        let delete = ProjectAttributesDeleteRequest {
            project: PROJECT.to_owned(),
            resource_type: resource as i32,
            ..ProjectAttributesDeleteRequest::default()
        };
        admin.delete_project_attributes(delete.clone()).await.unwrap();
        assert_eq!(code(admin.delete_project_attributes(delete).await), Code::NotFound);
        assert!(admin.list_matchable_attributes(list).await.unwrap().into_inner().configurations.is_empty());
    }
}

#[tokio::test]
async fn a_projects_execution_config_is_filled_up_with_the_platforms() {
    let defaults = launch::Defaults { service_account: "app".to_owned(), ..launch::Defaults::default() };
    let config = launch::Config { max_parallelism: 25, defaults, ..launch::Config::default() };
    let world = world_with(api::Config::default(), config).await;
    let mut admin = world.admin.clone();
    let get = get_project(MatchableResource::WorkflowExecutionConfig);
    let mut read = async || {
        let found = admin.get_project_attributes(get.clone()).await.unwrap().into_inner();
        match found.attributes.unwrap().matching_attributes.unwrap().target {
            Some(Target::WorkflowExecutionConfig(config)) => config,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read().await.max_parallelism, 25);
    let own = Target::WorkflowExecutionConfig(parallelism(3));
    world.admin.clone().update_project_attributes(project(matching(own))).await.unwrap();
    let found = read().await;
    assert_eq!(found.max_parallelism, 3);
    assert_eq!(found.security_context.unwrap().run_as.unwrap().k8s_service_account, "app");
}

#[tokio::test]
async fn plugin_overrides_join_those_that_are_there() {
    let world = world().await;
    let mut admin = world.admin.clone();
    let plugins = |pairs: &[(&str, &str)]| {
        let overrides = pairs.iter().map(|(task_type, plugin)| PluginOverride {
            task_type: (*task_type).to_owned(),
            plugin_id: vec![(*plugin).to_owned()],
            missing_plugin_behavior: 0,
        });
        matching(Target::PluginOverrides(PluginOverrides { overrides: overrides.collect() }))
    };
    admin.update_project_domain_attributes(domain(plugins(&[("a", "1"), ("b", "1")]))).await.unwrap();
    admin.update_project_domain_attributes(domain(plugins(&[("b", "2")]))).await.unwrap();
    let get = get_domain(MatchableResource::PluginOverride);
    let found = admin.get_project_domain_attributes(get).await.unwrap().into_inner();
    assert_eq!(found.attributes, domain(plugins(&[("a", "1"), ("b", "2")])).attributes);
}

#[tokio::test]
async fn broken_attribute_requests_are_refused() {
    let world = world().await;
    let mut admin = world.admin.clone();
    let good = || matching(Target::WorkflowExecutionConfig(parallelism(1)));
    let update = |change: fn(&mut ProjectDomainAttributes)| {
        let mut request = domain(good());
        change(request.attributes.as_mut().unwrap());
        request
    };
    for request in [
        ProjectDomainAttributesUpdateRequest::default(),
        update(|attributes| attributes.project = "none".to_owned()),
        update(|attributes| attributes.project.clear()),
        update(|attributes| attributes.domain = "none".to_owned()),
        update(|attributes| attributes.domain.clear()),
        update(|attributes| attributes.matching_attributes = None),
        update(|attributes| attributes.matching_attributes = Some(MatchingAttributes::default())),
        domain(matching(Target::WorkflowExecutionConfig(parallelism(-1)))),
    ] {
        let shown = format!("{request:?}");
        assert_eq!(
            code(admin.update_project_domain_attributes(request).await),
            Code::InvalidArgument,
            "{shown}"
        );
    }
    let no_name = workflow("", good());
    assert_eq!(code(admin.update_workflow_attributes(no_name).await), Code::InvalidArgument);
    let unknown = ListMatchableAttributesRequest { resource_type: 99, ..Default::default() };
    assert_eq!(code(admin.list_matchable_attributes(unknown).await), Code::InvalidArgument);
    let nowhere = ProjectAttributesGetRequest {
        project: "none".to_owned(),
        ..get_project(MatchableResource::WorkflowExecutionConfig)
    };
    assert_eq!(code(admin.get_project_attributes(nowhere).await), Code::InvalidArgument);
}

#[tokio::test]
async fn a_launch_takes_what_holds_for_its_workflow() {
    let world = world().await;
    world.register("v1").await;
    let mut admin = world.admin.clone();
    let config = |n| matching(Target::WorkflowExecutionConfig(parallelism(n)));
    admin.update_project_domain_attributes(domain(config(5))).await.unwrap();
    let of = async |name: &str| world.execution(&world.start(name).await).await.spec.unwrap();
    assert_eq!(of("one").await.max_parallelism, 5);
    admin.update_workflow_attributes(workflow("wf", config(6))).await.unwrap();
    assert_eq!(of("two").await.max_parallelism, 6);
    admin.update_workflow_attributes(workflow("elsewhere", config(9))).await.unwrap();
    assert_eq!(of("three").await.max_parallelism, 6);

    let pool = Target::ClusterAssignment(ClusterAssignment { cluster_pool_name: "big".to_owned() });
    admin.update_project_domain_attributes(domain(matching(pool))).await.unwrap();
    assert_eq!(of("four").await.cluster_assignment.unwrap().cluster_pool_name, "big");
    let inputs = literals(&[("a", integer(1)), ("b", text("x"))]);
    let mut request = execution_request("five", id(ResourceType::LaunchPlan, "wf", "v1"), inputs);
    let elsewhere = ClusterAssignment { cluster_pool_name: "gpu".to_owned() };
    request.spec.as_mut().unwrap().cluster_assignment = Some(elsewhere);
    assert_eq!(code(admin.create_execution(request).await), Code::InvalidArgument);
}

#[tokio::test]
async fn what_is_settled_beside_the_spec_is_shown_as_it_was_at_launch() {
    let launch_config = launch::Config {
        queues: [("batch-fast".to_owned(), vec!["t".to_owned()])].into(),
        queueing_budgets: [("HIGH".to_owned(), config::Duration::from_secs(90))].into(),
        cluster_labels: [("gpu".to_owned(), [("east".to_owned(), 1)].into())].into(),
        ..launch::Config::default()
    };
    let world = world_with(api::Config::default(), launch_config).await;
    world.register("v1").await;
    let mut admin = world.admin.clone();
    for (_, target) in one_of_each_kind() {
        admin.update_project_domain_attributes(domain(matching(target))).await.unwrap();
    }
    let name = world.start("one").await;
    for (kind, _) in one_of_each_kind() {
        let delete = ProjectDomainAttributesDeleteRequest {
            project: PROJECT.to_owned(),
            domain: DOMAIN.to_owned(),
            resource_type: kind as i32,
            ..ProjectDomainAttributesDeleteRequest::default()
        };
        admin.delete_project_domain_attributes(delete).await.unwrap();
    }
    let path = format!("http://{}/pinion/v1/settings/{PROJECT}/{DOMAIN}", world.address);
    let shown: serde_json::Value =
        reqwest::get(format!("{path}/{name}")).await.unwrap().json().await.unwrap();
    let want = serde_json::json!({
        "cluster": "east",
        "queue": "batch-fast",
        "cluster_resources": {"k": "v"},
        "queueing_budget_seconds": 90.0,
        "default_resources": {"cpu": "2"},
        "resource_limits": {"cpu": "2"},
        "plugin_overrides": [{"task_type": "a", "plugins": ["x"], "if_missing": "use default"}],
    });
    assert_eq!(shown, want);
    assert_eq!(reqwest::get(format!("{path}/nobody")).await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_task_may_not_ask_for_more_than_its_place_allows() {
    use proto::flyteidl::core::resources::{ResourceEntry, ResourceName};
    let world = world().await;
    let mut admin = world.admin.clone();
    let request = |version: &str, memory: &str| {
        let mut request = task_request("t", version);
        let template = request.spec.as_mut().unwrap().template.as_mut().unwrap();
        let Some(task_template::Target::Container(container)) = &mut template.target else { panic!() };
        let entry = ResourceEntry { name: ResourceName::Memory as i32, value: memory.to_owned() };
        container.resources = Some(Resources { requests: vec![entry], limits: vec![] });
        request
    };
    admin.create_task(request("v1", "64Gi")).await.unwrap();
    let most = TaskResourceSpec { memory: "1Gi".to_owned(), ..TaskResourceSpec::default() };
    let resources = TaskResourceAttributes { defaults: None, limits: Some(most) };
    let update = domain(matching(Target::TaskResourceAttributes(resources)));
    admin.update_project_domain_attributes(update).await.unwrap();
    admin.create_task(request("v2", "1024Mi")).await.unwrap();
    let refused = admin.create_task(request("v3", "64Gi")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("64Gi, more than the 1Gi allowed here"), "{refused:?}");
}
