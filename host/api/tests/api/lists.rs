//! Limits, tokens, filters and order, as clients send them.

use proto::flyteidl::admin::*;
use proto::flyteidl::core::*;
use tonic::{Code, Status};

use super::world::*;

fn request(
    name: &str,
    limit: u32,
    token: &str,
    filters: &str,
    sort: Option<(&str, i32)>,
) -> ResourceListRequest {
    ResourceListRequest {
        id: Some(named(name)),
        limit,
        token: token.to_owned(),
        filters: filters.to_owned(),
        sort_by: sort.map(|(key, direction)| Sort { key: key.to_owned(), direction }),
    }
}

async fn tasks(world: &World, request: ResourceListRequest) -> Result<(Vec<String>, String), Status> {
    let list = world.admin.clone().list_tasks(request).await?.into_inner();
    let label = |id: Identifier| format!("{}@{}", id.name, id.version);
    Ok((list.tasks.into_iter().map(|task| label(task.id.unwrap())).collect(), list.token))
}

#[tokio::test]
async fn pages_end_with_an_empty_token() {
    let world = world().await;
    for name in ["a", "b", "c", "d"] {
        world.admin.clone().create_task(task_request(name, "v1")).await.unwrap();
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = request("", 2, &token, "", Some(("name", 1)));
        let (names, next) = tasks(&world, page).await.unwrap();
        seen.extend(names);
        token = next;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["a@v1", "b@v1", "c@v1", "d@v1"]);
    assert_eq!(tasks(&world, request("", 2, "2", "", None)).await.unwrap().1, "4");
    assert_eq!(tasks(&world, request("", 2, "4", "", None)).await.unwrap(), (vec![], String::new()));
    assert_eq!(tasks(&world, request("", 10_000, "", "", None)).await.unwrap().0.len(), 4);
}

#[tokio::test]
async fn newest_version_comes_first() {
    let world = world().await;
    for version in ["v1", "v3", "v2"] {
        world.admin.clone().create_task(task_request("t", version)).await.unwrap();
    }
    let latest = request("t", 1, "", "", Some(("created_at", 0)));
    assert_eq!(tasks(&world, latest).await.unwrap().0, ["t@v2"]);
    assert_eq!(tasks(&world, request("t", 9, "", "", None)).await.unwrap().0, ["t@v2", "t@v3", "t@v1"]);
}

#[tokio::test]
async fn filters_select_and_all_must_hold() {
    let world = world().await;
    for (name, version) in [("a", "v1"), ("ab", "v1"), ("b", "v2")] {
        world.admin.clone().create_task(task_request(name, version)).await.unwrap();
    }
    for (filters, want) in [
        ("eq(version,v1)", vec!["a@v1", "ab@v1"]),
        ("ne(name,a)", vec!["ab@v1", "b@v2"]),
        ("contains(name,b)", vec!["ab@v1", "b@v2"]),
        ("contains(name,b)+eq(version,v1)", vec!["ab@v1"]),
        ("value_in(name,a;b)", vec!["a@v1", "b@v2"]),
        ("value_not_in(name,a;b)", vec!["ab@v1"]),
        ("eq(type,python-task)", vec!["a@v1", "ab@v1", "b@v2"]),
        ("gt(created_at,2100-01-01T00:00:00Z)", vec![]),
        ("lt(created_at,2100-01-01T00:00:00+00:00)", vec!["a@v1", "ab@v1", "b@v2"]),
    ] {
        let found = tasks(&world, request("", 10, "", filters, Some(("name", 1)))).await.unwrap().0;
        assert_eq!(found, want, "{filters}");
    }
}

