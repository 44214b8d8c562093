//! Keeps warm parents.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    config::Config,
    files::Files,
    link::{Link, Process},
    protocol::{Exit, Launch},
    runner::StartError,
};
use crate::Error;

/// How a process was forked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forked;

impl Forked {
    pub(crate) fn as_if_cold(self, exit: Exit) -> Exit {
        exit
    }
}

#[derive(Clone)]
pub(crate) struct Keeper;

impl Keeper {
    pub(crate) fn new(_config: Arc<Config>, _files: &Files) -> Result<Keeper, Error> {
        Ok(Keeper)
    }

    pub(crate) async fn run(self, _link: Link, stop: CancellationToken) {
        stop.cancelled().await;
    }

    pub(crate) async fn fork(&self, _link: &Link, _launch: &Launch) -> Result<Option<(Process, i32, Forked)>, StartError> {
        Ok(None)
    }
}
