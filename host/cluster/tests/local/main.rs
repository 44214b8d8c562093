//! Runs real pods as real processes.

mod end;
mod pods;
mod queue;
mod restart;
mod world;
