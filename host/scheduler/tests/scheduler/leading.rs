//! One host schedules; another takes over.

use crate::clock::{HOUR, MINUTE, START};
use crate::world::{on_each, world};

async fn leader(world: &crate::world::World) -> Option<String> {
    world.store.leader_get("scheduler").await.unwrap().map(|(host, _)| host)
}

#[tokio::test]
async fn a_host_takes_over_when_the_leader_is_gone() {
    let world = world().await;
    let first = world.host("one");
    world.schedule("lp", "0 * * * *").await;
    world.advance(HOUR).await;
    let second = world.host("two");
    world.advance(10_000_000).await;
    assert_eq!(leader(&world).await.as_deref(), Some("one"));
    first.kill().await;
    // The lease is renewed by nobody.
    world.clock.advance(16_000_000);
    world.until("the takeover", async || leader(&world).await.as_deref() == Some("two")).await;
    world.advance(HOUR).await;
    assert_eq!(world.ticks("lp").await, [START.plus(HOUR), START.plus(2 * HOUR)]);
    second.stop().await;
}

#[tokio::test]
async fn a_host_that_stops_hands_over_at_once() {
    let world = world().await;
    let first = world.host("one");
    world.until("leadership", async || leader(&world).await.is_some()).await;
    let second = world.host("two");
    first.stop().await;
    world.clock.advance(6_000_000);
    world.until("the takeover", async || leader(&world).await.as_deref() == Some("two")).await;
    second.stop().await;
}

#[tokio::test]
async fn hosts_that_all_believe_to_lead_fire_each_tick_once() {
    on_each(async |mut world| {
        // A lease that is over before it begins: all lead, all the time.
        world.config.lease_ttl = config::Duration::from_millis(1);
        let hosts = [world.far_host("one").await, world.far_host("two").await, world.far_host("three").await];
        for n in 0..5 {
            world.schedule(&format!("lp{n}"), "*/10 * * * *").await;
        }
        for _ in 0..30 {
            world.advance(10 * MINUTE).await;
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        for n in 0..5 {
            let ticks: Vec<i64> = world
                .ticks(&format!("lp{n}"))
                .await
                .iter()
                .map(|tick| (tick.0 - START.0) / (10 * MINUTE))
                .collect();
            assert_eq!(ticks, (1..=30).collect::<Vec<_>>());
        }
        for host in hosts {
            host.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_one_host_changes_wakes_the_host_that_leads() {
    on_each(async |world| {
        let host = world.far_host("far").await;
        world.until("leadership", async || leader(&world).await.is_some()).await;
        world.schedule("lp", "0 * * * *").await;
        // Nobody moves the clock: only the change itself can have woken it.
        world.until("the next tick is known", async || world.row("lp").await.next_at.is_some()).await;
        world.advance(HOUR).await;
        assert_eq!(world.ticks("lp").await, [START.plus(HOUR)]);
        let wish = scheduler::Backfill {
            project: "p".to_owned(),
            domain: crate::world::DOMAIN.to_owned(),
            launch_plan: "lp".to_owned(),
            from: START.plus(-HOUR),
            to: START,
            schedule: Some("0 * * * *".to_owned()),
            ..scheduler::Backfill::default()
        };
        let id = host.scheduler.backfill_start(&wish, "").await.unwrap().id;
        let state = async || world.store.backfill_get(&id).await.unwrap().unwrap().state;
        let name = scheduler::of_backfill_tick(&id, START.plus(-HOUR));
        let running = async || {
            world.clock.advance(100_000);
            world.store.backfill_counts(std::slice::from_ref(&id)).await.unwrap()[&id].running == 1
        };
        world.until("the tick runs", running).await;
        // The end of its execution is told by another host's store.
        world.end(&name, 4).await;
        world
            .until("the end", async || {
                world.clock.advance(1_000);
                state().await == store::BackfillState::Succeeded
            })
            .await;
        host.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_host_with_the_scheduler_switched_off_fires_nothing() {
    let mut world = world().await;
    world.config.enabled = false;
    let host = world.host("one");
    world.schedule("lp", "0 * * * *").await;
    world.clock.advance(2 * HOUR);
    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    assert_eq!(world.started().await, []);
    host.stop().await;
}
