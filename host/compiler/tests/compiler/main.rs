//! Tests the compiler through its public functions.
#![allow(clippy::unwrap_used, clippy::type_complexity, reason = "helpers of tests and tables of cases")]

mod arrived;
mod build;
mod compile;
mod dag;
mod dynamic;
mod golden;
mod kinds;
mod launch_plan;
mod scale;
mod task;
mod typing;
