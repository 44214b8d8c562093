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

/// Longest sleep without a look at the clock, which may be set while this process sleeps.
const LOOK: Duration = Duration::from_secs(60);

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                let micros = u64::try_from(at.since(Timestamp::now())).unwrap_or(0);
                if micros == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_micros(micros).min(LOOK)).await;
            }
        })
    }
}

/// `at`, `wait` later.
pub(crate) fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.plus(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX))
}
