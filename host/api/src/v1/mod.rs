//! Serves JSON under `/pinion/v1` for what Flyte's API has no calls for: recovery plans, debts of clean-up, and
//! settings of executions that are not part of their spec. `pinion recover` and `pinion get` are clients of it.

mod debts;
mod recover_plan;
mod settings;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::Timestamp;
use serde_json::json;
use tonic::{Code, Status};

use crate::{Error, context::Context};

/// Rows of a list that names no limit.
const PAGE: usize = 1_000;

/// Most rows of a list.
const MAX_PAGE: usize = 100_000;

pub(crate) fn routes(context: &Arc<Context>) -> Router {
    Router::new()
        .route("/pinion/v1/recover-plan/{project}/{domain}/{name}", get(recover_plan::show))
        .route("/pinion/v1/settings/{project}/{domain}/{name}", get(settings::show))
        .route("/pinion/v1/debts", get(debts::list))
        .with_state(Arc::clone(context))
}

type Answer<T> = Result<Json<T>, Refusal>;

/// An error as clients see it.
struct Refusal(Error);

impl<E: Into<Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = Status::from(self.0);
        let code = match status.code() {
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::AlreadyExists | Code::FailedPrecondition => StatusCode::CONFLICT,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (code, Json(json!({ "message": status.message() }))).into_response()
    }
}

/// A time as JSON has it.
fn moment(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.0).map(|time| time.to_string()).unwrap_or_default()
}

fn page(limit: Option<usize>) -> usize {
    limit.unwrap_or(PAGE).clamp(1, MAX_PAGE)
}
