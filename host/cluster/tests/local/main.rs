//! Runs real pods as real processes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod end;
mod pods;
mod queue;
mod restart;
mod world;
