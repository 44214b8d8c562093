//! The JSON routes, as the command line calls them.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use catalog::task_key;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::catalog::build::{inputs, outputs, source, template};
use crate::catalog::world::{NOW, World, world};

async fn call(w: &World, request: Request<Body>) -> (StatusCode, Value) {
    let answer = w.catalog.routes().oneshot(request).await.unwrap();
    let status = answer.status();
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn post(w: &World, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = Request::post(format!("/pinion/v1/{path}")).header("content-type", "application/json");
    call(w, request.body(Body::from(body.to_string())).unwrap()).await
}

async fn get(w: &World, path: &str) -> (StatusCode, Value) {
    call(w, Request::get(format!("/pinion/v1/{path}")).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn entries_are_listed_and_evicted() {
    let w = world().await;
    for x in 0..3 {
        let key = task_key(&template("1"), &inputs(x, 0)).unwrap();
        w.catalog.put(&key, &source("e", "n0"), &outputs(x), false, NOW).await.unwrap();
    }
    let (status, page) = post(&w, "cache/list", &json!({ "select": { "task": "t" }, "limit": 2 })).await;
    assert_eq!((status, page["entries"].as_array().unwrap().len()), (StatusCode::OK, 2));
    assert_eq!(page["token"], "2");
    assert_eq!(page["entries"][0]["made_by"], "project/domain/e/n0");
    let (status, refused) = post(&w, "cache/evict", &json!({ "select": {} })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(refused["message"].as_str().unwrap().contains("every entry"), "{refused}");
    let dry = json!({ "select": { "task": "t" }, "dry_run": true });
    assert_eq!(post(&w, "cache/evict", &dry).await.1["count"], 3);
    assert_eq!(post(&w, "cache/evict", &json!({ "all": true })).await.1["count"], 3);
    assert_eq!(post(&w, "cache/evict", &json!({ "all": true })).await.1["count"], 0);
}

#[tokio::test]
async fn refusals_say_what_is_wrong() {
    let w = world().await;
    for (request, want) in [
        (get(&w, "lineage?of=e/n0&project=p&domain=d").await, StatusCode::NOT_FOUND),
        (get(&w, "lineage?of=").await, StatusCode::BAD_REQUEST),
        (get(&w, "lineage?nothing=1").await, StatusCode::BAD_REQUEST),
        (get(&w, "cache/explain/p/d/e/n0").await, StatusCode::NOT_FOUND),
        (post(&w, "cache/list", &json!({ "token": "x" })).await, StatusCode::BAD_REQUEST),
        (
            post(&w, "cache/list", &json!({ "select": { "tusk": "t" } })).await,
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
    ] {
        let (status, body) = request;
        assert_eq!(status, want, "{body}");
        assert!(!body["message"].as_str().unwrap_or_default().is_empty(), "{body}");
    }
}
