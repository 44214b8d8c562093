//! Plans a backfill: the ticks of a range, in their order, and which of them are done already.

use model::{EntityId, EntityKind, Timestamp};
use prost::Message;
use proto::flyteidl::admin::{LaunchPlanClosure, LaunchPlanSpec};
use proto::flyteidl::core::{ParameterMap, parameter::Behavior, workflow_execution::Phase};
use store::{BackfillRow, BackfillState, LaunchPlanRow, TickRow, Timing};

use crate::{Error, Inner, Scheduler, name, schedule_of};

/// In which order ticks are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The earliest first.
    #[default]
    Forward,
    /// The latest first.
    Backward,
}

/// A wish to run a launch plan over the ticks of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backfill {
    /// Project of the launch plan.
    pub project: String,
    /// Domain of the launch plan.
    pub domain: String,
    /// Its name.
    pub launch_plan: String,
    /// Its version; `None`: the active one.
    pub version: Option<String>,
    /// First time of the range.
    pub from: Timestamp,
    /// End of the range, which is no part of it.
    pub to: Timestamp,
    /// The schedule whose ticks are run, as [`crate::timetable::Timetable`] reads it; `None`: the launch plan's own.
    pub schedule: Option<String>,
    /// Time zone of the schedule; `None`: the launch plan's own, or that of the configuration.
    pub timezone: Option<String>,
    /// Input that is given the time of the tick; `None`: the one that the launch plan's schedule names.
    pub kickoff_input: Option<String>,
    /// Ticks that run at once; `None`: what the configuration says.
    pub parallelism: Option<u32>,
    /// In which order.
    pub order: Order,
    /// Whether to go on after a tick that failed.
    pub keep_going: bool,
    /// Whether to run ticks that succeeded before.
    pub force: bool,
}

/// A tick as it would be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Its time.
    pub tick: Timestamp,
    /// The execution with which it has succeeded already, so that it would be left out.
    pub done_by: Option<String>,
}

impl Scheduler {
    /// What a backfill would do, ticks in their order. Nothing is stored.
    ///
    /// # Errors
    /// A launch plan that is not there or can't be run so, a range without ticks or with too many, or the store.
    pub async fn backfill_plan(&self, wish: &Backfill) -> Result<(BackfillRow, Vec<Planned>), Error> {
        let (row, ticks) = self.inner.plan(wish, "").await?;
        let mut done = if row.forced { Default::default() } else { self.inner.done(&row, &ticks).await? };
        let ticks = ticks.into_iter().map(|tick| Planned { tick, done_by: done.remove(&tick) }).collect();
        Ok((row, ticks))
    }

    /// Starts a backfill. It runs on whichever host schedules.
    ///
    /// # Errors
    /// As [`Scheduler::backfill_plan`].
    pub async fn backfill_start(&self, wish: &Backfill, principal: &str) -> Result<BackfillRow, Error> {
        let (row, ticks) = self.inner.plan(wish, principal).await?;
        let ticks: Vec<TickRow> =
            (0..).zip(ticks).map(|(seq, tick)| TickRow::new(seq, tick, row.created_at)).collect();
        self.inner.deps.store.backfill_insert(&row, &ticks).await?;
        tracing::info!(backfill = row.id, launch_plan = %row.plan, n_ticks = ticks.len(), "backfill started");
        Ok(row)
    }
}

impl Inner {
    async fn plan(&self, wish: &Backfill, principal: &str) -> Result<(BackfillRow, Vec<Timestamp>), Error> {
        let launch_plan = self.launch_plan(wish).await?;
        let timing = self.timing(wish, &launch_plan)?;
        check_inputs(&launch_plan, &timing.kickoff)?;
        let table = self.table(&timing)?;
        if wish.from >= wish.to {
            return Err(Error::invalid("to", "the range is empty; it ends before it begins"));
        }
        let parallelism = wish.parallelism.unwrap_or(self.config.backfill_parallelism);
        if parallelism == 0 {
            return Err(Error::invalid("parallelism", "must be greater than 0"));
        }
        let plan = &launch_plan.id;
        // The launch plan's own rate has its phase; any other starts with the range.
        let own = self.deps.store.schedule_get(&plan.project, &plan.domain, &plan.name).await?;
        let own = own.filter(|own| wish.schedule.is_none() && own.timing.expression == timing.expression);
        let anchor = own.map_or(wish.from, |own| own.anchor);
        let most = self.config.max_backfill_ticks as usize;
        let mut ticks: Vec<Timestamp> = table.ticks(wish.from, wish.to, anchor).take(most + 1).collect();
        if ticks.len() > most {
            let reason = format!("the range has more than {most} ticks, the limit of one backfill");
            return Err(Error::invalid("to", reason));
        }
        if ticks.is_empty() {
            return Err(Error::invalid("from", format!("`{}` has no tick in the range", timing.expression)));
        }
        if wish.order == Order::Backward {
            ticks.reverse();
        }
        let now = self.now();
        let row = BackfillRow {
            id: format!("bf{:012x}", rand::random::<u64>() >> 16),
            plan: launch_plan.id,
            timing,
            from_at: wish.from,
            to_at: wish.to,
            parallelism,
            backward: wish.order == Order::Backward,
            keep_going: wish.keep_going,
            forced: wish.force,
            principal: principal.to_owned(),
            state: BackfillState::Running,
            cancelled_at: None,
            cancelled_by: String::new(),
            abort_running: false,
            created_at: now,
            updated_at: now,
            ended_at: None,
        };
        Ok((row, ticks))
    }

