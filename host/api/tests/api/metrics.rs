//! Where the time of an execution went, from rows as the engine commits them.

use model::{ExecutionId, Timestamp};
use prost::Message;
use proto::flyteidl::admin::{node_execution_closure::TargetMetadata, *};
use proto::flyteidl::core::{node_execution, span::Id, task_execution, workflow_execution, *};
use store::{Batch, ExecutionKey, NodeExecutionRow, NodeFlags, TaskExecutionRow};
use tonic::Code;

use super::progress::{Run, attempt, node, run};
use super::world::*;

async fn metrics(run: &Run, depth: i32) -> Span {
    let request = WorkflowExecutionGetMetricsRequest { id: Some(execution_id(&run.name)), depth };
    run.world.admin.clone().get_execution_metrics(request).await.unwrap().into_inner().span.unwrap()
}

fn micros(time: Option<&prost_types::Timestamp>) -> i64 {
    time.map(|time| Timestamp::from_proto(time).0).unwrap_or_default()
}

/// Names with milliseconds, parts in brackets.
fn shown(span: &Span) -> String {
    let millis = (micros(span.end_time.as_ref()) - micros(span.start_time.as_ref())) / 1_000;
    let name = match span.id.as_ref().unwrap() {
        Id::OperationId(name) => name.clone(),
        Id::NodeId(id) => id.node_id.clone(),
        Id::TaskId(id) => format!("attempt{}", id.retry_attempt),
        Id::WorkflowId(_) => "wf".to_owned(),
    };
    let parts: Vec<String> = span.spans.iter().map(shown).collect();
    if parts.is_empty() {
        format!("{name}={millis}")
    } else {
        format!("{name}={millis}({})", parts.join(" "))
    }
}

/// A node that was made, began and ended so many milliseconds after a time.
fn timed(key: ExecutionKey, id: &str, t: Timestamp, [made, began, ended]: [i64; 3]) -> NodeExecutionRow {
    NodeExecutionRow {
        created_at: t.plus(made * 1_000),
        started_at: Some(t.plus(began * 1_000)),
        updated_at: t.plus(ended * 1_000),
        duration: Some((ended - began) * 1_000),
        ..node(key, id, node_execution::Phase::Succeeded)
    }
}

fn timed_task(key: ExecutionKey, id: &str, t: Timestamp, [made, began, ended]: [i64; 3]) -> TaskExecutionRow {
    TaskExecutionRow {
        node_id: id.to_owned(),
        created_at: t.plus(made * 1_000),
        started_at: Some(t.plus(began * 1_000)),
        // Cleaned up later, when the node has long ended.
        updated_at: t.plus(ended * 1_000 + 90_000),
        duration: Some((ended - began) * 1_000),
        ..attempt(key, 0, task_execution::Phase::Succeeded)
    }
}

async fn end(run: &Run, t: Timestamp, ended: i64) {
    run.phase(workflow_execution::Phase::Succeeded, |update| {
        update.started_at = Some(t);
        update.duration = Some(ended * 1_000);
    })
    .await;
}

async fn created(run: &Run) -> Timestamp {
    let id = ExecutionId::new(PROJECT, DOMAIN, &run.name);
    run.world.store.execution_get(&id).await.unwrap().unwrap().created_at
}

#[tokio::test]
async fn a_task_is_parted_down_to_the_depth_that_is_asked_for() {
    let run = run().await;
    let t = created(&run).await;
    let nodes = vec![
        timed(run.key, "start-node", t, [10, 10, 10]),
        timed(run.key, "n0", t, [15, 20, 60]),
        timed(run.key, "end-node", t, [60, 60, 60]),
    ];
    let tasks = vec![timed_task(run.key, "n0", t, [20, 30, 50])];
    run.commit(Batch { nodes, tasks, ..Batch::default() }).await;
    end(&run, t, 70).await;
    for (depth, want) in [
        (0, "wf=70"),
        (1, "wf=70(WORKFLOW_SETUP=10 n0=50 WORKFLOW_TEARDOWN=10)"),
        (
            2,
            "wf=70(WORKFLOW_SETUP=10 n0=50(NODE_TRANSITION=5 NODE_SETUP=5 attempt0=40) WORKFLOW_TEARDOWN=10)",
        ),
        (
            -1,
            "wf=70(WORKFLOW_SETUP=10 n0=50(NODE_TRANSITION=5 NODE_SETUP=5 \
             attempt0=40(TASK_SETUP=10 TASK_RUNTIME=20 TASK_TEARDOWN=10)) WORKFLOW_TEARDOWN=10)",
        ),
    ] {
        assert_eq!(shown(&metrics(&run, depth).await), want, "{depth}");
    }
    // What changes later, such as that it is archived, is no part of the run.
    let archive = ExecutionUpdateRequest { id: Some(execution_id(&run.name)), state: 1 };
    run.world.admin.clone().update_execution(archive).await.unwrap();
    assert_eq!(shown(&metrics(&run, 0).await), "wf=70");
    let nobody = WorkflowExecutionGetMetricsRequest { id: Some(execution_id("nobody")), depth: -1 };
    assert_eq!(code(run.world.admin.clone().get_execution_metrics(nobody).await), Code::NotFound);
}

