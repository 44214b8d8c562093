//! Events of an engine outside: what is taken, what is refused, and what clients then see.

use std::pin::Pin;

use model::Timestamp;
use proto::flyteidl::admin::{node_execution_closure, task_execution_closure, *};
use proto::flyteidl::core::{node_execution, task_execution, workflow_execution, *};
use proto::flyteidl::event::{self, *};
use tonic::Code;

use super::world::*;

const T0: i64 = 1_700_000_000_000_000;

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(Timestamp(T0 + seconds * 1_000_000).to_proto())
}

/// A server whose executions another engine drives.
async fn outside() -> World {
    let config = launch::Config {
        cluster: "west".to_owned(),
        external_clusters: vec!["west".to_owned(), "east".to_owned()],
        ..launch::Config::default()
    };
    let world = world_with(api::Config::default(), config).await;
    world.register("v1").await;
    world
}

fn workflow(name: &str, phase: workflow_execution::Phase, seconds: i64) -> WorkflowExecutionEvent {
    WorkflowExecutionEvent {
        execution_id: Some(execution_id(name)),
        producer_id: "west".to_owned(),
        phase: phase as i32,
        occurred_at: at(seconds),
        output_result: None,
    }
}

fn node_id(name: &str, node: &str) -> NodeExecutionIdentifier {
    NodeExecutionIdentifier { node_id: node.to_owned(), execution_id: Some(execution_id(name)) }
}

fn node(name: &str, node: &str, phase: node_execution::Phase, seconds: i64) -> NodeExecutionEvent {
    NodeExecutionEvent {
        id: Some(node_id(name, node)),
        producer_id: "propeller".to_owned(),
        phase: phase as i32,
        occurred_at: at(seconds),
        spec_node_id: node.to_owned(),
        ..NodeExecutionEvent::default()
    }
}

fn task(name: &str, phase: task_execution::Phase, version: u32, seconds: i64) -> TaskExecutionEvent {
    TaskExecutionEvent {
        task_id: Some(id(ResourceType::Task, "t", "v1")),
        parent_node_execution_id: Some(node_id(name, "n0")),
        phase: phase as i32,
        phase_version: version,
        occurred_at: at(seconds),
        task_type: "python-task".to_owned(),
        ..TaskExecutionEvent::default()
    }
}

impl World {
    async fn of_workflow(&self, event: WorkflowExecutionEvent) -> Result<(), tonic::Status> {
        let request = WorkflowExecutionEventRequest { event: Some(event), ..Default::default() };
        self.admin.clone().create_workflow_event(request).await.map(drop)
    }

    /// In a box: the message is large.
    fn of_node(&self, event: NodeExecutionEvent) -> Pin<Box<dyn Future<Output = Result<(), tonic::Status>>>> {
        let request = NodeExecutionEventRequest { event: Some(event), ..Default::default() };
        let mut admin = self.admin.clone();
        Box::pin(async move { Box::pin(admin.create_node_event(request)).await.map(drop) })
    }

    async fn of_task(&self, event: TaskExecutionEvent) -> Result<(), tonic::Status> {
        let request = TaskExecutionEventRequest { event: Some(event), ..Default::default() };
        self.admin.clone().create_task_event(request).await.map(drop)
    }
}

#[tokio::test]
async fn workers_leave_executions_of_other_engines_alone() {
    let world = outside().await;
    world.start("theirs").await;
    let now = Timestamp::now();
    let ttl = std::time::Duration::from_secs(60);
    let lease = world.store.lease_acquire("worker", ttl, now).await.unwrap();
    assert!(world.store.executions_claim(&lease, 10, now).await.unwrap().is_empty());
}

