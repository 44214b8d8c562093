//! Checks the worker over a real database and real files, with plugins, a cluster and a clock of the tests' own.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod aborts;
mod ahead;
mod clock;
mod cluster;
mod crashes;
mod faults;
mod flow;
mod kinds;
mod nodes;
mod objects;
mod outputs;
mod ownership;
mod plugins;
mod running;
mod services;
mod world;
