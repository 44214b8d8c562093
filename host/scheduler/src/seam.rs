//! Lets tests stop the scheduler between any two of its steps, as if its process had been killed there.

use async_trait::async_trait;

/// Whether the scheduler lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does.
    Live,
    /// It stops at once.
    Crash,
}

/// Where the scheduler is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A tick was decided on; nothing of it is visible yet.
    Decided,
    /// The execution of a tick was created; the schedule or backfill does not know yet.
    Launched,
    /// Rows are about to be committed.
    Committing,
    /// Rows are committed; nobody was told yet.
    Committed,
}

/// Sees every step. The default lets all of them pass.
#[async_trait]
pub trait Seam: Send + Sync {
    /// Called when the scheduler has come to a step.
    async fn reached(&self, step: Step) -> Fate {
        let _ = step;
        Fate::Live
    }
}

/// Lets every step pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSeam;

#[async_trait]
impl Seam for NoSeam {}
