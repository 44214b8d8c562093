//! Remembers the outputs of tasks: what was computed need not be computed again.
//!
//! What comes in: keys made of a task and its inputs, and outputs, from `worker`; the calls of the `datacatalog` and
//! cache services, from `api`; questions of people, over HTTP. What goes out: outputs, with a reason field by field
//! why they were found or not; reservations, so that one computes and the others wait; lineage.
//!
//! Invariants: a key is the one that Flyte makes, bit for bit, whichever way an entry is named; an entry that is there
//! stays until something says that it may go; storing the same again after a crash changes nothing.
//!
//! # Design notes
//! Small outputs are kept in their row, because a fan-out of cached tasks would spend its time on opening objects.
//! Larger ones are copied to an object of this room, so that they outlive the execution that made them. An entry that
//! is evicted or replaced loses its outputs at once and its row later, so that lineage stays true and a miss can be
//! explained.

mod caching;
mod catalog;
mod config;
mod dataset_query;
mod datasets;
mod entry;
mod error;
mod evict;
mod explain;
mod explanation;
mod fields;
mod hash;
mod key;
pub mod lineage;
pub mod metric;
mod outputs_by_key;
mod reservation;
mod routes;
mod value;

pub use caching::Caching;
pub use catalog::{Catalog, Hit, Lookup, Put};
pub use config::Config;
pub use datasets::Handle;
pub use error::Error;
pub use evict::{Entries, Entry, Evicted, Selection};
pub use explain::{InputReport, NodeReport, Report};
pub use explanation::{Cause, EntryReport, Explanation, Field, FieldReport, Verdict};
pub use hash::HashError;
pub use key::{KeyError, KeyFields, Signature, TaskKey, literal_hash, task_key};
pub use reservation::Reservation;
