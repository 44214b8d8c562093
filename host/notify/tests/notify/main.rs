//! Checks the claims of the room against real receivers on this machine: web servers and a mail server, on SQLite,
//! and on Postgres where `PINION_TEST_POSTGRES_URL` names a server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking; its helpers too")]

mod crashes;
mod log;
mod mail;
mod mail_server;
mod messages;
mod receiver;
mod sinks;
mod trouble;
mod world;
