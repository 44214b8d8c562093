//! Lists executions that have ended and still have something to clean up.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use proto::flyteidl::core::workflow_execution::Phase;
use serde::{Deserialize, Serialize};
use store::ExecutionRow;

use super::{Answer, moment, page};
use crate::context::Context;

#[derive(Deserialize)]
pub(super) struct Asked {
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct Debts {
    debts: Vec<Debt>,
}

#[derive(Serialize)]
struct Debt {
    project: String,
    domain: String,
    name: String,
    workflow: String,
    phase: &'static str,
    /// Whether its abort was forced: the usual reason.
    forced: bool,
    cause: String,
    ended_at: String,
}

/// The oldest first.
pub(super) async fn list(State(cx): State<Arc<Context>>, Query(asked): Query<Asked>) -> Answer<Debts> {
    let limit = u32::try_from(page(asked.limit)).unwrap_or(u32::MAX);
    let rows = cx.store.execution_debts(limit).await?;
    Ok(Json(Debts { debts: rows.into_iter().map(debt).collect() }))
}

fn debt(row: ExecutionRow) -> Debt {
    let ended = row.started_at.zip(row.duration).map(|(start, micros)| start.plus(micros));
    Debt {
        project: row.id.project.to_string(),
        domain: row.id.domain.to_string(),
        name: row.id.name.to_string(),
        workflow: row.workflow.name,
        phase: Phase::try_from(row.phase).unwrap_or_default().as_str_name(),
        forced: row.abort_forced,
        cause: row.abort_cause,
        ended_at: moment(ended.unwrap_or(row.updated_at)),
    }
}
