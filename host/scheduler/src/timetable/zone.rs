//! Finds the next tick of a cron in a time zone, stretch by stretch between the changes of its clock.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::cron::Fields;

/// The first tick after a time.
pub(super) fn next_after(
    fields: &Fields,
    zone: &TimeZone,
    after: model::Timestamp,
) -> Option<model::Timestamp> {
    let after = Timestamp::from_microsecond(after.0).ok()?;
    let found = search(fields, zone, after)?;
    Some(model::Timestamp(found.as_microsecond()))
}

fn search(fields: &Fields, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let nano = Span::new().nanoseconds(1);
    let mut offset = zone.to_offset(after);
    let mut start = after;
    // The clock is past the minute it shows, so that the tick comes after the time given.
    let mut from = offset.to_datetime(after).checked_add(nano).ok()?;
    let last_year = fields.last_year(from);
    // Up to here a clock that was set back shows what it has shown before.
    let mut seen = match zone.preceding(after.checked_add(nano).ok()?).next() {
        Some(change) => {
            let change = change.timestamp();
            zone.to_offset(change.checked_sub(nano).ok()?).to_datetime(change)
        }
        None => DateTime::MIN,
    };
    loop {
        let first = if fields.is_interval() { from } else { from.max(seen) };
        let found = offset.to_timestamp(fields.next_match(first)?).ok();
        let Some(change) = zone.following(start).next() else { return found };
        let change = change.timestamp();
        if found.is_some_and(|found| found < change) {
            return found;
        }
        let before = offset.to_datetime(change);
        offset = zone.to_offset(change);
        let behind = offset.to_datetime(change);
        let swallowed = || fields.next_match(before).is_some_and(|found| found < behind);
        if !fields.is_interval() && before < behind && swallowed() {
            return Some(change);
        }
        if behind.year() > last_year.saturating_add(1) {
            return None;
        }
        (start, from, seen) = (change, behind, before);
    }
}
