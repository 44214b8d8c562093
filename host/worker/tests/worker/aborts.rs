//! Claims about aborts: in every phase, with plugins that help and plugins that do not.

use std::sync::atomic::Ordering;

use proto::flyteidl::core::workflow_execution::Phase;

use crate::flow::Flow;
use crate::world::{World, closure};

#[tokio::test]
async fn abort_before_the_start_runs_nothing() {
    let world = World::new().await;
    let id = world.launch(&Flow::chain(2, "echo")).await;
    world.abort(&id).await;
    let _life = world.start();
    let rows = world.until_over(&id).await;
    assert_eq!(rows.phase(), Phase::Aborted);
    assert!(rows.tasks.is_empty());
    assert!(world.plugins.journal.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn abort_reaches_the_plugin_once() {
    let world = World::new().await;
    let _life = world.start();
    let id = world.launch(&Flow::new().node("a", "echo", &[]).node("b", "forever", &["a"])).await;
    world.until(&id, |rows| rows.tasks.iter().any(|task| task.node_id == "b" && task.phase == 2)).await;
    world.abort(&id).await;
    let rows = world.until_over(&id).await;
    assert_eq!(rows.phase(), Phase::Aborted);
    assert_eq!((rows.node("a").phase, rows.node("b").phase), (3, 6));
    assert_eq!(rows.attempts("b")[0].phase, 4);
    let journal = &world.plugins.journal;
    assert_eq!((journal.count("abort", "b-0"), journal.count("finalize", "b-0")), (1, 1));
    let calls = journal.calls.lock().unwrap();
    let abort = calls.iter().find(|call| call.verb == "abort").unwrap();
    assert_eq!(abort.why, "enough");
}

#[tokio::test]
async fn abort_waits_for_the_call_under_way() {
    let mut world = World::new().await;
    world.config.plugin_calls.backstop = config::Duration::from_millis(300);
    let _life = world.start();
    let id = world.launch(&Flow::new().node("n", "hang", &[])).await;
    let journal = world.plugins.journal.clone();
    world.until(&id, |_| journal.count("handle", "n-0") == 1).await;
    world.abort(&id).await;
    assert_eq!(world.until_over(&id).await.phase(), Phase::Aborted);
    assert_eq!(journal.count("abort", "n-0"), 1);
}

#[tokio::test]
async fn abort_deletes_what_runs() {
    let world = World::new().await;
    world.cluster.lively.store(false, Ordering::SeqCst);
    let _life = world.start();
    let id = world.launch(&Flow::new().node("n", "pod", &[])).await;
    world.until(&id, |_| !world.cluster.names().is_empty()).await;
    world.abort(&id).await;
    assert_eq!(world.until_over(&id).await.phase(), Phase::Aborted);
    assert!(world.cluster.names().is_empty());
}

#[tokio::test]
async fn abort_converges_without_the_plugins_help() {
    let world = World::new().await;
    world.cluster.lively.store(false, Ordering::SeqCst);
    let _life = world.start();
    let id = world.launch(&Flow::new().node("n", "stuck-pod", &[])).await;
    world.until(&id, |_| !world.cluster.names().is_empty()).await;
    world.abort(&id).await;
    let rows = world.until_over(&id).await;
    assert_eq!(rows.phase(), Phase::Aborted);
    assert!(world.cluster.names().is_empty(), "the host deletes what it knows of");
    let last = closure(rows.attempts("n")[0]).reasons.pop().unwrap();
    assert!(last.message.contains("could not clean up"), "{}", last.message);
    assert_eq!(world.plugins.journal.count("abort", "n-0"), 3, "after the configured number of tries");
}

#[tokio::test]
async fn abort_converges_when_the_plugin_is_gone() {
    let world = World::new().await;
    world.cluster.lively.store(false, Ordering::SeqCst);
    let _life = world.start();
    let id = world.launch(&Flow::new().node("n", "pod", &[])).await;
    world.until(&id, |_| !world.cluster.names().is_empty()).await;
    world.plugins.lose("pod", "gone:no plugin claims pod");
    world.abort(&id).await;
    assert_eq!(world.until_over(&id).await.phase(), Phase::Aborted);
    assert!(world.cluster.names().is_empty());
}

#[tokio::test]
async fn abort_ends_a_task_that_waits_for_a_plugin() {
    let world = World::new().await;
    world.plugins.lose("echo", "gone:no plugin claims echo");
    let _life = world.start();
    let id = world.launch(&Flow::chain(1, "echo")).await;
    world.until(&id, |rows| rows.tasks.iter().any(|task| task.phase == 7)).await;
    world.abort(&id).await;
    let rows = world.until_over(&id).await;
    assert_eq!((rows.phase(), rows.attempts("n0")[0].phase), (Phase::Aborted, 4));
}

#[tokio::test]
async fn a_failed_node_aborts_the_others() {
    let world = World::new().await;
    let _life = world.start();
    let flow = Flow::new().node("a", "forever", &[]).node("b", "permanent", &[]);
    let rows = world.until_over(&world.launch(&flow).await).await;
    assert_eq!((rows.phase(), rows.error().code.as_str()), (Phase::Failed, "Never"));
    assert_eq!((rows.node("a").phase, rows.node("b").phase), (6, 5));
    assert_eq!(world.plugins.journal.count("abort", "a-0"), 1);
}

#[tokio::test]
async fn a_forced_abort_shows_at_once_and_cleans_up_behind() {
    let mut world = World::new().await;
    world.config.plugin_calls.backstop = config::Duration::from_millis(300);
    let life = world.start();
    let id = world.launch(&Flow::new().node("n", "hang", &[])).await;
    let journal = world.plugins.journal.clone();
    world.until(&id, |_| journal.count("handle", "n-0") == 1).await;
    let now = worker::Clock::now(&*world.clock);
    world.store.execution_force_abort(&id, "now", "me", now).await.unwrap();
    let rows = world.until(&id, |rows| rows.phase() == Phase::Aborted).await;
    assert!(rows.execution.live, "its task is still to be cleaned up");
    assert_eq!(journal.count("abort", "n-0"), 0);
    life.kill().await;
    let _next = world.start();
    assert_eq!(world.until_over(&id).await.phase(), Phase::Aborted);
    assert_eq!((journal.count("abort", "n-0"), journal.count("finalize", "n-0")), (1, 1));
}

#[tokio::test]
async fn a_forced_abort_reaches_children() {
    let world = World::new().await;
    world.plan("plan", &Flow::new().node("c", "forever", &[])).await;
    let _life = world.start();
    let id = world.launch(&Flow::new().launch_plan("l", "plan", "")).await;
    world.until(&id, |rows| rows.nodes.iter().any(|row| row.node_id == "l" && row.phase == 2)).await;
    let now = worker::Clock::now(&*world.clock);
    world.store.execution_force_abort(&id, "now", "me", now).await.unwrap();
    world.until_over(&id).await;
    let child = world.until_over(&model::ExecutionId::new("p", "d", "e0-l-0")).await;
    assert!(child.execution.abort_forced && child.phase() == Phase::Aborted);
}
