//! Watches over plugin code on the worker threads of the host, from a thread outside of the runtime.
//!
//! Two things go wrong when a worker is stuck. The plugin may be called again and take the next worker: so it becomes
//! suspect at once, and is kept off the workers. And the stuck worker may be the one that would have waited for timers
//! and sockets, while all others sleep without looking at them: so the runtime is poked, which has another worker take
//! over. At most all workers but one run plugin code at a time.
//!
//! The thread sleeps for good while no plugin code runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

const TICK: Duration = Duration::from_millis(20);
/// Ticks without plugin code after which the thread sleeps.
const PATIENCE: u32 = 50;
/// How long a plugin stays off the workers after a slow poll.
const SUSPICION: Duration = Duration::from_secs(30);
/// Places are bits of one word.
const MOST_PLACES: usize = 63;

/// Watches the plugins of one runtime. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Watchdog(Arc<Shared>);

struct Shared {
    runtime: Handle,
    start: Instant,
    n_places: usize,
    /// One bit per taken place.
    taken: AtomicU64,
    watched: Mutex<Vec<Weak<Record>>>,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

/// One plugin, as the watchdog sees it.
struct Record {
    budget_ms: u64,
    /// Per place: when the plugin entered there, in milliseconds, or 0.
    entered: Vec<AtomicU64>,
    suspect_until: AtomicU64,
}

/// A plugin that is watched.
pub(crate) struct Watched {
    shared: Arc<Shared>,
    record: Arc<Record>,
}

/// Plugin code runs on this thread until this is dropped.
pub(crate) struct Inside<'a> {
    watched: &'a Watched,
    place: usize,
}

impl Watchdog {
    /// Watches over the workers of a runtime. Without a second worker no plugin code may run on any.
    pub(crate) fn of(runtime: &Handle) -> Self {
        let workers = match runtime.runtime_flavor() {
            RuntimeFlavor::MultiThread => runtime.metrics().num_workers(),
            _ => 1,
        };
        let shared = Arc::new(Shared {
            runtime: runtime.clone(),
            start: Instant::now(),
            n_places: workers.saturating_sub(1).min(MOST_PLACES),
            taken: AtomicU64::new(0),
            watched: Mutex::default(),
            asleep: AtomicBool::new(false),
            thread: OnceLock::new(),
        });
        let watching = Arc::downgrade(&shared);
        let thread =
            std::thread::Builder::new().name("plugin-watchdog".into()).spawn(move || watch(&watching));
        match thread {
            Ok(thread) => {
                let _ = shared.thread.set(thread.thread().clone());
            }
            Err(error) => tracing::error!(%error, "no watchdog: plugins are kept off the workers"),
        }
        Self(shared)
    }

    /// Adds a plugin; its code may hold a worker for `budget`.
    pub(crate) fn watch(&self, budget: Duration) -> Watched {
        let record = Arc::new(Record {
            budget_ms: millis(budget).max(1),
            entered: (0..self.0.n_places).map(|_| AtomicU64::new(0)).collect(),
            suspect_until: AtomicU64::new(0),
        });
        let mut watched = self.0.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|record| record.strong_count() > 0);
        watched.push(Arc::downgrade(&record));
        Watched { shared: Arc::clone(&self.0), record }
    }
}

impl Watched {
    /// Whether plugin code may run on a worker right now.
    pub(crate) fn may_enter(&self) -> bool {
        let suspect_until = self.record.suspect_until.load(Ordering::Relaxed);
        let trusted = suspect_until == 0 || self.shared.now() >= suspect_until;
        trusted && self.shared.has_place() && self.shared.thread.get().is_some()
    }

    /// Enters, if a place is free.
    pub(crate) fn enter(&self) -> Option<Inside<'_>> {
        if !self.may_enter() {
            return None;
        }
        let place = self.shared.take()?;
        self.record.entered[place].store(self.shared.now(), Ordering::Release);
        // Sequentially consistent with `watch`: either it sees the place taken, or this sees it asleep.
        if self.shared.asleep.load(Ordering::SeqCst)
            && self.shared.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.shared.thread.get()
        {
            thread.unpark();
        }
        Some(Inside { watched: self, place })
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let Watched { shared, record } = self.watched;
        let entered = record.entered[self.place].swap(0, Ordering::AcqRel);
        let now = shared.now();
        if now.saturating_sub(entered) > record.budget_ms {
            record.suspect(now);
        }
        shared.taken.fetch_and(!(1 << self.place), Ordering::Release);
    }
}

impl Record {
    fn suspect(&self, now: u64) {
        self.suspect_until.store(now.saturating_add(millis(SUSPICION)), Ordering::Relaxed);
    }

    /// How long the plugin has been over its budget on any worker; 0 when it is not.
    fn overrun(&self, now: u64) -> u64 {
        let entered = self.entered.iter().map(|entered| entered.load(Ordering::Acquire)).filter(|at| *at > 0);
        entered.map(|at| now.saturating_sub(at).saturating_sub(self.budget_ms)).max().unwrap_or(0)
    }
}

impl Shared {
    /// Milliseconds since the start, never 0.
    fn now(&self) -> u64 {
        millis(self.start.elapsed()) + 1
    }

    fn has_place(&self) -> bool {
        (self.taken.load(Ordering::Relaxed).count_ones() as usize) < self.n_places
    }

    fn take(&self) -> Option<usize> {
        let mut place = 0;
        let free = |taken: u64| {
            place = taken.trailing_ones() as usize;
            (place < self.n_places).then_some(taken | 1 << place)
        };
        self.taken.fetch_update(Ordering::SeqCst, Ordering::Relaxed, free).ok().map(|_| place)
    }

    /// Looks at every plugin; says whether any was inside.
    fn tick(&self) -> bool {
        let now = self.now();
        let records: Vec<Arc<Record>> = {
            let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            watched.iter().filter_map(Weak::upgrade).collect()
        };
        for record in records {
            let overrun = record.overrun(now);
            if overrun > 0 {
                record.suspect(now);
                // More than once, because what runs there can be stuck as well; rarely, because it may be for ever.
                let tick = millis(TICK);
                if overrun < 5 * tick || (overrun / tick).is_multiple_of(50) {
                    self.runtime.spawn(std::future::ready(()));
                }
            }
        }
        self.taken.load(Ordering::SeqCst) != 0
    }
}

/// The life of the watchdog's thread; it ends with the last plugin.
fn watch(shared: &Weak<Shared>) {
    let mut quiet = 0;
    loop {
        let Some(shared) = shared.upgrade() else { return };
        quiet = if shared.tick() { 0 } else { quiet + 1 };
        let sleeps = quiet > PATIENCE;
        if sleeps {
            shared.asleep.store(true, Ordering::SeqCst);
            // Somebody who entered before that store did not unpark.
            quiet = if shared.tick() { 0 } else { quiet };
        }
        let sleeps = sleeps && quiet > 0;
        // Not held while waiting, or it would never end.
        drop(shared);
        if sleeps {
            std::thread::park();
            quiet = 0;
        } else {
            std::thread::park_timeout(TICK);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}
