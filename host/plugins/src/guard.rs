//! Calls code of in-process plugins so that a call that hangs costs neither the caller nor the host.
//!
//! A call is its own task, so the caller's deadline fires whatever the plugin does. Where that task runs is the trade:
//!
//! - Inline, on the worker threads of the host: under a microsecond. Allowed for at most all workers but one at a time
//!   (none in a single-threaded runtime), so even if every inline call hung at once, the host would go on.
//! - On the plugin's own [`Lanes`]: a thread hand-over, tens of microseconds on a busy machine, and safe to lose.
//!
//! A plugin starts inline. A poll that takes longer than its budget is noticed by the [`watchdog`](crate::watchdog) and
//! moves the plugin to its lanes for a while, so a plugin that blocks takes one host thread once. A future that wakes up
//! while no inline place is free moves too. Destructors of the plugin's futures run on the lanes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::lanes::{Job, Lanes, Panic};
use crate::watchdog::{Inside, Watchdog, Watched};

/// Why a call was cut off.
#[derive(Debug)]
pub(crate) enum Cut {
    /// It did not end in time.
    Timeout,
    /// It panicked outside of what the plugin's own shim catches.
    Panicked(String),
}

/// Runs the calls of one plugin.
pub(crate) struct Guard(Arc<Inner>);

struct Inner {
    runtime: Handle,
    lanes: Lanes,
    watched: Watched,
    /// Worker threads of the host that hang in the plugin past a deadline.
    lost_workers: AtomicUsize,
}

impl Guard {
    /// Calls of one plugin; `lanes` are its own, the watchdog is that of the runtime.
    pub(crate) fn new(runtime: Handle, lanes: Lanes, watchdog: &Watchdog, budget: Duration) -> Self {
        let watched = watchdog.watch(budget);
        Self(Arc::new(Inner { runtime, lanes, watched, lost_workers: AtomicUsize::new(0) }))
    }

    /// Threads that hang in the plugin past a deadline.
    pub(crate) fn lost(&self) -> usize {
        self.0.lanes.lost() + self.0.lost_workers.load(Ordering::Relaxed)
    }

    /// Runs the future until it ends or the time is over.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        future: BoxFuture<'static, T>,
    ) -> Result<T, Cut> {
        if self.0.watched.may_enter() {
            self.inline(limit, future).await
        } else {
            self.on_lane(limit, future).await
        }
    }

    async fn inline<T: Send + 'static>(
        &self,
        limit: Duration,
        future: BoxFuture<'static, T>,
    ) -> Result<T, Cut> {
        let probe = Arc::new(Probe::default());
        let work =
            Inline { state: State::Here(future), guard: Arc::clone(&self.0), probe: Arc::clone(&probe) };
        let mut call = InlineCall { task: self.0.runtime.spawn(work), guard: &self.0, probe };
        match timeout(limit, &mut call.task).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(panic))) => Err(Cut::Panicked(text_of(&panic))),
            Ok(Err(error)) => Err(Cut::Panicked(error.to_string())),
            Err(_) => Err(Cut::Timeout),
        }
    }

    /// Runs the future off the workers of the host, whatever the plugin's record.
    pub(crate) async fn on_lane<T: Send + 'static>(
        &self,
        limit: Duration,
        future: BoxFuture<'static, T>,
    ) -> Result<T, Cut> {
        match timeout(limit, self.0.lanes.spawn(future)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(panic)) => Err(Cut::Panicked(text_of(&panic))),
            Err(_) => Err(Cut::Timeout),
        }
    }
}

/// A call on the workers of the host, until it has to move.
struct Inline<T: Send + 'static> {
    state: State<T>,
    guard: Arc<Inner>,
    probe: Arc<Probe>,
}

enum State<T> {
    Here(BoxFuture<'static, T>),
    Moved(Job<T>),
    Done,
}

impl<T: Send + 'static> Inline<T> {
    /// Polls the plugin on this thread, if there is a place.
    fn poll_here(&mut self, cx: &mut Context<'_>) -> Option<Poll<T>> {
        let State::Here(future) = &mut self.state else { return None };
        let inside: Inside<'_> = self.guard.watched.enter()?;
        self.probe.enter();
        let polled = future.as_mut().poll(cx);
        if self.probe.leave() {
            self.guard.lost_workers.fetch_sub(1, Ordering::Relaxed);
            self.guard.lanes.tell_returned();
        }
        drop(inside);
        Some(polled)
    }
}

impl<T: Send + 'static> Future for Inline<T> {
    type Output = Result<T, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(polled) = this.poll_here(cx) {
            let answer = ready!(polled);
            this.finish();
            return Poll::Ready(Ok(answer));
        }
        if matches!(this.state, State::Here(_))
            && let State::Here(future) = std::mem::replace(&mut this.state, State::Done)
        {
            this.state = State::Moved(this.guard.lanes.spawn(future));
        }
        let State::Moved(job) = &mut this.state else { unreachable!("invariant: not polled after its end") };
        job.poll_unpin(cx)
    }
}

