//! Schedules fire in time, once, and go on after whatever happens.

use model::Timestamp;
use proto::flyteidl::admin::{ConcurrencyPolicy, LaunchPlanClosure, LaunchPlanSpec};
use store::{NewSchedule, ProjectRow};

use crate::clock::{DAY, HOUR, MINUTE, START};
use crate::world::{DOMAIN, on_each, timing, world};

/// `core.WorkflowExecution.Phase`.
const SUCCEEDED: i32 = 4;

fn after(hours: &[i64]) -> Vec<Timestamp> {
    hours.iter().map(|n| START.plus(n * HOUR)).collect()
}

#[tokio::test]
async fn ticks_are_fired_when_they_come() {
    let world = world().await;
    let host = world.host("h");
    world.schedule("hourly", "0 * * * *").await;
    world.schedule("rate", "rate(90 minutes)").await;
    world.settle().await;
    assert_eq!(world.started().await, [], "nothing is due yet");
    for _ in 0..12 {
        world.advance(15 * MINUTE).await;
    }
    assert_eq!(world.ticks("hourly").await, after(&[1, 2, 3]));
    assert_eq!(world.ticks("rate").await, [START.plus(90 * MINUTE), START.plus(180 * MINUTE)]);
    let row = world.row("hourly").await;
    assert_eq!(
        (row.n_fired, row.last_at, row.next_at),
        (3, Some(START.plus(3 * HOUR)), Some(START.plus(4 * HOUR)))
    );
    assert_eq!(row.last_execution, scheduler::of_tick(&row.plan, START.plus(3 * HOUR)));
    host.stop().await;
    assert_eq!(world.store.leader_get("scheduler").await.unwrap(), None, "leadership was given up");
}

#[tokio::test]
async fn activation_deactivation_and_new_versions_count_at_once() {
    let world = world().await;
    let host = world.host("h");
    world.schedule("lp", "rate(1 hours)").await;
    world.advance(90 * MINUTE).await;
    // The same rate goes on in its phase, the new version is what runs.
    let hourly = NewSchedule { timing: timing("rate(1 hours)"), ..NewSchedule::default() };
    world.activate("lp", "v2", hourly).await;
    world.settle().await;
    world.advance(30 * MINUTE).await;
    let versions: Vec<String> =
        world.started().await.iter().map(|started| started.plan.version.clone()).collect();
    assert_eq!(versions, ["v1", "v2"]);
    assert_eq!(world.ticks("lp").await, after(&[1, 2]));
    let v2 = world.row("lp").await.plan;
    world.store.launch_plan_set_state(&v2, 0, world.now()).await.unwrap();
    world.advance(5 * HOUR).await;
    assert_eq!(world.ticks("lp").await, after(&[1, 2]));
    // Activated again, it counts from then.
    world.clock.advance(10 * MINUTE);
    let again = NewSchedule { timing: timing("rate(1 hours)"), ..NewSchedule::default() };
    world.store.launch_plan_activate(&v2, Some(&again), world.now()).await.unwrap();
    world.settle().await;
    world.advance(HOUR).await;
    assert_eq!(world.ticks("lp").await.last(), Some(&START.plus(8 * HOUR + 10 * MINUTE)));
    host.stop().await;
}

#[tokio::test]
async fn missed_ticks_are_caught_up_as_each_schedule_wants() {
    let world = world().await;
    let host = world.host("h");
    for policy in ["none", "latest", "all"] {
        let new = NewSchedule { timing: timing("0 * * * *"), catch_up: policy.to_owned() };
        world.activate(policy, "v1", new).await;
    }
    world.advance(HOUR).await;
    host.kill().await;
    world.clock.advance(4 * HOUR + 20 * MINUTE);
    let host = world.host("h");
    world.settle().await;
    assert_eq!(world.ticks("none").await, after(&[1]));
    assert_eq!(world.ticks("latest").await, after(&[1, 5]));
    assert_eq!(world.ticks("all").await, after(&[1, 2, 3, 4, 5]));
    let skipped = async |name| world.row(name).await.n_skipped;
    assert_eq!((skipped("none").await, skipped("latest").await, skipped("all").await), (4, 3, 0));
    world.advance(40 * MINUTE).await;
    for policy in ["none", "latest", "all"] {
        assert_eq!(world.ticks(policy).await.last(), Some(&START.plus(6 * HOUR)), "{policy}");
    }
    host.stop().await;
}

