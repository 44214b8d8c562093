//! Holds one file per command of the command line.

pub(crate) mod backfill;
pub(crate) mod cache;
pub(crate) mod config;
pub(crate) mod get;
pub(crate) mod lineage;
pub(crate) mod logs;
pub(crate) mod notify;
pub(crate) mod plugin;
pub(crate) mod recover;
pub(crate) mod schedule;
pub(crate) mod terminate;
pub(crate) mod watch;
