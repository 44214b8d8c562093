//! Turns rows into the messages clients read.

pub(crate) mod array;
pub(crate) mod data;
pub(crate) mod dynamic;
pub(crate) mod entity;
pub(crate) mod execution;
pub(crate) mod metrics;
pub(crate) mod node_execution;
pub(crate) mod task_execution;
