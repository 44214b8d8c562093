//! Owns executions and drives them: the shell around the pure `engine`, and all I/O of the core.
//!
//! What comes in: notifications of the store (an execution was created, an abort was asked for), changes of objects
//! from clusters, wake-ups from plugins, and time. What goes out: rows, in one batch per round; files under fixed
//! names; calls of plugins and what they ask to be done. `pinion` constructs [`Worker`] and runs it; nobody else calls
//! this room. It never calls `api`: they meet in the store; executions that nodes start go through `launch`, as all do.
//!
//! One driver per execution holds the engine's state and takes turns (`driver`, `round`):
//!
//! ```text
//!   mailbox, finished work, time -> engine.apply -> engine.plan -> free steps -> one batch -> committer
//!                 ^                                                                            |  durable
//!                 +---- answers <- clean-ups, actions, plugin calls (`perform`) <--------------+
//! ```
//!
//! Invariants:
//! 1. Nothing happens outside before the rows that say so are durable. A crash anywhere only repeats an idempotent
//!    act: actions are stored as `intent` before they are performed, a file is written under the same name again.
//! 2. One thing at a time for an attempt: a call, its actions, or its clean-up.
//! 3. Whatever a plugin does, it is an answer: a fault is one system failure of one attempt, a missing plugin is a
//!    visible wait, a clean-up that cannot be done ends in the host's own deletion and a word about it.
//! 4. The lease is the right to write. Once it is lost, or may be, everything here stops.
//! 5. Nothing polls. Drivers sleep until something is left in their mailbox, work ends, or the earliest deadline passes.
//!
//! # Design notes
//! - Files that a node needs are written beside the commit that announces it and not before: a remote store's latency
//!   then hides behind the database's. A life that ends in between leaves a row whose file is missing, so a recovered
//!   attempt makes its inputs again when they are not there.
//! - That an attempt is cleaned up waits a moment for a commit to join (`dirty`): a chain of tasks costs one commit
//!   per node, and a crash that loses the note repeats a finalize.
//! - Mailboxes merge news instead of queueing them, so no sender ever waits and nothing grows without bound.
//! - The task template goes to plugins as the bytes that arrived, cut out of the stored closure (`program`).
//! - A sighting of a deleted object is shown first as it was last, then as gone: a pod that succeeded and was collected
//!   between two looks has succeeded.
//! - Inputs that other nodes read (of sub-workflows, arrays, launch plans, gates) are written before they are announced:
//!   nobody makes those anew after a crash.
//! - An array's elements have rows of their own; the one task row that clients expect beside an array says nothing about
//!   them, or each change of one element would rewrite what is said of all (`rows`).
//! - A child execution's name follows from the attempt that starts it (`child`), so a repeated start finds it.
//! - Executions that cannot go on through the host's fault are tried again for ever and shown (`trouble`).

mod absorb;
mod actions;
mod ahead;
mod array;
mod attempt;
mod backoff;
mod brood;
mod cache;
mod call;
mod child;
mod cleanup;
mod clock;
mod clusters;
mod committer;
mod config;
mod context;
mod declared;
mod dirty;
mod driver;
mod error;
mod events;
mod expansion;
mod files;
mod gate;
mod info;
mod inputs;
mod lease;
mod loaded;
mod mailbox;
pub mod metric;
mod observe;
mod offload;
mod outcome;
mod ownership;
mod perform;
mod place;
mod places;
mod plugin;
mod program;
mod recall;
mod record;
mod recover;
mod registry;
mod release;
mod response;
mod round;
mod rows;
mod seam;
pub mod services;
mod shared;
mod tokens;
mod trouble;
mod unwrapped;
mod wire;
mod worker;

pub use crate::config::{ArrayParallelism, Cache, Config, LiteralOffloading, PluginCalls, Secrets, Tasks};
pub use clock::{Clock, SystemClock};
pub use clusters::Clusters;
pub use error::Error;
pub use loaded::Loaded;
pub use plugin::{Fault, Plugin, PluginSource, Unavailable};
pub use registry::Registry;
pub use seam::{Fate, NoSeam, Seam};
pub use shared::{Deps, Heartbeat};
pub use tokens::StoreTokens;
pub use trouble::OnTrouble;
pub use wire::{Actions, ObjectRefs};
pub use worker::Worker;
