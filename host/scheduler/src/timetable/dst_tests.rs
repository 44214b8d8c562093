//! What happens when clocks are moved: a table, and every zone of the tz database against a slow oracle.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use proptest::prelude::*;

use super::cron::Fields;
use super::*;

fn ticks(text: &str, zone: &str, from: &str, n: usize) -> Vec<String> {
    let table = Timetable::parse(text, zone).unwrap();
    let tz = TimeZone::get(zone).unwrap();
    let start: jiff::Timestamp = from.parse().unwrap();
    let mut at = Timestamp(start.as_microsecond());
    let mut out = Vec::new();
    for _ in 0..n {
        at = table.next_after(at, Timestamp(0)).unwrap();
        let shown = jiff::Timestamp::from_microsecond(at.0).unwrap().to_zoned(tz.clone());
        out.push(shown.strftime("%m-%d %H:%M%:z").to_string());
    }
    out
}

#[test]
fn ticks_around_a_moved_clock() {
    // Berlin: 2024-03-31 02:00 becomes 03:00, 2024-10-27 03:00 becomes 02:00.
    let (spring, autumn) = ("2024-03-30T20:00:00Z", "2024-10-26T20:00:00Z");
    let berlin = "Europe/Berlin";
    for (text, zone, from, want) in [
        // A named time that does not exist: at the end of the gap. Two of them make one tick.
        ("30 2 * * *", berlin, spring, &["03-31 03:00+02:00", "04-01 02:30+02:00"][..]),
        ("0,30 2 * * *", berlin, spring, &["03-31 03:00+02:00", "04-01 02:00+02:00"]),
        ("0 2,3,14 * * *", berlin, spring, &["03-31 03:00+02:00", "03-31 14:00+02:00"]),
        ("15 2,3 * * *", berlin, spring, &["03-31 03:00+02:00", "03-31 03:15+02:00"]),
        ("30 1 * * *", berlin, spring, &["03-31 01:30+01:00", "04-01 01:30+02:00"]),
        // A named time that exists twice: the first of the two.
        ("30 2 * * *", berlin, autumn, &["10-27 02:30+02:00", "10-28 02:30+01:00"]),
        ("0 2,3 * * *", berlin, autumn, &["10-27 02:00+02:00", "10-27 03:00+01:00", "10-28 02:00+01:00"]),
        // Intervals follow the clock.
        ("0 * * * *", berlin, "2024-03-30T23:30:00Z", &["03-31 01:00+01:00", "03-31 03:00+02:00"]),
        (
            "30 * * * *",
            berlin,
            "2024-10-26T23:45:00Z",
            &["10-27 02:30+02:00", "10-27 02:30+01:00", "10-27 03:30+01:00"],
        ),
        ("*/30 2 * * *", berlin, spring, &["04-01 02:00+02:00", "04-01 02:30+02:00"]),
        (
            "*/30 2 * * *",
            berlin,
            autumn,
            &["10-27 02:00+02:00", "10-27 02:30+02:00", "10-27 02:00+01:00", "10-27 02:30+01:00"],
        ),
        // New York, where a day's midnight is not touched.
        (
            "30 2 * * *",
            "America/New_York",
            "2024-03-10T00:00:00Z",
            &["03-10 03:00-04:00", "03-11 02:30-04:00"],
        ),
        (
            "30 1 * * *",
            "America/New_York",
            "2024-11-03T00:00:00Z",
            &["11-03 01:30-04:00", "11-04 01:30-05:00"],
        ),
        // Midnight itself is gone in Beirut, and comes twice in Havana.
        ("0 0 * * *", "Asia/Beirut", "2024-03-30T12:00:00Z", &["03-31 01:00+03:00", "04-01 00:00+03:00"]),
        ("0 0 * * *", "America/Havana", "2024-11-03T00:00:00Z", &["11-03 00:00-04:00", "11-04 00:00-05:00"]),
        // Half an hour on Lord Howe.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2024-10-05T12:00:00Z",
            &["10-06 02:30+11:00", "10-07 02:15+11:00"],
        ),
        // A whole day was left out on Samoa.
        (
            "0 9 * * *",
            "Pacific/Apia",
            "2011-12-29T00:00:00Z",
            &["12-29 09:00-10:00", "12-31 00:00+14:00", "12-31 09:00+14:00"],
        ),
    ] {
        assert_eq!(ticks(text, zone, from, want.len()), want, "{text} in {zone}");
    }
}

const EXPRESSIONS: &[&str] = &[
    "* * * * *",
    "0 * * * *",
    "*/20 * * * *",
    "17 */2 * * *",
    "30 2 * * *",
    "0 0 * * *",
    "59 23 * * *",
    "0,30 0-4 * * *",
    "15 1,2,3 * * *",
    "5 0,1,2,3,22,23 * * sun,mon",
    "0 1 1,15,31 * *",
];

