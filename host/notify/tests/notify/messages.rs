//! Slack, PagerDuty and webhooks get what they understand.

use notify::{Channel, ChannelType, Config, Rule};
use proto::flyteidl::core::workflow_execution::Phase;
use store::DeliveryState;

use crate::receiver::{Answer, Receiver, Taken};
use crate::world::{World, eventually, settings};

fn config(channel: Channel) -> Config {
    let mut config = settings();
    config.channels.insert("c".to_owned(), channel);
    let phases = ["succeeded", "failed", "aborted"].map(str::to_owned).to_vec();
    config.rules.push(Rule { channel: "c".to_owned(), phases, ..Rule::default() });
    config
}

fn channel(kind: ChannelType, receiver: &Receiver) -> Channel {
    Channel { r#type: Some(kind), url: receiver.url().as_str().into(), ..Channel::default() }
}

/// What arrives when executions end in these phases.
async fn sent(channel: Channel, receiver: &Receiver, phases: &[Phase]) -> Vec<Taken> {
    let world = World::new().await;
    let room = world.room(config(channel));
    for (n, phase) in phases.iter().enumerate() {
        world.launch(&format!("x{n}"), Vec::new()).await.enters(&[Phase::Running, *phase]).await;
        eventually("it arrived", || async { receiver.taken().len() > n }).await;
    }
    room.stop().await.unwrap();
    assert!(world.deliveries().await.iter().all(|row| row.state == DeliveryState::Sent));
    receiver.taken()
}

#[tokio::test]
async fn slack_gets_a_text_in_which_nothing_can_be_mentioned() {
    let receiver = Receiver::start().await;
    let taken =
        sent(channel(ChannelType::Slack, &receiver), &receiver, &[Phase::Failed, Phase::Succeeded]).await;
    let text = |n: usize| taken[n].json()["text"].as_str().unwrap().to_owned();
    assert!(text(0).contains(":x: *flows.train* failed in p/d after 1m 05s"), "{}", text(0));
    assert!(text(0).contains("the dice said &lt;no&gt;"), "{}", text(0));
    assert!(text(0).contains("<http://here/console/projects/p/domains/d/executions/x0|x0>"), "{}", text(0));
    assert!(text(1).starts_with(":white_check_mark:"), "{}", text(1));
}

#[tokio::test]
async fn pagerduty_gets_one_incident_per_execution() {
    let receiver = Receiver::start().await;
    let channel = Channel { routing_key: "r0uting".into(), ..channel(ChannelType::Pagerduty, &receiver) };
    let taken = sent(channel, &receiver, &[Phase::Failed, Phase::Aborted, Phase::Succeeded]).await;
    let first = taken[0].json();
    assert_eq!(first["routing_key"], "r0uting");
    assert_eq!(first["event_action"], "trigger");
    assert_eq!(first["dedup_key"], "p/d/x0");
    assert_eq!(first["payload"]["summary"], "flows.train failed in p/d (x0)");
    assert_eq!(first["payload"]["custom_details"]["error"]["code"], "OutOfLuck");
    let severities: Vec<_> = taken.iter().map(|taken| taken.json()["payload"]["severity"].clone()).collect();
    assert_eq!(severities, ["error", "warning", "info"]);
}

#[tokio::test]
async fn webhooks_get_a_signed_document_or_one_of_their_own() {
    let receiver = Receiver::start().await;
    let plain = Channel { secret: "k3y".into(), ..channel(ChannelType::Webhook, &receiver) };
    let taken = sent(plain, &receiver, &[Phase::Failed]).await;
    let document = taken[0].json();
    assert_eq!((&document["type"], &document["data"]["name"]), (&"execution.failed".into(), &"x0".into()));
    assert!(taken[0].header("webhook-signature").starts_with("v1,"));
    assert_eq!(taken[0].header("content-type"), "application/json");

    let receiver = Receiver::start().await;
    let own = Channel {
        body: "{\"what\": {{ name | tojson }}, \"why\": {% if error %}{{ error.message | tojson }}{% else %}null{% endif %}}"
            .to_owned(),
        ..channel(ChannelType::Webhook, &receiver)
    };
    let taken = sent(own, &receiver, &[Phase::Failed, Phase::Succeeded]).await;
    assert_eq!(taken[0].json(), serde_json::json!({ "what": "x0", "why": "the dice said <no>" }));
    assert_eq!(taken[1].json()["why"], serde_json::Value::Null);

    let receiver = Receiver::start().await;
    let text = Channel {
        body: "{{ name }} {{ outcome }}".to_owned(),
        content_type: "text/plain; charset=utf-8".to_owned(),
        ..channel(ChannelType::Webhook, &receiver)
    };
    let taken = sent(text, &receiver, &[Phase::Succeeded]).await;
    assert_eq!(&taken[0].body[..], b"x0 succeeded");
}

#[tokio::test]
async fn a_message_is_tried_as_often_as_allowed_and_keeps_its_id() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    receiver.then([Answer::TakenInSilence, Answer::Status(503), Answer::Status(500)]);
    let signed = Channel { secret: "k3y".into(), ..channel(ChannelType::Webhook, &receiver) };
    let room = world.room(config(signed.clone()));
    let ended = || async { world.deliveries().await.last().is_some_and(|row| row.ended_at.is_some()) };
    world.launch("a", Vec::new()).await.enters(&[Phase::Failed]).await;
    eventually("it was taken", ended).await;
    let ids: Vec<String> =
        receiver.taken().iter().map(|taken| taken.header("webhook-id").to_owned()).collect();
    assert_eq!((ids.len(), &ids[0]), (2, &ids[1]));
    assert_eq!(world.deliveries().await[0].attempts, 4);
    room.stop().await.unwrap();

    receiver.always(Some(Answer::Status(500)));
    let room = world.room(config(signed.clone()));
    world.launch("b", Vec::new()).await.enters(&[Phase::Failed]).await;
    eventually("it was given up", || async { world.deliveries().await.len() == 2 && ended().await }).await;
    let row = world.deliveries().await.remove(1);
    assert_eq!((row.state, row.attempts), (DeliveryState::Failed, 5));
    // What the receiver will never take is not sent again.
    receiver.always(Some(Answer::Status(410)));
    world.launch("c", Vec::new()).await.enters(&[Phase::Failed]).await;
    eventually("it was given up", || async { world.deliveries().await.len() == 3 && ended().await }).await;
    assert_eq!(world.deliveries().await[2].attempts, 1);
    room.stop().await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_repeats_what_it_was_sent_gives_no_secret_away() {
    let secrets =
        ["t0k3n-in-path", "t0k3n-in-query", "pa55word", "h3ader-token", "s1gning-key", "r0uting-key"];
    let receiver = Receiver::start().await;
    receiver.always(Some(Answer::Echo));
    let place = format!("ann:pa55word@127.0.0.1:{}/t0k3n-in-path?q=t0k3n-in-query", receiver.port());
    for kind in [ChannelType::Webhook, ChannelType::Slack, ChannelType::Pagerduty] {
        let mut hook = Channel {
            url: format!("http://{place}").as_str().into(),
            secret: "s1gning-key".into(),
            routing_key: "r0uting-key".into(),
            ..channel(kind, &receiver)
        };
        hook.headers.insert("x-key".to_owned(), "Bearer h3ader-token".into());
        let mut config = config(hook);
        config.retry.max_attempts = 1;
        let world = World::new().await;
        let room = world.room(config);
        world.launch("x", Vec::new()).await.enters(&[Phase::Failed]).await;
        let ended = || async { world.deliveries().await.first().is_some_and(|row| row.ended_at.is_some()) };
        eventually("it was given up", ended).await;
        let said = room.said();
        room.stop().await.unwrap();
        let row = world.deliveries().await.pop().unwrap();
        assert!(row.last_error.contains("answered 403 Forbidden: refused"), "{}", row.last_error);
        for secret in secrets {
            assert!(!row.last_error.contains(secret), "{secret} is kept: {}", row.last_error);
            assert!(!said.contains(secret), "{secret} is logged: {said}");
        }
        assert!(!row.last_error.contains("YW5uOnBhNTV3b3Jk"), "{}", row.last_error);
    }
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_no_other_message() {
    let world = World::new().await;
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    slow.always(Some(Answer::Silence));
    let mut config = config(channel(ChannelType::Webhook, &slow));
    config.timeout = config::Duration::from_secs(30);
    config.channels.insert("q".to_owned(), channel(ChannelType::Webhook, &quick));
    config.rules.push(Rule { channel: "q".to_owned(), ..Rule::default() });
    let room = world.room(config);
    for n in 0..5 {
        world.launch(&format!("x{n}"), Vec::new()).await.enters(&[Phase::Failed]).await;
    }
    eventually("all arrived", || async { quick.taken().len() == 5 }).await;
    room.kill().await;
}

#[tokio::test]
async fn settings_that_cannot_work_are_found_at_the_start() {
    let receiver = Receiver::start().await;
    let slack = || channel(ChannelType::Slack, &receiver);
    let with = |change: &dyn Fn(&mut Config)| {
        let mut config = config(slack());
        change(&mut config);
        config.validate().map_err(|error| error.to_string())
    };
    assert_eq!(with(&|_| {}), Ok(()));
    let set = |change: &dyn Fn(&mut Channel)| {
        with(&|config| change(config.channels.get_mut("c").unwrap())).unwrap_err()
    };
    for (error, words) in [
        (set(&|c| c.body = "{{ x }}\n".to_owned()), "channels.c.body: line 1: undefined value"),
        (set(&|c| c.url = "ftp://x".into()), "channels.c.url"),
        (set(&|c| c.r#type = None), "channels.c.type"),
        (set(&|c| c.r#type = Some(ChannelType::Pagerduty)), "channels.c.routing-key"),
        (set(&|c| c.r#type = Some(ChannelType::Smtp)), "channels.c.host"),
        (with(&|c| c.allow_addresses.push("10.0.0.0/99".to_owned())).unwrap_err(), "allow-addresses"),
        (with(&|c| c.rules[0].channel = "nobody".to_owned()).unwrap_err(), "rules[0].channel"),
        (with(&|c| c.rules[0].phases.push("running".to_owned())).unwrap_err(), "rules[0].phases"),
        (with(&|c| c.email_channel = "c".to_owned()).unwrap_err(), "email-channel"),
        (
            with(&|c| drop(c.sinks.insert("s".to_owned(), notify::Sink::default()))).unwrap_err(),
            "sinks.s.type",
        ),
        (with(&|c| c.timeout = config::Duration::from_secs(0)).unwrap_err(), "timeout"),
    ] {
        assert!(error.contains(words), "{words} is not in: {error}");
    }
}
