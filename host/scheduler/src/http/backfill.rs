//! Serves backfills: plans, starts, lists, shows, pauses, resumes and cancels them.

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use store::{BackfillRow, BackfillState, Scope, TickCounts, TickRow, TickState};

use super::{Answer, Moment, Refusal, moment, page, parse_time};
use crate::{Backfill, Error, Order, Planned, Scheduler};

pub(super) fn routes() -> Router<Scheduler> {
    Router::new()
        .route("/pinion/v1/backfills", get(list).post(start))
        .route("/pinion/v1/backfills/{id}", get(one))
        .route("/pinion/v1/backfills/{id}/ticks", get(ticks))
        .route("/pinion/v1/backfills/{id}/cancel", post(cancel))
        .route("/pinion/v1/backfills/{id}/pause", post(pause))
        .route("/pinion/v1/backfills/{id}/resume", post(resume))
}

/// What to run; times are RFC 3339 or dates.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    project: String,
    domain: String,
    launch_plan: String,
    version: Option<String>,
    from: String,
    to: String,
    schedule: Option<String>,
    timezone: Option<String>,
    kickoff_input: Option<String>,
    parallelism: Option<u32>,
    #[serde(default)]
    order: Order,
    #[serde(default)]
    keep_going: bool,
    #[serde(default)]
    force: bool,
    /// Only says what would be run.
    #[serde(default)]
    dry_run: bool,
    /// Who asks; shown to others.
    #[serde(default)]
    by: String,
}

#[derive(Serialize)]
struct Shown {
    id: String,
    project: String,
    domain: String,
    launch_plan: String,
    version: String,
    schedule: String,
    timezone: String,
    kickoff_input: String,
    from: Moment,
    to: Moment,
    parallelism: u32,
    order: Order,
    keep_going: bool,
    force: bool,
    by: String,
    state: &'static str,
    ticks: Counts,
    created_at: Moment,
    updated_at: Moment,
    ended_at: Option<Moment>,
    cancelled_at: Option<Moment>,
    cancelled_by: String,
}

#[derive(Serialize)]
struct Counts {
    total: u64,
    pending: u64,
    running: u64,
    succeeded: u64,
    failed: u64,
    skipped: u64,
    cancelled: u64,
}

#[derive(Serialize)]
struct Tick {
    seq: u32,
    tick: Moment,
    state: &'static str,
    execution: String,
    error: String,
    updated_at: Moment,
}

#[derive(Serialize)]
struct Plan {
    dry_run: bool,
    backfill: Shown,
    /// The ticks in their order, the first of them when there are many.
    plan: Vec<PlannedTick>,
}

#[derive(Serialize)]
struct PlannedTick {
    tick: Moment,
    /// The execution with which it has succeeded already, so that it would be left out.
    done_by: Option<String>,
}

/// What it does, in a word.
fn state(row: &BackfillRow) -> &'static str {
    match row.state {
        BackfillState::Running if row.cancelled_at.is_some() && row.cancelled_by.is_empty() => "stopping",
        BackfillState::Running if row.cancelled_at.is_some() => "cancelling",
        BackfillState::Running => "running",
        BackfillState::Paused => "paused",
        BackfillState::Succeeded => "succeeded",
        BackfillState::Failed => "failed",
        BackfillState::Cancelled => "cancelled",
    }
}

fn tick_state(state: TickState) -> &'static str {
    match state {
        TickState::Pending => "pending",
        TickState::Running => "running",
        TickState::Succeeded => "succeeded",
        TickState::Failed => "failed",
        TickState::Skipped => "skipped",
        TickState::Cancelled => "cancelled",
    }
}

