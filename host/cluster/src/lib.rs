//! Offers one interface to "a cluster": objects are applied, read, deleted and watched, and their logs are read.
//!
//! What comes in is a Kubernetes-shaped object as JSON; what goes out is the same object with the status that a
//! Kubernetes API server would show. The room does not know why an object was applied, nor by whom: the plugin host
//! describes, this room keeps. [`local`] is the embedded default and runs containers as processes of this machine.
//!
//! Design notes. Objects are plain JSON and not typed structs, because plugins bring kinds this room has never heard
//! of, and because what a user wrote in a pod template must arrive unchanged. Changes are a broadcast and not a
//! stream per object: one reader wakes many executions, and a reader that lags re-reads the objects it waits for.

mod error;
pub mod local;
mod object;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::broadcast;

pub use crate::{
    error::Error,
    object::{Object, ObjectRef},
};

/// What became of an object that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// It did not exist and does now.
    Created,
    /// An object of that name existed and was left alone, whatever it looks like.
    Existed,
}

/// A change of an object. The object is its newest state, so a missed event is made good by the next.
#[derive(Clone, Debug)]
pub struct Event {
    /// Which object changed.
    pub object_ref: ObjectRef,
    /// The object after the change; the last known state if it was deleted.
    pub object: Arc<Object>,
    /// Whether the object is gone.
    pub deleted: bool,
}

/// A piece of a container's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// The bytes from the offset that was asked for; empty when there is nothing more yet.
    pub data: Vec<u8>,
    /// The offset to ask for next.
    pub next: u64,
    /// Whether the container ended and `next` is the end of its log.
    pub ended: bool,
}

/// A place where objects are applied and come to life.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// The name under which the configuration and every [`ObjectRef`] know this cluster.
    fn name(&self) -> &str;

    /// Creates the object. One that exists under that name is left alone, so that a repeated call is harmless.
    async fn apply(&self, object: Object) -> Result<ApplyOutcome, Error>;

    /// Reads the object with its newest status; `None` if it does not exist.
    async fn get(&self, object_ref: &ObjectRef) -> Result<Option<Object>, Error>;

    /// Asks for the end of the object and returns at once: its containers get SIGTERM, after
    /// `spec.terminationGracePeriodSeconds` SIGKILL, then an [`Event`] says that it is gone.
    /// May be repeated; an object that does not exist is fine.
    async fn delete(&self, object_ref: &ObjectRef) -> Result<(), Error>;

    /// Every change of every object from now on. A receiver that gets `Lagged` must read its objects anew.
    fn watch(&self) -> broadcast::Receiver<Arc<Event>>;

    /// Reads the log (stdout and stderr together) of one container from the byte offset `from`, a bounded piece at a
    /// time. To follow, ask again with `next` until `ended`.
    async fn logs(&self, object_ref: &ObjectRef, container: &str, from: u64) -> Result<LogChunk, Error>;

    /// Takes no more objects and ends what runs here: politely, and after `grace` by force.
    async fn shutdown(&self, grace: Duration);
}
