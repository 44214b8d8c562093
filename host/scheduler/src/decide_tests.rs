//! What becomes of a schedule, by table.

use model::{EntityId, EntityKind};
use proptest::prelude::*;
use store::{ScheduleKey, Timing};

use super::*;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;

/// 2024-05-15T10:00:00Z.
const TEN: Timestamp = Timestamp(1_715_767_200_000_000);

fn row(catch_up: &str) -> ScheduleRow {
    let text = |text: &str| text.to_owned();
    ScheduleRow {
        key: ScheduleKey(1),
        revision: 1,
        plan: EntityId {
            kind: EntityKind::LaunchPlan,
            project: text("p"),
            domain: text("d"),
            name: text("lp"),
            version: text("v1"),
        },
        timing: Timing { expression: text("0 * * * *"), ..Timing::default() },
        catch_up: text(catch_up),
        anchor: TEN,
        not_before: TEN,
        next_at: None,
        due_at: Some(TEN),
        last_at: None,
        last_execution: String::new(),
        tries: 0,
        error: String::new(),
        error_at: None,
        n_fired: 0,
        n_failed: 0,
        n_skipped: 0,
        paused_at: None,
        paused_by: String::new(),
        created_at: TEN,
        updated_at: TEN,
    }
}

fn decide_with(config: &Config, expression: &str, row: ScheduleRow, now: Timestamp) -> Decision {
    let table = Timetable::parse(expression, "UTC").unwrap();
    Rules { table: &table, config, not_before: Timestamp(0) }.decide(row, now)
}

/// The tick in hours after ten, whether it is fired now, and how many were left out before it.
fn hours(row: ScheduleRow, now: i64) -> (Option<i64>, bool, i64) {
    let since_ten = |tick: Timestamp| (tick.0 - TEN.0) / HOUR;
    match decide_with(&Config::default(), "0 * * * *", row, TEN.plus(now)) {
        Decision::Fire(tick, row) => (Some(since_ten(tick)), true, row.n_skipped),
        Decision::Rest(row) => {
            assert_eq!(row.next_at, row.due_at);
            (row.next_at.map(since_ten), false, row.n_skipped)
        }
    }
}

#[test]
fn ticks_in_time_are_fired_and_others_awaited() {
    let at = |next: i64| ScheduleRow { next_at: Some(TEN.plus(next * HOUR)), ..row("") };
    // Right after the activation at ten sharp: ten itself is over.
    assert_eq!(hours(row(""), 0), (Some(1), false, 0));
    assert_eq!(hours(at(1), HOUR - 1), (Some(1), false, 0));
    assert_eq!(hours(at(1), HOUR), (Some(1), true, 0));
    // Late, but not yet missed: whatever is said of missed ones.
    for policy in ["", "none", "latest", "all"] {
        let row = ScheduleRow { catch_up: policy.to_owned(), ..at(1) };
        assert_eq!(hours(row, HOUR + MINUTE), (Some(1), true, 0), "{policy}");
    }
    // Fired ticks lead on to the next.
    let table = Timetable::parse("0 * * * *", "UTC").unwrap();
    let config = Config::default();
    let rules = Rules { table: &table, config: &config, not_before: Timestamp(0) };
    let fired = rules.fired(at(1), TEN.plus(HOUR), "f1".to_owned(), TEN.plus(HOUR + 5));
    assert_eq!((fired.next_at, fired.due_at), (Some(TEN.plus(2 * HOUR)), Some(TEN.plus(2 * HOUR))));
    assert_eq!(
        (fired.last_at, fired.n_fired, fired.last_execution.as_str()),
        (Some(TEN.plus(HOUR)), 1, "f1")
    );
}

#[test]
fn missed_ticks_go_by_the_policy() {
    let at = |policy: &str| ScheduleRow { next_at: Some(TEN.plus(HOUR)), ..row(policy) };
    let half_past_five = 5 * HOUR + 30 * MINUTE;
    assert_eq!(hours(at("none"), half_past_five), (Some(6), false, 5));
    assert_eq!(hours(at("latest"), half_past_five), (Some(5), true, 4));
    assert_eq!(hours(at("all"), half_past_five), (Some(1), true, 0));
    assert_eq!(hours(at(""), half_past_five), (Some(1), true, 0), "all, unless said otherwise");
    // The latest is not a missed one here.
    assert_eq!(hours(at("none"), 5 * HOUR + MINUTE), (Some(5), true, 4));
    assert_eq!(hours(at("latest"), 5 * HOUR + MINUTE), (Some(5), true, 4));
}

#[test]
fn catching_up_has_a_limit() {
    let config = Config { max_catch_up: 3, ..Config::default() };
    let at = |next: i64| ScheduleRow { next_at: Some(TEN.plus(next * HOUR)), ..row("all") };
    let fire = |row, now: i64| match decide_with(&config, "0 * * * *", row, TEN.plus(now)) {
        Decision::Fire(tick, row) => ((tick.0 - TEN.0) / HOUR, row.n_skipped),
        Decision::Rest(row) => panic!("{row:?}"),
    };
    assert_eq!(fire(at(1), 3 * HOUR + 30 * MINUTE), (1, 0));
    assert_eq!(fire(at(1), 4 * HOUR + 30 * MINUTE), (2, 1));
    assert_eq!(fire(at(1), 1000 * HOUR + 30 * MINUTE), (998, 997));
    // Far away and rare: found by ever wider windows.
    let yearly = decide_with(
        &config,
        "@yearly",
        ScheduleRow { next_at: Some(TEN), ..row("latest") },
        TEN.plus(24 * HOUR * 700),
    );
    assert!(
        matches!(yearly, Decision::Fire(tick, _) if tick == Timestamp(1_767_225_600_000_000)),
        "{yearly:?}"
    );
}

