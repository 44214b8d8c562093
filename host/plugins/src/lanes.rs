//! Runs futures of one plugin on threads of its own, which the plugin may block for ever.
//!
//! Threads are started when needed and end when idle, so a plugin that answers at once has none. A job that is given up
//! while its thread is inside the plugin leaves that thread lost: it no longer counts against the size, another one takes
//! its place, and it comes back if the plugin ever returns.

use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};

const IDLE_LIFE: Duration = Duration::from_secs(30);

/// What a job that panicked leaves.
pub(crate) type Panic = Box<dyn Any + Send>;

/// The threads of one plugin.
#[derive(Clone)]
pub(crate) struct Lanes(Arc<Inner>);

struct Inner {
    name: String,
    size: usize,
    state: Mutex<State>,
    ready: Condvar,
    /// Told when a lost thread comes back.
    returned: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Task>>,
    idle: usize,
    threads: usize,
    lost: usize,
}

struct Task {
    lanes: Arc<Inner>,
    slot: Mutex<Slot>,
}

struct Slot {
    phase: Phase,
    /// Taken out while it is polled.
    future: Option<BoxFuture<'static, ()>>,
    abandoned: bool,
    /// The thread that polls it was written off.
    lost: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Idle,
    Queued,
    Polling,
    /// Woken while it was polled.
    Notified,
    Done,
}

/// A running future. Dropping it gives the job up.
pub(crate) struct Job<T> {
    task: Arc<Task>,
    answer: oneshot::Receiver<Result<T, Panic>>,
    answered: bool,
}

impl Lanes {
    /// At most `size` threads named `name`, lost ones not counted.
    pub(crate) fn new(name: String, size: usize) -> Self {
        Self::telling(name, size, watch::channel(0).0)
    }

    /// The same; `returned` changes whenever a lost thread comes back.
    pub(crate) fn telling(name: String, size: usize, returned: watch::Sender<u64>) -> Self {
        Self(Arc::new(Inner { name, size, state: Mutex::default(), ready: Condvar::new(), returned }))
    }

    /// Tells that a thread which was lost has come back.
    pub(crate) fn tell_returned(&self) {
        self.0.returned.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Starts a future.
    pub(crate) fn spawn<T: Send + 'static>(&self, future: BoxFuture<'static, T>) -> Job<T> {
        let (sender, answer) = oneshot::channel();
        let work = async move {
            // Nobody listening any more is fine.
            let _ = sender.send(AssertUnwindSafe(future).catch_unwind().await);
        };
        let slot = Slot { phase: Phase::Queued, future: Some(Box::pin(work)), abandoned: false, lost: false };
        let task = Arc::new(Task { lanes: Arc::clone(&self.0), slot: Mutex::new(slot) });
        self.0.enqueue(Arc::clone(&task));
        Job { task, answer, answered: false }
    }

    /// Starts a future that nobody waits for.
    pub(crate) fn detach(&self, future: BoxFuture<'static, ()>) {
        let slot = Slot { phase: Phase::Queued, future: Some(future), abandoned: false, lost: false };
        self.0.enqueue(Arc::new(Task { lanes: Arc::clone(&self.0), slot: Mutex::new(slot) }));
    }

    /// Drops a value whose destructor is code of the plugin.
    pub(crate) fn discard(&self, value: impl Send + 'static) {
        self.detach(Box::pin(async move { drop(value) }));
    }

    /// Threads that are inside the plugin although nobody waits for them.
    pub(crate) fn lost(&self) -> usize {
        lock(&self.0.state).lost
    }
}

impl Inner {
    fn enqueue(self: &Arc<Self>, task: Arc<Task>) {
        let mut state = lock(&self.state);
        state.queue.push_back(task);
        if state.queue.len() > state.idle {
            self.grow(&mut state);
        }
        drop(state);
        self.ready.notify_one();
    }

    fn grow(self: &Arc<Self>, state: &mut State) {
        if state.threads >= self.size {
            return;
        }
        let lanes = Arc::clone(self);
        // Without a thread the job waits for the next one, within its deadline.
        if std::thread::Builder::new().name(self.name.clone()).spawn(move || lanes.work()).is_ok() {
            state.threads += 1;
        }
    }

    fn work(self: Arc<Self>) {
        while let Some(task) = self.next() {
            if task.step() {
                let mut state = lock(&self.state);
                state.lost -= 1;
                let is_needed = state.threads < self.size;
                state.threads += usize::from(is_needed);
                drop(state);
                self.returned.send_modify(|count| *count = count.wrapping_add(1));
                if !is_needed {
                    return;
                }
            }
        }
    }

    /// The next job, or none when there was none for a while.
    fn next(&self) -> Option<Arc<Task>> {
        let mut state = lock(&self.state);
        loop {
            if let Some(task) = state.queue.pop_front() {
                return Some(task);
            }
            state.idle += 1;
            let (guard, waited) =
                self.ready.wait_timeout(state, IDLE_LIFE).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
    }
}

impl Task {
    /// Polls once; says whether this thread had been written off meanwhile.
    fn step(self: &Arc<Self>) -> bool {
        let mut slot = lock(&self.slot);
        let Some(mut future) = slot.future.take() else { return false };
        if slot.abandoned {
            slot.phase = Phase::Done;
            drop(slot);
            discard(future);
            return false;
        }
        slot.phase = Phase::Polling;
        drop(slot);

        let waker = Waker::from(Arc::clone(self));
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| {
            future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        }));

