//! Counts crashes of one plugin and takes it out of service when there are too many.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Crashes of one plugin within a window of time.
pub(crate) struct Breaker {
    max_crashes: usize,
    window: Duration,
    first_pause: Duration,
    longest_pause: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    crashes: VecDeque<Instant>,
    last_reason: String,
    /// Crashes since the last call that worked.
    streak: u32,
}

impl Breaker {
    /// `max_crashes` within `window` open the breaker; pauses between starts double from `first_pause`.
    pub(crate) fn new(
        max_crashes: u32,
        window: Duration,
        first_pause: Duration,
        longest_pause: Duration,
    ) -> Self {
        let max_crashes = usize::try_from(max_crashes.max(1)).unwrap_or(usize::MAX);
        Self { max_crashes, window, first_pause, longest_pause, state: Mutex::default() }
    }

    /// Notes a crash.
    pub(crate) fn crashed(&self, reason: &str, now: Instant) {
        let mut state = self.lock();
        state.crashes.push_back(now);
        while state.crashes.len() > self.max_crashes {
            state.crashes.pop_front();
        }
        state.streak = state.streak.saturating_add(1);
        reason.clone_into(&mut state.last_reason);
    }

    /// Notes a call that was answered.
    pub(crate) fn answered(&self) {
        self.lock().streak = 0;
    }

    /// Why nothing may be started now, if so. One crash leaves the window with time, which allows one more try.
    pub(crate) fn open(&self, now: Instant) -> Option<String> {
        let state = self.lock();
        let recent =
            state.crashes.iter().filter(|at| now.saturating_duration_since(**at) < self.window).count();
        (recent >= self.max_crashes).then(|| {
            format!("it crashed {recent} times within {:?}, last: {}", self.window, state.last_reason)
        })
    }

    /// How long until one crash leaves the window; nothing while it is closed.
    pub(crate) fn closes_in(&self, now: Instant) -> Option<Duration> {
        let state = self.lock();
        let left = |at: &Instant| self.window.checked_sub(now.saturating_duration_since(*at));
        let recent: Vec<Duration> =
            state.crashes.iter().filter_map(left).filter(|left| !left.is_zero()).collect();
        recent.into_iter().rev().nth(self.max_crashes - 1)
    }

    /// How long to wait before the next start.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        let state = self.lock();
        let Some(last) = state.crashes.back() else { return Duration::ZERO };
        if state.streak == 0 {
            return Duration::ZERO;
        }
        let pause = self.first_pause.saturating_mul(1 << (state.streak - 1).min(16)).min(self.longest_pause);
        pause.saturating_sub(now.saturating_duration_since(*last))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn crashes_open_it_and_time_closes_it() {
        let breaker = Breaker::new(3, 100 * S, S, 8 * S);
        let start = Instant::now();
        for at in [0, 10, 20] {
            assert_eq!(breaker.open(start + at * S), None);
            breaker.crashed("signal 11", start + at * S);
        }
        assert!(breaker.open(start + 21 * S).unwrap().contains("signal 11"));
        assert_eq!(breaker.closes_in(start + 21 * S), Some(79 * S));
        assert_eq!(breaker.closes_in(start + 101 * S), None);
        assert_eq!(breaker.open(start + 101 * S), None, "the oldest crash left the window");
    }

    #[test]
    fn pauses_double_until_a_call_works() {
        let breaker = Breaker::new(9, 1000 * S, S, 3 * S);
        let start = Instant::now();
        assert_eq!(breaker.pause(start), Duration::ZERO);
        for pause in [1, 2, 3, 3] {
            breaker.crashed("", start);
            assert_eq!(breaker.pause(start), pause * S);
        }
        assert_eq!(breaker.pause(start + S), 2 * S);
        breaker.answered();
        assert_eq!(breaker.pause(start), Duration::ZERO);
    }
}
