//! How clients see an execution run, from rows as the engine commits them.

use std::time::Duration;

use model::{EntityId, EntityKind, ExecutionId, Timestamp};
use prost::Message;
use proto::flyteidl::admin::{
    NodeExecution, execution_closure, node_execution_closure, task_execution_closure, *,
};
use proto::flyteidl::core::{ResourceType, *};
use store::{Batch, ExecutionKey, ExecutionUpdate, NodeExecutionRow, NodeFlags, TaskExecutionRow};
use tonic::Code;

use super::world::*;

const T0: Timestamp = Timestamp(1_700_000_000_000_000);

pub(super) fn node(key: ExecutionKey, node_id: &str, phase: node_execution::Phase) -> NodeExecutionRow {
    NodeExecutionRow {
        execution: key,
        node_id: node_id.to_owned(),
        spec_node_id: node_id.to_owned(),
        node_name: node_id.to_owned(),
        parent_id: String::new(),
        retry_group: String::new(),
        phase: phase as i32,
        engine_phase: 0,
        attempt: 0,
        system_failures: 0,
        input_uri: String::new(),
        output_uri: String::new(),
        deck_uri: String::new(),
        error: Vec::new(),
        extra: Vec::new(),
        flags: 0,
        detail: 0,
        created_at: T0,
        updated_at: T0,
        queued_at: None,
        started_at: Some(T0),
        attempt_started_at: None,
        duration: Some(2_500_000),
    }
}

pub(super) fn attempt(key: ExecutionKey, attempt: i32, phase: task_execution::Phase) -> TaskExecutionRow {
    TaskExecutionRow {
        execution: key,
        node_id: "n0".to_owned(),
        attempt,
        task: EntityId {
            kind: EntityKind::Task,
            project: PROJECT.to_owned(),
            domain: DOMAIN.to_owned(),
            name: "t".to_owned(),
            version: "v1".to_owned(),
        },
        task_type: "python-task".to_owned(),
        phase: phase as i32,
        phase_version: 0,
        plugin_phase: 0,
        closure: Vec::new(),
        output_uri: String::new(),
        reason: "because".to_owned(),
        plugin: String::new(),
        plugin_state: Vec::new(),
        state_version: 0,
        intent: Vec::new(),
        objects: Vec::new(),
        open: false,
        wake_at: None,
        created_at: T0,
        updated_at: T0,
        started_at: Some(T0),
        duration: None,
    }
}

fn error(message: &str) -> ExecutionError {
    ExecutionError {
        code: "USER:X".to_owned(),
        message: message.to_owned(),
        kind: 1,
        ..ExecutionError::default()
    }
}

/// A started execution, and a way to commit as its owner.
pub(super) struct Run {
    pub(super) world: World,
    pub(super) name: String,
    pub(super) key: ExecutionKey,
    lease: store::Lease,
}

pub(super) async fn run() -> Run {
    let world = world().await;
    world.register("v1").await;
    let name = world.start("").await;
    let now = Timestamp::now();
    let lease = world.store.lease_acquire("test", Duration::from_secs(600), now).await.unwrap();
    world.store.executions_claim(&lease, 10, now).await.unwrap();
    let id = ExecutionId::new(PROJECT, DOMAIN, &name);
    let key = world.store.execution_get(&id).await.unwrap().unwrap().key;
    Run { world, name, key, lease }
}

impl Run {
    pub(super) async fn commit(&self, batch: Batch) {
        self.world.store.commit(&self.lease, &batch).await.unwrap();
    }

    pub(super) async fn phase(
        &self,
        phase: workflow_execution::Phase,
        change: impl FnOnce(&mut ExecutionUpdate),
    ) {
        let mut update = ExecutionUpdate {
            key: self.key,
            phase: phase as i32,
            outputs_uri: String::new(),
            error: Vec::new(),
            error_kind: String::new(),
            error_code: String::new(),
            updated_at: Timestamp::now(),
            started_at: Some(T0),
            duration: None,
            live: false,
        };
        change(&mut update);
        self.commit(Batch { executions: vec![update], ..Batch::default() }).await;
    }

