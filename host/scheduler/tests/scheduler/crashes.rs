//! Killed between any two steps, the scheduler fires each tick once, and each tick of a backfill.

use scheduler::{Backfill, Order};
use store::{BackfillState, NewSchedule};

use crate::clock::{HOUR, MINUTE, START};
use crate::world::{DOMAIN, World, timing, world};

/// Three schedules, one of which has several missed ticks; returns whether the first host crashed at step `n`.
async fn schedules_with_a_crash(n: i64) -> bool {
    let world = world().await;
    for (name, expression) in [("a", "0 * * * *"), ("b", "*/20 * * * *"), ("c", "rate(45 minutes)")] {
        let new = NewSchedule { timing: timing(expression), catch_up: "all".to_owned() };
        world.activate(name, "v1", new).await;
    }
    world.clock.advance(2 * HOUR);
    let first = world.doomed_host("h", n);
    world
        .until("a crash or the end", async || {
            first.has_crashed() || world.store.schedules_due(world.now(), 1).await.unwrap().is_empty()
        })
        .await;
    let has_crashed = first.has_crashed();
    first.kill().await;
    let second = world.host("h");
    world.settle().await;
    second.stop().await;
    let minutes = async |name: &str| -> Vec<i64> {
        world.ticks(name).await.iter().map(|tick| (tick.0 - START.0) / MINUTE).collect()
    };
    assert_eq!(minutes("a").await, [60, 120], "crash at step {n}");
    assert_eq!(minutes("b").await, [20, 40, 60, 80, 100, 120], "crash at step {n}");
    assert_eq!(minutes("c").await, [45, 90], "crash at step {n}");
    for (name, n_fired) in [("a", 2), ("b", 6), ("c", 2)] {
        assert_eq!(world.row(name).await.n_fired, n_fired, "{name}, crash at step {n}");
    }
    has_crashed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tick_is_fired_once_wherever_the_host_is_killed() {
    let mut n = 0;
    while schedules_with_a_crash(n).await {
        n += 1;
    }
    assert!(n > 20, "{n} steps were seen");
}

/// Ends what the backfill runs, over and over, until it has ended.
async fn end_all(world: &World, id: &str) -> BackfillState {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let row = world.store.backfill_get(id).await.unwrap().unwrap();
        if !matches!(row.state, BackfillState::Running) {
            return row.state;
        }
        for tick in world.store.backfill_ticks(id, Some(store::TickState::Running), 0, 99).await.unwrap() {
            world.end(&tick.execution, 4).await;
        }
        world.clock.advance(200_000);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert!(std::time::Instant::now() < deadline, "backfill {row:?} does not end");
    }
}

async fn backfill_with_a_crash(n: i64) -> bool {
    let world = world().await;
    world.schedule("lp", "0 * * * *").await;
    let first = world.doomed_host("h", n);
    let wish = Backfill {
        project: "p".to_owned(),
        domain: DOMAIN.to_owned(),
        launch_plan: "lp".to_owned(),
        from: START.plus(-5 * HOUR),
        to: START,
        schedule: Some("0 * * * *".to_owned()),
        parallelism: Some(2),
        order: Order::Backward,
        ..Backfill::default()
    };
    let id = first.scheduler.backfill_start(&wish, "").await.unwrap().id;
    let ended = async {
        loop {
            if first.has_crashed() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = ended => {}
        _ = end_all(&world, &id) => {}
    }
    let has_crashed = first.has_crashed();
    first.kill().await;
    let second = world.host("h");
    assert_eq!(end_all(&world, &id).await, BackfillState::Succeeded, "crash at step {n}");
    second.stop().await;
    let hours: Vec<i64> = world.ticks("lp").await.iter().map(|tick| (tick.0 - START.0) / HOUR).collect();
    assert_eq!(hours, [-5, -4, -3, -2, -1], "crash at step {n}");
    has_crashed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_tick_of_a_backfill_runs_once_wherever_the_host_is_killed() {
    let mut n = 0;
    while backfill_with_a_crash(n).await {
        n += 1;
    }
    assert!(n > 15, "{n} steps were seen");
}