    async fn launch_plan(&self, wish: &Backfill) -> Result<LaunchPlanRow, Error> {
        let Backfill { project, domain, launch_plan: name, .. } = wish;
        for (field, value) in [("project", project), ("domain", domain), ("launch_plan", name)] {
            if value.is_empty() {
                return Err(Error::invalid(field, "must be given"));
            }
        }
        match &wish.version {
            Some(version) => {
                let id = EntityId {
                    kind: EntityKind::LaunchPlan,
                    project: project.clone(),
                    domain: domain.clone(),
                    name: name.clone(),
                    version: version.clone(),
                };
                let found = self.deps.store.launch_plan_get(&id).await?;
                found.ok_or_else(|| Error::NotFound { what: "launch plan", id: id.to_string() })
            }
            None => {
                let found = self.deps.store.launch_plan_fetch_active(project, domain, name).await?;
                let id = format!("{project}:{domain}:{name} (or none of its versions is active: name one)");
                found.ok_or(Error::NotFound { what: "active launch plan", id })
            }
        }
    }

    fn timing(&self, wish: &Backfill, launch_plan: &LaunchPlanRow) -> Result<Timing, Error> {
        let spec = LaunchPlanSpec::decode(launch_plan.spec.as_slice())
            .map_err(|source| Error::Decode { id: launch_plan.id.to_string(), source })?;
        let own = schedule_of(&spec)?.map(|schedule| schedule.timing);
        let mut timing = match (&wish.schedule, own) {
            (Some(expression), own) => {
                Timing { expression: expression.trim().to_owned(), ..own.unwrap_or_default() }
            }
            (None, Some(own)) => own,
            (None, None) => {
                let reason = format!("{} has no schedule of its own, so one must be given", launch_plan.id);
                return Err(Error::invalid("schedule", reason));
            }
        };
        if let Some(timezone) = &wish.timezone {
            timing.timezone.clone_from(timezone);
        } else if timing.timezone.is_empty() {
            // Fixed, so that it stays the same when the configuration changes in the middle.
            timing.timezone.clone_from(&self.config.timezone);
        }
        if let Some(kickoff) = &wish.kickoff_input {
            timing.kickoff.clone_from(kickoff);
        }
        Ok(timing)
    }

    /// Ticks that have succeeded, with their executions.
    async fn done(
        &self,
        row: &BackfillRow,
        ticks: &[Timestamp],
    ) -> Result<std::collections::HashMap<Timestamp, String>, Error> {
        let store = &self.deps.store;
        let mut done = store.backfill_successes(&row.plan, row.from_at, row.to_at).await?;
        let names: Vec<String> = ticks.iter().map(|tick| name::of_tick(&row.plan, *tick)).collect();
        let found = store.executions_named(&row.plan.project, &row.plan.domain, &names).await?;
        for (tick, name) in ticks.iter().zip(names) {
            if found.get(&name).is_some_and(|(_, phase)| *phase == Phase::Succeeded as i32) {
                done.insert(*tick, name);
            }
        }
        Ok(done)
    }
}

/// Refuses a launch plan whose executions would all lack an input.
fn check_inputs(launch_plan: &LaunchPlanRow, kickoff: &str) -> Result<(), Error> {
    let closure = LaunchPlanClosure::decode(launch_plan.closure.as_slice())
        .map_err(|source| Error::Decode { id: launch_plan.id.to_string(), source })?;
    let ParameterMap { parameters } = closure.expected_inputs.unwrap_or_default();
    if !kickoff.is_empty() && !parameters.contains_key(kickoff) {
        let reason = format!("`{kickoff}` is no free input of {}", launch_plan.id);
        return Err(Error::invalid("kickoff_input", reason));
    }
    let open = parameters.iter().find(|(name, parameter)| {
        *name != kickoff && !matches!(parameter.behavior, Some(Behavior::Default(_)))
    });
    match open {
        Some((name, _)) => {
            let reason =
                format!("input `{name}` of {} has neither a default nor a fixed value", launch_plan.id);
            Err(Error::invalid("launch_plan", reason))
        }
        None => Ok(()),
    }
}