#[tokio::test]
async fn pauses_leave_ticks_out() {
    let world = world().await;
    let host = world.host("h");
    world.schedule("a", "0 * * * *").await;
    world.schedule("b", "0 * * * *").await;
    world.advance(HOUR).await;
    let a = ("p", DOMAIN, "a");
    world.store.schedule_set_paused(a, true, "me", world.now()).await.unwrap();
    world.advance(2 * HOUR).await;
    world.store.schedule_set_paused(a, false, "", world.now()).await.unwrap();
    world.advance(HOUR).await;
    assert_eq!(world.ticks("a").await, after(&[1, 4]));
    assert_eq!(world.ticks("b").await, after(&[1, 2, 3, 4]));

    world.store.schedule_gate_set_paused(true, "me", world.now()).await.unwrap();
    world.clock.advance(2 * HOUR);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(world.ticks("b").await, after(&[1, 2, 3, 4]));
    world.store.schedule_gate_set_paused(false, "", world.now()).await.unwrap();
    world.settle().await;
    world.advance(HOUR).await;
    assert_eq!(world.ticks("a").await, after(&[1, 4, 7]));
    assert_eq!(world.ticks("b").await, after(&[1, 2, 3, 4, 7]));
    host.stop().await;
}

#[tokio::test]
async fn a_tick_that_can_not_be_started_is_written_down_and_holds_up_nobody() {
    let world = world().await;
    let host = world.host("h");
    world.schedule("good", "0 * * * *").await;
    world.schedule("bad", "0 * * * *").await;
    world.ledger.fail("bad", [launch::Error::InactiveProject { project: "p".to_owned() }]);
    world.advance(HOUR).await;
    let bad = world.row("bad").await;
    assert_eq!((bad.n_failed, bad.n_fired, bad.error_at), (1, 0, Some(START.plus(HOUR))));
    assert!(bad.error.contains("not active"), "{}", bad.error);
    world.advance(HOUR).await;
    assert_eq!(world.ticks("bad").await, after(&[2]));
    assert_eq!(world.ticks("good").await, after(&[1, 2]));
    host.stop().await;
}

#[tokio::test]
async fn a_project_that_is_archived_starts_nothing_until_it_is_not() {
    let world = world().await;
    let host = world.host("h");
    world.schedule("lp", "0 * * * *").await;
    let project = |state| ProjectRow {
        id: "p".to_owned(),
        name: "p".to_owned(),
        description: String::new(),
        labels: Vec::new(),
        state,
        created_at: Timestamp(0),
    };
    world.store.project_update(&project(1)).await.unwrap();
    world.advance(HOUR).await;
    assert_eq!((world.row("lp").await.n_failed, world.started().await.len()), (1, 0));
    world.store.project_update(&project(0)).await.unwrap();
    world.advance(HOUR).await;
    assert_eq!(world.ticks("lp").await, after(&[2]));
    host.stop().await;
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let world = world().await;
    let host = world.host("h");
    world.schedule("lp", "0 0 * * *").await;
    let busy = || launch::Error::Store(store::Error::Timeout);
    world.ledger.fail("lp", [busy(), busy(), busy()]);
    world.advance(14 * HOUR).await;
    let row = world.row("lp").await;
    assert_eq!((row.tries, row.next_at), (1, Some(START.plus(14 * HOUR))));
    assert!(row.error.contains("cannot reach the store"), "{}", row.error);
    for seconds in [1, 2, 4] {
        assert_eq!(world.started().await, []);
        world.advance(seconds * 1_000_000).await;
    }
    assert_eq!(world.ticks("lp").await, after(&[14]));
    let row = world.row("lp").await;
    assert_eq!((row.tries, row.n_fired, row.n_failed), (0, 1, 0));
    host.stop().await;
}