#[test]
fn what_comes_before_a_pause_ends_is_left_out_silently() {
    let mut resumed = row("all");
    resumed.not_before = TEN.plus(3 * HOUR + 1);
    assert_eq!(hours(resumed.clone(), 3 * HOUR + 1), (Some(4), false, 0));
    resumed.next_at = Some(TEN.plus(HOUR));
    assert_eq!(hours(resumed, 10 * HOUR), (Some(4), true, 0));
    let table = Timetable::parse("0 * * * *", "UTC").unwrap();
    let config = Config::default();
    let rules = Rules { table: &table, config: &config, not_before: TEN.plus(7 * HOUR) };
    // The tick of the very moment is over, as it is for an activation.
    let now_due = ScheduleRow { next_at: Some(TEN.plus(7 * HOUR)), ..row("all") };
    assert!(matches!(rules.decide(now_due, TEN.plus(7 * HOUR)), Decision::Rest(row)
        if row.next_at == Some(TEN.plus(8 * HOUR))));
    let due = ScheduleRow { next_at: Some(TEN.plus(HOUR)), ..row("all") };
    assert!(matches!(rules.decide(due, TEN.plus(9 * HOUR)), Decision::Fire(tick, row)
        if tick == TEN.plus(8 * HOUR) && row.n_skipped == 0));
}

#[test]
fn ticks_that_could_not_be_started_are_tried_again_later_and_later() {
    let table = Timetable::parse("0 * * * *", "UTC").unwrap();
    let config = Config::default();
    let rules = Rules { table: &table, config: &config, not_before: Timestamp(0) };
    let tick = TEN.plus(HOUR);
    let mut row = ScheduleRow { next_at: Some(tick), ..row("latest") };
    for (tries, seconds) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (8, 60)] {
        row = rules.put_off(row, tick, "busy".to_owned(), tick);
        assert_eq!((row.tries, row.due_at), (tries, Some(tick.plus(seconds * 1_000_000))));
        assert_eq!((row.next_at, row.error.as_str(), row.error_at), (Some(tick), "busy", Some(tick)));
    }
    assert!(
        matches!(rules.decide(row.clone(), tick.plus(30 * MINUTE)), Decision::Fire(found, _) if found == tick)
    );
    // The next tick comes due before it could be fired: now it is one of the missed ones.
    let late = rules.decide(row.clone(), tick.plus(HOUR));
    assert!(
        matches!(&late, Decision::Fire(found, row) if *found == tick.plus(HOUR) && row.n_skipped == 1 && row.tries == 0)
    );
    let failed = rules.failed(row, tick, "no".to_owned(), tick);
    assert_eq!((failed.n_failed, failed.tries, failed.next_at), (1, 0, Some(tick.plus(HOUR))));
}

#[test]
fn schedules_without_a_tick_rest() {
    let over = decide_with(&Config::default(), "cron(0 8 1 1 ? 2020)", row(""), TEN);
    assert!(matches!(&over, Decision::Rest(row) if row.next_at.is_none() && row.due_at.is_none()));
    let broken = unreadable(ScheduleRow { next_at: Some(TEN), ..row("") }, "x".to_owned(), TEN);
    assert_eq!((broken.due_at, broken.error.as_str()), (None, "x"));
}

proptest! {
    /// Whatever is decided, ticks are fired in order, none twice, and with `all` none is left out below the limit.
    #[test]
    fn every_tick_is_fired_or_counted(
        policy in prop::sample::select(vec!["none", "latest", "all"]),
        expression in prop::sample::select(vec!["* * * * *", "*/7 * * * *", "0 */3 * * *", "@every 40s", "rate(11 minutes)"]),
        naps in prop::collection::vec(1i64..20_000, 1..20),
    ) {
        let config = Config { max_catch_up: 100, ..Config::default() };
        let table = Timetable::parse(expression, "UTC").unwrap();
        let rules = Rules { table: &table, config: &config, not_before: Timestamp(0) };
        let mut row = row(policy);
        let mut now = TEN;
        let mut last = TEN;
        for nap in naps {
            now = now.plus(nap * 1_000_000);
            loop {
                match rules.decide(row, now) {
                    Decision::Fire(tick, decided) => {
                        prop_assert!(tick > last && tick <= now);
                        last = tick;
                        row = rules.fired(decided, tick, String::new(), now);
                    }
                    Decision::Rest(decided) => {
                        prop_assert!(decided.due_at.unwrap() > now);
                        row = decided;
                        break;
                    }
                }
            }
            let n_ticks = table.ticks(TEN.plus(1), now.plus(1), TEN).count() as i64;
            prop_assert_eq!(row.n_fired + row.n_skipped, n_ticks);
        }
        if policy == "all" && row.n_fired < 100 {
            prop_assert_eq!(row.n_skipped, 0);
        }
    }
}
