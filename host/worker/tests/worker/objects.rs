//! Claims about objects on clusters, and places in resource pools.

use std::sync::atomic::Ordering;

use proto::flyteidl::core::workflow_execution::Phase;

use crate::flow::Flow;
use crate::world::World;

#[tokio::test]
async fn a_chain_of_objects_succeeds() {
    let world = World::new().await;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&Flow::chain(4, "pod")).await).await;
    assert_eq!(rows.phase(), Phase::Succeeded);
    assert_eq!(world.output(&rows).await, Some(7));
    assert!(world.cluster.names().is_empty(), "finalize deletes them");
}

#[tokio::test]
async fn phases_follow_the_object() {
    let world = World::new().await;
    world.cluster.lively.store(false, Ordering::SeqCst);
    let _life = world.start();
    let id = world.launch(&Flow::new().node("n", "pod", &[])).await;
    world
        .until(&id, |rows| rows.tasks.iter().any(|task| task.phase == 1 && task.reason == "submitted"))
        .await;
    world.until(&id, |_| !world.cluster.names().is_empty()).await;
    world.cluster.set_phase("e0-n-0", "Running").await;
    world.until(&id, |rows| rows.node("n").phase == 2 && rows.tasks[0].phase == 2).await;
    world.cluster.set_phase("e0-n-0", "Succeeded").await;
    assert_eq!(world.until_over(&id).await.phase(), Phase::Succeeded);
}

#[tokio::test]
async fn an_object_deleted_by_others_is_a_system_failure() {
    let world = World::new().await;
    world.cluster.lively.store(false, Ordering::SeqCst);
    let _life = world.start();
    let id = world.launch(&Flow::new().node("n", "pod", &[])).await;
    world.until(&id, |_| !world.cluster.names().is_empty()).await;
    world.cluster.remove("e0-n-0");
    world.until(&id, |_| world.cluster.names() == ["e0-n-1"]).await;
    world.cluster.set_phase("e0-n-1", "Succeeded").await;
    let rows = world.until_over(&id).await;
    assert_eq!((rows.phase(), rows.node("n").system_failures), (Phase::Succeeded, 1));
}

#[tokio::test]
async fn a_success_counts_though_the_object_is_gone() {
    let world = World::new().await;
    world.cluster.lively.store(false, Ordering::SeqCst);
    let _life = world.start();
    let id = world.launch(&Flow::new().node("n", "pod", &[])).await;
    world.until(&id, |_| !world.cluster.names().is_empty()).await;
    world.cluster.set_phase("e0-n-0", "Succeeded").await;
    world.cluster.remove("e0-n-0");
    let rows = world.until_over(&id).await;
    assert_eq!((rows.phase(), rows.attempts("n").len()), (Phase::Succeeded, 1));
}

#[tokio::test]
async fn missed_changes_are_read_again() {
    let world = World::new().await;
    world.cluster.lively.store(false, Ordering::SeqCst);
    let _life = world.start();
    let id = world.launch(&Flow::new().node("n", "pod", &[])).await;
    world
        .until(&id, |rows| rows.tasks.iter().any(|task| task.phase == 1 && !world.cluster.names().is_empty()))
        .await;
    world.cluster.set_phase("e0-n-0", "Succeeded").await;
    world.cluster.flood();
    assert_eq!(world.until_over(&id).await.phase(), Phase::Succeeded);
}

#[tokio::test]
async fn a_cluster_that_is_away_is_asked_again() {
    let world = World::new().await;
    world.cluster.outages.store(3, Ordering::SeqCst);
    let _life = world.start();
    let id = world.launch(&Flow::new().node("n", "pod", &[])).await;
    let rows = world.until_over(&id).await;
    assert_eq!((rows.phase(), rows.attempts("n").len()), (Phase::Succeeded, 1));
    assert_eq!(world.cluster.created_times("e0-n-0"), 1);
}

#[tokio::test]
async fn a_full_pool_lets_tasks_through_one_by_one() {
    let world = World::new().await;
    let _life = world.start();
    let rows = world.until_over(&world.launch(&Flow::fan(5, "token")).await).await;
    assert_eq!(rows.phase(), Phase::Succeeded);
    assert!(world.store.token_list("pool").await.unwrap().is_empty(), "all places are given back");
    let waited = rows.tasks.iter().any(|task| {
        crate::world::closure(task).reasons.iter().any(|reason| reason.message.contains("in line"))
    });
    assert!(waited, "who waits says for what, behind whom");
}