#[tokio::test]
async fn a_tick_beyond_the_concurrency_limit_is_left_out_or_waits_as_the_policy_says() {
    on_each(async |world| {
        let host = world.host("h");
        for (name, behavior) in [("skips", 1), ("waits", 0), ("gives-up", 0)] {
            let policy = Some(ConcurrencyPolicy { max: 1, behavior });
            let spec = LaunchPlanSpec { concurrency_policy: policy, ..LaunchPlanSpec::default() };
            let id = world.register_with(name, "v1", spec, LaunchPlanClosure::default()).await;
            let new = NewSchedule { timing: timing("0 */2 * * *"), ..NewSchedule::default() };
            world.store.launch_plan_activate(&id, Some(&new), world.now()).await.unwrap();
        }
        world.advance(2 * HOUR).await;
        world.advance(2 * HOUR).await;
        let (skips, waits) = (world.row("skips").await, world.row("waits").await);
        assert_eq!((skips.n_fired, skips.n_skipped, skips.n_failed), (1, 1, 0));
        assert_eq!((skips.error_at, skips.next_at), (Some(START.plus(4 * HOUR)), Some(START.plus(6 * HOUR))));
        assert!(
            skips.error.starts_with("left out: ") && skips.error.contains("concurrency"),
            "{}",
            skips.error
        );
        assert_eq!((waits.n_fired, waits.n_skipped, waits.tries), (1, 0, 1));
        assert_eq!(waits.next_at, Some(START.plus(4 * HOUR)), "the tick waits");

        world.end(&waits.last_execution, SUCCEEDED).await;
        world.advance(MINUTE).await;
        assert_eq!(world.ticks("waits").await, after(&[2, 4]));
        // Nobody waits for ever.
        for _ in 0..70 {
            world.advance(MINUTE).await;
        }
        let gave_up = world.row("gives-up").await;
        assert_eq!((gave_up.n_fired, gave_up.n_skipped, gave_up.n_failed), (1, 1, 0));
        assert_eq!(gave_up.next_at, Some(START.plus(6 * HOUR)));
        host.stop().await;
    })
    .await;
}

#[tokio::test]
async fn schedules_that_can_not_be_read_rest_with_their_error() {
    let world = world().await;
    let host = world.host("h");
    world.schedule("odd", "every full moon").await;
    world.schedule("over", "cron(0 8 1 1 ? 2020)").await;
    world.schedule("lp", "0 * * * *").await;
    world.advance(HOUR).await;
    let odd = world.row("odd").await;
    assert!(odd.error.contains("5 fields") && odd.due_at.is_none(), "{odd:?}");
    assert_eq!(world.row("over").await.due_at, None);
    assert_eq!(world.ticks("lp").await, after(&[1]));
    host.stop().await;
}

#[tokio::test]
async fn a_tick_of_a_new_version_meets_the_execution_of_the_old_one() {
    let world = world().await;
    // Killed after the start, before the row was moved on.
    let host = world.doomed_host("h", 3);
    world.schedule("lp", "0 0 * * *").await;
    world.settle().await;
    world.clock.advance(DAY);
    world.until("the crash", async || host.has_crashed()).await;
    let fired = world.started().await;
    assert_eq!(fired.len(), 1);
    let daily = NewSchedule { timing: timing("0 0 * * *"), ..NewSchedule::default() };
    world.activate("lp", "v2", daily).await;
    let host = world.host("h");
    world.settle().await;
    assert_eq!(world.started().await, fired);
    assert_eq!(world.row("lp").await.n_fired, 1);
    host.stop().await;
}
