//! Speaks the Flyte API: gRPC services that parse calls, check them, and read and write the store.
//!
//! What comes in: gRPC over HTTP/2, on a port that `pinion` shares with signed URLs, health and metrics. What goes
//! out: rows in the store; to start an execution, a request to `launch`; to a client, rows as Flyte's messages.
//! It never meets the worker: both meet in the store.
//!
//! The path of a call: [`http`] gives it an id, measures it and catches panics; a service (`admin`, `data_proxy`,
//! `signal`, `identity`) hands it to one function of one family; that function answers a message or an [`Error`];
//! `status` turns the error into a code, in one place. `read` turns rows into messages, `list` and `filter` read
//! list requests.

mod admin;
mod cache_service;
mod config;
mod context;
mod data_catalog;
mod data_proxy;
mod descriptors;
mod diff;
mod error;
mod expected;
mod filter;
mod flyte_url;
pub mod http;
mod identity;
mod list;
mod raw;
mod read;
mod rest;
mod schedule;
mod seed;
mod signal;
mod status;
mod v1;

use std::sync::Arc;

use blob::Blob;
use catalog::Catalog;
use launch::Launcher;
use store::Store;

pub use config::{Config, Cors};
pub use error::Error;
pub use http::{Caller, guarded, serve};
pub use seed::seed;

/// The rooms this one enters.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Where rows are.
    pub store: Store,
    /// Where objects are.
    pub blob: Blob,
    /// The way to start executions; its configuration names the domains.
    pub launcher: Launcher,
    /// Cached outputs, for engines outside.
    pub catalog: Catalog,
    /// What `GetVersion` answers.
    pub version: VersionInfo,
}

/// Which build this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionInfo {
    /// Semantic version.
    pub version: String,
    /// Commit it was built from.
    pub build: String,
    /// When it was built.
    pub build_time: String,
}

/// The API. Opens nothing and starts nothing; [`Api::routes`] is what the wiring serves.
#[derive(Clone, Debug)]
pub struct Api {
    context: Arc<context::Context>,
    health: tonic_health::server::HealthReporter,
}

impl Api {
    /// Puts the API together.
    pub fn new(config: Config, deps: Deps) -> Self {
        let Deps { store, blob, launcher, catalog, version } = deps;
        let context = context::Context { config, store, blob, launcher, catalog, version };
        Self { context: Arc::new(context), health: http::health_reporter() }
    }

    /// The gRPC services, health and reflection, and the same calls over REST; each reply has a request id. Without
    /// a fallback, so that it can be merged with other routes.
    pub fn routes(&self) -> axum::Router {
        let grpc = http::routes(&self.context, &self.health);
        rest::routes(grpc.clone(), &self.context.config).merge(grpc)
    }

    /// JSON routes under `/pinion/v1` for what Flyte's API has no calls for.
    pub fn own_routes(&self) -> axum::Router {
        v1::routes(&self.context)
    }

    /// Says how this host is, to those who ask `grpc.health.v1.Health`. It begins as serving.
    pub async fn set_serving(&self, serving: bool) {
        http::set_serving(&self.health, serving).await;
    }
}
