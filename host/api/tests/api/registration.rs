//! What a registration answers the first time, the second time, and when it may not be.

use prost::Message;
use proto::flyteidl::admin::*;
use proto::flyteidl::core::*;
use tonic::{Code, Status};

use super::world::*;

fn container(request: &mut TaskCreateRequest) -> &mut Container {
    let template = request.spec.as_mut().unwrap().template.as_mut().unwrap();
    match &mut template.target {
        Some(task_template::Target::Container(container)) => container,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn repeats_answer_already_exists_for_all_kinds() {
    let world = world().await;
    world.register("v1").await;
    let mut admin = world.admin.clone();
    assert_eq!(code(admin.create_task(task_request("t", "v1")).await), Code::AlreadyExists);
    assert_eq!(code(admin.create_workflow(workflow_request("wf", "v1", "v1")).await), Code::AlreadyExists);
    assert_eq!(code(admin.create_launch_plan(plan_request("wf", "v1")).await), Code::AlreadyExists);
}

#[tokio::test]
async fn changes_answer_invalid_argument_with_paths() {
    let world = world().await;
    world.register("v1").await;
    let mut admin = world.admin.clone();

    let mut task = task_request("t", "v1");
    container(&mut task).image = "img:2".to_owned();
    let status = admin.create_task(task).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    for part in ["new version", "/compiled_task/template/container/image", "img:1", "img:2"] {
        assert!(status.message().contains(part), "{status}");
    }

    admin.create_task(task_request("t", "v2")).await.unwrap();
    let status = admin.create_workflow(workflow_request("wf", "v1", "v2")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("version"), "{status}");
    assert!(!status.details().is_empty());

    let mut plan = plan_request("wf", "v1");
    plan.spec.as_mut().unwrap().fixed_inputs = Some(literals(&[("b", text("x"))]));
    let status = admin.create_launch_plan(plan).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("/spec/fixed_inputs"), "{status}");
}

#[tokio::test]
async fn empty_against_unset_is_no_change() {
    let world = world().await;
    let mut admin = world.admin.clone();
    admin.create_task(task_request("t", "v1")).await.unwrap();
    let mut again = task_request("t", "v1");
    container(&mut again).resources = Some(Resources::default());
    assert_eq!(code(admin.create_task(again).await), Code::AlreadyExists);
}

#[tokio::test]
async fn huge_changes_make_a_short_message() {
    let world = world().await;
    let mut admin = world.admin.clone();
    admin.create_task(task_request("t", "v1")).await.unwrap();
    let mut huge = task_request("t", "v1");
    container(&mut huge).args = (0..10_000).map(|i| format!("{i} {}", "x".repeat(200))).collect();
    let status = admin.create_task(huge).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().len() < 4096, "{}", status.message().len());
}

#[tokio::test]
async fn places_that_take_nothing_are_invalid_arguments() {
    let world = world().await;
    let mut admin = world.admin.clone();
    let archived = Project { id: "old".to_owned(), state: 1, ..Project::default() };
    admin.register_project(ProjectRegisterRequest { project: Some(archived) }).await.unwrap();
    for (project, domain, want) in [
        ("none", DOMAIN, "none"),
        (PROJECT, "none", "none"),
        ("old", DOMAIN, "not active"),
        ("", DOMAIN, "project"),
    ] {
        let mut request = task_request("t", "v1");
        let id = request.id.as_mut().unwrap();
        (id.project, id.domain) = (project.to_owned(), domain.to_owned());
        let status = admin.create_task(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(want), "{status}");
    }
}

