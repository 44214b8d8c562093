//! Claims about crashes: before and after every commit of a run, the next life comes to the same end.

use std::sync::atomic::Ordering;

use proto::flyteidl::core::workflow_execution::Phase;

use crate::flow::Flow;
use crate::world::{Crash, Rows, World};

/// Runs a workflow to its end while the worker crashes once. `None` when it ended before it could.
async fn run(flow: &Flow, crash: Crash, abort_when: Option<&str>) -> (bool, Rows) {
    let world = World::new().await;
    world.cluster.lively.store(abort_when.is_none(), Ordering::SeqCst);
    let life = world.start_as("host", Some(crash));
    let id = world.launch(flow).await;
    if let Some(node) = abort_when {
        let reached =
            |rows: &Rows| rows.tasks.iter().any(|task| task.node_id == node && !task.plugin.is_empty());
        world.until(&id, |rows| reached(rows) || life.is_over()).await;
        world.abort(&id).await;
    }
    world.until(&id, |rows| !rows.execution.live || life.is_over()).await;
    let crashed = life.is_over();
    if crashed {
        assert!(matches!(life.end().await, Err(worker::Error::Crashed(_))));
        let _next = world.start();
        let rows = world.until_over(&id).await;
        assert!(world.cluster.names().is_empty(), "{crash:?}: objects are left");
        return (true, rows);
    }
    let rows = world.until_over(&id).await;
    (false, rows)
}

pub async fn crash_everywhere(flow: &Flow, phase: Phase, abort_when: Option<&str>) {
    let (_, undisturbed) = run(flow, Crash::Before(u64::MAX), abort_when).await;
    assert_eq!(undisturbed.phase(), phase);
    let expected = undisturbed.digest();
    for n in 0.. {
        let mut any = false;
        for crash in [Crash::Before(n), Crash::After(n)] {
            let (crashed, rows) = run(flow, crash, abort_when).await;
            any |= crashed;
            if abort_when.is_none() {
                assert_eq!(rows.digest(), expected, "{crash:?}");
            } else {
                assert_eq!(rows.phase(), phase, "{crash:?}");
            }
        }
        if !any {
            assert!(n > 2, "the run has commits to crash at");
            return;
        }
    }
}

#[tokio::test]
async fn crash_at_any_commit_of_a_chain() {
    crash_everywhere(&Flow::chain(3, "echo"), Phase::Succeeded, None).await;
}

#[tokio::test]
async fn crash_at_any_commit_of_a_diamond_of_objects() {
    let flow = Flow::new().node("a", "echo", &[]).node("b", "pod", &["a"]).node("c", "pod", &["a"]).node(
        "d",
        "echo",
        &["b", "c"],
    );
    crash_everywhere(&flow, Phase::Succeeded, None).await;
}

#[tokio::test]
async fn crash_at_any_commit_of_retries() {
    let flow = Flow::new().node("n", "messy:2", &[]).retries(2).node("m", "echo", &["n"]);
    crash_everywhere(&flow, Phase::Succeeded, None).await;
}

#[tokio::test]
async fn crash_at_any_commit_of_a_failure() {
    let flow = Flow::new().node("a", "echo", &[]).node("b", "permanent", &["a"]);
    crash_everywhere(&flow, Phase::Failed, None).await;
}

#[tokio::test]
async fn crash_at_any_commit_of_a_wait_for_a_place() {
    crash_everywhere(&Flow::fan(2, "token"), Phase::Succeeded, None).await;
}

#[tokio::test]
async fn crash_at_any_commit_of_an_abort() {
    let flow = Flow::new().node("a", "echo", &[]).node("b", "pod", &["a"]);
    crash_everywhere(&flow, Phase::Aborted, Some("b")).await;
}

#[tokio::test]
async fn a_killed_worker_is_taken_over() {
    let world = World::new().await;
    let life = world.start();
    let id = world.launch(&Flow::new().node("a", "echo", &[]).node("b", "poll", &["a"])).await;
    world.until(&id, |rows| rows.tasks.iter().any(|task| task.node_id == "b" && task.phase == 2)).await;
    life.kill().await;
    let _next = world.start();
    assert_eq!(world.until_over(&id).await.phase(), Phase::Succeeded);
}

#[tokio::test]
async fn inputs_lost_in_a_crash_are_made_again() {
    let world = World::new().await;
    let life = world.start();
    let id = world.launch(&Flow::new().node("a", "echo", &[]).node("b", "poll", &["a"])).await;
    let running = |rows: &Rows| rows.tasks.iter().any(|task| task.node_id == "b" && task.phase == 2);
    let rows = world.until(&id, running).await;
    life.kill().await;
    let inputs = blob::DataReference::parse(rows.node("b").input_uri.as_str()).unwrap();
    world.blob.delete(&inputs).await.unwrap();
    let _next = world.start();
    let rows = world.until_over(&id).await;
    assert_eq!((rows.phase(), world.output(&rows).await), (Phase::Succeeded, Some(2)));
    assert_eq!(rows.attempts("b").len(), 1);
}

#[tokio::test]
async fn an_object_that_runs_on_is_taken_over() {
    let world = World::new().await;
    world.cluster.lively.store(false, Ordering::SeqCst);
    let life = world.start();
    let id = world.launch(&Flow::new().node("n", "pod", &[])).await;
    world.until(&id, |_| !world.cluster.names().is_empty()).await;
    life.kill().await;
    world.cluster.set_phase("e0-n-0", "Running").await;
    let next = world.start();
    world.until(&id, |rows| rows.tasks[0].phase == 2).await;
    next.kill().await;
    world.cluster.set_phase("e0-n-0", "Succeeded").await;
    let _last = world.start();
    let rows = world.until_over(&id).await;
    assert_eq!((rows.phase(), rows.attempts("n").len()), (Phase::Succeeded, 1));
}
