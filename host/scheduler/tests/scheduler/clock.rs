//! Tells a time that only tests move.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::future::BoxFuture;
use model::Timestamp;
use scheduler::Clock;
use tokio::sync::oneshot;

/// 2024-05-15T10:00:00Z, when every test begins.
pub const START: Timestamp = Timestamp(1_715_767_200_000_000);

/// A minute, an hour and a day in microseconds.
pub const MINUTE: i64 = 60_000_000;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

struct State {
    now: Timestamp,
    n_sleepers: u64,
    sleepers: BTreeMap<(Timestamp, u64), oneshot::Sender<()>>,
}

/// A clock that stands still until it is moved.
pub struct ManualClock(Mutex<State>);

impl ManualClock {
    pub fn new() -> Self {
        Self(Mutex::new(State { now: START, n_sleepers: 0, sleepers: BTreeMap::new() }))
    }

    /// Moves on, and wakes whoever waited for a time up to then.
    pub fn advance(&self, micros: i64) -> Timestamp {
        let mut state = self.0.lock().unwrap();
        state.now = state.now.plus(micros);
        let now = state.now;
        let later = state.sleepers.split_off(&(now, u64::MAX));
        for (_, sleeper) in std::mem::replace(&mut state.sleepers, later) {
            let _ = sleeper.send(());
        }
        now
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap().now
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let mut state = self.0.lock().unwrap();
        if at <= state.now {
            return Box::pin(std::future::ready(()));
        }
        let (wake, woken) = oneshot::channel();
        state.n_sleepers += 1;
        let key = (at, state.n_sleepers);
        state.sleepers.insert(key, wake);
        state.sleepers.retain(|_, sleeper| !sleeper.is_closed());
        Box::pin(async move {
            if woken.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