#[tokio::test]
async fn events_about_our_own_executions_are_refused() {
    use workflow_execution::Phase as P;
    let world = world().await;
    world.register("v1").await;
    world.start("ours").await;
    for phase in [P::Queued, P::Running, P::Failed] {
        let refused = world.of_workflow(workflow("ours", phase, 1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("driven by this host"), "{refused:?}");
    }
    let refused = world.of_node(node("ours", "n0", node_execution::Phase::Running, 1)).await;
    assert_eq!(code(refused), Code::FailedPrecondition);
    let closure = world.execution("ours").await.closure.unwrap();
    assert_eq!((closure.phase, closure.started_at), (0, None));
}

#[tokio::test]
#[allow(deprecated, reason = "clients read the URI there")]
async fn a_whole_run_reads_as_one_of_our_own() {
    use {node_execution::Phase as N, task_execution::Phase as T, workflow_execution::Phase as W};
    let world = outside().await;
    let name = world.start("run").await;
    for (phase, seconds) in [(W::Queued, 1), (W::Queued, 2), (W::Running, 3)] {
        world.of_workflow(workflow(&name, phase, seconds)).await.unwrap();
    }
    world.of_node(node(&name, "n0", N::Queued, 4)).await.unwrap();
    let running = NodeExecutionEvent {
        input_value: Some(node_execution_event::InputValue::InputData(literals(&[("a", integer(1))]))),
        is_dynamic: true,
        ..node(&name, "n0", N::Running, 5)
    };
    world.of_node(running).await.unwrap();

    let log =
        |name: &str, uri: &str| TaskLog { name: name.to_owned(), uri: uri.to_owned(), ..TaskLog::default() };
    let resource = |index, phase: T| ExternalResourceInfo {
        index,
        external_id: format!("x{index}"),
        phase: phase as i32,
        ..ExternalResourceInfo::default()
    };
    let running = TaskExecutionEvent {
        logs: vec![log("one", "http://1"), log("two", "http://2")],
        reasons: vec![EventReason { reason: "began".to_owned(), occurred_at: at(6) }],
        metadata: Some(event::TaskExecutionMetadata {
            generated_name: "pod".to_owned(),
            external_resources: vec![resource(1, T::Running), resource(0, T::Running)],
            ..event::TaskExecutionMetadata::default()
        }),
        ..task(&name, T::Running, 0, 6)
    };
    world.of_task(running).await.unwrap();
    let more = TaskExecutionEvent {
        logs: vec![log("two", "http://3")],
        metadata: Some(event::TaskExecutionMetadata {
            external_resources: vec![resource(1, T::Succeeded)],
            ..event::TaskExecutionMetadata::default()
        }),
        ..task(&name, T::Running, 1, 7)
    };
    world.of_task(more).await.unwrap();
    let outputs = literals(&[("o0", integer(2))]);
    let done = TaskExecutionEvent {
        output_result: Some(task_execution_event::OutputResult::OutputData(outputs.clone())),
        ..task(&name, T::Succeeded, 0, 8)
    };
    world.of_task(done).await.unwrap();

    let child = NodeExecutionEvent {
        parent_node_metadata: Some(ParentNodeExecutionMetadata { node_id: "n0".to_owned() }),
        retry_group: "0".to_owned(),
        ..node(&name, "n0-0-dn0", N::Succeeded, 9)
    };
    world.of_node(child).await.unwrap();
    let template = WorkflowTemplate {
        id: Some(id(ResourceType::Workflow, "made", "v1")),
        ..WorkflowTemplate::default()
    };
    let primary = Some(CompiledWorkflow { template: Some(template), connections: None });
    let compiled = CompiledWorkflowClosure { primary, ..CompiledWorkflowClosure::default() };
    let made = event::DynamicWorkflowNodeMetadata {
        id: Some(id(ResourceType::Workflow, "made", "v1")),
        compiled_workflow: Some(compiled.clone()),
        dynamic_job_spec_uri: "s3://elsewhere/futures.pb".to_owned(),
    };
    let metadata = event::TaskNodeMetadata {
        cache_status: CatalogCacheStatus::CachePopulated as i32,
        dynamic_workflow: Some(made),
        ..event::TaskNodeMetadata::default()
    };
    let ended = NodeExecutionEvent {
        output_result: Some(node_execution_event::OutputResult::OutputData(outputs.clone())),
        target_metadata: Some(node_execution_event::TargetMetadata::TaskNodeMetadata(metadata)),
        is_parent: true,
        ..node(&name, "n0", N::Succeeded, 10)
    };
    world.of_node(ended).await.unwrap();
    let ended = WorkflowExecutionEvent {
        output_result: Some(workflow_execution_event::OutputResult::OutputData(outputs.clone())),
        ..workflow(&name, W::Succeeded, 11)
    };
    world.of_workflow(ended).await.unwrap();

    let mut admin = world.admin.clone();
    let closure = world.execution(&name).await.closure.unwrap();
    assert_eq!((closure.phase, closure.started_at), (W::Succeeded as i32, at(3)));
    assert_eq!(closure.duration.unwrap().seconds, 8);
    let data = WorkflowExecutionGetDataRequest { id: Some(execution_id(&name)) };
    let data = admin.get_execution_data(data).await.unwrap().into_inner();
    assert_eq!(data.full_outputs, Some(outputs.clone()));

    let get = NodeExecutionGetRequest { id: Some(node_id(&name, "n0")) };
    let found = admin.get_node_execution(get).await.unwrap().into_inner();
    let (closure, metadata) = (found.closure.unwrap(), found.metadata.unwrap());
    assert_eq!((closure.phase, closure.duration.unwrap().seconds), (N::Succeeded as i32, 5));
    assert!(metadata.is_dynamic && metadata.is_parent_node);
    let Some(node_execution_closure::TargetMetadata::TaskNodeMetadata(kept)) = closure.target_metadata else {
        panic!()
    };
    assert_eq!(kept.cache_status, CatalogCacheStatus::CachePopulated as i32);
    let data = NodeExecutionGetDataRequest { id: Some(node_id(&name, "n0")) };
    let data = admin.get_node_execution_data(data).await.unwrap().into_inner();
    assert_eq!(data.full_inputs, Some(literals(&[("a", integer(1))])));
    assert_eq!(data.full_outputs, Some(outputs.clone()));
    assert_eq!(data.dynamic_workflow.unwrap().compiled_workflow, Some(compiled));

    let list = TaskExecutionListRequest {
        node_execution_id: Some(node_id(&name, "n0")),
        limit: 10,
        ..TaskExecutionListRequest::default()
    };
    let tasks = admin.list_task_executions(list).await.unwrap().into_inner().task_executions;
    assert_eq!(tasks.len(), 1);
    let closure = tasks[0].closure.clone().unwrap();
    assert_eq!((closure.phase, closure.duration.unwrap().seconds), (T::Succeeded as i32, 2));
    let uris: Vec<&str> = closure.logs.iter().map(|log| log.uri.as_str()).collect();
    assert_eq!(uris, ["http://3", "http://1"]);
    let metadata = closure.metadata.unwrap();
    assert_eq!(metadata.generated_name, "pod");
    let phases: Vec<(u32, i32)> =
        metadata.external_resources.iter().map(|found| (found.index, found.phase)).collect();
    assert_eq!(phases, [(0, T::Running as i32), (1, T::Succeeded as i32)]);
    assert!(matches!(
        closure.output_result,
        Some(task_execution_closure::OutputResult::OutputUri(uri)) if uri.ends_with("/outputs.pb")
    ));

    let list = |parent: &str| NodeExecutionListRequest {
        workflow_execution_id: Some(execution_id(&name)),
        unique_parent_id: parent.to_owned(),
        limit: 10,
        ..NodeExecutionListRequest::default()
    };
    for (parent, want) in [("", "n0"), ("n0", "n0-0-dn0")] {
        let found = admin.list_node_executions(list(parent)).await.unwrap().into_inner().node_executions;
        let ids: Vec<String> = found.into_iter().map(|node| node.id.unwrap().node_id).collect();
        assert_eq!(ids, [want]);
    }
}

#[tokio::test]
async fn events_out_of_order_have_precise_codes() {
    use {node_execution::Phase as N, task_execution::Phase as T, workflow_execution::Phase as W};
    let world = outside().await;
    let name = world.start("run").await;
    let of = async |phase, seconds| world.of_workflow(workflow(&name, phase, seconds)).await;
    assert_eq!(code(of(W::Undefined, 1).await), Code::AlreadyExists);
    of(W::Running, 1).await.unwrap();
    assert_eq!(code(of(W::Running, 2).await), Code::AlreadyExists);
    assert_eq!(code(of(W::Queued, 2).await), Code::FailedPrecondition);
    let foreign = WorkflowExecutionEvent { producer_id: "east".to_owned(), ..workflow(&name, W::Failing, 2) };
    let refused = world.of_workflow(foreign).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(!refused.details().is_empty());
    assert_eq!(code(world.of_workflow(workflow("nobody", W::Running, 1)).await), Code::NotFound);
    let timeless = WorkflowExecutionEvent { occurred_at: None, ..workflow(&name, W::Failed, 1) };
    assert_eq!(code(world.of_workflow(timeless).await), Code::InvalidArgument);

    world.of_node(node(&name, "n0", N::Running, 2)).await.unwrap();
    assert_eq!(code(world.of_node(node(&name, "n0", N::Running, 3)).await), Code::AlreadyExists);
    let orphan = NodeExecutionEvent {
        parent_node_metadata: Some(ParentNodeExecutionMetadata { node_id: "n9".to_owned() }),
        ..node(&name, "n9-0-x", N::Running, 3)
    };
    assert_eq!(code(world.of_node(orphan).await), Code::NotFound);
    let child = event::WorkflowNodeMetadata { execution_id: Some(execution_id("nobody")) };
    let launched = NodeExecutionEvent {
        target_metadata: Some(node_execution_event::TargetMetadata::WorkflowNodeMetadata(child)),
        ..node(&name, "n0", N::Succeeded, 3)
    };
    assert_eq!(code(world.of_node(launched).await), Code::NotFound);

    world.of_task(task(&name, T::Running, 0, 3)).await.unwrap();
    assert_eq!(code(world.of_task(task(&name, T::Running, 0, 4)).await), Code::AlreadyExists);
    world.of_task(task(&name, T::Failed, 0, 4)).await.unwrap();
    assert_eq!(code(world.of_task(task(&name, T::Running, 1, 5)).await), Code::FailedPrecondition);
    let elsewhere = TaskExecutionEvent {
        parent_node_execution_id: Some(node_id(&name, "n7")),
        ..task(&name, T::Running, 0, 4)
    };
    assert_eq!(code(world.of_task(elsewhere).await), Code::NotFound);

    world.of_node(node(&name, "n0", N::Failed, 5)).await.unwrap();
    assert_eq!(code(world.of_node(node(&name, "n0", N::Succeeded, 6)).await), Code::FailedPrecondition);
    let terminate = ExecutionTerminateRequest { id: Some(execution_id(&name)), cause: "enough".to_owned() };
    world.admin.clone().terminate_execution(terminate.clone()).await.unwrap();
    assert_eq!(code(of(W::Running, 6).await), Code::FailedPrecondition);
    of(W::Aborted, 7).await.unwrap();
    assert_eq!(code(of(W::Aborted, 8).await), Code::AlreadyExists);
    let late = of(W::Succeeded, 8).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
    assert!(!late.details().is_empty());
    assert_eq!(code(world.admin.clone().terminate_execution(terminate).await), Code::FailedPrecondition);
}
