//! Recovery with its plan, forced aborts with their debts, and workflows made at run time.

use prost::Message;
use proto::flyteidl::admin::*;
use proto::flyteidl::core::{node_execution, workflow_execution, *};
use serde_json::{Value, json};
use store::{Batch, NodeExecutionRow, NodeFlags};
use tonic::{Code, Request, metadata::MetadataValue};

use super::progress::{Run, attempt, node, run};
use super::world::*;

async fn get(world: &World, path: &str) -> (u16, Value) {
    let reply = reqwest::get(format!("http://{}/pinion/v1/{path}", world.address)).await.unwrap();
    let status = reply.status().as_u16();
    (status, serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap())
}

fn failed(run: &Run, node_id: &str) -> NodeExecutionRow {
    let error = ExecutionError { code: "USER:X".to_owned(), ..ExecutionError::default() };
    NodeExecutionRow { error: error.encode_to_vec(), ..node(run.key, node_id, node_execution::Phase::Failed) }
}

#[tokio::test]
async fn a_recovery_names_its_original_and_shows_its_plan() {
    use node_execution::Phase as P;
    let run = run().await;
    let child = |node_id: &str, parent: &str, phase| NodeExecutionRow {
        parent_id: parent.to_owned(),
        ..node(run.key, node_id, phase)
    };
    let parent = |node_id: &str, phase| NodeExecutionRow {
        flags: NodeFlags::IS_PARENT,
        ..node(run.key, node_id, phase)
    };
    let nodes = vec![
        node(run.key, "start-node", P::Succeeded),
        node(run.key, "a-done", P::Succeeded),
        parent("b-sub", P::Succeeded),
        child("b-sub-0-x", "b-sub", P::Failed),
        parent("c-sub", P::Failed),
        child("c-sub-0-x", "c-sub", P::Recovered),
        failed(&run, "d-bad"),
    ];
    run.commit(Batch { nodes, ..Batch::default() }).await;
    let path = format!("recover-plan/{PROJECT}/{DOMAIN}/{}", run.name);
    let (status, plan) = get(&run.world, &path).await;
    assert_eq!(status, 200, "{plan}");
    let steps: Vec<String> = plan["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| format!("{} {}", step["node"].as_str().unwrap(), step["decision"].as_str().unwrap()))
        .collect();
    // The workflow's own node has no row: it had not begun.
    let want =
        ["a-done reused", "b-sub reused", "c-sub continues", "c-sub-0-x reused", "d-bad runs", "n0 runs"];
    assert_eq!(steps, want);
    assert_eq!(plan["nodes"][4]["because"], "it failed with USER:X");
    assert_eq!(plan["counts"], json!({"reused": 3, "continues": 1, "runs": 2}));
    assert_eq!((&plan["running"], &plan["truncated"]), (&json!(true), &json!(false)));
    let (_, plan) = get(&run.world, &format!("{path}?changes_only=true&limit=2")).await;
    assert_eq!((plan["nodes"].as_array().unwrap().len(), &plan["truncated"]), (2, &json!(true)));
    let (status, message) = get(&run.world, &format!("recover-plan/{PROJECT}/{DOMAIN}/nobody")).await;
    assert_eq!(status, 404);
    assert!(message["message"].as_str().unwrap().contains("does not exist"), "{message}");

    let request = ExecutionRecoverRequest {
        id: Some(execution_id(&run.name)),
        name: "again".to_owned(),
        ..ExecutionRecoverRequest::default()
    };
    let mut admin = run.world.admin.clone();
    let id = admin.recover_execution(request.clone()).await.unwrap().into_inner().id.unwrap();
    assert_eq!(id.name, "again");
    let metadata = run.world.execution("again").await.spec.unwrap().metadata.unwrap();
    assert_eq!(metadata.mode, execution_metadata::ExecutionMode::Recovered as i32);
    assert_eq!(metadata.reference_execution, Some(execution_id(&run.name)));
    assert_eq!(code(admin.recover_execution(request).await), Code::AlreadyExists);
    let nobody = ExecutionRecoverRequest { id: Some(execution_id("nobody")), ..Default::default() };
    assert_eq!(code(admin.recover_execution(nobody).await), Code::NotFound);
}

#[tokio::test]
async fn a_forced_abort_leaves_a_debt() {
    let run = run().await;
    let terminate =
        || ExecutionTerminateRequest { id: Some(execution_id(&run.name)), cause: "now".to_owned() };
    let mut admin = run.world.admin.clone();
    let id = model::ExecutionId::new(PROJECT, DOMAIN, &run.name);
    admin.terminate_execution(terminate()).await.unwrap();
    assert!(!run.world.store.execution_get(&id).await.unwrap().unwrap().abort_forced);
    let mut request = Request::new(terminate());
    request.metadata_mut().insert("x-pinion-force", MetadataValue::from_static("true"));
    admin.terminate_execution(request).await.unwrap();
    assert!(run.world.store.execution_get(&id).await.unwrap().unwrap().abort_forced);
    assert_eq!(get(&run.world, "debts").await.1, json!({"debts": []}));
    run.phase(workflow_execution::Phase::Aborted, |update| update.live = true).await;
    let (_, debts) = get(&run.world, "debts").await;
    assert_eq!(debts["debts"].as_array().unwrap().len(), 1);
    let debt = &debts["debts"][0];
    assert_eq!((debt["name"].as_str(), debt["cause"].as_str()), (Some(run.name.as_str()), Some("now")));
    assert_eq!((&debt["phase"], &debt["forced"]), (&json!("ABORTED"), &json!(true)));
}

#[tokio::test]
async fn a_workflow_made_at_run_time_is_told_once_it_is_there() {
    let run = run().await;
    let dir = format!("metadata/{}/n0/0", run.name);
    let job_spec = run.world.blob.reference(&format!("{dir}/futures.pb")).unwrap();
    let extra = NodeExecutionClosure {
        dynamic_job_spec_uri: job_spec.as_str().to_owned(),
        ..NodeExecutionClosure::default()
    };
    let row = NodeExecutionRow {
        flags: NodeFlags::IS_DYNAMIC | NodeFlags::IS_PARENT,
        extra: extra.encode_to_vec(),
        ..node(run.key, "n0", node_execution::Phase::DynamicRunning)
    };
    let plain = node(run.key, "n1", node_execution::Phase::Running);
    run.commit(Batch { nodes: vec![row, plain], ..Batch::default() }).await;
    let mut admin = run.world.admin.clone();
    let ask = |node: &str| GetDynamicNodeWorkflowRequest { id: Some(run.node_id(node)) };
    assert_eq!(code(admin.get_dynamic_node_workflow(ask("n0")).await), Code::NotFound);
    assert_eq!(code(admin.get_dynamic_node_workflow(ask("n1")).await), Code::NotFound);

    let template = WorkflowTemplate {
        id: Some(id(ResourceType::Workflow, "made", "v1")),
        ..WorkflowTemplate::default()
    };
    let compiled = CompiledWorkflowClosure {
        primary: Some(CompiledWorkflow { template: Some(template), connections: None }),
        ..CompiledWorkflowClosure::default()
    };
    let at = run.world.blob.reference(&format!("{dir}/dynamic_compiled.pb")).unwrap();
    run.world.blob.put(&at, compiled.encode_to_vec().into()).await.unwrap();
    let found = admin.get_dynamic_node_workflow(ask("n0")).await.unwrap().into_inner();
    assert_eq!(found.compiled_workflow, Some(compiled.clone()));
    let request = NodeExecutionGetDataRequest { id: Some(run.node_id("n0")) };
    let data = admin.get_node_execution_data(request).await.unwrap().into_inner();
    let want = DynamicWorkflowNodeMetadata {
        id: Some(id(ResourceType::Workflow, "made", "v1")),
        compiled_workflow: Some(compiled),
        dynamic_job_spec_uri: job_spec.as_str().to_owned(),
    };
    assert_eq!(data.dynamic_workflow, Some(want));
    let request = NodeExecutionGetDataRequest { id: Some(run.node_id("n1")) };
    let data = admin.get_node_execution_data(request).await.unwrap().into_inner();
    assert_eq!(data.dynamic_workflow, None);
}

#[tokio::test]
async fn nodes_of_an_attempt_are_those_that_came_with_it() {
    use proto::flyteidl::core::task_execution;
    let run = run().await;
    let child = |node_id: &str, retry_group: &str| NodeExecutionRow {
        parent_id: "n0".to_owned(),
        retry_group: retry_group.to_owned(),
        ..node(run.key, node_id, node_execution::Phase::Succeeded)
    };
    let nodes = vec![
        node(run.key, "n0", node_execution::Phase::Succeeded),
        child("n0-0-dn0", "0"),
        child("n0-1-dn0", "1"),
    ];
    let tasks = vec![
        attempt(run.key, 0, task_execution::Phase::Failed),
        attempt(run.key, 1, task_execution::Phase::Succeeded),
    ];
    run.commit(Batch { nodes, tasks, ..Batch::default() }).await;
    let mut admin = run.world.admin.clone();
    for (n, want) in [(0, "n0-0-dn0"), (1, "n0-1-dn0")] {
        let request = NodeExecutionForTaskListRequest {
            task_execution_id: Some(run.attempt_id(n)),
            limit: 10,
            ..NodeExecutionForTaskListRequest::default()
        };
        let found = admin.list_node_executions_for_task(request).await.unwrap().into_inner();
        let ids: Vec<String> =
            found.node_executions.into_iter().map(|node| node.id.unwrap().node_id).collect();
        assert_eq!(ids, [want]);
    }
    let missing = NodeExecutionForTaskListRequest {
        task_execution_id: Some(run.attempt_id(7)),
        limit: 10,
        ..NodeExecutionForTaskListRequest::default()
    };
    assert_eq!(code(admin.list_node_executions_for_task(missing).await), Code::NotFound);
}
