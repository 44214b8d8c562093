//! Loads, verifies, isolates and calls plugins: the host's side of the wall.
//!
//! In: a [`Config`] that says where plugin files are, and [`HostServices`] that the wiring implements over the other
//! rooms. Out: [`Host::resolve`] gives the [`Plugin`] of a task type, whose typed calls ([`Plugin::handle`] and the like)
//! end in an answer or a [`Fault`], always within their deadline. Callers: `worker`, and the command line for
//! [`inspect`] and [`verify`].
//!
//! The way of a file: found and read once; permissions, digest and metadata checked without running any of it
//! (`candidate`, `inspect`); settings checked against the schema it carries (`schema`); copied to a private place; opened
//! in this process (`library`) or in one of its own (`process`, `runner`); initialised; asked (`plugin`). A file that
//! fails anywhere is quarantined with a reason that names what was found, what is needed and what to do. It never stops
//! the host.
//!
//! Invariants: bytes are hashed before they are mapped, because a truncated library kills the process that maps it.
//! A library is never closed. The answer of a plugin is checked before anybody acts on it.
//!
//! Design notes. Plugins in this process are called inline on the host's workers while they behave, see `guard` for the
//! trade. First-party is a file in `trusted-dirs`, by default `plugins` beside the executable: who can write there can
//! replace the host too. A pin is as good. Everything else runs in a process of its own unless the configuration says
//! otherwise. Several versions of a plugin may be loaded: new attempts take the newest, running ones keep theirs.

mod breaker;
mod candidate;
mod config;
mod fault;
mod file;
mod guard;
mod host;
mod inspect;
mod lanes;
mod library;
mod link;
mod plugin;
pub mod pools;
mod process;
mod refusal;
mod registry;
mod report;
pub mod runner;
mod schema;
mod services;
mod start;
mod transport;
mod verify;
mod watchdog;

pub use config::{Config, Deadlines, Interface, Isolation, Limits, PluginConfig, RunnerConfig};
pub use fault::Fault;
pub use host::Host;
pub use inspect::{Inspection, inspect};
pub use plugin::{Plugin, PluginMeta};
pub use refusal::{Refusal, RefusalKind};
pub use registry::ResolveError;
pub use report::{PluginReport, PluginState};
pub use services::{HostServices, status, unimplemented};
pub use verify::{Check, VerifyReport, verify};
