//! Serves schedules and backfills as JSON under `/pinion/v1`. `pinion schedule` and `pinion backfill` are clients of it.

mod backfill;
mod schedule;

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::launching::chain;
use crate::{Error, Scheduler};

/// Rows of a list that names no limit.
const PAGE: u32 = 100;

/// Most rows of a list.
const MAX_PAGE: u32 = 10_000;

type Answer<T> = Result<Json<T>, Refusal>;

pub(crate) fn routes(scheduler: Scheduler) -> Router {
    Router::new().merge(schedule::routes()).merge(backfill::routes()).with_state(scheduler)
}

/// An error as clients see it.
struct Refusal(Error);

impl<E: Into<Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            Error::NotFound { .. } => StatusCode::NOT_FOUND,
            Error::Invalid { .. } | Error::Timetable(_) | Error::Plan(_) => StatusCode::BAD_REQUEST,
            Error::Precondition(_) => StatusCode::CONFLICT,
            Error::Store(error) if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            Error::Decode { .. } | Error::Store(_) | Error::Launch(_) | Error::Crashed => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        (status, Json(json!({ "message": chain(&self.0) }))).into_response()
    }
}

/// A time as JSON has it.
#[derive(Serialize)]
#[serde(transparent)]
struct Moment(String);

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Self {
        Self(jiff::Timestamp::from_microsecond(time.0).map(|time| time.to_string()).unwrap_or_default())
    }
}

fn moment(time: Option<Timestamp>) -> Option<Moment> {
    time.map(Moment::from)
}

/// Reads an RFC 3339 time, or a date, which is its midnight in a time zone.
fn parse_time(field: &'static str, text: &str, timezone: &str) -> Result<Timestamp, Error> {
    let text = text.trim();
    let at_midnight = || {
        let date: jiff::civil::Date = text.parse().ok()?;
        date.in_tz(timezone).ok().map(|zoned| zoned.timestamp())
    };
    text.parse::<jiff::Timestamp>()
        .ok()
        .or_else(at_midnight)
        .map(|time| Timestamp(time.as_microsecond()))
        .ok_or_else(|| {
            Error::invalid(
                field,
                format!("`{text}` is neither a time such as `2024-05-01T12:00:00Z` nor a date"),
            )
        })
}

fn page(limit: Option<u32>) -> u32 {
    limit.unwrap_or(PAGE).clamp(1, MAX_PAGE)
}
