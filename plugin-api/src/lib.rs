//! Is the SDK of plugin authors: write one ordinary Rust type, export it, get a library that the host loads.
//!
//! Choose a layer, from the most to the least done for you:
//!
//! - [`SyncPlugin`]: the task ends within one call. Implement `run`.
//! - [`ResourcePlugin`]: the task is a Kubernetes-shaped object. Implement `build` and `phase`; no I/O.
//! - [`RemotePlugin`]: the task lives in a web service. Implement `create`, `get`, `delete`, `status`.
//! - [`TaskPlugin`]: raw messages, for everything else.
//!
//! Then wrap and export it: `plugin_api::export_plugin! { plugin: Resource<MyPlugin>, id: "my-plugin", ... }`. The macro
//! writes the abi_stable root module, the C table, and the `.pinion_plugin` section from which the host reads the
//! metadata without running code. Every entry catches panics.
//!
//! Rules for all layers: each verb is idempotent; nothing is kept between calls but the state in the answer; a task that
//! failed is a [`PhaseInfo`], an `Err` means that the answer is not known; no environment variables, files or signal
//! handlers; secrets never go into state, reasons or logs.
//!
//! Design notes: the binary surface is in `plugin-abi` and frozen; this crate is linked into each plugin and may change
//! freely, because only protobuf bytes cross. Without `own_runtime` a plugin links no Tokio and its futures are polled
//! by the host.
#![deny(missing_docs)]

pub mod context;
pub mod error;
#[doc(hidden)]
pub mod export;
pub mod host;
pub mod json;
pub mod metadata;
pub mod object;
pub mod phase;
pub mod plugin;
pub mod remote;
pub mod resource;
pub mod response;
#[cfg(feature = "runtime")]
pub mod runtime;
#[doc(hidden)]
pub mod shim;
pub mod sync;
pub mod testing;

pub use context::TaskContext;
pub use error::{Kind, PluginError, code};
pub use host::{Host, HostChannel};
pub use object::Object;
pub use phase::PhaseInfoExt;
pub use plugin::{Declaration, TaskPlugin};
/// The flyteidl messages.
pub use proto::flyteidl;
/// The messages that cross the wall.
pub use proto::pinion::plugin::v1 as wire;
pub use remote::{Created, CreatedBy, Remote, RemotePlugin, RemoteSettings, RemoteStatus, TokenRequest};
pub use resource::{OnAbort, Resource, ResourcePlugin, ResourceProperties};
pub use sync::{Sync, SyncPlugin};
pub use wire::{LogLevel, Phase, PhaseInfo};
