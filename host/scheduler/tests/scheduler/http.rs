//! The JSON routes.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::clock::HOUR;
use crate::world::{DOMAIN, Host, world};

async fn call(host: &Host, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(format!("/pinion/v1/{path}"));
    let request = match body {
        Some(body) => {
            request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
        }
        None => request.body(Body::empty()).unwrap(),
    };
    let answer = host.scheduler.routes().oneshot(request).await.unwrap();
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes))))
}

async fn get(host: &Host, path: &str) -> Value {
    let (status, value) = call(host, Method::GET, path, None).await;
    assert_eq!(status, StatusCode::OK, "{value}");
    value
}

async fn post(host: &Host, path: &str, body: Value) -> Value {
    let (status, value) = call(host, Method::POST, path, Some(body)).await;
    assert!(status.is_success(), "{path}: {status} {value}");
    value
}

#[tokio::test]
async fn schedules_are_listed_paused_and_resumed() {
    let world = world().await;
    let host = world.host("h");
    world.schedule("odd/name here", "CRON_TZ=Europe/Berlin 0 8 * * *").await;
    world.schedule("rate", "rate(2 hours)").await;
    world.schedule("bad", "0 * * * *").await;
    world.ledger.fail("bad", [launch::Error::InactiveProject { project: "p".to_owned() }]);
    world.advance(2 * HOUR).await;
    let list = get(&host, "schedules?project=p").await;
    assert_eq!((&list["paused"], &list["host"]), (&json!(false), &json!("h")));
    let rows = list["schedules"].as_array().unwrap();
    assert_eq!(
        rows.iter().map(|row| row["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["bad", "odd/name here", "rate"]
    );
    assert_eq!((&rows[0]["failed"], &rows[0]["fired"]), (&json!(1), &json!(1)));
    assert!(rows[0]["error"].as_str().unwrap().contains("not active"));
    assert_eq!(rows[0]["error_tick"], "2024-05-15T11:00:00Z");
    assert_eq!(
        (&rows[1]["timezone"], &rows[1]["next"]),
        (&json!("Europe/Berlin"), &json!("2024-05-16T06:00:00Z"))
    );
    assert_eq!((&rows[2]["timezone"], &rows[2]["last"]), (&Value::Null, &json!("2024-05-15T12:00:00Z")));
    assert_eq!(rows[2]["catch_up"], "all");
    let page = get(&host, "schedules?limit=2&offset=1").await;
    assert_eq!((page["schedules"].as_array().unwrap().len(), &page["next_offset"]), (2, &json!(3)));

    let path = format!("schedules/p/{DOMAIN}/odd%2Fname%20here");
    let next = get(&host, &format!("{path}/next?n=2")).await;
    assert_eq!(next["ticks"], json!(["2024-05-16T06:00:00Z", "2024-05-17T06:00:00Z"]));
    let paused = post(&host, &format!("{path}/pause"), json!({ "by": "ann" })).await;
    assert_eq!(
        (&paused["paused"], &paused["paused_by"], &paused["next"]),
        (&json!(true), &json!("ann"), &Value::Null)
    );
    assert_eq!(get(&host, &path).await["paused"], true);
    let resumed = post(&host, &format!("{path}/resume"), json!({})).await;
    assert_eq!((&resumed["paused"], &resumed["next"]), (&json!(false), &json!("2024-05-16T06:00:00Z")));

    assert_eq!(post(&host, "schedules/pause", json!({ "by": "bob" })).await["paused_by"], "bob");
    assert_eq!(get(&host, "schedules").await["paused"], true);
    let (status, _) = call(&host, Method::POST, "schedules/resume", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(get(&host, "schedules").await["paused"], false);
    let (status, body) = call(&host, Method::GET, "schedules/p/development/none", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body["message"].as_str().unwrap().contains("none"));
    host.stop().await;
}

#[tokio::test]
async fn backfills_are_planned_started_shown_and_cancelled() {
    let world = world().await;
    let host = world.host("h");
    world.schedule("lp", "0 * * * *").await;
    world.settle().await;
    let wish = json!({
        "project": "p", "domain": DOMAIN, "launch_plan": "lp", "version": "v1",
        "from": "2024-05-14", "to": "2024-05-14T06:00:00+02:00", "schedule": "0 * * * *", "parallelism": 2,
        "timezone": "Europe/Berlin",
    });
    let mut dry = wish.clone();
    dry["dry_run"] = json!(true);
    let plan = post(&host, "backfills", dry).await;
    // Midnight in Berlin is 22:00 before.
    assert_eq!(plan["plan"][0], json!({ "tick": "2024-05-13T22:00:00Z", "done_by": null }));
    assert_eq!(plan["backfill"]["ticks"]["total"], 6);
    assert_eq!(get(&host, "backfills").await["backfills"], json!([]));

    let started = post(&host, "backfills", wish.clone()).await;
    let id = started["id"].as_str().unwrap().to_owned();
    world
        .until("two ticks run", async || {
            world.clock.advance(100_000);
            get(&host, &format!("backfills/{id}")).await["ticks"]["running"] == 2
        })
        .await;
    let ticks = get(&host, &format!("backfills/{id}/ticks?state=running")).await;
    assert_eq!(ticks["ticks"].as_array().unwrap().len(), 2);
    assert_eq!(ticks["ticks"][0]["seq"], 0);
    let page = get(&host, &format!("backfills/{id}/ticks?limit=4")).await;
    assert_eq!((&page["next_seq"], &page["ticks"][3]["state"]), (&json!(4), &json!("pending")));
    assert_eq!(post(&host, &format!("backfills/{id}/pause"), json!({})).await["state"], "paused");
    assert_eq!(post(&host, &format!("backfills/{id}/resume"), json!({})).await["state"], "running");
    let cancelled = post(&host, &format!("backfills/{id}/cancel"), json!({ "by": "ann" })).await;
    assert_eq!((&cancelled["state"], &cancelled["ticks"]["cancelled"]), (&json!("cancelling"), &json!(4)));
    for tick in ticks["ticks"].as_array().unwrap() {
        world.end(tick["execution"].as_str().unwrap(), 4).await;
    }
    world
        .until("the end", async || {
            world.clock.advance(100_000);
            get(&host, &format!("backfills/{id}")).await["state"] == "cancelled"
        })
        .await;
    let (status, body) = call(&host, Method::POST, &format!("backfills/{id}/pause"), None).await;
    assert_eq!(status, StatusCode::CONFLICT, "{body}");
    assert_eq!(get(&host, "backfills?launch_plan=lp").await["backfills"][0]["id"], json!(id));

    for (change, field) in [("from", "from"), ("schedule", "schedule"), ("launch_plan", "launch plan")] {
        let mut wish = wish.clone();
        wish[change] = json!("nonsense");
        let (status, body) = call(&host, Method::POST, "backfills", Some(wish)).await;
        assert!(status.is_client_error(), "{status} {body}");
        assert!(body["message"].as_str().unwrap().contains(field), "{body}");
    }
    let mut unknown = wish;
    unknown["paralelism"] = json!(3);
    let (status, body) = call(&host, Method::POST, "backfills", Some(unknown)).await;
    assert!(status.is_client_error() && body.to_string().contains("paralelism"), "{status} {body}");
    host.stop().await;
}
