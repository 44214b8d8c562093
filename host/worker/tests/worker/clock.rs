//! Tells a time that only tests move.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::future::BoxFuture;
use model::Timestamp;
use tokio::sync::oneshot;
use worker::Clock;

/// When every test begins.
pub const START: Timestamp = Timestamp(1_700_000_000_000_000);

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

    /// Moves to the next time somebody waits for; says whether there was one.
    pub fn skip(&self) -> bool {
        let mut state = self.0.lock().unwrap();
        state.sleepers.retain(|_, sleeper| !sleeper.is_closed());
        let Some(((at, _), sleeper)) = state.sleepers.pop_first() else { return false };
        state.now = state.now.max(at);
        let _ = sleeper.send(());
        true
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
        Box::pin(async move {
            if woken.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
