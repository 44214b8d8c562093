//! Calls the API as clients do: over a socket, on a real store and a real object directory.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by panicking")]

mod api {
    pub(crate) mod codec;
    pub(crate) mod world;

    mod arrays;
    mod attributes;
    mod data_catalog;
    mod data_proxy;
    mod events;
    mod executions;
    mod flytekit;
    mod launch_plans;
    mod lists;
    mod metrics;
    mod progress;
    mod projects;
    mod raw;
    mod recovery;
    mod registration;
    mod rest;
    mod signals;
    mod wire;
    mod workflows;
}
