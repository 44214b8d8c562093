//! Projects, names and the version.

use proto::flyteidl::admin::*;
use proto::flyteidl::core::ResourceType;
use tonic::Code;

use super::world::*;

fn project(id: &str) -> Project {
    Project { id: id.to_owned(), name: "Name".to_owned(), ..Project::default() }
}

async fn register(world: &World, project: Project) -> Result<(), tonic::Status> {
    world.admin.clone().register_project(ProjectRegisterRequest { project: Some(project) }).await.map(drop)
}

async fn ids(world: &World, filters: &str) -> Vec<String> {
    let request = ProjectListRequest { filters: filters.to_owned(), ..ProjectListRequest::default() };
    let list = world.admin.clone().list_projects(request).await.unwrap().into_inner();
    list.projects.into_iter().map(|project| project.id).collect()
}

#[tokio::test]
async fn projects_register_once_and_list_by_id() {
    let world = world().await;
    register(&world, project("zebra")).await.unwrap();
    register(&world, project("alpha")).await.unwrap();
    assert_eq!(code(register(&world, project("alpha")).await), Code::AlreadyExists);
    assert_eq!(ids(&world, "").await, ["alpha", "flytesnacks", "zebra"]);
    let get = ProjectGetRequest { id: "alpha".to_owned(), ..ProjectGetRequest::default() };
    let found = world.admin.clone().get_project(get).await.unwrap().into_inner();
    assert_eq!(found.name, "Name");
    let domains: Vec<_> = found.domains.iter().map(|domain| domain.id.as_str()).collect();
    assert_eq!(domains, ["development", "staging", "production"]);
    let none = ProjectGetRequest { id: "none".to_owned(), ..ProjectGetRequest::default() };
    assert_eq!(code(world.admin.clone().get_project(none).await), Code::NotFound);
}

#[tokio::test]
async fn archived_projects_hide_until_asked_for() {
    let world = world().await;
    register(&world, project("old")).await.unwrap();
    let mut admin = world.admin.clone();
    admin.update_project(Project { state: 1, ..project("old") }).await.unwrap();
    assert_eq!(ids(&world, "").await, ["flytesnacks"]);
    assert_eq!(ids(&world, "eq(state,1)").await, ["old"]);
    assert_eq!(ids(&world, "contains(identifier,l)").await, ["flytesnacks", "old"]);
    assert_eq!(code(admin.update_project(project("none")).await), Code::NotFound);
}

#[tokio::test]
async fn update_keeps_what_it_leaves_empty() {
    let world = world().await;
    let labels = Some(Labels { values: [("team".to_owned(), "a".to_owned())].into() });
    let full = Project { description: "about".to_owned(), labels: labels.clone(), ..project("p") };
    register(&world, full).await.unwrap();
    let mut admin = world.admin.clone();
    let only_state = Project { id: "p".to_owned(), state: 1, ..Project::default() };
    admin.update_project(only_state).await.unwrap();
    let get = ProjectGetRequest { id: "p".to_owned(), ..ProjectGetRequest::default() };
    let found = admin.get_project(get).await.unwrap().into_inner();
    assert_eq!((found.name.as_str(), found.description.as_str(), found.state), ("Name", "about", 1));
    assert_eq!(found.labels, labels);
}

#[tokio::test]
async fn broken_projects_are_invalid_arguments() {
    let world = world().await;
    let domain = Domain { id: "d".to_owned(), name: "d".to_owned() };
    for broken in [
        project(""),
        project("Upper"),
        project("a_b"),
        project("-a"),
        project(&"a".repeat(64)),
        Project { name: "n".repeat(65), ..project("a") },
        Project { description: "d".repeat(301), ..project("a") },
        Project { state: 9, ..project("a") },
        Project { domains: vec![domain], ..project("a") },
    ] {
        assert_eq!(code(register(&world, broken.clone()).await), Code::InvalidArgument, "{broken:?}");
    }
    let nothing = ProjectRegisterRequest { project: None };
    assert_eq!(code(world.admin.clone().register_project(nothing).await), Code::InvalidArgument);
}

#[tokio::test]
async fn names_carry_description_and_state() {
    let world = world().await;
    world.register("v1").await;
    let mut admin = world.admin.clone();
    let update = |name: &str, state| NamedEntityUpdateRequest {
        resource_type: ResourceType::Workflow as i32,
        id: Some(named(name)),
        metadata: Some(NamedEntityMetadata { description: "about".to_owned(), state }),
    };
    admin.update_named_entity(update("wf", 1)).await.unwrap();
    assert_eq!(code(admin.update_named_entity(update("none", 1)).await), Code::NotFound);
    assert_eq!(code(admin.update_named_entity(update("wf", 9)).await), Code::InvalidArgument);
    let get = NamedEntityGetRequest { resource_type: ResourceType::Workflow as i32, id: Some(named("wf")) };
    let found = admin.get_named_entity(get).await.unwrap().into_inner().metadata.unwrap();
    assert_eq!((found.description.as_str(), found.state), ("about", 1));
    let unknown = NamedEntityGetRequest { resource_type: 9, id: Some(named("wf")) };
    assert_eq!(code(admin.get_named_entity(unknown).await), Code::InvalidArgument);
}

#[tokio::test]
async fn generated_names_hide_without_filters() {
    let world = world().await;
    world.register("v1").await;
    let task = id(ResourceType::Task, "t", "v1");
    let start = execution_request("", task, literals(&[("a", integer(1))]));
    world.admin.clone().create_execution(start).await.unwrap();
    let names = async |filters: &str| {
        let request = NamedEntityListRequest {
            resource_type: ResourceType::Workflow as i32,
            project: PROJECT.to_owned(),
            domain: DOMAIN.to_owned(),
            limit: 10,
            filters: filters.to_owned(),
            ..NamedEntityListRequest::default()
        };
        let list = world.admin.clone().list_named_entities(request).await.unwrap().into_inner();
        list.entities.into_iter().map(|found| found.id.unwrap().name).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["wf"]);
    assert_eq!(names("eq(state,2)").await, [".flytegen.t"]);
    assert_eq!(names("eq(state,0)").await, ["wf"]);
}

#[tokio::test]
async fn version_is_told() {
    let world = world().await;
    let reply = world.admin.clone().get_version(GetVersionRequest {}).await.unwrap().into_inner();
    assert_eq!(reply.control_plane_version.unwrap().version, "1.2.3");
}
