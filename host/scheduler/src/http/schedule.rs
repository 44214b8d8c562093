//! Serves schedules: lists them, says when they fire next, pauses and resumes them.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use store::{ScheduleGate, ScheduleRow, Scope};

use super::{Answer, Moment, moment, page};
use crate::{CatchUp, Error, Scheduler, lead};

/// Ticks that are shown when no number is named, and at most.
const NEXT: (usize, usize) = (10, 1000);

pub(super) fn routes() -> Router<Scheduler> {
    Router::new()
        .route("/pinion/v1/schedules", get(list))
        .route("/pinion/v1/schedules/pause", post(pause_all))
        .route("/pinion/v1/schedules/resume", post(resume_all))
        .route("/pinion/v1/schedules/{project}/{domain}/{name}", get(one))
        .route("/pinion/v1/schedules/{project}/{domain}/{name}/next", get(next))
        .route("/pinion/v1/schedules/{project}/{domain}/{name}/pause", post(pause))
        .route("/pinion/v1/schedules/{project}/{domain}/{name}/resume", post(resume))
}

#[derive(Serialize)]
struct Schedule {
    project: String,
    domain: String,
    name: String,
    version: String,
    expression: String,
    /// That of the clock a cron goes by; `null` for a rate.
    timezone: Option<String>,
    kickoff_input: String,
    catch_up: &'static str,
    /// The tick that is fired next; `null` when it is paused or there is none.
    next: Option<Moment>,
    /// When a tick that could not be fired is tried again.
    retry: Option<Moment>,
    last: Option<Moment>,
    last_execution: String,
    error: String,
    error_tick: Option<Moment>,
    fired: i64,
    failed: i64,
    skipped: i64,
    paused: bool,
    paused_at: Option<Moment>,
    paused_by: String,
    active_since: Moment,
    updated_at: Moment,
}

#[derive(Serialize)]
struct List {
    /// Whether all schedules rest.
    paused: bool,
    paused_at: Option<Moment>,
    paused_by: String,
    /// The host that fires them.
    host: Option<String>,
    schedules: Vec<Schedule>,
    /// Offset of the next page; `null` on the last.
    next_offset: Option<u64>,
}

#[derive(Deserialize)]
struct Which {
    #[serde(default)]
    project: String,
    #[serde(default)]
    domain: String,
    name: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    offset: u64,
}

/// Who asks; shown to others.
#[derive(Default, Deserialize)]
struct By {
    #[serde(default)]
    by: String,
}

type Name = Path<(String, String, String)>;

fn show(scheduler: &Scheduler, row: ScheduleRow, gate: &ScheduleGate) -> Schedule {
    let inner = &scheduler.inner;
    let table = inner.table(&row.timing).ok();
    let rests = row.paused_at.is_some() || gate.paused_at.is_some();
    // What is not worked out yet is worked out here, so that a list right after an activation shows it.
    let floor = row.not_before.max(gate.not_before);
    let next = row.next_at.filter(|next| *next > floor);
    let next = next.or_else(|| table.as_ref()?.next_after(floor, row.anchor));
    Schedule {
        timezone: table.as_ref().and_then(|table| table.timezone()).map(str::to_owned),
        catch_up: CatchUp::parse(&row.catch_up).unwrap_or(inner.config.catch_up).as_str(),
        next: moment(next.filter(|_| !rests)),
        retry: moment(row.due_at.filter(|_| row.tries > 0)),
        last: moment(row.last_at),
        last_execution: row.last_execution,
        error: row.error,
        error_tick: moment(row.error_at),
        fired: row.n_fired,
        failed: row.n_failed,
        skipped: row.n_skipped,
        paused: row.paused_at.is_some(),
        paused_at: moment(row.paused_at),
        paused_by: row.paused_by,
        active_since: row.created_at.into(),
        updated_at: row.updated_at.into(),
        project: row.plan.project,
        domain: row.plan.domain,
        name: row.plan.name,
        version: row.plan.version,
        expression: row.timing.expression,
        kickoff_input: row.timing.kickoff,
    }
}