#[tokio::test]
async fn children_stand_inside_the_node_that_has_them() {
    let run = run().await;
    let t = created(&run).await;
    let child = run.world.start("child").await;
    let child_id = ExecutionId::new(PROJECT, DOMAIN, &child);
    let kid = run.world.store.execution_get(&child_id).await.unwrap().unwrap();
    let kid_t = kid.created_at;
    let offset = kid_t.since(t) / 1_000;
    let metadata = WorkflowNodeMetadata { execution_id: Some(execution_id(&child)) };
    let launched = NodeExecutionClosure {
        target_metadata: Some(TargetMetadata::WorkflowNodeMetadata(metadata)),
        ..NodeExecutionClosure::default()
    };
    let lp =
        NodeExecutionRow { extra: launched.encode_to_vec(), ..timed(run.key, "n0", t, [0, 0, offset + 100]) };
    let below = |id: &str, parent: &str, times| NodeExecutionRow {
        parent_id: parent.to_owned(),
        spec_node_id: id.rsplit('/').next().unwrap().to_owned(),
        ..timed(run.key, id, t, times)
    };
    let end_of_lp = offset + 100;
    let later = |ms: i64| end_of_lp + ms;
    let sub = NodeExecutionRow {
        flags: NodeFlags::IS_PARENT,
        ..timed(run.key, "sub", t, [later(0), later(10), later(60)])
    };
    let nodes = vec![
        timed(run.key, "start-node", t, [0, 0, 0]),
        lp,
        sub,
        below("sub-0/start-node", "sub", [later(20), later(20), later(20)]),
        below("sub-0/x", "sub", [later(20), later(25), later(50)]),
    ];
    run.commit(Batch { nodes, ..Batch::default() }).await;
    let kids = vec![timed(kid.key, "n0", kid_t, [30, 30, 80])];
    run.commit(Batch { nodes: kids, ..Batch::default() }).await;
    let update = store::ExecutionUpdate {
        key: kid.key,
        phase: workflow_execution::Phase::Succeeded as i32,
        outputs_uri: String::new(),
        error: Vec::new(),
        error_kind: String::new(),
        error_code: String::new(),
        updated_at: kid_t,
        started_at: Some(kid_t),
        duration: Some(90_000),
        live: false,
    };
    run.commit(Batch { executions: vec![update], ..Batch::default() }).await;
    end(&run, t, later(70)).await;
    let found = metrics(&run, -1).await;
    let text = shown(&found);
    assert!(text.contains("wf=90(WORKFLOW_SETUP=30 n0=50(NODE_SETUP=50) WORKFLOW_TEARDOWN=10)"), "{text}");
    assert!(text.contains(" NODE_SETUP=20 sub-0/x=30(NODE_SETUP=30) NODE_TEARDOWN=10)"), "{text}");
    let wall = later(70);
    assert!(text.starts_with(&format!("wf={wall}(")), "{text}");
}

#[tokio::test]
async fn an_open_execution_lasts_until_now() {
    let run = run().await;
    let t = created(&run).await;
    let mut open = timed(run.key, "n0", t, [0, 0, 0]);
    (open.phase, open.duration) = (node_execution::Phase::Running as i32, None);
    run.commit(Batch { nodes: vec![open], ..Batch::default() }).await;
    let before = Timestamp::now();
    let span = metrics(&run, -1).await;
    assert!(micros(span.end_time.as_ref()) >= before.0);
    assert_eq!(span.spans.len(), 1, "{}", shown(&span));
    assert_eq!(span.spans[0].end_time, span.end_time);
}

#[tokio::test]
async fn elements_of_an_array_are_not_listed_one_by_one() {
    let run = run().await;
    let t = created(&run).await;
    let array = NodeExecutionRow {
        flags: NodeFlags::IS_ARRAY | NodeFlags::IS_PARENT,
        ..timed(run.key, "n0", t, [0, 0, 50])
    };
    let elements = (0..500).map(|n| NodeExecutionRow {
        parent_id: "n0".to_owned(),
        ..timed(run.key, &format!("n0-0-n{n}"), t, [0, 0, 50])
    });
    let nodes = elements.chain([array]).collect();
    let tasks = vec![timed_task(run.key, "n0", t, [10, 10, 40])];
    run.commit(Batch { nodes, tasks, ..Batch::default() }).await;
    end(&run, t, 50).await;
    let found = shown(&metrics(&run, -1).await);
    let want = "wf=50(n0=50(NODE_SETUP=10 attempt0=40(TASK_RUNTIME=30 TASK_TEARDOWN=10)))";
    assert_eq!(found, want);
}