    pub(super) async fn put(&self, key: &str, map: &LiteralMap) -> String {
        let at = self.world.blob.reference(key).unwrap();
        self.world.blob.put(&at, map.encode_to_vec().into()).await.unwrap();
        at.as_str().to_owned()
    }

    pub(super) fn node_id(&self, node_id: &str) -> NodeExecutionIdentifier {
        NodeExecutionIdentifier { node_id: node_id.to_owned(), execution_id: Some(execution_id(&self.name)) }
    }

    pub(super) fn attempt_id(&self, retry_attempt: u32) -> TaskExecutionIdentifier {
        TaskExecutionIdentifier {
            task_id: Some(id(ResourceType::Task, "t", "v1")),
            node_execution_id: Some(self.node_id("n0")),
            retry_attempt,
        }
    }

    async fn nodes(&self, parent: &str) -> Vec<NodeExecution> {
        let request = NodeExecutionListRequest {
            workflow_execution_id: Some(execution_id(&self.name)),
            limit: 100,
            sort_by: Some(Sort { key: "created_at".to_owned(), direction: 1 }),
            unique_parent_id: parent.to_owned(),
            ..NodeExecutionListRequest::default()
        };
        self.world.admin.clone().list_node_executions(request).await.unwrap().into_inner().node_executions
    }
}

#[tokio::test]
#[allow(deprecated, reason = "clients read the URI there")]
async fn success_shows_outputs_and_duration() {
    let run = run().await;
    let outputs = literals(&[("o0", integer(2))]);
    let uri = run.put("out.pb", &outputs).await;
    run.phase(workflow_execution::Phase::Succeeded, |update| {
        update.outputs_uri = uri.clone();
        update.duration = Some(1_250_000);
    })
    .await;
    let closure = run.world.execution(&run.name).await.closure.unwrap();
    assert_eq!(closure.phase, 4);
    let Some(execution_closure::OutputResult::Outputs(found)) = closure.output_result else { panic!() };
    assert_eq!(found.data, Some(literal_map_blob::Data::Uri(uri)));
    let duration = closure.duration.unwrap();
    assert_eq!((duration.seconds, duration.nanos), (1, 250_000_000));
    let request = WorkflowExecutionGetDataRequest { id: Some(execution_id(&run.name)) };
    let data = run.world.admin.clone().get_execution_data(request).await.unwrap().into_inner();
    assert_eq!(data.full_outputs, Some(outputs));

    let terminate = ExecutionTerminateRequest { id: Some(execution_id(&run.name)), cause: "late".to_owned() };
    let status = run.world.admin.clone().terminate_execution(terminate).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("SUCCEEDED"), "{status}");
    assert!(!status.details().is_empty());
}

#[tokio::test]
async fn failure_shows_the_error_and_lists_its_beginning() {
    let run = run().await;
    let long = "e".repeat(500);
    run.phase(workflow_execution::Phase::Failed, |update| {
        update.error = error(&long).encode_to_vec();
        update.error_kind = "USER".to_owned();
        update.error_code = "USER:X".to_owned();
    })
    .await;
    let message = |execution: Execution| match execution.closure.unwrap().output_result {
        Some(execution_closure::OutputResult::Error(error)) => error.message,
        other => panic!("{other:?}"),
    };
    assert_eq!(message(run.world.execution(&run.name).await), long);
    let request = ResourceListRequest {
        id: Some(named("")),
        limit: 1,
        filters: "eq(phase,FAILED)+eq(error_code,USER:X)".to_owned(),
        ..ResourceListRequest::default()
    };
    let list = run.world.admin.clone().list_executions(request).await.unwrap().into_inner();
    assert_eq!(message(list.executions[0].clone()).len(), 100);
}

