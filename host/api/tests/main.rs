//! Calls the API as clients do: over a socket, on a real store and a real object directory.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by panicking")]

mod api {
    pub(crate) mod world;

    mod arrays;
    mod data_proxy;
    mod executions;
    mod flytekit;
    mod launch_plans;
    mod lists;
    mod progress;
    mod projects;
    mod registration;
    mod rest;
    mod wire;
    mod workflows;
}
