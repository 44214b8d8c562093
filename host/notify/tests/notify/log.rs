//! Operators read the delivery log and try things again over HTTP; nothing secret is shown.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use notify::{Channel, ChannelType, Notify, Rule};
use proto::flyteidl::core::workflow_execution::Phase;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::receiver::{Answer, Receiver};
use crate::world::{World, eventually, http_sink, with_sinks};

async fn ask(notify: &Notify, method: Method, path: &str) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let response = notify.routes().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), 10_000_000).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

async fn get(notify: &Notify, path: &str) -> Value {
    let (status, value) = ask(notify, Method::GET, path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {value}");
    value
}

#[tokio::test]
async fn the_log_tells_what_became_of_each_message() {
    for world in World::all().await {
        let receiver = Receiver::start().await;
        let mut sink = http_sink(&format!("{}?token=t0k3n", receiver.url()));
        sink.headers.insert("x-key".to_owned(), "h3ader".into());
        let mut config = with_sinks(&[("audit", sink)]);
        let hook = Channel {
            r#type: Some(ChannelType::Webhook),
            url: format!("{}/p4th", receiver.url()).as_str().into(),
            secret: "s1gn".into(),
            ..Channel::default()
        };
        config.channels.insert("hook".to_owned(), hook);
        config.rules.push(Rule { channel: "hook".to_owned(), ..Rule::default() });
        config.retry.max_attempts = 1;
        let room = world.room(config);
        world.launch("good", Vec::new()).await.enters(&[Phase::Running, Phase::Failed]).await;
        eventually("it arrived", || async {
            world.deliveries().await.first().is_some_and(|row| row.ended_at.is_some())
        })
        .await;
        receiver.always(Some(Answer::Status(500)));
        world.launch("bad", Vec::new()).await.enters(&[Phase::Failed]).await;
        eventually("it was given up", || async {
            world
                .deliveries()
                .await
                .last()
                .is_some_and(|row| row.execution == "bad" && row.ended_at.is_some())
        })
        .await;

        let all = get(&room.notify, "/pinion/v1/deliveries").await;
        let rows = all["deliveries"].as_array().unwrap();
        let states: Vec<(&str, &str)> = rows
            .iter()
            .map(|row| (row["execution"].as_str().unwrap(), row["state"].as_str().unwrap()))
            .collect();
        assert_eq!(states, [("bad", "failed"), ("good", "sent")]);
        let failed = get(&room.notify, "/pinion/v1/deliveries?state=failed&channel=hook&execution=bad").await;
        let [row] = &failed["deliveries"].as_array().unwrap()[..] else { panic!("{failed}") };
        assert!(row["error"].as_str().unwrap().contains("answered 500"));
        assert_eq!((row["attempts"].clone(), row["phase"].clone()), (1.into(), "FAILED".into()));
        let id = row["id"].as_i64().unwrap();
        let one = get(&room.notify, &format!("/pinion/v1/deliveries/{id}")).await;
        assert_eq!(one["carries"]["error"]["code"], "OutOfLuck");
        let page = get(&room.notify, "/pinion/v1/deliveries?limit=1").await;
        assert_eq!(page["next_before"], rows[0]["id"]);

        // The sink is in trouble, and its events wait.
        let status = get(&room.notify, "/pinion/v1/notify").await;
        assert_eq!(status["sinks"][0]["name"], "audit");
        assert!(status["sinks"][0]["waiting"].as_i64().unwrap() >= 1, "{status}");
        assert!(status["sinks"][0]["trouble"].as_str().unwrap().contains("500"), "{status}");
        let shown = format!("{all}{failed}{one}{status}{}", room.said());
        for secret in ["t0k3n", "h3ader", "p4th", "s1gn"] {
            assert!(!shown.contains(secret), "{secret} is shown: {shown}");
        }

        receiver.always(None);
        let (status, _) = ask(&room.notify, Method::POST, &format!("/pinion/v1/deliveries/{id}/retry")).await;
        assert_eq!(status, StatusCode::OK);
        eventually("it arrived at last", || async {
            get(&room.notify, "/pinion/v1/deliveries?state=failed").await["deliveries"]
                .as_array()
                .unwrap()
                .is_empty()
        })
        .await;
        room.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_channel_can_be_tried_out() {
    let world = World::new().await;
    let receiver = Receiver::start().await;
    let mut config = with_sinks(&[]);
    let hook = Channel {
        r#type: Some(ChannelType::Slack),
        url: receiver.url().as_str().into(),
        ..Channel::default()
    };
    config.channels.insert("chat".to_owned(), hook);
    let room = world.room(config);
    let (status, answer) = ask(&room.notify, Method::POST, "/pinion/v1/notify/test/chat").await;
    assert_eq!((status, &answer["results"][0]["sent"]), (StatusCode::OK, &Value::from(true)), "{answer}");
    assert!(receiver.taken()[0].json()["text"].as_str().unwrap().contains("this is a test"));
    receiver.always(Some(Answer::Status(403)));
    let (_, answer) = ask(&room.notify, Method::POST, "/pinion/v1/notify/test/chat").await;
    assert!(answer["results"][0]["error"].as_str().unwrap().contains("403"), "{answer}");
    let states: Vec<_> = world.deliveries().await.iter().map(|row| row.state).collect();
    assert_eq!(states, [store::DeliveryState::Sent, store::DeliveryState::Failed]);
    room.stop().await.unwrap();
}

#[tokio::test]
async fn mistakes_are_answered_with_what_is_there() {
    let world = World::new().await;
    let room = world.room(with_sinks(&[]));
    for (method, path, status, words) in [
        (Method::GET, "/pinion/v1/deliveries?state=odd", 400, "pending, sent, failed"),
        (Method::GET, "/pinion/v1/deliveries/7", 404, "no delivery 7"),
        (Method::POST, "/pinion/v1/deliveries/7/retry", 404, "no delivery 7"),
        (Method::POST, "/pinion/v1/notify/test/nobody", 404, "no channel `nobody`"),
    ] {
        let (found, answer) = ask(&room.notify, method, path).await;
        assert_eq!(found.as_u16(), status, "{path}");
        assert!(answer["message"].as_str().unwrap().contains(words), "{path}: {answer}");
    }
    room.stop().await.unwrap();
}
