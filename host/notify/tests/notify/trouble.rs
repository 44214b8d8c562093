//! Receivers that fail, hang, lead astray or are gone lose nothing, reorder nothing and hold up nobody else.

use std::time::{Duration, Instant};

use notify::{Mode, Sink};
use proto::flyteidl::core::workflow_execution::Phase;
use store::{DeliveryKind, DeliveryState};

use crate::receiver::{Answer, Receiver};
use crate::world::{World, eventually, http_sink, settings, with_sinks};

const LIFE: [Phase; 2] = [Phase::Running, Phase::Failed];
const WHOLE: [&str; 3] = ["a QUEUED", "a RUNNING", "a FAILED"];

#[tokio::test]
async fn a_receiver_that_fails_gets_everything_in_the_end_and_holds_up_nobody() {
    for world in World::all().await {
        let (bad, good) = (Receiver::start().await, Receiver::start().await);
        bad.always(Some(Answer::Status(500)));
        let room =
            world.room(with_sinks(&[("bad", http_sink(&bad.url())), ("good", http_sink(&good.url()))]));
        let execution = world.launch("a", Vec::new()).await;
        execution.enters(&LIFE).await;
        eventually("the good one has all", || async { good.told() == WHOLE }).await;
        eventually("the bad one is in trouble", || async { room.said().contains("sink bad: answered 500") })
            .await;
        assert!(room.said().contains("degraded"), "{}", room.said());
        bad.always(None);
        eventually("the bad one has all", || async { bad.told() == WHOLE }).await;
        eventually("all is well again", || async { room.said().contains("\"ok\"") }).await;
        room.stop().await.unwrap();
        assert_eq!(world.deliveries().await, []);
    }
}

#[tokio::test]
async fn events_that_fail_in_between_keep_their_order() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    receiver.then([200, 503, 200, 500, 500, 404, 200, 429].map(Answer::Status));
    receiver.then([Answer::Silence]);
    let room = world.room(with_sinks(&[("s", http_sink(&receiver.url()))]));
    for name in ["a", "b"] {
        let execution = world.launch(name, Vec::new()).await;
        execution.bustles(0, 10).await;
    }
    eventually("all arrived", || async { receiver.events().len() >= 22 }).await;
    room.stop().await.unwrap();
    assert_eq!(receiver.check_order(), 22);
    assert_eq!(receiver.n_requests(), 22 + 6);
}

#[tokio::test]
async fn a_receiver_that_hangs_is_given_up_in_time_and_asked_again() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    receiver.then([Answer::Silence, Answer::TakenInSilence]);
    let start = Instant::now();
    let room = world.room(with_sinks(&[("s", http_sink(&receiver.url()))]));
    world.launch("a", Vec::new()).await;
    eventually("it arrived again", || async { receiver.taken().len() >= 2 }).await;
    assert!(start.elapsed() < Duration::from_secs(5));
    room.stop().await.unwrap();
    // What arrived twice can be told by its id, in and around the event.
    let taken = receiver.taken();
    assert_eq!(taken[0].json()["id"], taken[1].json()["id"]);
    assert_eq!(receiver.check_order(), 1);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let world = World::new().await;
    let (here, there) = (Receiver::start().await, Receiver::start().await);
    here.always(Some(Answer::Elsewhere(there.url())));
    let room = world.room(with_sinks(&[("s", http_sink(&here.url()))]));
    world.launch("a", Vec::new()).await;
    eventually("it is in trouble", || async { room.said().contains("redirects are not followed") }).await;
    room.stop().await.unwrap();
    assert_eq!(there.n_requests(), 0);
}

#[tokio::test]
async fn inner_addresses_are_not_connected_to_by_any_name() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let port = receiver.port();
    let hosts = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "0x7f.1"];
    for (n, host) in hosts.into_iter().enumerate() {
        let mut config = with_sinks(&[("s", http_sink(&format!("http://{host}:{port}/")))]);
        config.allow_addresses = vec!["10.0.0.0/8".to_owned()];
        let room = world.room(config);
        world.launch(&format!("a{n}"), Vec::new()).await;
        eventually("it is refused", || async { room.said().contains("this machine (loopback)") }).await;
        room.stop().await.unwrap();
    }
    assert_eq!(receiver.n_requests(), 0);
}