#[tokio::test]
async fn incomplete_tasks_are_refused_by_name_of_the_gap() {
    let world = world().await;
    let refused = async |change: fn(&mut TaskCreateRequest)| -> Status {
        let mut request = task_request("t", "v1");
        change(&mut request);
        world.admin.clone().create_task(request).await.unwrap_err()
    };
    fn template(request: &mut TaskCreateRequest) -> &mut TaskTemplate {
        request.spec.as_mut().unwrap().template.as_mut().unwrap()
    }
    type Change = fn(&mut TaskCreateRequest);
    let cases: [(&str, Change); 10] = [
        ("id", |request| request.id = None),
        ("name", |request| request.id.as_mut().unwrap().name = String::new()),
        ("version", |request| request.id.as_mut().unwrap().version = String::new()),
        ("Workflow", |request| request.id.as_mut().unwrap().resource_type = ResourceType::Workflow as i32),
        ("spec", |request| request.spec = None),
        ("template", |request| request.spec.as_mut().unwrap().template = None),
        ("ype", |request| template(request).r#type = String::new()),
        ("nterface", |request| template(request).interface = None),
        ("etadata", |request| template(request).metadata = None),
        ("mage", |request| container(request).image = String::new()),
    ];
    for (part, change) in cases {
        let status = refused(change).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{part}: {status}");
        assert!(status.message().to_lowercase().contains(&part.to_lowercase()), "{part}: {status}");
    }
}

#[tokio::test]
async fn template_comes_back_as_it_was_sent() {
    let world = world().await;
    let mut admin = world.admin.clone();
    let mut request = task_request("t", "v1");
    let cpu = |value: &str| resources::ResourceEntry { name: 1, value: value.to_owned() };
    container(&mut request).resources = Some(Resources { requests: vec![cpu("1")], limits: vec![] });
    request.spec.as_mut().unwrap().template.as_mut().unwrap().config.insert("k".to_owned(), "v".to_owned());
    admin.create_task(request.clone()).await.unwrap();
    let id = request.id.clone();
    let task = admin.get_task(ObjectGetRequest { id: id.clone() }).await.unwrap().into_inner();
    assert_eq!(task.id, id);
    let closure = task.closure.unwrap();
    assert!(closure.created_at.unwrap().seconds > 1_600_000_000);
    assert_eq!(closure.compiled_task.unwrap().template, request.spec.unwrap().template);
}

#[tokio::test]
async fn template_id_is_the_requests() {
    let world = world().await;
    let mut admin = world.admin.clone();
    let mut request = task_request("t", "v1");
    request.spec.as_mut().unwrap().template.as_mut().unwrap().id = None;
    admin.create_task(request.clone()).await.unwrap();
    let task = admin.get_task(ObjectGetRequest { id: request.id.clone() }).await.unwrap().into_inner();
    assert_eq!(task.closure.unwrap().compiled_task.unwrap().template.unwrap().id, request.id);
}

#[tokio::test]
async fn unknown_ids_are_not_found_and_broken_ids_invalid() {
    let world = world().await;
    let mut admin = world.admin.clone();
    let get = |resource_type, name: &str| ObjectGetRequest { id: Some(id(resource_type, name, "v1")) };
    assert_eq!(code(admin.get_task(get(ResourceType::Task, "x")).await), Code::NotFound);
    assert_eq!(code(admin.get_workflow(get(ResourceType::Workflow, "x")).await), Code::NotFound);
    assert_eq!(code(admin.get_launch_plan(get(ResourceType::LaunchPlan, "x")).await), Code::NotFound);
    assert_eq!(code(admin.get_task(get(ResourceType::Workflow, "x")).await), Code::InvalidArgument);
    assert_eq!(code(admin.get_task(get(ResourceType::Task, "")).await), Code::InvalidArgument);
    assert_eq!(code(admin.get_task(ObjectGetRequest { id: None }).await), Code::InvalidArgument);
}

#[tokio::test]
async fn description_is_kept_beside_the_entity() {
    let world = world().await;
    let mut admin = world.admin.clone();
    let mut request = task_request("t", "v1");
    request.spec.as_mut().unwrap().description =
        Some(DescriptionEntity { short_description: "short".to_owned(), ..DescriptionEntity::default() });
    admin.create_task(request.clone()).await.unwrap();
    let get = ObjectGetRequest { id: request.id.clone() };
    assert_eq!(admin.get_task(get.clone()).await.unwrap().into_inner().short_description, "short");
    let found = admin.get_description_entity(get).await.unwrap().into_inner();
    assert_eq!((found.id, found.short_description.as_str()), (request.id, "short"));
    let list = DescriptionEntityListRequest {
        resource_type: ResourceType::Task as i32,
        id: Some(named("t")),
        limit: 10,
        ..DescriptionEntityListRequest::default()
    };
    assert_eq!(
        admin.list_description_entities(list).await.unwrap().into_inner().description_entities.len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_registrations_give_one_entity() {
    let world = world().await;
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let mut admin = world.admin.clone();
            tokio::spawn(async move { admin.create_task(task_request("t", "v1")).await.map(drop) })
        })
        .collect();
    let mut n_new = 0;
    for one in tries {
        match one.await.unwrap() {
            Ok(()) => n_new += 1,
            Err(status) => assert_eq!(status.code(), Code::AlreadyExists, "{status}"),
        }
    }
    assert_eq!(n_new, 1);
}

#[tokio::test]
async fn digest_does_not_depend_on_wire_order() {
    let request = task_request("t", "v1");
    let bytes = request.encode_to_vec();
    assert_eq!(TaskCreateRequest::decode(bytes.as_slice()).unwrap(), request);
    let world = world().await;
    let mut admin = world.admin.clone();
    let with_config = |order: &[&str]| {
        let mut request = task_request("t", "v1");
        let template = request.spec.as_mut().unwrap().template.as_mut().unwrap();
        for key in order {
            template.config.insert((*key).to_owned(), "v".to_owned());
        }
        request
    };
    let (first, second) = (with_config(&["a", "b", "c"]), with_config(&["c", "a", "b"]));
    admin.create_task(first).await.unwrap();
    assert_eq!(code(admin.create_task(second).await), Code::AlreadyExists);
}
