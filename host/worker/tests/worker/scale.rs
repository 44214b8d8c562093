//! Claims about cost: it grows with what changes and not with what is there.

use std::time::Instant;

use proto::flyteidl::core::workflow_execution::Phase;

use crate::flow::Flow;
use crate::world::World;

/// Seconds per node of a fan-out.
async fn cost(n: usize) -> f64 {
    let world = World::new().await;
    let id = world.launch(&Flow::fan(n, "echo")).await;
    let mut wakes = world.store.subscribe();
    let started = Instant::now();
    let life = world.start();
    while world.store.execution_get(&id).await.unwrap().unwrap().live {
        wakes.recv().await.unwrap();
        while wakes.try_recv().is_ok() {}
    }
    let cost = started.elapsed().as_secs_f64() / n as f64;
    let row = world.store.execution_get(&id).await.unwrap().unwrap();
    assert_eq!(row.phase, i32::from(Phase::Succeeded));
    life.drain().await.unwrap();
    cost
}

#[tokio::test]
#[ignore = "measures time; run it alone"]
async fn cost_per_node_does_not_grow() {
    let (small, large) = (cost(300).await, cost(4_000).await);
    assert!(large < small * 2.0, "{small} {large}");
}