#[tokio::test]
#[allow(deprecated, reason = "clients read the URI there")]
async fn nodes_show_data_flags_and_urls() {
    let run = run().await;
    let inputs = literals(&[("a", integer(10))]);
    let uri = run.put("in.pb", &inputs).await;
    let metadata = TaskNodeMetadata { cache_status: 2, ..TaskNodeMetadata::default() };
    let extra = NodeExecutionClosure {
        target_metadata: Some(node_execution_closure::TargetMetadata::TaskNodeMetadata(metadata.clone())),
        ..NodeExecutionClosure::default()
    };
    let start = NodeExecutionRow {
        output_uri: uri.clone(),
        ..node(run.key, "start-node", node_execution::Phase::Succeeded)
    };
    let n0 = NodeExecutionRow {
        input_uri: uri.clone(),
        output_uri: "s3://my-s3-bucket/lost".to_owned(),
        deck_uri: uri.clone(),
        extra: extra.encode_to_vec(),
        flags: NodeFlags::IS_PARENT | NodeFlags::IS_EAGER,
        created_at: T0.plus(1),
        ..node(run.key, "n0", node_execution::Phase::Succeeded)
    };
    let child = NodeExecutionRow {
        parent_id: "n0".to_owned(),
        spec_node_id: "n7".to_owned(),
        retry_group: "0".to_owned(),
        error: error("bad").encode_to_vec(),
        ..node(run.key, "n0-0-n7", node_execution::Phase::Failed)
    };
    run.commit(Batch { nodes: vec![start, n0, child], ..Batch::default() }).await;

    let top = run.nodes("").await;
    let ids: Vec<_> = top.iter().map(|found| found.id.as_ref().unwrap().node_id.as_str()).collect();
    assert_eq!(ids, ["start-node", "n0"]);
    let n0 = &top[1];
    let (closure, flags) = (n0.closure.clone().unwrap(), n0.metadata.clone().unwrap());
    assert_eq!(n0.input_uri, uri);
    assert_eq!((closure.phase, closure.deck_uri.as_str()), (3, uri.as_str()));
    assert_eq!(
        closure.target_metadata,
        Some(node_execution_closure::TargetMetadata::TaskNodeMetadata(metadata))
    );
    assert_eq!(
        (flags.is_parent_node, flags.is_eager, flags.is_dynamic, flags.is_array),
        (true, true, false, false)
    );
    let children = run.nodes("n0").await;
    assert_eq!(children[0].metadata.as_ref().unwrap().spec_node_id, "n7");
    assert_eq!(children[0].metadata.as_ref().unwrap().retry_group, "0");
    let Some(node_execution_closure::OutputResult::Error(found)) =
        &children[0].closure.as_ref().unwrap().output_result
    else {
        panic!()
    };
    assert_eq!(found.message, "bad");

    let mut admin = run.world.admin.clone();
    let data = NodeExecutionGetDataRequest { id: Some(run.node_id("n0")) };
    let data = admin.get_node_execution_data(data).await.unwrap().into_inner();
    assert_eq!(data.full_inputs, Some(inputs.clone()));
    assert_eq!(data.full_outputs, Some(LiteralMap::default()));
    let urls = data.flyte_urls.unwrap();
    assert_eq!(urls.inputs, format!("flyte://v1/{PROJECT}/{DOMAIN}/{}/n0/i", run.name));
    assert_eq!(urls.deck, format!("flyte://v1/{PROJECT}/{DOMAIN}/{}/n0/d", run.name));
    let data = NodeExecutionGetDataRequest { id: Some(run.node_id("start-node")) };
    let data = admin.get_node_execution_data(data).await.unwrap().into_inner();
    assert_eq!(data.full_outputs, Some(inputs));
    assert_eq!(data.flyte_urls.unwrap().deck, "");

    let get = NodeExecutionGetRequest { id: Some(run.node_id("n0")) };
    assert_eq!(admin.get_node_execution(get).await.unwrap().into_inner(), *n0);
    for (node_id, want) in [("n9", Code::NotFound), ("", Code::InvalidArgument)] {
        let request = NodeExecutionGetDataRequest { id: Some(run.node_id(node_id)) };
        assert_eq!(code(admin.get_node_execution_data(request).await), want);
    }
    let dynamic = GetDynamicNodeWorkflowRequest { id: Some(run.node_id("n0")) };
    assert_eq!(code(admin.get_dynamic_node_workflow(dynamic).await), Code::NotFound);
}

