//! Starts launch plans by the clock: schedules, catching up on missed ticks, and backfills.
//!
//! What comes in: rows that `api` writes when a launch plan is activated, and requests over HTTP (pause, resume,
//! backfill). What goes out: executions, made by [`launch::Launcher`] as all others are, and the rows that say which
//! tick comes next. The callers are the wiring, which runs [`Scheduler::run`], and `api`, which asks the pure parts
//! ([`timetable`], [`plan`]) whether a schedule can be run.
//!
//! Invariants: a tick is fired once. Its execution has a name made from launch plan and time, so a second start of it
//! finds the name taken and counts as done; only then is the row moved on to the next tick. A crash anywhere repeats a
//! start that changes nothing. One host schedules at a time, which spares work and is not what makes it right.
//!
//! # Design notes
//! A row holds one tick, the next one. Ticks that were missed are not stored: what to do with them is decided when the
//! row is looked at ([`CatchUp`]), from the row and the time alone, so that it can be tested without either a store or
//! a clock. Backfills are the opposite: their ticks are rows, because they are many, run out of order and are looked at.
//! Nothing polls: the scheduler sleeps until the earliest due row, and wakes when rows are changed.

mod backfill;
mod clock;
mod config;
mod decide;
mod ear;
mod error;
mod fire;
mod http;
mod launching;
mod lead;
pub mod metric;
mod name;
pub mod plan;
mod seam;
pub mod timetable;

use std::fmt;
use std::sync::Arc;

use store::Store;
use tokio_util::sync::CancellationToken;

pub use backfill::start::{Backfill, Order, Planned};
pub use clock::{Clock, SystemClock};
pub use config::{CatchUp, Config};
pub use error::Error;
pub use launching::Launch;
pub use name::{of_backfill_tick, of_tick};
pub use plan::{PlanError, schedule_of};
pub use seam::{Fate, NoSeam, Seam, Step};

/// What the scheduler needs.
pub struct Deps {
    /// Name of this host, the same after a restart.
    pub host: String,
    /// The store.
    pub store: Store,
    /// Starts executions.
    pub launch: Arc<dyn Launch>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Called whenever the scheduler turns, at least three times in a lease.
    pub heartbeat: Arc<dyn Fn() + Send + Sync>,
    /// Sees every step.
    pub seam: Arc<dyn Seam>,
}

/// Runs schedules and backfills. Cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    deps: Deps,
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl Scheduler {
    /// Opens nothing and starts nothing.
    pub fn new(config: Config, deps: Deps) -> Self {
        Self { inner: Arc::new(Inner { config, deps }) }
    }

    /// The settings it was made with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Runs schedules and backfills whenever no other host does, until it is told to stop. A start under way is given
    /// up then; the next host repeats it.
    ///
    /// # Errors
    /// Only what a test asked for through its seam.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), Error> {
        if !self.inner.config.enabled {
            (self.inner.deps.heartbeat)();
            stop.cancelled().await;
            return Ok(());
        }
        lead::run(&self.inner, stop).await
    }

    /// The routes under `/pinion/v1/schedules` and `/pinion/v1/backfills`.
    pub fn routes(&self) -> axum::Router {
        http::routes(self.clone())
    }
}

impl Inner {
    fn now(&self) -> model::Timestamp {
        self.deps.clock.now()
    }

    /// Tells the seam where the scheduler is.
    async fn step(&self, step: Step) -> Result<(), Error> {
        match self.deps.seam.reached(step).await {
            Fate::Live => Ok(()),
            Fate::Crash => Err(Error::Crashed),
        }
    }

    /// The table of a schedule, in the time zone it names or that of the configuration.
    fn table(&self, timing: &store::Timing) -> Result<timetable::Timetable, timetable::TimetableError> {
        let named = timing.timezone.as_str();
        let zone = if named.is_empty() { self.config.timezone.as_str() } else { named };
        timetable::Timetable::parse(&timing.expression, zone)
    }
}
