//! Holds locks by name within this process.

use std::hash::{BuildHasher, Hash, RandomState};

use tokio::sync::{Mutex, MutexGuard};

/// Names that share a lock wait for each other without need; these are enough to make that rare.
const N_LOCKS: u64 = 256;

/// A fixed number of locks, shared by all names.
pub(crate) struct Locks {
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Locks {
    pub(crate) fn new() -> Self {
        Self { locks: (0..N_LOCKS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    pub(crate) async fn lock(&self, name: &impl Hash) -> MutexGuard<'_, ()> {
        let at = usize::try_from(self.hasher.hash_one(name) % N_LOCKS).unwrap_or_default();
        self.locks[at].lock().await
    }
}
