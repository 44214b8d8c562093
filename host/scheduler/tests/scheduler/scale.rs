//! Many schedules at once.

use std::time::Instant;

use crate::clock::{HOUR, START};
use crate::world::world;

/// How many are due in the same minute.
const MANY: usize = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_schedules_of_one_minute_fire_side_by_side_and_bounded() {
    let mut world = world().await;
    world.config.max_launches_at_once = 32;
    let world = std::sync::Arc::new(world);
    for n in 0..MANY {
        world.schedule(&format!("lp{n}"), "0 * * * *").await;
    }
    let host = world.host("h");
    world.settle().await;
    let start = Instant::now();
    world.clock.advance(HOUR);
    world
        .until("all have fired", async || {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            world.store.schedules_due(world.now(), 1).await.unwrap().is_empty()
        })
        .await;
    let took = start.elapsed();
    println!("{MANY} schedules fired in {took:?}, {:.0} a second", MANY as f64 / took.as_secs_f64());
    let started = world.started().await;
    assert_eq!(started.len(), MANY);
    assert!(started.iter().all(|started| started.tick == START.plus(HOUR)));
    let most = world.ledger.most_at_once();
    assert!((2..=32).contains(&most), "{most} at once");
    // A debug build on a busy machine: the point is that it does not take minutes.
    assert!(took.as_secs() < 60, "{took:?}");
    host.stop().await;
}
