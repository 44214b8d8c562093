//! Sinks get the events they ask for, in the form they ask for, in order.

use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use notify::{Encoding, Kind, Mode, Sink, SinkType};
use prost::Message as _;
use proto::flyteidl::core::workflow_execution::Phase;
use proto::flyteidl::event::WorkflowExecutionEvent;

use crate::receiver::Receiver;
use crate::world::{World, eventually, http_sink, with_sinks};

const LIFE: [Phase; 3] = [Phase::Running, Phase::Succeeding, Phase::Succeeded];

#[tokio::test]
async fn every_transition_arrives_once_and_in_order() {
    for world in World::all().await {
        let receiver = Receiver::start().await;
        let room = world.room(with_sinks(&[("audit", http_sink(&receiver.url()))]));
        for name in ["a", "b", "c"] {
            let execution = world.launch(name, Vec::new()).await;
            execution.enters(&LIFE).await;
            execution.bustles(0, 50).await;
        }
        eventually("all arrived", || async { receiver.events().len() >= 3 * 54 }).await;
        assert_eq!((receiver.check_order(), receiver.events().len()), (162, 162));
        let told = receiver.told();
        let of_a: Vec<&str> = told.iter().filter_map(|text| text.strip_prefix("a ")).collect();
        assert_eq!(of_a, ["QUEUED", "RUNNING", "SUCCEEDING", "SUCCEEDED"]);
        // What everybody has passed is removed.
        let store = world.store.clone();
        eventually("the outbox is empty", || async {
            store.outbox_read(store::OutboxCursor::default(), 10).await.unwrap().rows.is_empty()
        })
        .await;
        room.stop().await.unwrap();
        assert_eq!(world.deliveries().await, []);
    }
}

#[tokio::test]
async fn requests_are_signed_and_carry_what_the_operator_adds() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let mut sink = http_sink(&receiver.url());
    sink.secret = "whsec_c2VjcmV0".into();
    sink.headers.insert("authorization".to_owned(), "Bearer t0k3n".into());
    let room = world.room(with_sinks(&[("audit", sink)]));
    world.launch("a", Vec::new()).await;
    eventually("it arrived", || async { !receiver.taken().is_empty() }).await;
    let taken = receiver.taken().remove(0);
    assert_eq!((taken.path.as_str(), taken.header("authorization")), ("/hook", "Bearer t0k3n"));
    assert!(taken.header("user-agent").starts_with("pinion/"));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"secret").unwrap();
    mac.update(format!("{}.{}.", taken.header("webhook-id"), taken.header("webhook-timestamp")).as_bytes());
    mac.update(&taken.body);
    let want = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(taken.header("webhook-signature"), format!("v1,{want}"));
    let shown = format!("{:?} {}", room.notify, room.said());
    assert!(!shown.contains("t0k3n") && !shown.contains("c2VjcmV0"), "{shown}");
    room.stop().await.unwrap();
}

#[tokio::test]
async fn all_modes_and_encodings_carry_the_same_events() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let mut sinks = Vec::new();
    for mode in [Mode::Structured, Mode::Binary, Mode::Batch] {
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let url = format!("http://127.0.0.1:{}/{mode:?}/{encoding:?}", receiver.port());
            let name = format!("{mode:?}-{encoding:?}").to_lowercase();
            sinks.push((name, Sink { mode, encoding, ..http_sink(&url) }));
        }
    }
    let sinks: Vec<(&str, Sink)> = sinks.iter().map(|(name, sink)| (name.as_str(), sink.clone())).collect();
    let room = world.room(with_sinks(&sinks));
    let execution = world.launch("a", Vec::new()).await;
    execution.enters(&LIFE).await;
    eventually("all arrived", || async { receiver.events().len() >= 6 * 4 }).await;
    room.stop().await.unwrap();
    for taken in receiver.taken() {
        let (kind, is_json) = (taken.header("content-type"), taken.path.ends_with("Json"));
        let read = |bytes: &[u8]| WorkflowExecutionEvent::decode(bytes).unwrap().execution_id.unwrap().name;
        if taken.path.starts_with("/Binary") {
            assert_eq!(kind, if is_json { "application/json" } else { "application/protobuf" });
            assert_eq!(taken.header("ce-specversion"), "1.0");
            assert_eq!(taken.header("ce-type"), "flyteidl.event.WorkflowExecutionEvent");
            let name = if is_json {
                taken.json()["executionId"]["name"].as_str().unwrap().to_owned()
            } else {
                read(&taken.body)
            };
            assert_eq!(name, "a");
            continue;
        }
        let documents = if taken.path.starts_with("/Batch") {
            assert!(kind.starts_with("application/cloudevents-batch+json"));
            taken.json().as_array().unwrap().clone()
        } else {
            assert!(kind.starts_with("application/cloudevents+json"));
            vec![taken.json()]
        };
        for document in documents {
            assert_eq!(document["specversion"], "1.0");
            assert_eq!(document["source"], "http://here");
            if is_json {
                assert_eq!(document["data"]["executionId"]["name"], "a");
            } else {
                let coded = document["data_base64"].as_str().unwrap();
                let bytes = base64::engine::general_purpose::STANDARD.decode(coded).unwrap();
                assert_eq!(read(&bytes), "a");
            }
        }
    }
}

