//! Kills containers that use more memory than their limit.
//!
//! A limit on the address space (`RLIMIT_AS`) would be cheaper, but Python and the libraries below it reserve far
//! more than they use. So the resident memory of the process tree is looked at a few times a second, and only while
//! there is a container with a limit.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{link::Link, machine, processes, protocol::ProcessId};

const EVERY: Duration = Duration::from_millis(250);

/// The containers that are watched.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    watched: Mutex<HashMap<ProcessId, Watched>>,
    added: Notify,
    kernel_kills: AtomicU64,
}

impl Shared {
    fn watched(&self) -> MutexGuard<'_, HashMap<ProcessId, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct Watched {
    pid: i32,
    limit: u64,
    over_limit: Arc<AtomicBool>,
}

/// Ends the watch over a container when dropped.
pub(crate) struct Watch {
    id: ProcessId,
    shared: Arc<Shared>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.watched().remove(&self.id);
    }
}

impl Memory {
    pub(crate) fn new() -> Memory {
        let memory = Memory::default();
        memory.shared.kernel_kills.store(machine::oom_kills(), Ordering::Relaxed);
        memory
    }

    /// Watches a process with all its descendants. `over_limit` is set before they are killed.
    pub(crate) fn watch(&self, id: ProcessId, pid: i32, limit: u64, over_limit: Arc<AtomicBool>) -> Watch {
        self.shared.watched().insert(id, Watched { pid, limit, over_limit });
        self.shared.added.notify_one();
        Watch { id, shared: Arc::clone(&self.shared) }
    }

    /// Whether the kernel killed anything for want of memory since this was last asked.
    pub(crate) fn kernel_killed(&self) -> bool {
        let now = machine::oom_kills();
        self.shared.kernel_kills.swap(now, Ordering::Relaxed) < now
    }

    /// Looks after the containers until `stop`.
    pub(crate) async fn run(self, link: Link, stop: CancellationToken) {
        loop {
            let idle = self.shared.watched().is_empty();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.shared.added.notified(), if idle => {}
                () = sleep(EVERY), if !idle => {}
            }
            let watched: Vec<(ProcessId, Watched)> =
                self.shared.watched().iter().map(|(id, watched)| (*id, watched.clone())).collect();
            let over = tokio::task::spawn_blocking(move || over_limit(watched)).await.unwrap_or_default();
            for id in over {
                link.kill(id, libc::SIGKILL);
            }
        }
    }
}

fn over_limit(watched: Vec<(ProcessId, Watched)>) -> Vec<ProcessId> {
    let table = if watched.is_empty() { Vec::new() } else { processes::table() };
    let over = |(id, watched): (ProcessId, Watched)| {
        let mut tree = processes::descendants(&table, watched.pid);
        tree.push(watched.pid);
        let used = processes::memory(&tree, watched.limit);
        (used > watched.limit).then(|| {
            tracing::warn!(
                pid = watched.pid,
                used,
                limit = watched.limit,
                "a container is over its memory limit"
            );
            watched.over_limit.store(true, Ordering::Relaxed);
            id
        })
    };
    watched.into_iter().filter_map(over).collect()
}
