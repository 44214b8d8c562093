//! Claims about tasks whose outputs are cached.

use std::sync::atomic::Ordering;

use model::ExecutionId;
use prost::Message;
use proto::flyteidl::admin::{
    ExecutionSpec, NodeExecutionClosure, TaskNodeMetadata, node_execution_closure::TargetMetadata,
};
use proto::flyteidl::core::{CatalogCacheStatus, workflow_execution::Phase};
use store::row::NodeExecutionRow;

use crate::crashes::crash_everywhere;
use crate::flow::Flow;
use crate::nodes::Mapping;
use crate::world::{Rows, World, closure};

fn metadata(node: &NodeExecutionRow) -> TaskNodeMetadata {
    let closure = NodeExecutionClosure::decode(node.extra.as_slice()).unwrap();
    match closure.target_metadata {
        Some(TargetMetadata::TaskNodeMetadata(metadata)) => metadata,
        other => panic!("not of a task: {other:?}"),
    }
}

fn status(rows: &Rows, node: &str) -> CatalogCacheStatus {
    metadata(rows.node(node)).cache_status()
}

fn reasons(rows: &Rows, node: &str) -> String {
    let closure = closure(rows.attempts(node)[0]);
    closure.reasons.into_iter().map(|reason| reason.message).collect::<Vec<_>>().join("; ")
}

async fn run(world: &World, flow: &Flow) -> Rows {
    world.until_over(&world.launch(flow).await).await
}

#[tokio::test]
async fn a_hit_skips_the_plugin() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("n", "echo", &[]).cached("1");
    let first = run(&world, &flow).await;
    assert_eq!(status(&first, "n"), CatalogCacheStatus::CachePopulated);
    assert!(reasons(&first, "n").contains("nothing"), "{}", reasons(&first, "n"));
    let second = run(&world, &flow).await;
    assert_eq!((second.phase(), status(&second, "n")), (Phase::Succeeded, CatalogCacheStatus::CacheHit));
    assert_eq!(world.output(&second).await, Some(1));
    assert!(second.attempts("n").is_empty());
    assert_eq!(world.plugins.journal.count("handle", "n-0"), 1);
    let key = metadata(second.node("n")).catalog_key.unwrap();
    assert_eq!(key, metadata(first.node("n")).catalog_key.unwrap());
    let node = second.node("n");
    assert!(node.output_uri.ends_with("p-d-e1/n/data/0/outputs.pb") && !node.input_uri.is_empty());
}

#[tokio::test]
async fn a_miss_is_explained() {
    let world = World::new().await;
    let _life = world.start();
    run(&world, &Flow::new().node("n", "echo", &[]).cached("1")).await;
    let other = run(&world, &Flow::new().node("n", "echo", &[]).cached("2")).await;
    assert_eq!(other.attempts("n").len(), 1);
    assert!(reasons(&other, "n").contains("cache version"), "{}", reasons(&other, "n"));
}

#[tokio::test]
async fn ignored_inputs_do_not_count() {
    let world = World::new().await;
    let _life = world.start();
    let flow = |first: &str| {
        let flow = Flow::new().node("a", first, &[]).node("n", "echo", &["a"]).cached("1");
        flow.task(|task| task.metadata.as_mut().unwrap().cache_ignore_input_vars = vec!["x0".into()])
    };
    run(&world, &flow("echo")).await;
    let chain = Flow::new().node("z", "echo", &[]).node("a", "echo", &["z"]).node("n", "echo", &["a"]);
    let chain = chain
        .cached("1")
        .task(|task| task.metadata.as_mut().unwrap().cache_ignore_input_vars = vec!["x0".into()]);
    let other = run(&world, &chain).await;
    assert_eq!(status(&other, "n"), CatalogCacheStatus::CacheHit);
}

#[tokio::test]
async fn overwriting_runs_and_replaces() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("n", "echo", &[]).cached("1");
    let first = run(&world, &flow).await;
    let spec = ExecutionSpec { overwrite_cache: true, ..ExecutionSpec::default() };
    let second = world.until_over(&world.launch_with(&flow, spec).await).await;
    assert_eq!(second.attempts("n").len(), 1);
    let third = run(&world, &flow).await;
    let tag = |rows: &Rows| metadata(rows.node("n")).catalog_key.unwrap();
    assert_eq!(tag(&third), tag(&second));
    assert_ne!(tag(&third), tag(&first));
}

#[tokio::test]
async fn failures_are_not_cached() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("n", "permanent", &[]).cached("1");
    assert_eq!(run(&world, &flow).await.phase(), Phase::Failed);
    assert_eq!(run(&world, &flow).await.attempts("n").len(), 1);
}