        let mut slot = lock(&self.slot);
        let lost = std::mem::take(&mut slot.lost);
        if polled.unwrap_or(true) || slot.abandoned {
            slot.phase = Phase::Done;
            drop(slot);
            discard(future);
            return lost;
        }
        slot.future = Some(future);
        let again = slot.phase == Phase::Notified;
        slot.phase = if again { Phase::Queued } else { Phase::Idle };
        drop(slot);
        if again {
            self.lanes.enqueue(Arc::clone(self));
        }
        lost
    }

    #[cfg(test)]
    fn is_polling(&self) -> bool {
        matches!(lock(&self.slot).phase, Phase::Polling | Phase::Notified)
    }

    fn abandon(self: &Arc<Self>) {
        let mut slot = lock(&self.slot);
        slot.abandoned = true;
        match slot.phase {
            Phase::Idle => {
                slot.phase = Phase::Queued;
                drop(slot);
                self.lanes.enqueue(Arc::clone(self));
            }
            Phase::Polling | Phase::Notified => {
                slot.lost = true;
                // Both locks are held, so that the thread can not come back uncounted.
                let mut state = lock(&self.lanes.state);
                state.threads -= 1;
                state.lost += 1;
                if state.queue.len() > state.idle {
                    self.lanes.grow(&mut state);
                }
            }
            Phase::Queued | Phase::Done => {}
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let mut slot = lock(&self.slot);
        match slot.phase {
            Phase::Idle => {
                slot.phase = Phase::Queued;
                drop(slot);
                let lanes = Arc::clone(&self.lanes);
                lanes.enqueue(self);
            }
            Phase::Polling => slot.phase = Phase::Notified,
            Phase::Queued | Phase::Notified | Phase::Done => {}
        }
    }
}

#[cfg(test)]
impl<T> Job<T> {
    /// Whether a thread is inside the plugin for this job right now.
    pub(crate) fn is_polling(&self) -> bool {
        self.task.is_polling()
    }
}

impl<T> Future for Job<T> {
    type Output = Result<T, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.answer.poll_unpin(cx));
        self.answered = true;
        Poll::Ready(answer.unwrap_or_else(|_| Err(Box::new("the job ended without an answer") as Panic)))
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        // The thread of a job that answered is on its way out of it.
        if !self.answered {
            self.task.abandon();
        }
    }
}

/// A destructor of the plugin may panic.
fn discard(future: BoxFuture<'static, ()>) {
    let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(future)));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    fn until(what: impl Fn() -> bool) {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(10), "waited too long");
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn answers_and_panics_come_back() {
        let lanes = Lanes::new("test".into(), 2);
        assert_eq!(lanes.spawn(Box::pin(async { 7 })).await.unwrap(), 7);
        let panicking = async {
            if true {
                panic!("boom")
            }
        };
        assert_eq!(*lanes.spawn(Box::pin(panicking)).await.unwrap_err().downcast::<&str>().unwrap(), "boom");
    }

    #[tokio::test]
    async fn woken_future_is_polled_again() {
        let lanes = Lanes::new("test".into(), 1);
        let (sender, receiver) = oneshot::channel();
        let job = lanes.spawn(Box::pin(receiver));
        let _ = lanes.spawn(Box::pin(async { 1 })).await;
        sender.send(5).unwrap();
        assert_eq!(job.await.unwrap(), Ok(5));
    }

    #[tokio::test]
    async fn blocked_thread_is_replaced_and_comes_back() {
        let (tell, returned) = watch::channel(0);
        let lanes = Lanes::telling("test".into(), 1, tell);
        let (release, blocked) = mpsc::channel::<()>();
        let job = lanes.spawn(Box::pin(async move { blocked.recv() }));
        until(|| job.is_polling());
        drop(job);
        assert_eq!(lanes.lost(), 1);
        assert_eq!(lanes.spawn(Box::pin(async { 7 })).await.unwrap(), 7);
        drop(release);
        until(|| returned.has_changed().unwrap());
        assert_eq!(lanes.lost(), 0, "told after it is back");
        assert_eq!(lanes.spawn(Box::pin(async { 8 })).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn abandoned_job_is_dropped_on_a_lane() {
        struct Tell(mpsc::Sender<Option<String>>);
        impl Drop for Tell {
            fn drop(&mut self) {
                let _ = self.0.send(std::thread::current().name().map(str::to_owned));
            }
        }
        let lanes = Lanes::new("lane".into(), 1);
        let (sender, receiver) = mpsc::channel();
        let tell = Tell(sender);
        let job = lanes.spawn(Box::pin(async move {
            let _tell = tell;
            std::future::pending::<()>().await;
        }));
        let _ = lanes.spawn(Box::pin(async {})).await;
        drop(job);
        assert_eq!(receiver.recv().unwrap().as_deref(), Some("lane"));
    }
}