#[tokio::test]
#[allow(deprecated, reason = "clients read the URI there")]
async fn attempts_show_one_row_each() {
    let run = run().await;
    let (inputs, outputs) = (literals(&[("a", integer(1))]), literals(&[("o0", integer(2))]));
    let (input_uri, output_uri) = (run.put("in.pb", &inputs).await, run.put("out.pb", &outputs).await);
    let failed = TaskExecutionClosure {
        logs: vec![TaskLog { uri: "http://logs".to_owned(), ..TaskLog::default() }],
        output_result: Some(task_execution_closure::OutputResult::Error(error("first"))),
        ..TaskExecutionClosure::default()
    };
    let first = TaskExecutionRow {
        closure: failed.encode_to_vec(),
        ..attempt(run.key, 0, task_execution::Phase::Failed)
    };
    let second = TaskExecutionRow {
        output_uri: output_uri.clone(),
        created_at: T0.plus(5),
        ..attempt(run.key, 1, task_execution::Phase::Succeeded)
    };
    let n0 = NodeExecutionRow { input_uri, ..node(run.key, "n0", node_execution::Phase::Succeeded) };
    run.commit(Batch { nodes: vec![n0], tasks: vec![first, second], ..Batch::default() }).await;

    let mut admin = run.world.admin.clone();
    let list = TaskExecutionListRequest {
        node_execution_id: Some(run.node_id("n0")),
        limit: 100,
        sort_by: Some(Sort { key: "created_at".to_owned(), direction: 1 }),
        ..TaskExecutionListRequest::default()
    };
    let found = admin.list_task_executions(list).await.unwrap().into_inner().task_executions;
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].id, Some(run.attempt_id(0)));
    let closure = found[0].closure.clone().unwrap();
    assert_eq!((closure.phase, closure.task_type.as_str(), closure.logs.len()), (5, "python-task", 1));
    assert_eq!(closure.output_result, Some(task_execution_closure::OutputResult::Error(error("first"))));
    assert_eq!(
        found[1].closure.clone().unwrap().output_result,
        Some(task_execution_closure::OutputResult::OutputUri(output_uri))
    );

    let get = TaskExecutionGetRequest { id: Some(run.attempt_id(1)) };
    assert_eq!(admin.get_task_execution(get).await.unwrap().into_inner(), found[1]);
    let data = TaskExecutionGetDataRequest { id: Some(run.attempt_id(1)) };
    let data = admin.get_task_execution_data(data).await.unwrap().into_inner();
    assert_eq!((data.full_inputs, data.full_outputs), (Some(inputs), Some(outputs.clone())));
    assert!(data.flyte_urls.unwrap().outputs.ends_with("/n0/1/o"));
    let missing = TaskExecutionGetRequest { id: Some(run.attempt_id(7)) };
    assert_eq!(code(admin.get_task_execution(missing).await), Code::NotFound);
    assert_eq!(
        code(admin.get_task_execution(TaskExecutionGetRequest { id: None }).await),
        Code::InvalidArgument
    );

    let url = format!("flyte://v1/{PROJECT}/{DOMAIN}/{}/n0/1/o", run.name);
    run.check_urls(&url, &outputs).await;
}

impl Run {
    /// What `GetData` answers for a whole map, one value of it, a missing value and a missing attempt.
    async fn check_urls(&self, url: &str, outputs: &LiteralMap) {
        use proto::flyteidl::service::{GetDataRequest, get_data_response::Data};
        let get = async |url: String| {
            let reply = self.world.data_proxy.clone().get_data(GetDataRequest { flyte_url: url }).await;
            reply.map(|reply| reply.into_inner().data.unwrap()).map_err(|status| status.code())
        };
        assert_eq!(get(url.to_owned()).await, Ok(Data::LiteralMap(outputs.clone())));
        assert_eq!(get(format!("{url}/o0")).await, Ok(Data::Literal(outputs.literals["o0"].clone())));
        assert_eq!(get(format!("{url}/zz")).await, Err(Code::InvalidArgument));
        assert_eq!(get(url.replace("/1/", "/9/")).await, Err(Code::NotFound));
        assert_eq!(get(url.replace("/n0/", "/n9/")).await, Err(Code::NotFound));
        assert_eq!(get("flyte://nonsense".to_owned()).await, Err(Code::InvalidArgument));
    }
}