#[tokio::test]
async fn elements_are_found_one_by_one() {
    let world = World::new().await;
    let _life = world.start();
    for shares_inputs in [false, true] {
        let mapping = Mapping { shares_inputs, ..Mapping::default() };
        let version = format!("{shares_inputs}");
        let flow = |values: &[i64]| Flow::new().array("m", "echo", values, mapping).cached(&version);
        let first = run(&world, &flow(&[1, 2, 3])).await;
        assert_eq!(first.phase(), Phase::Succeeded, "{}", first.error().message);
        assert_eq!(status(&first, "m-0-n1"), CatalogCacheStatus::CachePopulated);
        let second = run(&world, &flow(&[3, 7, 1])).await;
        let statuses = [0, 1, 2].map(|i| status(&second, &format!("m-0-n{i}")));
        use CatalogCacheStatus::{CacheHit, CachePopulated};
        assert_eq!(statuses, [CacheHit, CachePopulated, CacheHit]);
        assert_eq!(second.attempts("m-0-n0").len(), 0);
    }
}

#[tokio::test]
async fn what_a_task_made_gave_is_cached() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("d", "dynamic:2", &[]).cached("1");
    let first = run(&world, &flow).await;
    assert_eq!(status(&first, "d"), CatalogCacheStatus::CachePopulated);
    let second = run(&world, &flow).await;
    assert_eq!((status(&second, "d"), world.output(&second).await), (CatalogCacheStatus::CacheHit, Some(2)));
    assert!(second.nodes.iter().all(|node| node.parent_id.is_empty()));
}

/// Starts two executions of the same serialised task; the first one runs, the second one waits.
async fn two(world: &World) -> (ExecutionId, ExecutionId) {
    world.cluster.lively.store(false, Ordering::SeqCst);
    let flow = Flow::new().node("n", "pod", &[]).serialized();
    let first = world.launch(&flow).await;
    world.until(&first, |_| !world.cluster.names().is_empty()).await;
    let second = world.launch(&flow).await;
    let waits = |rows: &Rows| {
        rows.nodes.iter().any(|node| node.node_id == "n" && node.phase == 1) && rows.tasks.is_empty()
    };
    world.until(&second, waits).await;
    (first, second)
}

#[tokio::test]
async fn equal_tasks_wait_for_the_first() {
    let world = World::new().await;
    let _life = world.start();
    let (first, second) = two(&world).await;
    assert_eq!(world.cluster.names(), ["e0-n-0"]);
    world.cluster.set_phase("e0-n-0", "Succeeded").await;
    assert_eq!(world.until_over(&first).await.phase(), Phase::Succeeded);
    let rows = world.until_over(&second).await;
    assert_eq!((rows.phase(), status(&rows, "n")), (Phase::Succeeded, CatalogCacheStatus::CacheHit));
    assert_eq!(world.cluster.created_times("e1-n-0"), 0);
}

#[tokio::test]
async fn a_failure_lets_the_next_one_run() {
    let world = World::new().await;
    let _life = world.start();
    let (first, second) = two(&world).await;
    world.cluster.set_phase("e0-n-0", "Failed").await;
    assert_eq!(world.until_over(&first).await.phase(), Phase::Failed);
    world.until(&second, |_| world.cluster.names().contains(&"e1-n-0".to_owned())).await;
    world.cluster.set_phase("e1-n-0", "Succeeded").await;
    assert_eq!(world.until_over(&second).await.phase(), Phase::Succeeded);
}

#[tokio::test]
async fn an_abort_lets_the_next_one_run() {
    let world = World::new().await;
    let _life = world.start();
    let (first, second) = two(&world).await;
    world.abort(&first).await;
    assert_eq!(world.until_over(&first).await.phase(), Phase::Aborted);
    world.until(&second, |_| world.cluster.names().contains(&"e1-n-0".to_owned())).await;
    world.abort(&second).await;
    assert_eq!(world.until_over(&second).await.phase(), Phase::Aborted);
}

#[tokio::test]
async fn one_that_waits_can_be_aborted() {
    let world = World::new().await;
    let _life = world.start();
    let (first, second) = two(&world).await;
    world.abort(&second).await;
    assert_eq!(world.until_over(&second).await.phase(), Phase::Aborted);
    world.cluster.set_phase("e0-n-0", "Succeeded").await;
    assert_eq!(world.until_over(&first).await.phase(), Phase::Succeeded);
}

#[tokio::test]
async fn a_crash_keeps_the_turn_and_the_wait() {
    let world = World::new().await;
    let life = world.start();
    let (first, second) = two(&world).await;
    life.kill().await;
    let _next = world.start();
    world.until(&first, |rows| !rows.tasks.is_empty()).await;
    world.cluster.set_phase("e0-n-0", "Succeeded").await;
    assert_eq!(world.until_over(&first).await.phase(), Phase::Succeeded);
    let rows = world.until_over(&second).await;
    assert_eq!((rows.phase(), status(&rows, "n")), (Phase::Succeeded, CatalogCacheStatus::CacheHit));
}

#[tokio::test]
async fn crash_at_any_commit_of_a_cached_task() {
    let flow = Flow::new().node("a", "echo", &[]).cached("1").node("n", "pod", &["a"]).serialized();
    crash_everywhere(&flow, Phase::Succeeded, None).await;
}
