//! Shows the delivery log over HTTP, and lets operators try things again.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use model::Timestamp;
use proto::flyteidl::core::workflow_execution::Phase;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{DeliveryKind, DeliveryQuery, DeliveryRow, DeliveryState, OutboxCursor};

use crate::event::rfc3339;
use crate::facts::Facts;
use crate::failure::with_causes;
use crate::letter::{Letter, ended, test_row};
use crate::planner;
use crate::shared::Shared;

/// Most deliveries in one answer.
const MAX_LIMIT: u32 = 1_000;

/// Deliveries in an answer whose request names no number.
const LIMIT: u32 = 100;

/// Events that wait for a sink are counted up to here.
const MAX_COUNT: u32 = 100_000;

pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/pinion/v1/deliveries", get(list))
        .route("/pinion/v1/deliveries/{id}", get(one))
        .route("/pinion/v1/deliveries/{id}/retry", post(retry))
        .route("/pinion/v1/notify", get(status))
        .route("/pinion/v1/notify/test/{channel}", post(test))
        .with_state(shared)
}

/// A delivery as it is shown.
#[derive(Serialize)]
struct Shown {
    id: i64,
    kind: &'static str,
    state: &'static str,
    channel: String,
    recipient: String,
    project: String,
    domain: String,
    execution: String,
    phase: String,
    event: String,
    attempts: u32,
    created_at: String,
    due_at: Option<String>,
    ended_at: Option<String>,
    error: String,
}

impl From<DeliveryRow> for Shown {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id,
            kind: match row.kind {
                DeliveryKind::Notification => "notification",
                DeliveryKind::Event => "event",
                DeliveryKind::Gap => "gap",
                DeliveryKind::Test => "test",
            },
            state: word(row.state),
            channel: row.channel,
            recipient: row.recipient,
            project: row.project,
            domain: row.domain,
            execution: row.execution,
            phase: row.phase,
            event: row.event_id,
            attempts: row.attempts,
            created_at: rfc3339(row.created_at),
            due_at: row.due_at.map(rfc3339),
            ended_at: row.ended_at.map(rfc3339),
            error: row.last_error,
        }
    }
}

fn word(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending => "pending",
        DeliveryState::Sent => "sent",
        DeliveryState::Failed => "failed",
    }
}

/// An answer that says what is wrong.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "message": self.1 }))).into_response()
    }
}

