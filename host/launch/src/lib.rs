//! Starts executions: the one way to do it, for clients, relaunches, schedules and nodes that launch.
//!
//! What comes in: a [`Request`], parsed, from `api` (a client's call), `worker` (a launch plan node) or a scheduler.
//! What goes out: one row in the store and two objects in the blob room, or an [`Error`] and nothing.
//!
//! Invariant: the row is written last and in one statement. Whatever fails before leaves at most objects under
//! keys that the next try overwrites; whatever comes after is a repeat of the same name and answers `Exists`.
//!
//! # Design notes
//! [`inputs`] and [`settings`] are pure. A setting that the request leaves open is filled from the launch plan in
//! the stored spec, so that the worker reads one spec and need not know where a value came from; what the request
//! says is stored as it came, because clients compare it.

mod arrived;
pub mod attributes;
mod cluster;
mod concurrency;
mod config;
mod error;
pub mod inputs;
pub mod labels;
mod launcher;
mod locks;
pub mod notifications;
pub mod place;
mod plan;
mod quality;
mod queue;
mod repeat;
mod request;
pub mod settings;
mod single_task;

pub use arrived::Arrived;
pub use config::{Config, Defaults};
pub use error::Error;
pub use launcher::Launcher;
pub use request::{Parent, Request, Target};
pub use single_task::{NAME_PREFIX, workflow_id as single_task_workflow_id};
