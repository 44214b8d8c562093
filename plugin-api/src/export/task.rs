//! Drives the future of one C call without a runtime: whoever wakes it polls it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use prost::Message;

use crate::error::{PluginError, code};
use crate::host::BoxFuture;
use crate::shim::Reply;

const IDLE: u8 = 0;
const POLLING: u8 = 1;
const NOTIFIED: u8 = 2;
const DONE: u8 = 3;

type Finish = Box<dyn FnOnce(Reply) + Send>;

/// The calls that have not ended, by call id.
#[derive(Default)]
pub(super) struct Tasks(Mutex<HashMap<u64, Arc<Task>>>);

impl Tasks {
    /// Ends a call early; its completion still comes, with status CANCELLED.
    pub(super) fn cancel(&self, call_id: u64) {
        let task = lock(&self.0).get(&call_id).map(Arc::clone);
        if let Some(task) = task {
            task.cancelled.store(true, Ordering::Release);
            task.run();
        }
    }
}

struct Task {
    call_id: u64,
    tasks: Arc<Tasks>,
    state: AtomicU8,
    cancelled: AtomicBool,
    work: Mutex<Option<(BoxFuture<Reply>, Finish)>>,
}

/// Polls the future at once; `finish` is called exactly once, here or on the thread that wakes the future last.
pub(super) fn start(
    tasks: &Arc<Tasks>,
    call_id: u64,
    future: BoxFuture<Reply>,
    finish: impl FnOnce(Reply) + Send + 'static,
) {
    let task = Arc::new(Task {
        call_id,
        tasks: Arc::clone(tasks),
        state: AtomicU8::new(IDLE),
        cancelled: AtomicBool::new(false),
        work: Mutex::new(Some((future, Box::new(finish)))),
    });
    lock(&tasks.0).insert(call_id, Arc::clone(&task));
    task.run();
}

impl Task {
    fn run(self: &Arc<Self>) {
        if !self.claim() {
            return;
        }
        let waker = Waker::from(Arc::clone(self));
        loop {
            if let Some((finish, reply)) = self.poll(&waker) {
                self.state.store(DONE, Ordering::Release);
                lock(&self.tasks.0).remove(&self.call_id);
                finish(reply);
                return;
            }
            if self.state.compare_exchange(POLLING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return;
            }
            self.state.store(POLLING, Ordering::Release);
        }
    }

    /// Whether the caller is the one to poll; otherwise the poller is told to poll once more.
    fn claim(&self) -> bool {
        loop {
            match self.state.compare_exchange(IDLE, POLLING, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(POLLING) => {
                    let told =
                        self.state.compare_exchange(POLLING, NOTIFIED, Ordering::AcqRel, Ordering::Acquire);
                    if told.is_ok() {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
    }

    fn poll(&self, waker: &Waker) -> Option<(Finish, Reply)> {
        let mut work = lock(&self.work);
        let (future, _) = work.as_mut()?;
        let reply = if self.cancelled.load(Ordering::Acquire) {
            let error =
                PluginError::system("Cancelled", "the host no longer waits").with_status(code::CANCELLED);
            Err(error.to_status().encode_to_vec())
        } else {
            match future.as_mut().poll(&mut Context::from_waker(waker)) {
                Poll::Ready(reply) => reply,
                Poll::Pending => return None,
            }
        };
        work.take().map(|(_, finish)| (finish, reply))
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.run();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
