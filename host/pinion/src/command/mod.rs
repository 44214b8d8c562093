//! Holds one file per command of the command line.

pub(crate) mod config;
pub(crate) mod get;
pub(crate) mod logs;
pub(crate) mod plugin;
pub(crate) mod terminate;
pub(crate) mod watch;
