//! How clients see an array node: one attempt with an external resource for each element.

use std::time::{Duration, Instant};

use prost::Message;
use proto::flyteidl::admin::{node_execution_closure::TargetMetadata, *};
use proto::flyteidl::core::{TaskLog, node_execution, task_execution};
use proto::flyteidl::event::external_resource_info;
use store::{Batch, NodeExecutionRow, NodeFlags, TaskExecutionRow};

use super::progress::{Run, attempt, node, run};
use super::world::*;

fn element(run: &Run, index: u32, phase: node_execution::Phase) -> NodeExecutionRow {
    NodeExecutionRow {
        spec_node_id: "n0".to_owned(),
        parent_id: "n0".to_owned(),
        retry_group: "0".to_owned(),
        ..node(run.key, &format!("n0-0-n{index}"), phase)
    }
}

fn array(run: &Run, n_elements: u32) -> (NodeExecutionRow, TaskExecutionRow) {
    let node = NodeExecutionRow {
        flags: NodeFlags::IS_ARRAY,
        detail: i64::from(n_elements) + 1,
        ..node(run.key, "n0", node_execution::Phase::Running)
    };
    let task = TaskExecutionRow {
        task_type: "container_array".to_owned(),
        ..attempt(run.key, 0, task_execution::Phase::Running)
    };
    (node, task)
}

impl Run {
    async fn tasks(&self) -> Vec<TaskExecution> {
        let list = TaskExecutionListRequest {
            node_execution_id: Some(self.node_id("n0")),
            limit: 100,
            ..TaskExecutionListRequest::default()
        };
        let mut admin = self.world.admin.clone().max_decoding_message_size(20 << 20);
        admin.list_task_executions(list).await.unwrap().into_inner().task_executions
    }
}

fn elements(task: &TaskExecution) -> &[proto::flyteidl::event::ExternalResourceInfo] {
    &task.closure.as_ref().unwrap().metadata.as_ref().unwrap().external_resources
}

#[tokio::test]
async fn an_array_has_one_attempt_with_all_elements() {
    let run = run().await;
    let outputs = literals(&[("o0", integer(2))]);
    let output_uri = run.put("out.pb", &outputs).await;
    let (mut parent, task) = array(&run, 12);
    parent.output_uri = output_uri;
    let mut nodes = vec![parent];
    let mut tasks = vec![task];
    for index in 0..12 {
        nodes.push(element(&run, index, node_execution::Phase::Running));
    }
    nodes[1].phase = node_execution::Phase::Succeeded as i32;
    let hit = TaskNodeMetadata { cache_status: 2, ..TaskNodeMetadata::default() };
    let hit = NodeExecutionClosure {
        target_metadata: Some(TargetMetadata::TaskNodeMetadata(hit)),
        ..NodeExecutionClosure::default()
    };
    nodes[1].extra = hit.encode_to_vec();
    nodes[3].phase = node_execution::Phase::Failed as i32;
    nodes[3].attempt = 2;
    let child = WorkflowNodeMetadata { execution_id: Some(execution_id("child")) };
    let child = NodeExecutionClosure {
        target_metadata: Some(TargetMetadata::WorkflowNodeMetadata(child)),
        ..NodeExecutionClosure::default()
    };
    nodes[4].extra = child.encode_to_vec();
    let closure = TaskExecutionClosure {
        logs: vec![TaskLog { uri: "http://logs".to_owned(), ..TaskLog::default() }],
        ..TaskExecutionClosure::default()
    };
    tasks.push(TaskExecutionRow {
        node_id: "n0-0-n11".to_owned(),
        closure: closure.encode_to_vec(),
        ..attempt(run.key, 0, task_execution::Phase::Initializing)
    });
    run.commit(Batch { nodes, tasks, ..Batch::default() }).await;

    let found = run.tasks().await;
    let [task] = &found[..] else { panic!("{found:?}") };
    assert_eq!(task.id, Some(run.attempt_id(0)));
    let elements = elements(task);
    let indices: Vec<_> = elements.iter().map(|element| element.index).collect();
    assert_eq!(indices, (0..12).collect::<Vec<_>>(), "in the order of the list, not of the ids");
    assert_eq!((elements[0].phase, elements[0].cache_status), (3, 2));
    assert_eq!((elements[2].phase, elements[2].retry_attempt), (5, 2));
    assert!(elements[2].external_id.ends_with("-n0-0-n2-2"), "{}", elements[2].external_id);
    let Some(external_resource_info::TargetMetadata::WorkflowNodeMetadata(child)) =
        &elements[3].target_metadata
    else {
        panic!("{:?}", elements[3])
    };
    assert_eq!(child.execution_id, Some(execution_id("child")));
    assert_eq!((elements[11].phase, elements[11].logs.len()), (6, 1));

    let mut admin = run.world.admin.clone();
    let get = TaskExecutionGetRequest { id: Some(run.attempt_id(0)) };
    assert_eq!(admin.get_task_execution(get).await.unwrap().into_inner(), *task);
    let data = TaskExecutionGetDataRequest { id: Some(run.attempt_id(0)) };
    let data = admin.get_task_execution_data(data).await.unwrap().into_inner();
    assert_eq!(data.full_outputs, Some(outputs), "the collected ones");
}

#[tokio::test]
async fn a_hundred_thousand_elements_fit_into_a_reply() {
    const N: u32 = 100_000;
    let run = run().await;
    let (parent, task) = array(&run, N);
    run.commit(Batch { nodes: vec![parent], tasks: vec![task], ..Batch::default() }).await;
    for from in (0..N).step_by(10_000) {
        let nodes = (from..from + 10_000).map(|i| element(&run, i, node_execution::Phase::Succeeded));
        run.commit(Batch { nodes: nodes.collect(), ..Batch::default() }).await;
    }
    let begin = Instant::now();
    let found = run.tasks().await;
    // About a second when optimised; a debug build takes several.
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    assert!(found[0].encoded_len() < 18 << 20);
    assert_eq!(elements(&found[0]).len(), N as usize);
    assert!(found[0].closure.as_ref().unwrap().reasons[0].message.contains("logs are left out"));
}
