//! Hashes Google's well-known types, which have JSON forms of their own. Pure.

use prost_types::value::Kind;
use prost_types::{Duration, Struct, Timestamp, Value};

use super::objecthash::{self, Hash};
use super::{HashError, Result, field};

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// Ten thousand years.
const MAX_DURATION: i64 = 315_576_000_000;
const NANOS: i32 = 1_000_000_000;

/// A JSON object.
pub(crate) fn structure(value: &Struct) -> Result<Hash> {
    field::map(value.fields.iter(), any)
}

fn any(value: &Value) -> Result<Hash> {
    match &value.kind {
        None => Err(HashError::NoKind),
        Some(Kind::NullValue(_)) => Ok(objecthash::null()),
        Some(Kind::NumberValue(value)) => Ok(objecthash::number(*value)),
        Some(Kind::StringValue(value)) => Ok(objecthash::text(value)),
        Some(Kind::BoolValue(value)) => Ok(objecthash::boolean(*value)),
        Some(Kind::StructValue(value)) => structure(value),
        Some(Kind::ListValue(list)) => field::list(&list.values, any),
    }
}

/// RFC 3339 in UTC.
pub(crate) fn timestamp(value: &Timestamp) -> Result<Hash> {
    let Timestamp { seconds, nanos } = *value;
    let out_of_range = HashError::Timestamp { seconds, nanos };
    if !SECONDS.contains(&seconds) || !(0..NANOS).contains(&nanos) {
        return Err(out_of_range);
    }
    // Not `jiff::Timestamp`, which leaves out the last day.
    let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
    let time = epoch.checked_add(jiff::SignedDuration::from_secs(seconds)).map_err(|_| out_of_range)?;
    Ok(objecthash::text(&format!("{time}{}Z", fraction(nanos.unsigned_abs()))))
}

/// Seconds and an `s`.
pub(crate) fn duration(value: &Duration) -> Result<Hash> {
    let Duration { seconds, nanos } = *value;
    let has_two_signs = (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0);
    if seconds.abs() > MAX_DURATION || nanos <= -NANOS || nanos >= NANOS || has_two_signs {
        return Err(HashError::Duration { seconds, nanos });
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let fraction = fraction(nanos.unsigned_abs());
    Ok(objecthash::text(&format!("{sign}{}{fraction}s", seconds.abs())))
}

/// A point and 3, 6 or 9 digits; nothing for 0.
fn fraction(nanos: u32) -> String {
    match nanos {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
        n => format!(".{n:09}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        let of = |seconds, nanos| timestamp(&Timestamp { seconds, nanos });
        for (seconds, nanos, shown) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (1, 500_000_000, "1970-01-01T00:00:01.500Z"),
            (-1, 1_000, "1969-12-31T23:59:59.000001Z"),
            (1_700_000_000, 123_456_789, "2023-11-14T22:13:20.123456789Z"),
            (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
            (253_402_300_799, 999_000_000, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(of(seconds, nanos), Ok(objecthash::text(shown)), "{shown}");
        }
        for (seconds, nanos) in [(0, -1), (0, NANOS), (253_402_300_800, 0), (i64::MIN, 0)] {
            assert_eq!(of(seconds, nanos), Err(HashError::Timestamp { seconds, nanos }));
        }
    }

    #[test]
    fn durations_are_seconds() {
        let of = |seconds, nanos| duration(&Duration { seconds, nanos });
        for (seconds, nanos, shown) in [
            (0, 0, "0s"),
            (90, 0, "90s"),
            (0, -500_000_000, "-0.500s"),
            (-3, -1, "-3.000000001s"),
            (1, 2_000, "1.000002s"),
        ] {
            assert_eq!(of(seconds, nanos), Ok(objecthash::text(shown)), "{shown}");
        }
        for (seconds, nanos) in [(1, -1), (-1, 1), (0, NANOS), (MAX_DURATION + 1, 0), (i64::MAX, 0)] {
            assert!(of(seconds, nanos).is_err(), "{seconds} {nanos}");
        }
    }

    #[test]
    fn a_value_of_no_kind_has_no_hash() {
        let fields = [("a".to_owned(), Value { kind: None })].into();
        assert_eq!(structure(&Struct { fields }), Err(HashError::NoKind));
    }
}
