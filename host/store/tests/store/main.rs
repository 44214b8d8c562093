//! Checks the claims of the store on SQLite, and on Postgres where `PINION_TEST_POSTGRES_URL` names a server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking; its helpers too")]

mod attribute;
mod catalog;
mod claim;
mod delivery;
mod durability;
mod execution;
mod fence;
mod filter;
mod listing;
mod node;
mod outbox;
mod paging;
mod registry;
mod report;
mod sample;
mod schedule;
mod signal;
mod token;
mod world;