fn show(row: BackfillRow, counts: &TickCounts) -> Shown {
    Shown {
        state: state(&row),
        ticks: Counts {
            total: counts.total(),
            pending: counts.pending,
            running: counts.running,
            succeeded: counts.succeeded,
            failed: counts.failed,
            skipped: counts.skipped,
            cancelled: counts.cancelled,
        },
        id: row.id,
        project: row.plan.project,
        domain: row.plan.domain,
        launch_plan: row.plan.name,
        version: row.plan.version,
        schedule: row.timing.expression,
        timezone: row.timing.timezone,
        kickoff_input: row.timing.kickoff,
        from: row.from_at.into(),
        to: row.to_at.into(),
        parallelism: row.parallelism,
        order: if row.backward { Order::Backward } else { Order::Forward },
        keep_going: row.keep_going,
        force: row.forced,
        by: row.principal,
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
        ended_at: moment(row.ended_at),
        cancelled_at: moment(row.cancelled_at),
        cancelled_by: row.cancelled_by,
    }
}

async fn shown(scheduler: &Scheduler, rows: Vec<BackfillRow>) -> Result<Vec<Shown>, Error> {
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    let counts = scheduler.inner.deps.store.backfill_counts(&ids).await?;
    let none = TickCounts::default();
    Ok(rows
        .into_iter()
        .map(|row| {
            let counts = counts.get(&row.id).unwrap_or(&none);
            show(row, counts)
        })
        .collect())
}

async fn read(scheduler: &Scheduler, id: &str) -> Result<BackfillRow, Error> {
    let found = scheduler.inner.deps.store.backfill_get(id).await?;
    found.ok_or_else(|| Error::NotFound { what: "backfill", id: id.to_owned() })
}

async fn show_one(scheduler: &Scheduler, id: &str) -> Answer<Shown> {
    let row = read(scheduler, id).await?;
    let counts = scheduler.inner.deps.store.backfill_counts(std::slice::from_ref(&row.id)).await?;
    let counts = counts.get(&row.id).copied().unwrap_or_default();
    Ok(Json(show(row, &counts)))
}

async fn start(State(scheduler): State<Scheduler>, Json(wish): Json<Wish>) -> Result<Response, Refusal> {
    /// Ticks of a plan that are shown.
    const SHOWN: usize = 1000;
    let zone = wish.timezone.clone().unwrap_or_else(|| scheduler.inner.config.timezone.clone());
    let backfill = Backfill {
        from: parse_time("from", &wish.from, &zone)?,
        to: parse_time("to", &wish.to, &zone)?,
        project: wish.project,
        domain: wish.domain,
        launch_plan: wish.launch_plan,
        version: wish.version,
        schedule: wish.schedule,
        timezone: wish.timezone,
        kickoff_input: wish.kickoff_input,
        parallelism: wish.parallelism,
        order: wish.order,
        keep_going: wish.keep_going,
        force: wish.force,
    };
    if !wish.dry_run {
        let row = scheduler.backfill_start(&backfill, &wish.by).await?;
        return Ok((StatusCode::CREATED, show_one(&scheduler, &row.id).await?).into_response());
    }
    let (row, ticks) = scheduler.backfill_plan(&backfill).await?;
    let skipped = ticks.iter().filter(|tick| tick.done_by.is_some()).count() as u64;
    let counts = TickCounts { pending: ticks.len() as u64 - skipped, skipped, ..TickCounts::default() };
    let plan = ticks
        .into_iter()
        .take(SHOWN)
        .map(|Planned { tick, done_by }| PlannedTick { tick: tick.into(), done_by })
        .collect();
    let mut shown = show(row, &counts);
    // There is none yet.
    shown.id.clear();
    Ok(Json(Plan { dry_run: true, backfill: shown, plan }).into_response())
}

#[derive(Deserialize)]
struct Which {
    #[serde(default)]
    project: String,
    #[serde(default)]
    domain: String,
    launch_plan: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    offset: u64,
}

#[derive(Serialize)]
struct List {
    backfills: Vec<Shown>,
    /// Offset of the next page; `null` on the last.
    next_offset: Option<u64>,
}

async fn list(State(scheduler): State<Scheduler>, Query(which): Query<Which>) -> Answer<List> {
    let limit = page(which.limit);
    let scope = Scope { project: which.project, domain: which.domain, name: which.launch_plan };
    let rows = scheduler.inner.deps.store.backfill_list(&scope, limit, which.offset).await?;
    let next_offset = (rows.len() == limit as usize).then_some(which.offset + u64::from(limit));
    Ok(Json(List { backfills: shown(&scheduler, rows).await?, next_offset }))
}

