//! How executions begin, what their specs say, and how clients end them.

use proto::flyteidl::admin::{execution_closure::OutputResult, *};
use proto::flyteidl::core::{ResourceType, *};
use tonic::Code;

use super::world::*;

fn lp() -> Identifier {
    id(ResourceType::LaunchPlan, "wf", "v1")
}

fn good() -> LiteralMap {
    literals(&[("a", integer(1)), ("b", text("x"))])
}

#[tokio::test]
async fn new_execution_reads_as_undefined() {
    let world = world().await;
    world.register("v1").await;
    let name = world.start("").await;
    assert!(name.len() == 20 && name.chars().all(char::is_alphanumeric), "{name}");
    let execution = world.execution(&name).await;
    let closure = execution.closure.unwrap();
    assert_eq!(closure.phase, 0);
    assert_eq!(closure.workflow_id, Some(id(ResourceType::Workflow, "wf", "v1")));
    assert!(closure.created_at.is_some() && closure.created_at == closure.updated_at);
    assert_eq!(closure.state_change_details.unwrap().state, 0);
    assert_eq!((closure.started_at, closure.duration, closure.output_result), (None, None, None));
}

#[tokio::test]
#[allow(deprecated, reason = "flytekit reads tags back")]
async fn spec_is_echoed_as_given() {
    let world = world().await;
    world.register("v1").await;
    let mut request = execution_request("", lp(), good());
    let given = request.spec.as_mut().unwrap();
    given.envs = Some(Envs { values: vec![KeyValuePair { key: "K".to_owned(), value: "V".to_owned() }] });
    given.tags = vec!["tag".to_owned()];
    given.cluster_assignment = Some(ClusterAssignment { cluster_pool_name: "gpu".to_owned() });
    given.interruptible = Some(false);
    given.overwrite_cache = true;
    given.labels = Some(Labels { values: [("k".to_owned(), "v".to_owned())].into() });
    let given = given.clone();
    let name = world.admin.clone().create_execution(request).await.unwrap().into_inner().id.unwrap().name;
    let found = world.execution(&name).await.spec.unwrap();
    let metadata = found.metadata.clone().unwrap();
    assert_eq!(metadata.principal, "");
    assert_eq!(metadata.system_metadata.unwrap().namespace, "flytesnacks-development");
    let want = ExecutionSpec { metadata: found.metadata.clone(), max_parallelism: 25, ..given };
    assert_eq!(found, want);
}

#[tokio::test]
async fn refused_starts_have_precise_codes() {
    let world = world().await;
    world.register("v1").await;
    let start =
        async |request: ExecutionCreateRequest| code(world.admin.clone().create_execution(request).await);
    let with = |inputs: &[(&str, Literal)]| execution_request("", lp(), literals(inputs));
    for (request, want) in [
        (with(&[("a", integer(1))]), Code::InvalidArgument),
        (with(&[("a", text("1")), ("b", text("x"))]), Code::InvalidArgument),
        (with(&[("a", integer(1)), ("b", text("x")), ("z", text("x"))]), Code::InvalidArgument),
        (execution_request("", id(ResourceType::Workflow, "wf", "v1"), good()), Code::InvalidArgument),
        (execution_request("", id(ResourceType::LaunchPlan, "wf", "v9"), good()), Code::NotFound),
        (execution_request("", id(ResourceType::Task, "none", "v1"), good()), Code::NotFound),
        (execution_request("-bad", lp(), good()), Code::InvalidArgument),
        (execution_request(&"a".repeat(64), lp(), good()), Code::InvalidArgument),
        (
            ExecutionCreateRequest { project: "none".to_owned(), ..execution_request("", lp(), good()) },
            Code::InvalidArgument,
        ),
        (
            ExecutionCreateRequest { domain: "none".to_owned(), ..execution_request("", lp(), good()) },
            Code::InvalidArgument,
        ),
        (ExecutionCreateRequest { spec: None, ..execution_request("", lp(), good()) }, Code::InvalidArgument),
    ] {
        let shown = format!("{request:?}");
        assert_eq!(start(request).await, want, "{shown}");
    }
    let list = ResourceListRequest { id: Some(named("")), limit: 10, ..ResourceListRequest::default() };
    assert!(world.admin.clone().list_executions(list).await.unwrap().into_inner().executions.is_empty());
}

#[tokio::test]
async fn taken_name_answers_already_exists() {
    let world = world().await;
    world.register("v1").await;
    assert_eq!(world.start("mine").await, "mine");
    let again = execution_request("MINE", lp(), good());
    assert_eq!(code(world.admin.clone().create_execution(again).await), Code::AlreadyExists);
    assert_eq!(world.execution("Mine").await.id.unwrap().name, "mine");
}

#[tokio::test]
async fn inputs_read_back_complete() {
    let world = world().await;
    world.register("v1").await;
    let name = world.start("").await;
    let request = WorkflowExecutionGetDataRequest { id: Some(execution_id(&name)) };
    let data = world.admin.clone().get_execution_data(request).await.unwrap().into_inner();
    assert_eq!(data.full_inputs, Some(good()));
    assert_eq!(data.full_outputs, None);
}

