//! The room is stopped between any two of its steps, as if the process had died, and goes on without a loss.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use notify::{Channel, ChannelType, Config, Error, Mode, Rule, Seam, Sink, Step};
use proto::flyteidl::core::workflow_execution::Phase;
use store::DeliveryState;

use crate::receiver::Receiver;
use crate::world::{Room, World, eventually, http_sink, with_sinks};

const STEPS: [Step; 7] =
    [Step::Read, Step::Sent, Step::Moved, Step::Planned, Step::Delivered, Step::Reported, Step::Pruned];

/// Crashes at the `n`th time a step is reached.
struct CrashAt {
    step: Step,
    n: usize,
    seen: AtomicUsize,
}

#[async_trait]
impl Seam for CrashAt {
    async fn crashes_at(&self, step: Step) -> bool {
        step == self.step && self.seen.fetch_add(1, Ordering::SeqCst) == self.n
    }
}

fn config(events: &Receiver, people: &Receiver, mode: Mode) -> Config {
    let mut config = with_sinks(&[("s", Sink { mode, batch_size: 3, ..http_sink(&events.url()) })]);
    let channel = Channel {
        r#type: Some(ChannelType::Webhook),
        url: people.url().as_str().into(),
        ..Channel::default()
    };
    config.channels.insert("hook".to_owned(), channel);
    config.rules.push(Rule { channel: "hook".to_owned(), ..Rule::default() });
    config
}

fn room(world: &World, config: &Config, step: Step, n: usize) -> Room {
    world.room_with(config.clone(), "h", Arc::new(CrashAt { step, n, seen: AtomicUsize::new(0) }))
}

/// Runs until a room gets through without a crash, and returns how many did not. `tag` is in the names of the
/// executions that count: others of the same store may come again.
async fn through(
    world: &World,
    config: &Config,
    (step, n): (Step, usize),
    tag: &str,
    events: &Receiver,
) -> usize {
    let mut n_crashes = 0;
    loop {
        let room = room(world, config, step, if n_crashes == 0 { n } else { usize::MAX });
        let all_done = || async {
            let rows = world.deliveries().await;
            let n_sent = rows
                .iter()
                .filter(|row| row.execution.contains(tag) && row.state == DeliveryState::Sent)
                .count();
            let left = world.store.outbox_behind(store::OutboxCursor::default(), 1).await.unwrap();
            // Removal comes when all else is done.
            let is_pruned = step != Step::Pruned || left == 0 && (n > 0 || n_crashes > 0);
            n_sent == 2 && is_pruned && events.check_order_of(tag) == 2 * 8
        };
        while !room.has_ended() {
            if all_done().await {
                room.kill().await;
                return n_crashes;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        match room.ended().await {
            Err(Error::Crashed(at)) => assert_eq!(at, step),
            other => panic!("it ended with {other:?}"),
        }
        n_crashes += 1;
        assert!(n_crashes < 10, "it makes no way");
    }
}

async fn claim(world: &World, step: Step, n: usize, mode: Mode) -> bool {
    let (events, people) = (Receiver::start().await, Receiver::start().await);
    let config = config(&events, &people, mode);
    world.store.want_events(config.wish());
    let tag = format!("{step:?}{n}{mode:?}").to_lowercase();
    for name in ["a", "b"] {
        let execution = world.launch(&format!("{name}{tag}"), Vec::new()).await;
        execution.bustles(0, 4).await;
        execution.enters(&[Phase::Running, Phase::Failing, Phase::Failed]).await;
    }
    let crashed = through(world, &config, (step, n), &tag, &events).await > 0;
    let names =
        people.taken().into_iter().map(|taken| taken.json()["data"]["name"].as_str().unwrap().to_owned());
    let mut told: Vec<String> = names.filter(|name| name.contains(&tag)).collect();
    assert!(told.len() <= 4, "{tag}: one crash repeats a message once at most");
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 2, "{tag}");
    crashed
}

#[tokio::test]
async fn a_crash_at_any_step_loses_nothing() {
    for world in World::all().await {
        for step in STEPS {
            for (n, mode) in
                [(0, Mode::Structured), (0, Mode::Batch), (1, Mode::Structured), (2, Mode::Batch)]
            {
                let crashed = claim(&world, step, n, mode).await;
                assert!(crashed || n > 0, "{step:?} is never reached");
            }
        }
    }
}

#[tokio::test]
async fn a_process_that_is_killed_again_and_again_loses_nothing() {
    for world in World::all().await {
        let receiver = Receiver::start().await;
        let mut config = with_sinks(&[("s", http_sink(&receiver.url()))]);
        config.lease_ttl = config::Duration::from_secs(30);
        world.store.want_events(config.wish());
        for name in ["a", "b", "c", "d"] {
            world.launch(name, Vec::new()).await.bustles(0, 60).await;
        }
        let mut n_killed = 0;
        while receiver.check_order() < 4 * 61 {
            // The same host: it takes up its own lease at once.
            let room = world.room(config.clone());
            tokio::time::sleep(Duration::from_millis(40 + 97 * n_killed % 500)).await;
            room.kill().await;
            n_killed += 1;
            assert!(n_killed < 200, "it makes no way: {}", receiver.check_order());
        }
        eventually("all arrived", || async { receiver.check_order() == 4 * 61 }).await;
        assert!(n_killed > 1, "it was never killed in the middle");
    }
}