#[tokio::test]
async fn a_limited_sink_goes_on_and_the_log_keeps_what_it_missed() {
    for mode in [Mode::Structured, Mode::Batch] {
        let world = World::new().await;
        let receiver = Receiver::start().await;
        let sink = Sink { max_attempts: 3, mode, ..http_sink(&receiver.url()) };
        let config = with_sinks(&[("s", sink)]);
        world.store.want_events(config.wish());
        let execution = world.launch("a", Vec::new()).await;
        execution.enters(&LIFE).await;
        // In a batch every event gets its own chance after the batch had its.
        let n_bad = if mode == Mode::Batch { 3 + 3 } else { 3 };
        receiver.then((0..n_bad).map(|_| Answer::Status(500)));
        let room = world.room(config);
        eventually("the others arrived", || async { receiver.told() == WHOLE[1..] }).await;
        let found = || async { world.deliveries().await };
        eventually("it is noted", || async { !found().await.is_empty() }).await;
        let [row] = &found().await[..] else { panic!("one is missing only") };
        assert_eq!((row.kind, row.state, row.attempts), (DeliveryKind::Event, DeliveryState::Failed, 3));
        assert_eq!((row.channel.as_str(), row.execution.as_str(), row.phase.as_str()), ("s", "a", "QUEUED"));
        assert!(row.last_error.contains("500") && row.last_error.contains("said <so>"), "{}", row.last_error);
        // Asked to, it sends what was missed.
        world.store.delivery_retry(row.id, model::Timestamp::now()).await.unwrap();
        eventually("it arrived at last", || async { receiver.told().last().unwrap() == WHOLE[0] }).await;
        eventually("and is noted", || async { found().await[0].state == DeliveryState::Sent }).await;
        room.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_sent_in_parts() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let config = with_sinks(&[("s", Sink { mode: Mode::Batch, ..http_sink(&receiver.url()) })]);
    world.store.want_events(config.wish());
    world.launch("a", Vec::new()).await.enters(&LIFE).await;
    receiver.then([Answer::Status(413)]);
    let room = world.room(config);
    eventually("all arrived", || async { receiver.told() == WHOLE }).await;
    room.stop().await.unwrap();
    assert_eq!(receiver.n_requests(), 4);
}

#[tokio::test]
async fn too_much_that_waits_is_given_up_and_noted() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    receiver.always(Some(Answer::Status(500)));
    let mut config = with_sinks(&[("s", http_sink(&receiver.url()))]);
    config.max_backlog = 100;
    let room = world.room(config);
    let execution = world.launch("a", Vec::new()).await;
    execution.bustles(0, 300).await;
    let found = || async { world.deliveries().await };
    eventually("a gap is noted", || async { !found().await.is_empty() }).await;
    let row = found().await.remove(0);
    assert_eq!((row.kind, row.state), (DeliveryKind::Gap, DeliveryState::Failed));
    let n: usize = row.last_error.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(n, 211, "all but nine tenths of what is allowed");
    receiver.always(None);
    eventually("the rest arrived", || async { receiver.events().len() >= 301 - n }).await;
    room.stop().await.unwrap();
    assert_eq!(receiver.check_order(), 301 - n);
}

#[tokio::test]
async fn one_host_hands_out_and_another_takes_over() {
    for world in World::all().await {
        let receiver = Receiver::start().await;
        let config = with_sinks(&[("s", http_sink(&receiver.url()))]);
        let seam = || std::sync::Arc::new(notify::NoSeam);
        let first = world.room_with(config.clone(), "one", seam());
        let execution = world.launch("a", Vec::new()).await;
        eventually("the first works", || async { receiver.told() == WHOLE[..1] }).await;
        let second = world.room_with(config.clone(), "two", seam());
        execution.enters(&LIFE[..1]).await;
        eventually("it arrived", || async { receiver.check_order() == 2 }).await;
        // Without a word.
        first.kill().await;
        let third = world.room_with(config, "three", seam());
        execution.enters(&LIFE[1..]).await;
        // It may repeat what the first had no time to note.
        eventually("another works", || async { receiver.check_order() == 3 }).await;
        // One that stops in order is followed at once.
        second.stop().await.unwrap();
        third.stop().await.unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
        let start = Instant::now();
        let mut config = with_sinks(&[("s", http_sink(&receiver.url()))]);
        config.lease_ttl = config::Duration::from_secs(30);
        let fourth = world.room_with(config.clone(), "four", seam());
        world.launch("b", Vec::new()).await;
        eventually("it arrived", || async { receiver.told().contains(&"b QUEUED".to_owned()) }).await;
        fourth.stop().await.unwrap();
        let fifth = world.room_with(config, "five", seam());
        world.launch("c", Vec::new()).await;
        eventually("it arrived", || async { receiver.told().contains(&"c QUEUED".to_owned()) }).await;
        assert!(start.elapsed() < Duration::from_secs(15));
        fifth.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_sink_that_is_gone_holds_nothing_back() {
    let world = World::new().await;
    let (gone, kept) = (Receiver::start().await, Receiver::start().await);
    gone.always(Some(Answer::Status(500)));
    let room = world.room(with_sinks(&[("gone", http_sink(&gone.url())), ("kept", http_sink(&kept.url()))]));
    world.launch("a", Vec::new()).await;
    eventually("it arrived", || async { kept.events().len() == 1 }).await;
    room.stop().await.unwrap();
    let room = world.room(with_sinks(&[("kept", http_sink(&kept.url()))]));
    let store = world.store.clone();
    world.launch("b", Vec::new()).await;
    eventually("the outbox is empty", || async {
        store.outbox_behind(store::OutboxCursor::default(), 10).await.unwrap() == 0
    })
    .await;
    room.stop().await.unwrap();
    assert_eq!(kept.told(), ["a QUEUED", "b QUEUED"]);
    assert!(settings().sinks.is_empty());
}
