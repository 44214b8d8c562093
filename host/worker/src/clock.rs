//! Tells the time, so that tests can tell it themselves.

use std::time::Duration;

use futures::future::BoxFuture;
use model::Timestamp;

/// Tells the time and waits for it.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// Returns once `now` has reached `at`.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;
}

/// The time of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let micros = at.since(self.now());
        Box::pin(tokio::time::sleep(Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
    }
}

/// `at`, `wait` later.
pub(crate) fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.plus(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX))
}
