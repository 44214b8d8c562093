//! Says how long to wait before something is tried again.

use std::time::Duration;

use rand::RngExt as _;

use crate::config::Retry;
use crate::failure::Failure;

/// The pause after the `n`th failure, from 1: twice as long each time, up to the longest, and spread over its second
/// half, so that many that failed together do not come back together. A receiver that asks for more gets it.
pub(crate) fn pause(retry: &Retry, n: u32, failure: &Failure) -> Duration {
    let (initial, max) = (retry.initial.get(), retry.max.get());
    let full = initial.saturating_mul(2u32.saturating_pow(n.saturating_sub(1).min(31))).min(max);
    let spread = full.mul_f64(rand::rng().random_range(0.5..=1.0));
    spread.max(failure.pause.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_never_beyond() {
        let retry = Retry {
            initial: config::Duration::from_secs(1),
            max: config::Duration::from_secs(60),
            ..Retry::default()
        };
        for n in 1..200 {
            let full = Duration::from_secs(1 << (n - 1).min(6)).min(Duration::from_secs(60));
            let got = pause(&retry, n, &Failure::passing(""));
            assert!(got >= full / 2 && got <= full, "{n}: {got:?}");
        }
        let asked = Failure { pause: Some(Duration::from_secs(90)), ..Failure::passing("") };
        assert_eq!(pause(&retry, 1, &asked), Duration::from_secs(90));
    }
}
