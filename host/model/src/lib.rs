//! Holds the domain types every room shares: identifiers, names, times, places and digests.
//!
//! Pure: no I/O, no clock, no async runtime. Flyte messages themselves are not modelled again; they are the
//! `proto` crate's types, and this room adds only what the wire does not give: parsed identifiers, generated
//! names, the storage layout, resource quantities.

pub mod digest;
pub mod id;
pub mod layout;
pub mod name;
pub mod quantity;
pub mod raw;
pub mod settings;
pub mod time;

pub use id::{AttemptId, EntityId, EntityKind, ExecutionId, NodeExecutionId};
pub use settings::LaunchSettings;
pub use time::Timestamp;