#[tokio::test]
#[allow(deprecated, reason = "clients read URLs of large data there")]
async fn large_inputs_come_as_a_signed_url() {
    let config = api::Config { max_inline_size: config::Size::from_bytes(8), ..api::Config::default() };
    let world = world_with(config, launch::Config::default()).await;
    world.register("v1").await;
    let name = world.start("").await;
    let request = WorkflowExecutionGetDataRequest { id: Some(execution_id(&name)) };
    let data = world.admin.clone().get_execution_data(request).await.unwrap().into_inner();
    assert_eq!(data.full_inputs, None);
    let blob = data.inputs.unwrap();
    let bytes = reqwest::get(&blob.url).await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes.len() as i64, blob.bytes);
    assert_eq!(<LiteralMap as prost::Message>::decode(bytes).unwrap(), good());
}

#[tokio::test]
async fn lost_objects_do_not_fail_the_call() {
    let world = world().await;
    world.register("v1").await;
    let name = world.start("").await;
    let id = model::ExecutionId::new(PROJECT, DOMAIN, &name);
    let row = world.store.execution_get(&id).await.unwrap().unwrap();
    world.blob.delete(&blob::DataReference::parse(row.inputs_uri).unwrap()).await.unwrap();
    let request = WorkflowExecutionGetDataRequest { id: Some(execution_id(&name)) };
    let data = world.admin.clone().get_execution_data(request).await.unwrap().into_inner();
    assert_eq!(data.full_inputs, Some(LiteralMap::default()));
}

#[tokio::test]
async fn abort_shows_at_once_and_may_repeat() {
    let world = world().await;
    world.register("v1").await;
    let name = world.start("").await;
    let request =
        |cause: &str| ExecutionTerminateRequest { id: Some(execution_id(&name)), cause: cause.to_owned() };
    let mut admin = world.admin.clone();
    admin.terminate_execution(request("first")).await.unwrap();
    admin.terminate_execution(request("second")).await.unwrap();
    let closure = world.execution(&name).await.closure.unwrap();
    assert_eq!(closure.phase, workflow_execution::Phase::Aborting as i32);
    let Some(OutputResult::AbortMetadata(metadata)) = closure.output_result else {
        panic!("{:?}", closure.output_result)
    };
    assert_eq!((metadata.cause.as_str(), metadata.principal.as_str()), ("first", ""));
    let unknown = ExecutionTerminateRequest {
        id: Some(execution_id("nobody")),
        ..ExecutionTerminateRequest::default()
    };
    assert_eq!(code(admin.terminate_execution(unknown).await), Code::NotFound);
    assert_eq!(
        code(admin.terminate_execution(ExecutionTerminateRequest::default()).await),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn archived_executions_leave_the_list() {
    let world = world().await;
    world.register("v1").await;
    let (kept, archived) = (world.start("kept").await, world.start("archived").await);
    let mut admin = world.admin.clone();
    let update = |name: &str, state| ExecutionUpdateRequest { id: Some(execution_id(name)), state };
    admin.update_execution(update(&archived, 1)).await.unwrap();
    assert_eq!(code(admin.update_execution(update("nobody", 1)).await), Code::NotFound);
    assert_eq!(code(admin.update_execution(update(&kept, 7)).await), Code::InvalidArgument);
    let mut names = async |filters: &str| {
        let request = ResourceListRequest {
            id: Some(named("")),
            limit: 10,
            filters: filters.to_owned(),
            ..ResourceListRequest::default()
        };
        let list = admin.list_executions(request).await.unwrap().into_inner();
        list.executions.into_iter().map(|found| found.id.unwrap().name).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["kept"]);
    assert_eq!(names("eq(state,1)").await, ["archived"]);
    assert_eq!(world.execution("archived").await.closure.unwrap().state_change_details.unwrap().state, 1);
}

#[tokio::test]
async fn single_task_keeps_the_tasks_id() {
    let world = world().await;
    world.register("v1").await;
    let task = id(ResourceType::Task, "t", "v1");
    let request = execution_request("", task.clone(), literals(&[("a", integer(1))]));
    let name = world.admin.clone().create_execution(request).await.unwrap().into_inner().id.unwrap().name;
    let execution = world.execution(&name).await;
    assert_eq!(execution.spec.unwrap().launch_plan, Some(task));
    assert_eq!(execution.closure.unwrap().workflow_id, Some(id(ResourceType::Workflow, ".flytegen.t", "v1")));
}

#[tokio::test]
async fn relaunch_refers_to_the_original() {
    let world = world().await;
    world.register("v1").await;
    let name = world.start("").await;
    let mut admin = world.admin.clone();
    let request = ExecutionRelaunchRequest {
        id: Some(execution_id(&name)),
        name: "again".to_owned(),
        overwrite_cache: true,
    };
    admin.relaunch_execution(request).await.unwrap();
    let spec = world.execution("again").await.spec.unwrap();
    let metadata = spec.metadata.unwrap();
    assert_eq!(metadata.reference_execution, Some(execution_id(&name)));
    assert_eq!(metadata.mode, execution_metadata::ExecutionMode::Relaunch as i32);
    assert!(spec.overwrite_cache);
    let unknown =
        ExecutionRelaunchRequest { id: Some(execution_id("nobody")), ..ExecutionRelaunchRequest::default() };
    assert_eq!(code(admin.relaunch_execution(unknown).await), Code::NotFound);
}
