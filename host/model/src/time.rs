//! Counts time in microseconds since the Unix epoch, the one unit in store and engine.

use prost_types::{Duration as ProtoDuration, Timestamp as ProtoTimestamp};

/// Microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The current time. Pure rooms never call it: they are given `now`.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// The wire form.
    pub fn to_proto(self) -> ProtoTimestamp {
        ProtoTimestamp {
            seconds: self.0.div_euclid(1_000_000),
            nanos: (self.0.rem_euclid(1_000_000) * 1000) as i32,
        }
    }

    /// Reads the wire form, cutting below a microsecond.
    pub fn from_proto(t: &ProtoTimestamp) -> Self {
        Self(t.seconds.saturating_mul(1_000_000).saturating_add(i64::from(t.nanos) / 1000))
    }

    /// The time `micros` later.
    #[must_use]
    pub fn plus(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds since `earlier`, never negative.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).max(0)
    }
}

/// Microseconds of a wire duration.
pub fn duration_micros(d: &ProtoDuration) -> i64 {
    d.seconds.saturating_mul(1_000_000).saturating_add(i64::from(d.nanos) / 1000)
}

/// The wire form of a duration in microseconds.
pub fn duration_to_proto(micros: i64) -> ProtoDuration {
    ProtoDuration { seconds: micros / 1_000_000, nanos: ((micros % 1_000_000) * 1000) as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_survive_the_wire() {
        for micros in [0, 1, 999_999, 1_700_000_000_123_456, -1, -1_000_001] {
            assert_eq!(Timestamp::from_proto(&Timestamp(micros).to_proto()), Timestamp(micros), "{micros}");
        }
    }

    #[test]
    fn durations_survive_the_wire() {
        for micros in [0, 1, 1_500_000, 86_400_000_000] {
            assert_eq!(duration_micros(&duration_to_proto(micros)), micros);
        }
    }
}
