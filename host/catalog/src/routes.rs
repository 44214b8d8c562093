//! Serves JSON under `/pinion/v1` for what Flyte's API has no calls for: lineage, and entries of the cache listed,
//! explained and evicted. `pinion lineage` and `pinion cache` are clients of it.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use model::{ExecutionId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::catalog::Catalog;
use crate::error::Error;
use crate::evict::{Entries, Evicted, Selection};
use crate::explain::NodeReport;
use crate::lineage::{Lineage, Target};

/// Entries of a page when none is asked for.
const PAGE: u32 = 100;
/// Steps of lineage when none are asked for.
const DEPTH: u32 = 5;

/// What a lineage is asked of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LineageQuery {
    /// URI, `<execution>/<node>[/<output>]`, or the id of an artifact.
    of: String,
    project: String,
    domain: String,
    depth: Option<u32>,
}

/// A page of entries.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListRequest {
    select: Selection,
    limit: Option<u32>,
    token: String,
}

/// Which entries to evict.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EvictRequest {
    select: Selection,
    /// Must be set to evict everything.
    all: bool,
    /// Only say what would be evicted.
    dry_run: bool,
}

/// An error as clients see it.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "message": self.1 }))).into_response()
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Invalid(_) | Error::Key(_) => StatusCode::BAD_REQUEST,
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::Store(store::Error::InvalidToken { .. }) => StatusCode::BAD_REQUEST,
            Error::Blob(error) if error.is_not_found() => StatusCode::NOT_FOUND,
            error if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            Error::Store(_) | Error::Blob(_) | Error::Decode { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        if code.is_server_error() {
            tracing::error!(error = text, "request to the catalog failed");
        }
        Self(code, text)
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

type Answer<T> = Result<Json<T>, Refusal>;

impl Catalog {
    /// The routes of this room, to be merged with others.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/pinion/v1/lineage", get(lineage))
            .route("/pinion/v1/cache/list", post(list))
            .route("/pinion/v1/cache/evict", post(evict))
            .route("/pinion/v1/cache/explain/{project}/{domain}/{execution}/{node}", get(explain))
            .with_state(self.clone())
    }
}

async fn lineage(
    State(catalog): State<Catalog>,
    query: Result<Query<LineageQuery>, QueryRejection>,
) -> Answer<Lineage> {
    let Query(query) = query?;
    let target = Target::parse(&query.of, &query.project, &query.domain)?;
    Ok(Json(catalog.lineage(&target, query.depth.unwrap_or(DEPTH)).await?))
}

async fn list(
    State(catalog): State<Catalog>,
    request: Result<Json<ListRequest>, JsonRejection>,
) -> Answer<Entries> {
    let Json(request) = request?;
    let limit = request.limit.unwrap_or(PAGE);
    Ok(Json(catalog.list(&request.select, limit, &request.token, Timestamp::now()).await?))
}

async fn evict(
    State(catalog): State<Catalog>,
    request: Result<Json<EvictRequest>, JsonRejection>,
) -> Answer<Evicted> {
    let Json(request) = request?;
    if request.select.is_all() && !request.all {
        let reason = "this would evict every entry of every project; set `all` if that is meant";
        return Err(Error::Invalid(reason.to_owned()).into());
    }
    let now = Timestamp::now();
    Ok(Json(if request.dry_run {
        catalog.evictable(&request.select, now).await?
    } else {
        catalog.evict(&request.select, now).await?
    }))
}

async fn explain(
    State(catalog): State<Catalog>,
    Path((project, domain, execution, node)): Path<(String, String, String, String)>,
) -> Answer<NodeReport> {
    let execution = ExecutionId::new(&project, &domain, &execution);
    Ok(Json(catalog.explain(&execution, &node, Timestamp::now()).await?))
}