#[tokio::test]
async fn batches_hold_many_events_and_never_more_than_allowed() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let sink = Sink { mode: Mode::Batch, batch_size: 30, ..http_sink(&receiver.url()) };
    world.store.want_events(with_sinks(&[("s", sink.clone())]).wish());
    let execution = world.launch("a", Vec::new()).await;
    execution.bustles(0, 100).await;
    let room = world.room(with_sinks(&[("s", sink)]));
    eventually("all arrived", || async { receiver.events().len() >= 101 }).await;
    room.stop().await.unwrap();
    let sizes: Vec<usize> =
        receiver.taken().iter().map(|taken| taken.json().as_array().unwrap().len()).collect();
    assert_eq!(sizes, [30, 30, 30, 11]);
    assert_eq!(receiver.check_order(), 101);
}

#[tokio::test]
async fn a_sink_gets_what_it_asks_for_only() {
    let world = World::new().await;
    let (workflows, elsewhere) = (Receiver::start().await, Receiver::start().await);
    let config = with_sinks(&[
        ("w", Sink { kinds: vec![Kind::Workflow], ..http_sink(&workflows.url()) }),
        ("e", Sink { projects: vec!["other*".to_owned()], ..http_sink(&elsewhere.url()) }),
    ]);
    let room = world.room(config);
    let execution = world.launch("a", Vec::new()).await;
    execution.bustles(0, 5).await;
    execution.enters(&[Phase::Running]).await;
    eventually("both arrived", || async { workflows.events().len() >= 2 }).await;
    assert_eq!(workflows.told(), ["a QUEUED", "a RUNNING"]);
    room.stop().await.unwrap();
    assert_eq!(elsewhere.n_requests(), 0);
}

#[tokio::test]
async fn nothing_is_written_that_nobody_asks_for() {
    let world = World::new().await;
    let room = world.room(with_sinks(&[]));
    let execution = world.launch("a", Vec::new()).await;
    assert_eq!(world.store.outbox_behind(store::OutboxCursor::default(), 10).await.unwrap(), 0);
    drop(execution);
    room.stop().await.unwrap();
    let off = notify::Config { enabled: false, ..with_sinks(&[("s", http_sink("http://127.0.0.1:1/"))]) };
    assert_eq!(off.wish(), store::EventWish::default());
    let room = world.room(off);
    assert!(!world.store.events_wanted().any());
    room.stop().await.unwrap();
}

#[tokio::test]
async fn files_get_one_line_per_event() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let sink = Sink { r#type: Some(SinkType::File), path: path.clone(), ..Sink::default() };
    let room = world.room(with_sinks(&[("f", sink)]));
    let execution = world.launch("a", Vec::new()).await;
    execution.enters(&LIFE).await;
    let lines = || std::fs::read_to_string(&path).unwrap_or_default().lines().count();
    eventually("all arrived", || async { lines() >= 4 }).await;
    room.stop().await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let phases: Vec<String> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["phase"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(phases, ["QUEUED", "RUNNING", "SUCCEEDING", "SUCCEEDED"]);
}
