//! What the texts say, without time zones.

use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn shown(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.0).unwrap().to_string()
}

fn next(text: &str, after: &str) -> String {
    let table = Timetable::parse(text, "UTC").unwrap();
    table.next_after(at(after), Timestamp(0)).map(shown).unwrap_or_default()
}

#[test]
fn cron_finds_the_next_minute() {
    // What robfig/cron, the parser of flyteadmin, is known to answer for such expressions.
    for (text, after, want) in [
        ("* * * * *", "2012-07-09T14:45:00Z", "2012-07-09T14:46:00Z"),
        ("* * * * *", "2012-07-09T14:45:59.999999Z", "2012-07-09T14:46:00Z"),
        ("0/15 * * * *", "2012-07-09T14:45:00Z", "2012-07-09T15:00:00Z"),
        ("20-35/15 * * * *", "2012-07-09T15:45:00Z", "2012-07-09T16:20:00Z"),
        ("20-35/15 * * * *", "2012-07-09T16:20:00Z", "2012-07-09T16:35:00Z"),
        ("*/15 * * * *", "2012-07-09T23:46:00Z", "2012-07-10T00:00:00Z"),
        ("0 0 9 apr *", "2012-07-09T23:35:00Z", "2013-04-09T00:00:00Z"),
        ("0 0 */5 Apr,Aug,Oct *", "2012-07-09T23:35:00Z", "2012-08-01T00:00:00Z"),
        ("0 0 * Apr,Aug,Oct MON", "2012-07-09T23:35:00Z", "2012-08-06T00:00:00Z"),
        ("0 0 29 Feb ?", "2012-07-09T23:35:00Z", "2016-02-29T00:00:00Z"),
        ("0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
        ("59 23 31 12 *", "2012-12-31T23:59:00Z", "2013-12-31T23:59:00Z"),
        ("30 4 1,15 * *", "2024-02-15T04:30:00Z", "2024-03-01T04:30:00Z"),
        ("0 22 * * 1-5", "2024-05-03T22:00:00Z", "2024-05-06T22:00:00Z"),
        ("0 10 * * 7", "2024-05-01T00:00:00Z", "2024-05-05T10:00:00Z"),
        ("0 10 * * 5-7", "2024-05-04T10:00:00Z", "2024-05-05T10:00:00Z"),
        ("0 10 * * sun-mon", "2024-05-05T10:00:00Z", "2024-05-06T10:00:00Z"),
    ] {
        assert_eq!(next(text, after), want, "{text} after {after}");
    }
}

#[test]
fn a_day_of_either_kind_will_do_when_both_are_named() {
    // Friday or the 13th; the step makes the star a restriction too.
    for (text, after, want) in [
        ("0 0 13 * fri", "2024-09-10T00:00:00Z", "2024-09-13T00:00:00Z"),
        ("0 0 13 * fri", "2024-09-13T00:00:00Z", "2024-09-20T00:00:00Z"),
        ("0 0 * * fri", "2024-09-13T00:00:00Z", "2024-09-20T00:00:00Z"),
        ("0 0 13 * *", "2024-09-13T00:00:00Z", "2024-10-13T00:00:00Z"),
        ("0 0 */10 * sun", "2024-09-01T00:00:00Z", "2024-09-08T00:00:00Z"),
        ("0 0 */10 * sun", "2024-09-08T00:00:00Z", "2024-09-11T00:00:00Z"),
        ("0 0 13 * */1", "2024-09-10T00:00:00Z", "2024-09-13T00:00:00Z"),
    ] {
        assert_eq!(next(text, after), want, "{text} after {after}");
    }
}

#[test]
fn words_of_cron_and_of_flytekit_mean_the_same() {
    let after = "2024-05-15T10:20:30Z";
    for (words, want) in [
        (&["@hourly", "hourly", "hours", "HOURLY"][..], "2024-05-15T11:00:00Z"),
        (&["@daily", "daily", "days", "@midnight"], "2024-05-16T00:00:00Z"),
        (&["@weekly", "weekly", "weeks"], "2024-05-19T00:00:00Z"),
        (&["@monthly", "monthly", "months"], "2024-06-01T00:00:00Z"),
        (&["@yearly", "yearly", "years", "@annually", "annually"], "2025-01-01T00:00:00Z"),
    ] {
        for word in words {
            assert_eq!(next(word, after), want, "{word}");
        }
    }
}

#[test]
fn years_and_weekdays_of_aws_are_understood() {
    for (text, after, want) in [
        ("cron(0 10 * * ? *)", "2024-05-15T10:00:00Z", "2024-05-16T10:00:00Z"),
        ("cron(15 12 ? * 2 *)", "2024-05-15T00:00:00Z", "2024-05-20T12:15:00Z"),
        ("cron(0 18 ? * MON-FRI *)", "2024-05-17T18:00:00Z", "2024-05-20T18:00:00Z"),
        ("cron(0 8 1 * ? 2026,2030-2031)", "2026-12-01T08:00:00Z", "2030-01-01T08:00:00Z"),
        ("cron(0 8 1 1 ? 2024/2)", "2024-05-15T00:00:00Z", "2026-01-01T08:00:00Z"),
        ("cron(0 8 1 1 ? 2199)", "2024-05-15T00:00:00Z", "2199-01-01T08:00:00Z"),
        ("cron(0 8 1 1 ? 2020)", "2024-05-15T00:00:00Z", ""),
    ] {
        assert_eq!(next(text, after), want, "{text} after {after}");
    }
}

#[test]
fn rates_keep_the_phase_of_their_anchor() {
    let anchor = at("2024-05-15T10:20:30.987654Z");
    for (text, after, want) in [
        ("rate(15 minutes)", "2024-05-15T10:20:31Z", "2024-05-15T10:35:30Z"),
        ("rate(15 minutes)", "2024-05-15T10:35:30Z", "2024-05-15T10:50:30Z"),
        ("rate(1 day)", "2026-01-01T00:00:00Z", "2026-01-01T10:20:30Z"),
        ("@every 1h30m", "2024-05-15T10:20:30Z", "2024-05-15T11:50:30Z"),
        ("@every 5s", "2024-05-15T10:20:32Z", "2024-05-15T10:20:35Z"),
        // Also before the anchor, for backfills.
        ("rate(1 hour)", "2024-05-15T08:00:00Z", "2024-05-15T08:20:30Z"),
    ] {
        let table = Timetable::parse(text, "UTC").unwrap();
        assert_eq!(table.next_after(at(after), anchor).map(shown).as_deref(), Some(want), "{text} {after}");
    }
}

#[test]
fn an_offset_moves_every_tick() {
    for (text, want) in [
        ("0 8 * * * offset(PT30M)", "2024-05-15T08:30:00Z"),
        ("0 8 * * * offset(-PT1H)", "2024-05-15T07:00:00Z"),
        ("daily offset(P1DT2H)", "2024-05-15T02:00:00Z"),
    ] {
        assert_eq!(next(text, "2024-05-15T01:00:00Z"), want, "{text}");
    }
}

#[test]
fn what_never_fires_or_can_not_be_read_is_refused() {
    for text in [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "a * * * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "1,,2 * * * *",
        "+5 * * * *",
        "1-2-3 * * * *",
        "* * L * *",
        "* * * * 5#3",
        "* * 15W * *",
        "@never",
        "@every",
        "@every 0s",
        "@every 1500ms",
        "@every x",
        "@reboot",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "rate(0 minutes)",
        "rate(5 weeks)",
        "rate(-1 hours)",
        "rate(99999999999999 days)",
        "cron(0 10 * * *)",
        "cron(0 10 * * ? 1969)",
        "CRON_TZ=Europe/Berlin",
        "CRON_TZ=Mars/Base 0 8 * * *",
        "0 8 * * * offset(P1M)",
        "0 8 * * * offset(1h)",
    ] {
        assert!(Timetable::parse(text, "UTC").is_err(), "{text}");
    }
    let error = Timetable::parse("0 25 * * *", "UTC").unwrap_err().to_string();
    assert!(error.contains("hour") && error.contains("0-23") && error.contains("0 25"), "{error}");
    let error = Timetable::parse("0 8 * * *", "Nowhere/City").unwrap_err().to_string();
    assert!(error.contains("Nowhere/City"), "{error}");
}

#[test]
fn a_range_of_ticks_holds_its_start_and_not_its_end() {
    let table = Timetable::parse("0 */6 * * *", "UTC").unwrap();
    let found: Vec<String> = table
        .ticks(at("2024-05-15T00:00:00Z"), at("2024-05-15T18:00:00Z"), Timestamp(0))
        .map(shown)
        .collect();
    assert_eq!(found, ["2024-05-15T00:00:00Z", "2024-05-15T06:00:00Z", "2024-05-15T12:00:00Z"]);
}

#[test]
fn a_zone_named_in_the_text_wins() {
    let table = Timetable::parse("CRON_TZ=Asia/Tokyo 0 8 * * *", "Europe/Berlin").unwrap();
    assert_eq!(table.timezone(), Some("Asia/Tokyo"));
    assert_eq!(
        table.next_after(at("2024-05-15T00:00:00Z"), Timestamp(0)).map(shown).unwrap(),
        "2024-05-15T23:00:00Z"
    );
    assert_eq!(Timetable::parse("TZ=UTC daily", "Europe/Berlin").unwrap().timezone(), Some("UTC"));
    assert_eq!(Timetable::parse("daily", "Europe/Berlin").unwrap().timezone(), Some("Europe/Berlin"));
    assert_eq!(Timetable::parse("rate(1 hour)", "Europe/Berlin").unwrap().timezone(), None);
}