impl From<store::Error> for Refused {
    fn from(error: store::Error) -> Self {
        let status = match &error {
            store::Error::NotFound { .. } => StatusCode::NOT_FOUND,
            error if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, with_causes(&error))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    #[serde(default)]
    state: String,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    execution: String,
    #[serde(default)]
    before: i64,
    #[serde(default)]
    limit: u32,
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, Refused> {
    let all = [DeliveryState::Pending, DeliveryState::Sent, DeliveryState::Failed];
    let state = all.into_iter().find(|state| word(*state) == query.state);
    if state.is_none() && !query.state.is_empty() {
        let text = format!("state `{}` is none of pending, sent, failed", query.state);
        return Err(Refused(StatusCode::BAD_REQUEST, text));
    }
    let limit = if query.limit == 0 { LIMIT } else { query.limit.min(MAX_LIMIT) };
    let query = DeliveryQuery {
        state,
        channel: query.channel,
        execution: query.execution,
        before: query.before,
        limit,
    };
    let rows = shared.store.delivery_list(&query).await?;
    let more = if rows.len() < limit as usize { None } else { rows.last().map(|row| row.id) };
    let shown: Vec<Shown> = rows.into_iter().map(Shown::from).collect();
    Ok(Json(json!({ "deliveries": shown, "next_before": more })))
}

async fn find(shared: &Shared, id: i64) -> Result<DeliveryRow, Refused> {
    let row = shared.store.delivery_get(id).await?;
    row.ok_or_else(|| Refused(StatusCode::NOT_FOUND, format!("there is no delivery {id}")))
}

async fn one(State(shared): State<Arc<Shared>>, Path(id): Path<i64>) -> Result<Json<Value>, Refused> {
    let row = find(&shared, id).await?;
    let carries = serde_json::from_slice::<Value>(&row.payload).unwrap_or_default();
    Ok(Json(json!({ "delivery": Shown::from(row), "carries": carries })))
}

async fn retry(State(shared): State<Arc<Shared>>, Path(id): Path<i64>) -> Result<Json<Value>, Refused> {
    let row = find(&shared, id).await?;
    if matches!(Letter::decode(&row.payload), Ok(Letter::Gap { .. })) {
        let text = "this is a notice about events that are gone; there is nothing to send".to_owned();
        return Err(Refused(StatusCode::CONFLICT, text));
    }
    shared.store.delivery_retry(id, Timestamp::now()).await?;
    Ok(Json(json!({ "delivery": Shown::from(find(&shared, id).await?) })))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestQuery {
    #[serde(default)]
    to: String,
}

/// Sends a message that says it is a test, now and from this host.
async fn test(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(query): Query<TestQuery>,
) -> Result<Json<Value>, Refused> {
    let Some(channel) = shared.channels.get(&name) else {
        let known = shared.channels.names().join(", ");
        let text = format!("there is no channel `{name}`; configured are: {known}");
        return Err(Refused(StatusCode::NOT_FOUND, text));
    };
    let named = if query.to.is_empty() { Vec::new() } else { vec![query.to] };
    let recipients = channel.recipients(&named);
    if recipients.is_empty() {
        let text = format!("channel `{name}` names no recipient; say whom to write to");
        return Err(Refused(StatusCode::BAD_REQUEST, text));
    }
    let url = shared.config.console_url.clone();
    let facts = Facts { url, ..Facts::sample(Phase::Failed) };
    let mut results = Vec::new();
    for recipient in recipients {
        let now = Timestamp::now();
        let row = test_row(&format!("test@{}", now.0), &name, &recipient, &facts, now);
        let result = channel.send(&row.key, &recipient, &facts).await;
        let error = result.as_ref().err().map(|failure| failure.reason.as_str());
        results.push(json!({ "recipient": recipient, "sent": error.is_none(), "error": error }));
        shared.store.delivery_insert(ended(row, 1, error, Timestamp::now())).await?;
    }
    Ok(Json(json!({ "channel": name, "type": channel.kind.word(), "results": results })))
}

/// What is configured, how far it has come, and what is in trouble.
async fn status(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, Refused> {
    let cursors = shared.store.outbox_cursors().await?;
    let troubles = shared.troubles();
    let mut sinks = Vec::new();
    for (name, sink) in &shared.sinks {
        let cursor = cursors.iter().find(|(other, _)| other == name);
        let place = cursor.map(|(_, cursor)| *cursor).unwrap_or_else(OutboxCursor::default);
        sinks.push(json!({
            "name": name,
            "to": sink.shown(),
            "waiting": shared.store.outbox_behind(place, MAX_COUNT).await?,
            "trouble": troubles.get(&format!("sink {name}")),
        }));
    }
    let channel = |name: &str| {
        let kind = shared.channels.get(name).map(|channel| channel.kind.word());
        json!({ "name": name, "type": kind, "trouble": troubles.get(&format!("channel {name}")) })
    };
    let channels: Vec<Value> = shared.channels.names().into_iter().map(channel).collect();
    let place = cursors.iter().find(|(name, _)| name == planner::NAME);
    let place = place.map(|(_, cursor)| *cursor).unwrap_or_default();
    Ok(Json(json!({
        "enabled": shared.config.enabled,
        "sinks": sinks,
        "channels": channels,
        "rules": shared.config.rules.len(),
        "unplanned_events": shared.store.outbox_behind(place, MAX_COUNT).await?,
    })))
}