impl<T: Send + 'static> Inline<T> {
    /// A future that ended holds nothing of the plugin that could block.
    fn finish(&mut self) {
        self.state = State::Done;
    }
}

impl<T: Send + 'static> Drop for Inline<T> {
    fn drop(&mut self) {
        if let State::Here(future) = std::mem::replace(&mut self.state, State::Done) {
            self.guard.lanes.discard(future);
        }
    }
}

/// Whether a worker is inside the plugin, and whether it was written off there.
#[derive(Default)]
struct Probe(AtomicU8);

const OUTSIDE: u8 = 0;
const INSIDE: u8 = 1;
const LOST: u8 = 2;

impl Probe {
    fn enter(&self) {
        self.0.store(INSIDE, Ordering::Release);
    }

    /// Says whether the thread had been written off.
    fn leave(&self) -> bool {
        self.0.swap(OUTSIDE, Ordering::AcqRel) == LOST
    }

    /// Says whether there is a thread to write off.
    fn write_off(&self) -> bool {
        self.0.compare_exchange(INSIDE, LOST, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// An inline call as its caller holds it. Dropping it gives the call up, and writes off a worker that hangs in it.
struct InlineCall<'a, T> {
    task: JoinHandle<T>,
    guard: &'a Inner,
    probe: Arc<Probe>,
}

impl<T> Drop for InlineCall<'_, T> {
    fn drop(&mut self) {
        self.task.abort();
        if self.probe.write_off() {
            self.guard.lost_workers.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn text_of(panic: &Panic) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(10);

    fn guard(budget: Duration) -> Guard {
        let runtime = Handle::current();
        let watchdog = Watchdog::of(&runtime);
        Guard::new(runtime, Lanes::new("lane".into(), 2), &watchdog, budget)
    }

    fn telling(budget: Duration) -> (Guard, tokio::sync::watch::Receiver<u64>) {
        let (tell, returned) = tokio::sync::watch::channel(0);
        let runtime = Handle::current();
        let watchdog = Watchdog::of(&runtime);
        (Guard::new(runtime, Lanes::telling("lane".into(), 2, tell), &watchdog, budget), returned)
    }

    fn thread_name() -> Option<String> {
        std::thread::current().name().map(str::to_owned)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn quick_call_stays_on_the_workers() {
        let name = guard(LONG).run(LONG, Box::pin(async { thread_name() })).await.unwrap();
        assert_ne!(name.as_deref(), Some("lane"));
    }

    #[tokio::test]
    async fn single_thread_is_never_risked() {
        let name = guard(LONG).run(LONG, Box::pin(async { thread_name() })).await.unwrap();
        assert_eq!(name.as_deref(), Some("lane"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn blocking_call_is_cut_and_costs_one_worker_once() {
        let (guard, mut returned) = telling(Duration::from_millis(1));
        let (release, blocked) = mpsc::channel::<()>();
        let hung = guard.run(SHORT, Box::pin(async move { blocked.recv() })).await;
        assert!(matches!(hung, Err(Cut::Timeout)));
        assert_eq!(guard.lost(), 1);
        // The other worker is the last one: nothing of the plugin runs there.
        let name = guard.run(LONG, Box::pin(async { thread_name() })).await.unwrap();
        assert_eq!(name.as_deref(), Some("lane"));
        drop(release);
        returned.changed().await.unwrap();
        assert_eq!(guard.lost(), 0, "told after it is back");
        let name = guard.run(LONG, Box::pin(async { thread_name() })).await.unwrap();
        assert_eq!(name.as_deref(), Some("lane"), "a plugin that blocked stays on its lanes for a while");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn endless_wait_is_cut() {
        let guard = guard(LONG);
        let hung = guard.run(SHORT, Box::pin(std::future::pending::<()>())).await;
        assert!(matches!(hung, Err(Cut::Timeout)));
        assert_eq!(guard.lost(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn crowd_is_answered_on_workers_and_lanes() {
        let guard = guard(LONG);
        let call = |n: usize| {
            guard.run(
                LONG,
                Box::pin(async move {
                    for _ in 0..n % 4 {
                        tokio::task::yield_now().await;
                    }
                    n
                }),
            )
        };
        let answers = futures::future::join_all((0..500).map(call)).await;
        assert!(answers.into_iter().enumerate().all(|(n, answer)| answer.unwrap() == n));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn panic_is_a_cut() {
        let panicking = async {
            if true {
                panic!("boom")
            }
        };
        assert!(matches!(guard(LONG).run(LONG, Box::pin(panicking)).await, Err(Cut::Panicked(_))));
    }
}
