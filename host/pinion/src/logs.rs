//! Serves the logs of containers over HTTP: what log links of the embedded cluster point at.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use cluster::{Cluster, LogChunk, ObjectRef};
use futures::stream;
use serde::Deserialize;

/// `GET /logs/{api version}/{kind}/{namespace}/{name}/{container}?from=N`: the log from byte N on, as plain text.
pub(crate) fn routes(cluster: Arc<dyn Cluster>) -> Router {
    Router::new()
        .route("/logs/{version}/{kind}/{namespace}/{name}/{container}", get(read))
        .with_state(cluster)
}

#[derive(Deserialize)]
struct From {
    #[serde(default)]
    from: u64,
}

async fn read(
    State(cluster): State<Arc<dyn Cluster>>,
    Path((api_version, kind, namespace, name, container)): Path<(String, String, String, String, String)>,
    Query(query): Query<From>,
) -> Response {
    let object = ObjectRef { cluster: cluster.name().to_owned(), api_version, kind, namespace, name };
    let first = match cluster.logs(&object, &container, query.from).await {
        Ok(chunk) => chunk,
        Err(error) => return (StatusCode::NOT_FOUND, format!("{error}\n")).into_response(),
    };
    // What is there now, a piece at a time; a reader that wants more asks again from where it stopped.
    let pieces = stream::unfold(
        (cluster, object, container, first),
        |(cluster, object, container, chunk)| async move {
            if chunk.data.is_empty() {
                return None;
            }
            let next = cluster.logs(&object, &container, chunk.next).await;
            let data = Bytes::from(chunk.data);
            let next = next.unwrap_or(LogChunk { data: Vec::new(), next: chunk.next, ended: true });
            Some((Ok::<_, std::convert::Infallible>(data), (cluster, object, container, next)))
        },
    );
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, Body::from_stream(pieces)).into_response()
}
