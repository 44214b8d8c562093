//! Runs the scheduler on a real store with a clock that only the tests move.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking; its helpers too")]

mod backfills;
mod clock;
mod crashes;
mod firing;
mod histories;
mod http;
mod leading;
mod real;
mod scale;
mod world;
