//! Hands out events and notifications: what the outbox holds, to sinks and to people.
//!
//! What comes in: rows of the outbox, which the store writes together with the rows they tell about. What goes out:
//! CloudEvents over HTTP, lines of JSON, e-mails and messages; and the delivery log, in which operators read what
//! became of each message. `pinion` constructs [`Notify`] and runs it; nobody else calls this room.
//!
//! ```text
//!   outbox -> pump, one per sink -> sink            (in order per execution, at least once)
//!          -> planner -> delivery log -> deliverer -> channel
//! ```
//!
//! Invariants:
//! 1. One host hands out: the one with the lease. All its notes in the store are fenced by the lease's epoch.
//! 2. A cursor moves only behind what its reader is done with; a crash repeats, it never loses. Every repeat carries
//!    the id of the first, so receivers can drop it.
//! 3. Nothing is given up in silence: what is not delivered stands in the delivery log, with the reason.
//! 4. HTTP goes to checked addresses only (`guard`); nothing secret enters a log, an error or an answer.
//! 5. Nothing polls: readers wait for the store's wake-ups; a slow sweep covers loss.
//!
//! # Design notes
//! - A sink that does not take an event holds up only itself. By default it is tried for ever; `max-attempts` of a
//!   sink, and `max-backlog` for all, bound that.
//! - Notifications go through the delivery log rather than straight to their channel: each is retried on its own,
//!   and a slow mail server holds up nobody.

mod bell;
mod channel;
mod config;
mod deliver;
mod error;
mod event;
mod facts;
mod failure;
mod guard;
mod http;
mod leader;
mod letter;
mod mask;
pub mod metric;
mod pattern;
mod place;
mod plan;
mod planner;
mod pump;
mod retry;
mod routes;
mod seam;
mod shared;
mod sign;
mod sink;
mod template;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use store::Store;
use telemetry::{Component, State};
use tokio_util::sync::CancellationToken;

pub use crate::config::{
    Channel, ChannelType, Config, Encoding, Kind, Mode, Retry, Rule, Sink, SinkType, Tls,
};
pub use error::Error;
pub use seam::{NoSeam, Seam, Step};

use shared::{Parts, Shared};

/// What the room works with.
pub struct Deps {
    /// Where events and deliveries are.
    pub store: Store,
    /// Unique id of this host, the same after a restart.
    pub host: String,
    /// Where it says how it is; it beats three times per `lease-ttl`.
    pub health: Component,
    /// [`NoSeam`], except in tests.
    pub seam: Arc<dyn Seam>,
}

/// The room. Cheap to clone.
#[derive(Clone)]
pub struct Notify {
    shared: Arc<Shared>,
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Notify {
    /// Checks the settings and tells the store which events to write. Opens nothing and starts nothing.
    ///
    /// # Errors
    /// [`Error::Settings`], as [`Config::validate`].
    pub fn new(config: Config, deps: Deps) -> Result<Self, Error> {
        let built = config.build()?;
        deps.store.want_events(config.wish());
        let parts = Parts {
            config,
            host: deps.host,
            store: deps.store,
            sinks: built.sinks,
            channels: built.channels,
            seam: deps.seam,
            health: deps.health,
        };
        Ok(Self { shared: Arc::new(Shared::new(parts)) })
    }

    /// Hands out until it is told to stop.
    ///
    /// # Errors
    /// [`Error::StoreClosed`] when the store is closed first.
    pub async fn run(&self, drain: CancellationToken) -> Result<(), Error> {
        let shared = &self.shared;
        shared.health.set(State::Ok);
        if !shared.config.enabled {
            // Nothing to do, and no reason to end.
            let period = shared.config.lease_ttl.get() / 3;
            while shared::sleep_unless(&drain, period).await {
                shared.health.beat();
            }
            return Ok(());
        }
        let wakes = shared.store.subscribe();
        tokio::select! {
            ended = leader::run(Arc::clone(shared), drain.clone()) => ended,
            () = shared.bells.listen(wakes) => Err(Error::StoreClosed),
        }
    }

    /// `/pinion/v1/deliveries` and `/pinion/v1/notify`: the delivery log, and what is configured.
    pub fn routes(&self) -> Router {
        routes::routes(Arc::clone(&self.shared))
    }
}
