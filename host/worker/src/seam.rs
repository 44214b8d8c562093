//! Lets tests end the worker before or after any commit.

use async_trait::async_trait;
use store::row::Batch;

/// Whether the worker lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does.
    Live,
    /// It stops at once, as if its process had been killed.
    Crash,
}

/// Sees every commit of the worker. The default lets all of them pass.
#[async_trait]
pub trait Seam: Send + Sync {
    /// Called before commit number `n`, counted from 0.
    async fn before_commit(&self, n: u64, batch: &Batch) -> Fate {
        let _ = (n, batch);
        Fate::Live
    }

    /// Called once commit number `n` is durable and before anyone is told.
    async fn after_commit(&self, n: u64) -> Fate {
        let _ = n;
        Fate::Live
    }
}

/// Lets every commit pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSeam;

#[async_trait]
impl Seam for NoSeam {}