async fn one(State(scheduler): State<Scheduler>, Path(id): Path<String>) -> Answer<Shown> {
    show_one(&scheduler, &id).await
}

#[derive(Deserialize)]
struct WhichTicks {
    #[serde(default)]
    from_seq: u32,
    limit: Option<u32>,
    state: Option<String>,
}

#[derive(Serialize)]
struct Ticks {
    ticks: Vec<Tick>,
    /// `from_seq` of the next page; `null` on the last.
    next_seq: Option<u32>,
}

async fn ticks(
    State(scheduler): State<Scheduler>,
    Path(id): Path<String>,
    Query(which): Query<WhichTicks>,
) -> Answer<Ticks> {
    use TickState::{Cancelled, Failed, Pending, Running, Skipped, Succeeded};
    let row = read(&scheduler, &id).await?;
    let wanted = match which.state.as_deref() {
        None | Some("") => None,
        Some(word) => {
            let all = [Pending, Running, Succeeded, Failed, Skipped, Cancelled];
            let found = all.into_iter().find(|state| tick_state(*state) == word);
            let reason = || format!("`{word}` is no state of a tick");
            Some(found.ok_or_else(|| Error::invalid("state", reason()))?)
        }
    };
    let limit = page(which.limit);
    let rows = scheduler.inner.deps.store.backfill_ticks(&row.id, wanted, which.from_seq, limit).await?;
    let last = rows.last().map(|tick| tick.seq + 1);
    let show = |tick: TickRow| Tick {
        seq: tick.seq,
        tick: tick.scheduled_at.into(),
        state: tick_state(tick.state),
        execution: tick.execution,
        error: tick.error,
        updated_at: tick.updated_at.into(),
    };
    let next_seq = last.filter(|_| rows.len() == limit as usize);
    Ok(Json(Ticks { ticks: rows.into_iter().map(show).collect(), next_seq }))
}

/// How to cancel.
#[derive(Default, Deserialize)]
struct Cancel {
    /// Whether running executions are aborted.
    #[serde(default)]
    abort: bool,
    /// Who asks; shown to others.
    #[serde(default)]
    by: String,
}

/// A backfill that has not ended.
async fn live(scheduler: &Scheduler, id: &str) -> Result<BackfillRow, Error> {
    let row = read(scheduler, id).await?;
    match row.state {
        BackfillState::Running | BackfillState::Paused => Ok(row),
        _ => Err(Error::Precondition(format!("backfill {id} has ended: it {}", state(&row)))),
    }
}

async fn cancel(
    State(scheduler): State<Scheduler>,
    Path(id): Path<String>,
    how: Option<Json<Cancel>>,
) -> Answer<Shown> {
    let Json(how) = how.unwrap_or_default();
    let row = live(&scheduler, &id).await?;
    // A name tells it from a stop after a failure.
    let by = if how.by.is_empty() { "a client" } else { how.by.as_str() };
    scheduler.inner.deps.store.backfill_cancel(&row.id, by, how.abort, scheduler.inner.now()).await?;
    show_one(&scheduler, &id).await
}

async fn set_paused(scheduler: &Scheduler, id: &str, paused: bool) -> Answer<Shown> {
    let row = live(scheduler, id).await?;
    if row.cancelled_at.is_some() {
        return Err(Error::Precondition(format!("backfill {id} is {}", state(&row))).into());
    }
    scheduler.inner.deps.store.backfill_set_paused(&row.id, paused, scheduler.inner.now()).await?;
    show_one(scheduler, id).await
}

async fn pause(State(scheduler): State<Scheduler>, Path(id): Path<String>) -> Answer<Shown> {
    set_paused(&scheduler, &id, true).await
}

async fn resume(State(scheduler): State<Scheduler>, Path(id): Path<String>) -> Answer<Shown> {
    set_paused(&scheduler, &id, false).await
}