/// Every tick of a stretch of time, by looking at each of its minutes, and at each that its clocks left out.
fn slow_ticks(
    text: &str,
    zone: &TimeZone,
    from: jiff::Timestamp,
    to: jiff::Timestamp,
) -> BTreeSet<jiff::Timestamp> {
    let fields = Fields::parse(text).unwrap();
    let matches = |at: DateTime| fields.next_match(at) == Some(at);
    let mut out = BTreeSet::new();
    let minute = jiff::Span::new().minutes(1);
    let day = jiff::Span::new().days(2);
    let mut at = TimeZone::UTC.to_datetime(from).round(jiff::Unit::Minute).unwrap().checked_sub(day).unwrap();
    let end = TimeZone::UTC.to_datetime(to).checked_add(day).unwrap();
    while at < end {
        if matches(at) {
            match zone.to_ambiguous_timestamp(at).offset() {
                AmbiguousOffset::Unambiguous { offset } => drop(out.insert(offset.to_timestamp(at).unwrap())),
                AmbiguousOffset::Fold { before, after } => {
                    out.insert(before.to_timestamp(at).unwrap());
                    if fields.is_interval() {
                        out.insert(after.to_timestamp(at).unwrap());
                    }
                }
                AmbiguousOffset::Gap { before, .. } if !fields.is_interval() => {
                    // The clock was moved before it could show this; the change is the first one at or before.
                    let instant = before.to_timestamp(at).unwrap();
                    let late = instant.checked_add(jiff::Span::new().nanoseconds(1)).unwrap();
                    out.insert(zone.preceding(late).next().unwrap().timestamp());
                }
                AmbiguousOffset::Gap { .. } => {}
            }
        }
        at = at.checked_add(minute).unwrap();
    }
    out.retain(|tick| (from..to).contains(tick));
    out
}

fn compare(text: &str, name: &str, around: jiff::Timestamp) {
    let zone = TimeZone::get(name).unwrap();
    let span = jiff::Span::new().hours(14);
    let (from, to) = (around.checked_sub(span).unwrap(), around.checked_add(span).unwrap());
    let want: Vec<i64> =
        slow_ticks(text, &zone, from, to).into_iter().map(|tick| tick.as_microsecond()).collect();
    let table = Timetable::parse(text, name).unwrap();
    let (from, to) = (Timestamp(from.as_microsecond()), Timestamp(to.as_microsecond()));
    let found: Vec<i64> = table.ticks(from, to, Timestamp(0)).map(|tick| tick.0).collect();
    assert_eq!(found, want, "{text} in {name} around {around}");
}

/// 2025-01-01.
const NOW: i64 = 1_735_689_600;

#[test]
fn every_zone_fires_right_at_its_next_changes() {
    let now = jiff::Timestamp::from_second(NOW).unwrap();
    let (mut n_zones, mut n_changes) = (0, 0);
    for name in jiff::tz::db().available() {
        let zone = TimeZone::get(name.as_str()).unwrap();
        n_zones += 1;
        for (at, change) in zone.following(now).take(2).enumerate() {
            n_changes += 1;
            // Two expressions for each change; over all zones each meets every kind of change.
            for n in 0..2 {
                compare(
                    EXPRESSIONS[(n_zones + at * 5 + n * 7) % EXPRESSIONS.len()],
                    name.as_str(),
                    change.timestamp(),
                );
            }
        }
    }
    assert!(n_zones > 400 && n_changes > 200, "{n_zones} zones, {n_changes} changes");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ticks_of_any_zone_and_time_are_those_of_the_oracle(
        zone in 0usize..10_000,
        expression in 0..EXPRESSIONS.len(),
        second in 0i64..4_000_000_000,
        at_change in any::<bool>(),
    ) {
        let names: Vec<_> = jiff::tz::db().available().collect();
        let name = names[zone % names.len()].as_str();
        let tz = TimeZone::get(name).unwrap();
        let at = jiff::Timestamp::from_second(second).unwrap();
        let around = if at_change { tz.following(at).next().map_or(at, |change| change.timestamp()) } else { at };
        compare(EXPRESSIONS[expression], name, around);
    }

    #[test]
    fn ticks_only_move_on(expression in 0..EXPRESSIONS.len(), micros in 0i64..4_000_000_000_000_000) {
        let table = Timetable::parse(EXPRESSIONS[expression], "Europe/Berlin").unwrap();
        let first = table.next_after(Timestamp(micros), Timestamp(0)).unwrap();
        prop_assert!(first.0 > micros);
        // Nothing lies between, from wherever one looks.
        let middle = Timestamp(micros + (first.0 - micros) / 2);
        prop_assert_eq!(table.next_after(middle, Timestamp(0)).unwrap(), first);
        prop_assert_eq!(table.next_after(first.plus(-1), Timestamp(0)).unwrap(), first);
    }
}