async fn list(State(scheduler): State<Scheduler>, Query(which): Query<Which>) -> Answer<List> {
    let store = &scheduler.inner.deps.store;
    let limit = page(which.limit);
    let scope = Scope { project: which.project, domain: which.domain, name: which.name };
    let rows = store.schedule_list(&scope, limit, which.offset).await?;
    let gate = store.schedule_gate().await?;
    let is_full = rows.len() == limit as usize;
    let now = scheduler.inner.now();
    let leader = store.leader_get(lead::ROLE).await?;
    Ok(Json(List {
        paused: gate.paused_at.is_some(),
        paused_at: moment(gate.paused_at),
        paused_by: gate.paused_by.clone(),
        host: leader.filter(|(_, until)| *until >= now).map(|(host, _)| host),
        schedules: rows.into_iter().map(|row| show(&scheduler, row, &gate)).collect(),
        next_offset: is_full.then_some(which.offset + u64::from(limit)),
    }))
}

fn missing((project, domain, name): (&str, &str, &str)) -> Error {
    let id = format!(
        "{project}:{domain}:{name} (a launch plan has one while a version with a schedule is active)"
    );
    Error::NotFound { what: "schedule", id }
}

async fn read(scheduler: &Scheduler, Path((project, domain, name)): &Name) -> Result<ScheduleRow, Error> {
    let found = scheduler.inner.deps.store.schedule_get(project, domain, name).await?;
    found.ok_or_else(|| missing((project, domain, name)))
}

async fn one(State(scheduler): State<Scheduler>, name: Name) -> Answer<Schedule> {
    let row = read(&scheduler, &name).await?;
    let gate = scheduler.inner.deps.store.schedule_gate().await?;
    Ok(Json(show(&scheduler, row, &gate)))
}

#[derive(Deserialize)]
struct HowMany {
    n: Option<usize>,
}

#[derive(Serialize)]
struct Next {
    expression: String,
    timezone: Option<String>,
    paused: bool,
    ticks: Vec<Moment>,
}

async fn next(State(scheduler): State<Scheduler>, name: Name, Query(many): Query<HowMany>) -> Answer<Next> {
    let row = read(&scheduler, &name).await?;
    let gate = scheduler.inner.deps.store.schedule_gate().await?;
    let table = scheduler.inner.table(&row.timing)?;
    let (usual, most) = NEXT;
    let now = scheduler.inner.now();
    // Ticks that are due and not fired yet come first.
    let from = row.next_at.map_or(now, |next| next.plus(-1).min(now)).max(row.not_before);
    let ticks =
        std::iter::successors(table.next_after(from, row.anchor), |tick| table.next_after(*tick, row.anchor));
    Ok(Json(Next {
        timezone: table.timezone().map(str::to_owned),
        paused: row.paused_at.is_some() || gate.paused_at.is_some(),
        ticks: ticks.take(many.n.unwrap_or(usual).min(most)).map(Moment::from).collect(),
        expression: row.timing.expression,
    }))
}

async fn set_paused(scheduler: &Scheduler, name: &Name, paused: bool, by: &str) -> Answer<Schedule> {
    let store = &scheduler.inner.deps.store;
    let Path((project, domain, launch_plan)) = name;
    let name = (project.as_str(), domain.as_str(), launch_plan.as_str());
    let row = store.schedule_set_paused(name, paused, by, scheduler.inner.now()).await?;
    let row = row.ok_or_else(|| missing(name))?;
    let gate = store.schedule_gate().await?;
    Ok(Json(show(scheduler, row, &gate)))
}

async fn pause(State(scheduler): State<Scheduler>, name: Name, by: Option<Json<By>>) -> Answer<Schedule> {
    set_paused(&scheduler, &name, true, &by.unwrap_or_default().by).await
}

async fn resume(State(scheduler): State<Scheduler>, name: Name) -> Answer<Schedule> {
    set_paused(&scheduler, &name, false, "").await
}

#[derive(Serialize)]
struct Gate {
    paused: bool,
    paused_at: Option<Moment>,
    paused_by: String,
}

async fn set_all_paused(scheduler: &Scheduler, paused: bool, by: &str) -> Answer<Gate> {
    let store = &scheduler.inner.deps.store;
    store.schedule_gate_set_paused(paused, by, scheduler.inner.now()).await?;
    let gate = store.schedule_gate().await?;
    Ok(Json(Gate {
        paused: gate.paused_at.is_some(),
        paused_at: moment(gate.paused_at),
        paused_by: gate.paused_by,
    }))
}

async fn pause_all(State(scheduler): State<Scheduler>, by: Option<Json<By>>) -> Answer<Gate> {
    set_all_paused(&scheduler, true, &by.unwrap_or_default().by).await
}

async fn resume_all(State(scheduler): State<Scheduler>) -> Answer<Gate> {
    set_all_paused(&scheduler, false, "").await
}
