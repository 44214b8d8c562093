//! Claims about leases: one owner at a time, and none who works without.

use proto::flyteidl::core::workflow_execution::Phase;
use worker::{Clock, Error};

use crate::flow::Flow;
use crate::world::World;

#[tokio::test]
async fn a_fenced_worker_stops() {
    let world = World::new().await;
    let life = world.start();
    let id = world.launch(&Flow::new().node("a", "forever", &[]).node("b", "echo", &["a"])).await;
    world.until(&id, |rows| rows.tasks.iter().any(|task| task.phase == 2)).await;
    // The same host started again: its earlier life is fenced off.
    let other =
        world.store.lease_acquire("host", world.config.lease_ttl.get(), world.clock.now()).await.unwrap();
    world.abort(&id).await;
    assert!(matches!(life.end().await, Err(Error::Fenced { .. })));
    let rows = world.rows(&id).await;
    assert_eq!(rows.attempts("a")[0].phase, 2, "nothing is written without a lease");
    assert_eq!(world.registry.n_live(), 0);
    world.store.lease_release(&other).await.unwrap();
}

#[tokio::test]
async fn a_drained_worker_hands_over() {
    let world = World::new().await;
    let life = world.start_as("one", None);
    let id = world.launch(&Flow::new().node("a", "pod", &[]).node("b", "poll", &["a"])).await;
    world.until(&id, |rows| rows.tasks.iter().any(|task| task.node_id == "b" && task.phase == 2)).await;
    life.drain().await.unwrap();
    let _next = world.start_as("two", None);
    assert_eq!(world.until_over(&id).await.phase(), Phase::Succeeded);
    assert!(world.plugins.journal.reasons("b-0").contains(&"RECOVERED".to_owned()));
}

#[tokio::test]
async fn a_drain_lets_answers_in() {
    let world = World::new().await;
    let life = world.start();
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(world.launch(&Flow::chain(3, "echo")).await);
    }
    life.drain().await.unwrap();
    let _next = world.start_as("next", None);
    for id in &ids {
        assert_eq!(world.until_over(id).await.phase(), Phase::Succeeded);
    }
}

#[tokio::test]
async fn two_workers_share_executions() {
    let world = World::new().await;
    let _one = world.start_as("one", None);
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(world.launch(&Flow::chain(3, "echo")).await);
    }
    for id in &ids {
        assert_eq!(world.until_over(id).await.phase(), Phase::Succeeded);
    }
    let calls = world.plugins.journal.calls.lock().unwrap();
    let handled = calls.iter().filter(|call| call.verb == "handle").count();
    assert_eq!(handled, 60, "nothing is done twice");
}
