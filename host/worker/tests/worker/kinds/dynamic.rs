//! Claims about tasks that make workflows.

use prost::Message;
use proto::flyteidl::admin::NodeExecutionClosure;
use proto::flyteidl::core::{CompiledWorkflowClosure, workflow_execution::Phase};
use store::row::NodeFlags;

use crate::crashes::crash_everywhere;
use crate::flow::Flow;
use crate::world::World;

#[tokio::test]
async fn what_a_task_makes_is_run() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("a", "echo", &[]).node("d", "dynamic:3", &["a"]).node("b", "echo", &["d"]);
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!((rows.phase(), world.output(&rows).await), (Phase::Succeeded, Some(5)));
    let node = rows.node("d");
    assert_eq!((node.phase, node.flags), (3, NodeFlags::IS_PARENT | NodeFlags::IS_DYNAMIC));
    assert_eq!(node.output_uri, rows.node("d-0-end-node").output_uri);
    assert_eq!(rows.node("d-0-dn2").parent_id, "d");
    assert_eq!((rows.attempts("d").len(), rows.attempts("d")[0].phase), (1, 3));
    let closure = NodeExecutionClosure::decode(node.extra.as_slice()).unwrap();
    assert!(closure.dynamic_job_spec_uri.ends_with("p-d-e0/d/data/0/futures.pb"));
    let compiled = closure.dynamic_job_spec_uri.replace("futures.pb", "dynamic_compiled.pb");
    let compiled = world.blob.get(&blob::DataReference::parse(compiled).unwrap()).await.unwrap();
    let compiled = CompiledWorkflowClosure::decode(compiled).unwrap();
    let id = compiled.primary.unwrap().template.unwrap().id.unwrap();
    assert_eq!((id.name.as_str(), id.project.as_str()), ("dynamic_d", "p"));
}

#[tokio::test]
async fn what_is_made_makes_more() {
    let world = World::new().await;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&Flow::new().node("d", "deep:4", &[])).await).await;
    assert_eq!((rows.phase(), world.output(&rows).await), (Phase::Succeeded, Some(1)));
    let n_dynamic = rows.nodes.iter().filter(|node| node.flags & NodeFlags::IS_DYNAMIC != 0).count();
    assert_eq!(n_dynamic, 5);
}

#[tokio::test]
async fn nothing_made_gives_constants() {
    let world = World::new().await;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&Flow::new().node("d", "dynamic:0", &[])).await).await;
    assert_eq!((rows.phase(), world.output(&rows).await), (Phase::Succeeded, Some(0)));
}

#[tokio::test]
async fn its_nodes_failure_is_final() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("d", "doomed", &[]).retries(3);
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!((rows.phase(), rows.error().code.as_str()), (Phase::Failed, "Never"));
    assert_eq!(rows.attempts("d").len(), 1);
}

#[tokio::test]
async fn a_workflow_over_the_limit_is_refused_with_both_numbers() {
    let mut world = World::new().await;
    world.config.max_dynamic_nodes = 2;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&Flow::new().node("d", "dynamic:3", &[])).await).await;
    let error = rows.error();
    assert_eq!((rows.phase(), error.code.as_str()), (Phase::Failed, "DynamicWorkflowBuildFailed"));
    assert!(error.message.contains("3 nodes") && error.message.contains("limit of 2"), "{}", error.message);
}

#[tokio::test]
async fn crash_at_any_commit_of_a_dynamic_node() {
    let flow = Flow::new().node("d", "dynamic:2", &[]).node("b", "echo", &["d"]);
    crash_everywhere(&flow, Phase::Succeeded, None).await;
}

#[tokio::test]
async fn crash_at_any_commit_of_what_is_made_making_more() {
    crash_everywhere(&Flow::new().node("d", "deep:1", &[]), Phase::Succeeded, None).await;
}
