//! Claims about nodes that start executions.

use model::ExecutionId;
use prost::Message;
use proto::flyteidl::admin::{Annotations, Envs, ExecutionSpec, Labels, execution_metadata::ExecutionMode};
use proto::flyteidl::core::{KeyValuePair, workflow_execution::Phase};

use crate::flow::Flow;
use crate::world::{Crash, Rows, World};

fn child(name: &str) -> ExecutionId {
    ExecutionId::new("p", "d", name)
}

async fn world_with(task_type: &str) -> World {
    let world = World::new().await;
    world.plan("plan", &Flow::new().node("c", task_type, &[])).await;
    world
}

fn flow() -> Flow {
    Flow::new().node("a", "echo", &[]).launch_plan("l", "plan", "a").node("b", "echo", &["l"])
}

#[tokio::test]
async fn outputs_of_the_child_are_those_of_the_node() {
    let world = world_with("echo").await;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&flow()).await).await;
    assert_eq!((rows.phase(), world.output(&rows).await), (Phase::Succeeded, Some(3)));
    let started = world.rows(&child("e0-l-0")).await;
    assert_eq!(started.execution.outputs_uri, rows.node("l").output_uri);
    assert_eq!(started.execution.parent_node, Some((rows.execution.key, "l".to_owned())));
    assert_eq!((started.execution.nesting, started.execution.mode), (1, ExecutionMode::ChildWorkflow.into()));
    let extra =
        proto::flyteidl::admin::NodeExecutionClosure::decode(rows.node("l").extra.as_slice()).unwrap();
    let Some(proto::flyteidl::admin::node_execution_closure::TargetMetadata::WorkflowNodeMetadata(metadata)) =
        extra.target_metadata
    else {
        panic!("the row does not name the child")
    };
    assert_eq!(metadata.execution_id.unwrap().name, "e0-l-0");
    assert!(rows.attempts("l").is_empty());
}

#[tokio::test]
async fn the_child_inherits_settings() {
    let world = world_with("echo").await;
    let _life = world.start();
    let values = |key: &str| [(key.to_owned(), "v".to_owned())].into();
    let spec = ExecutionSpec {
        labels: Some(Labels { values: values("team") }),
        annotations: Some(Annotations { values: values("note") }),
        envs: Some(Envs { values: vec![KeyValuePair { key: "MINE".into(), value: "2".into() }] }),
        max_parallelism: 7,
        overwrite_cache: true,
        interruptible: Some(true),
        ..ExecutionSpec::default()
    };
    world.until_over(&world.launch_with(&flow(), spec.clone()).await).await;
    let started = world.rows(&child("e0-l-0")).await;
    let own = ExecutionSpec::decode(started.execution.spec.as_slice()).unwrap();
    assert_eq!((own.labels, own.annotations, own.envs), (spec.labels, spec.annotations, spec.envs));
    assert_eq!((own.max_parallelism, own.overwrite_cache, own.interruptible), (7, true, Some(true)));
}

#[tokio::test]
async fn the_childs_error_is_the_nodes() {
    let world = world_with("permanent").await;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&flow()).await).await;
    assert_eq!((rows.phase(), rows.error().code.as_str()), (Phase::Failed, "Never"));
    assert_eq!(rows.error().message, world.rows(&child("e0-l-0")).await.error().message);
}

#[tokio::test]
async fn a_child_that_is_aborted_fails_the_node() {
    let world = world_with("forever").await;
    let _life = world.start();
    let id = world.launch(&flow()).await;
    world.until(&id, |rows| rows.nodes.iter().any(|row| row.node_id == "l" && row.phase == 2)).await;
    world.abort(&child("e0-l-0")).await;
    let rows = world.until_over(&id).await;
    assert_eq!(
        (rows.phase(), rows.error().code.as_str()),
        (Phase::Failed, "RemoteChildWorkflowExecutionFailed")
    );
}

#[tokio::test]
async fn an_abort_reaches_the_child() {
    let world = world_with("forever").await;
    let _life = world.start();
    let id = world.launch(&flow()).await;
    world.until(&id, |rows| rows.nodes.iter().any(|row| row.node_id == "l" && row.phase == 2)).await;
    world.abort(&id).await;
    assert_eq!(world.until_over(&id).await.phase(), Phase::Aborted);
    let rows = world.until_over(&child("e0-l-0")).await;
    assert_eq!(rows.phase(), Phase::Aborted);
    let cause = &rows.execution.abort_cause;
    assert!(cause.contains("cascading abort as parent execution id [e0] aborted"), "{cause}");
}

#[tokio::test]
async fn a_strangers_name_is_no_child() {
    let world = world_with("echo").await;
    let stranger = world.launch(&Flow::chain(1, "echo")).await;
    assert_eq!(&*stranger.name, "e0");
    let request = launch::Request::from_proto(
        proto::flyteidl::admin::ExecutionCreateRequest {
            project: "p".into(),
            domain: "d".into(),
            name: "e1-l-0".into(),
            spec: Some(ExecutionSpec {
                launch_plan: Some(proto::flyteidl::core::Identifier {
                    resource_type: proto::flyteidl::core::ResourceType::LaunchPlan.into(),
                    ..Flow::id("plan").to_proto()
                }),
                ..ExecutionSpec::default()
            }),
            inputs: Some(crate::flow::map(&[("n", 0)])),
            ..Default::default()
        },
        "",
    )
    .unwrap();
    world.launcher.create(request).await.unwrap();
    let _life = world.start();
    let rows = world.until_over(&world.launch(&flow()).await).await;
    assert_eq!((rows.phase(), rows.error().code.as_str()), (Phase::Failed, "ExecutionNameTaken"));
}

#[tokio::test]
async fn executions_without_end_are_cut_off() {
    let world = World::new().await;
    world.plan("again", &Flow::new().launch_plan("l", "again", "")).await;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&Flow::new().launch_plan("l", "again", "")).await).await;
    assert_eq!((rows.phase(), rows.error().code.as_str()), (Phase::Failed, "RuntimeExecutionError"));
    assert!(rows.error().message.contains("nested 33 deep"), "{}", rows.error().message);
}

/// Runs the workflow while the worker crashes once.
async fn crash(at: Crash) -> (bool, Rows, Rows) {
    let world = world_with("echo").await;
    let life = world.start_as("host", Some(at));
    let id = world.launch(&flow()).await;
    world.until(&id, |rows| !rows.execution.live || life.is_over()).await;
    let crashed = life.is_over();
    let _next = crashed.then(|| world.start());
    let rows = world.until_over(&id).await;
    (crashed, rows, world.until_over(&child("e0-l-0")).await)
}

#[tokio::test]
async fn crash_at_any_commit_of_a_child() {
    let (_, expected, of_child) = crash(Crash::Before(u64::MAX)).await;
    for n in 0.. {
        let mut any = false;
        for at in [Crash::Before(n), Crash::After(n)] {
            let (crashed, rows, child) = crash(at).await;
            any |= crashed;
            assert_eq!(rows.digest(), expected.digest(), "{at:?}");
            assert_eq!(child.digest(), of_child.digest(), "{at:?}");
        }
        if !any {
            return;
        }
    }
}
