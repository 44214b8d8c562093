//! Spaces repeated tries.

use std::time::Duration;

use crate::config::PluginCalls;

/// The pause after try number `n`, counted from 0: doubled each time, up to a limit.
pub(crate) fn pause(config: &PluginCalls, n: u32) -> Duration {
    let factor = 1_u32.checked_shl(n.min(30)).unwrap_or(u32::MAX);
    config.backoff_base.get().saturating_mul(factor).min(config.backoff_max.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let config = PluginCalls::default();
        assert_eq!(pause(&config, 0), config.backoff_base.get());
        assert_eq!(pause(&config, 2), config.backoff_base.get() * 4);
        assert_eq!(pause(&config, u32::MAX), config.backoff_max.get());
    }
}