#[tokio::test]
async fn broken_lists_are_invalid_arguments() {
    let world = world().await;
    for (what, broken) in [
        ("limit", request("", 0, "", "", None)),
        ("token", request("", 1, "x", "", None)),
        ("token", request("", 1, "-1", "", None)),
        ("filter", request("", 1, "", "eq(name", None)),
        ("function", request("", 1, "", "like(name,x)", None)),
        ("field", request("", 1, "", "eq(colour,red)", None)),
        ("join", request("", 1, "", "eq(launch_plan.name,x)", None)),
        ("time", request("", 1, "", "gt(created_at,yesterday)", None)),
        ("sort", request("", 1, "", "", Some(("colour", 0)))),
        ("sql", request("", 1, "", "", Some(("name; drop table task", 0)))),
        ("direction", request("", 1, "", "", Some(("name", 9)))),
        ("no id", ResourceListRequest { id: None, limit: 1, ..ResourceListRequest::default() }),
    ] {
        assert_eq!(code(tasks(&world, broken).await), Code::InvalidArgument, "{what}");
    }
}

#[tokio::test]
async fn executions_filter_by_label_phase_and_launch_plan() {
    let world = world().await;
    world.register("v1").await;
    for (name, parent) in [("one", "root"), ("two", "other")] {
        let target = id(ResourceType::LaunchPlan, "wf", "v1");
        let mut request = execution_request(name, target, literals(&[("a", integer(1)), ("b", text("x"))]));
        let labels = [("eager-exec".to_owned(), parent.to_owned())].into();
        request.spec.as_mut().unwrap().labels = Some(Labels { values: labels });
        world.admin.clone().create_execution(request).await.unwrap();
    }
    let names = async |filters: &str| {
        let list =
            world.admin.clone().list_executions(request("", 10, "", filters, Some(("name", 1)))).await?;
        let names = list.into_inner().executions.into_iter().map(|found| found.id.unwrap().name);
        Ok::<_, Status>(names.collect::<Vec<_>>())
    };
    let eager = "value_in(execution_tag.key,eager-exec)+value_in(execution_tag.value,root)\
                 +value_in(phase,UNDEFINED;QUEUED;RUNNING)";
    assert_eq!(names(eager).await.unwrap(), ["one"]);
    assert_eq!(names("eq(launch_plan.name,wf)").await.unwrap(), ["one", "two"]);
    assert_eq!(names("eq(workflow.name,nothing)").await.unwrap(), Vec::<String>::new());
    assert_eq!(names("eq(execution_name,two)").await.unwrap(), ["two"]);
    assert_eq!(names("eq(phase,SUCCEEDED)").await.unwrap(), Vec::<String>::new());
    assert_eq!(code(names("eq(phase,NONSENSE)").await), Code::InvalidArgument);
}

#[tokio::test]
async fn id_lists_name_each_entity_once() {
    let world = world().await;
    world.register("v1").await;
    world.register("v2").await;
    let request = NamedEntityIdentifierListRequest {
        project: PROJECT.to_owned(),
        domain: DOMAIN.to_owned(),
        limit: 10,
        ..NamedEntityIdentifierListRequest::default()
    };
    let mut admin = world.admin.clone();
    let names = |list: NamedEntityIdentifierList| -> Vec<String> {
        list.entities.into_iter().map(|id| id.name).collect()
    };
    assert_eq!(names(admin.list_task_ids(request.clone()).await.unwrap().into_inner()), ["t"]);
    assert_eq!(names(admin.list_workflow_ids(request.clone()).await.unwrap().into_inner()), ["wf"]);
    assert_eq!(names(admin.list_launch_plan_ids(request).await.unwrap().into_inner()), ["wf"]);
}

#[tokio::test]
async fn launch_plans_filter_by_workflow() {
    let world = world().await;
    world.register("v1").await;
    let list = async |filters: &str| {
        let request = request("", 10, "", filters, None);
        world.admin.clone().list_launch_plans(request).await.unwrap().into_inner().launch_plans.len()
    };
    assert_eq!(list("eq(workflow.name,wf)+eq(workflow.version,v1)").await, 1);
    assert_eq!(list("eq(workflow.name,other)").await, 0);
    assert_eq!(list("eq(state,0)").await, 1);
    assert_eq!(list("eq(schedule_type,NONE)").await, 1);
}
