//! Backfills: their order, parallelism, ends, pauses and cancellations.

use model::Timestamp;
use scheduler::{Backfill, Order};
use store::{BackfillState, TickRow, TickState};

use crate::clock::{HOUR, START};
use crate::world::{DOMAIN, Host, World, on_each, world};

/// `core.WorkflowExecution.Phase`.
const SUCCEEDED: i32 = 4;
const FAILED: i32 = 6;
const ABORTED: i32 = 7;

fn wish(hours: i64) -> Backfill {
    Backfill {
        project: "p".to_owned(),
        domain: DOMAIN.to_owned(),
        launch_plan: "lp".to_owned(),
        version: Some("v1".to_owned()),
        from: START.plus(-hours * HOUR),
        to: START,
        schedule: Some("0 * * * *".to_owned()),
        parallelism: Some(2),
        ..Backfill::default()
    }
}

struct Run {
    world: World,
    host: Host,
    id: String,
}

async fn run(wish: Backfill) -> Run {
    let mut world = world().await;
    // What is not heard is not found by looking either.
    world.config.safety_sweep = config::Duration::from_hours(10_000);
    world.register("lp", "v1").await;
    let host = world.host("h");
    let id = host.scheduler.backfill_start(&wish, "me").await.unwrap().id;
    Run { world, host, id }
}

impl Run {
    async fn ticks(&self) -> Vec<TickRow> {
        self.world.store.backfill_ticks(&self.id, None, 0, 1000).await.unwrap()
    }

    async fn states(&self) -> Vec<TickState> {
        self.ticks().await.into_iter().map(|tick| tick.state).collect()
    }

    /// Waits until the ticks are in these states. Time goes by meanwhile, as far as looks need it.
    async fn until(&self, want: &[TickState]) {
        let what = format!("{want:?}");
        self.world
            .until(&what, async || {
                self.world.clock.advance(100_000);
                self.states().await == want
            })
            .await;
    }

    async fn end(&self, seq: usize, phase: i32) {
        let tick = self.ticks().await.swap_remove(seq);
        self.world.end(&tick.execution, phase).await;
    }

    async fn state(&self) -> BackfillState {
        self.world.store.backfill_get(&self.id).await.unwrap().unwrap().state
    }

    async fn until_state(&self, want: BackfillState) {
        let what = format!("{want:?}");
        self.world
            .until(&what, async || {
                self.world.clock.advance(100_000);
                self.state().await == want
            })
            .await;
    }
}

use TickState::{Cancelled, Failed, Pending, Running, Skipped, Succeeded};

#[tokio::test]
async fn ticks_run_in_order_and_no_more_than_allowed_at_once() {
    let run = run(wish(4)).await;
    run.until(&[Running, Running, Pending, Pending]).await;
    run.end(1, SUCCEEDED).await;
    run.until(&[Running, Succeeded, Running, Pending]).await;
    run.end(0, SUCCEEDED).await;
    run.end(2, SUCCEEDED).await;
    run.until(&[Succeeded, Succeeded, Succeeded, Running]).await;
    assert_eq!(run.state().await, BackfillState::Running);
    run.end(3, SUCCEEDED).await;
    run.until_state(BackfillState::Succeeded).await;
    let started = run.world.started().await;
    let hours: Vec<i64> = started.iter().map(|started| (started.tick.0 - START.0) / HOUR).collect();
    // The first two are launched side by side.
    assert_eq!((hours[0].min(hours[1]), hours[0].max(hours[1]), &hours[2..]), (-4, -3, &[-2, -1][..]));
    assert!(started.iter().all(|started| started.tags == [format!("backfill:{}", run.id)]));
    run.host.stop().await;
}

#[tokio::test]
async fn the_latest_tick_comes_first_when_asked_for() {
    let run = run(Backfill { order: Order::Backward, parallelism: Some(1), ..wish(3) }).await;
    for seq in 0..3 {
        let mut want = vec![Succeeded; seq];
        want.push(Running);
        want.resize(3, Pending);
        run.until(&want).await;
        run.end(seq, SUCCEEDED).await;
    }
    run.until_state(BackfillState::Succeeded).await;
    let ticks: Vec<Timestamp> = run.world.started().await.iter().map(|started| started.tick).collect();
    assert_eq!(ticks, [START.plus(-HOUR), START.plus(-2 * HOUR), START.plus(-3 * HOUR)]);
    run.host.stop().await;
}

#[tokio::test]
async fn a_failure_stops_what_was_not_launched() {
    let run = run(wish(4)).await;
    run.until(&[Running, Running, Pending, Pending]).await;
    run.end(0, FAILED).await;
    run.until(&[Failed, Running, Cancelled, Cancelled]).await;
    assert_eq!(run.state().await, BackfillState::Running, "what runs is waited for");
    assert!(run.ticks().await[0].error.contains("Boom"));
    run.end(1, SUCCEEDED).await;
    run.until_state(BackfillState::Failed).await;
    run.host.stop().await;
}

#[tokio::test]
async fn a_failure_stops_nothing_when_told_to_go_on() {
    let run = run(Backfill { keep_going: true, ..wish(3) }).await;
    run.until(&[Running, Running, Pending]).await;
    run.end(0, FAILED).await;
    run.end(1, ABORTED).await;
    run.until(&[Failed, Failed, Running]).await;
    run.end(2, SUCCEEDED).await;
    run.until_state(BackfillState::Failed).await;
    run.host.stop().await;
}

#[tokio::test]
async fn a_pause_launches_nothing_more_until_it_ends() {
    let run = run(wish(4)).await;
    run.until(&[Running, Running, Pending, Pending]).await;
    run.world.store.backfill_set_paused(&run.id, true, run.world.now()).await.unwrap();
    run.end(0, SUCCEEDED).await;
    run.end(1, SUCCEEDED).await;
    run.until(&[Succeeded, Succeeded, Pending, Pending]).await;
    assert_eq!(run.state().await, BackfillState::Paused);
    run.world.store.backfill_set_paused(&run.id, false, run.world.now()).await.unwrap();
    run.until(&[Succeeded, Succeeded, Running, Running]).await;
    run.host.stop().await;
}

#[tokio::test]
async fn cancelling_waits_for_what_runs_or_aborts_it() {
    for abort in [false, true] {
        let run = run(wish(4)).await;
        run.until(&[Running, Running, Pending, Pending]).await;
        run.world.store.backfill_cancel(&run.id, "ann", abort, run.world.now()).await.unwrap();
        run.until(&[Running, Running, Cancelled, Cancelled]).await;
        for tick in run.ticks().await.iter().filter(|tick| tick.state == Running) {
            let id = model::ExecutionId::new("p", DOMAIN, &tick.execution);
            if abort {
                run.world
                    .until("the wish to abort", async || {
                        run.world.clock.advance(100_000);
                        let row = run.world.store.execution_get(&id).await.unwrap().unwrap();
                        row.aborted_by.as_deref() == Some("ann")
                    })
                    .await;
            }
            run.world.end(&tick.execution, if abort { ABORTED } else { SUCCEEDED }).await;
        }
        run.until_state(BackfillState::Cancelled).await;
        let id = model::ExecutionId::new("p", DOMAIN, &run.ticks().await[0].execution);
        let row = run.world.store.execution_get(&id).await.unwrap().unwrap();
        assert_eq!(row.aborted_by.is_some(), abort);
        run.host.stop().await;
    }
}

#[tokio::test]
async fn ticks_that_have_succeeded_are_left_out_unless_forced() {
    let world = world().await;
    let host = world.host("h");
    world.schedule("lp", "0 * * * *").await;
    // The schedule itself ran three hours: one succeeded, one failed, one still runs.
    for _ in 0..3 {
        world.advance(HOUR).await;
    }
    let plan = world.row("lp").await.plan;
    let of_hour = |n: i64| scheduler::of_tick(&plan, START.plus(n * HOUR));
    world.end(&of_hour(1), SUCCEEDED).await;
    world.end(&of_hour(2), FAILED).await;
    let wish = Backfill { from: START, to: START.plus(4 * HOUR), parallelism: Some(9), ..wish(1) };
    let (_, planned) = host.scheduler.backfill_plan(&wish).await.unwrap();
    let done: Vec<Option<String>> = planned.into_iter().map(|tick| tick.done_by).collect();
    assert_eq!(done, [None, Some(of_hour(1)), None, None]);

    let id = host.scheduler.backfill_start(&wish, "").await.unwrap().id;
    let run = Run { world, host, id };
    run.until(&[Running, Skipped, Running, Running]).await;
    let ticks = run.ticks().await;
    assert_eq!(
        (&ticks[1].execution, &ticks[3].execution),
        (&of_hour(1), &of_hour(3)),
        "the one that runs is waited for"
    );
    assert_eq!(run.world.started().await.len(), 3 + 2);
    for tick in [&ticks[0], &ticks[2], &ticks[3]] {
        run.world.end(&tick.execution, SUCCEEDED).await;
    }
    run.until_state(BackfillState::Succeeded).await;

    // All of it is done now, by whichever.
    let again = run.host.scheduler.backfill_start(&wish, "").await.unwrap().id;
    let Run { world, host, .. } = run;
    let run = Run { world, host, id: again };
    run.until(&[Skipped; 4]).await;
    run.until_state(BackfillState::Succeeded).await;
    assert_eq!(run.world.started().await.len(), 5);
    let forced = Backfill { force: true, ..wish };
    let id = run.host.scheduler.backfill_start(&forced, "").await.unwrap().id;
    let Run { world, host, .. } = run;
    let run = Run { world, host, id };
    run.until(&[Running; 4]).await;
    assert_eq!(run.world.started().await.len(), 9);
    run.host.stop().await;
}

#[tokio::test]
async fn ticks_that_can_not_be_launched_fail_and_others_are_tried_again() {
    let world = world().await;
    world.register("lp", "v1").await;
    let host = world.host("h");
    let inactive = launch::Error::InactiveProject { project: "p".to_owned() };
    world.ledger.fail("lp", [launch::Error::Store(store::Error::Timeout), inactive]);
    let wish = Backfill { parallelism: Some(1), keep_going: true, ..wish(2) };
    let id = host.scheduler.backfill_start(&wish, "").await.unwrap().id;
    let run = Run { world, host, id };
    run.until(&[Failed, Running]).await;
    let ticks = run.ticks().await;
    assert_eq!(ticks[0].tries, 1);
    assert!(ticks[0].error.contains("not active"), "{}", ticks[0].error);
    run.end(1, SUCCEEDED).await;
    run.until_state(BackfillState::Failed).await;
    run.host.stop().await;
}

#[tokio::test]
async fn wishes_that_make_no_sense_are_refused() {
    let world = world().await;
    world.register("lp", "v1").await;
    let mut host = world.host("h");
    for (change, word) in [
        (Backfill { to: START.plus(-9 * HOUR), ..wish(3) }, "empty"),
        (Backfill { parallelism: Some(0), ..wish(3) }, "parallelism"),
        (Backfill { schedule: None, ..wish(3) }, "no schedule"),
        (Backfill { schedule: Some("0 0 30 2 *".to_owned()), ..wish(3) }, "no such time"),
        (Backfill { schedule: Some("@yearly".to_owned()), ..wish(3) }, "no tick"),
        (Backfill { timezone: Some("Mars/Base".to_owned()), ..wish(3) }, "Mars/Base"),
        (Backfill { version: Some("v9".to_owned()), ..wish(3) }, "v9"),
        (Backfill { version: None, ..wish(3) }, "active"),
        (Backfill { launch_plan: "other".to_owned(), ..wish(3) }, "other"),
        (Backfill { project: String::new(), ..wish(3) }, "project"),
        (Backfill { kickoff_input: Some("when".to_owned()), ..wish(3) }, "when"),
    ] {
        let error = host.scheduler.backfill_start(&change, "").await.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    host.stop().await;
    let mut world = world;
    world.config.max_backfill_ticks = 2;
    host = world.host("h");
    let error = host.scheduler.backfill_start(&wish(3), "").await.unwrap_err().to_string();
    assert!(error.contains("more than 2 ticks"), "{error}");
    assert!(world.store.backfill_list(&store::Scope::default(), 9, 0).await.unwrap().is_empty());
    host.stop().await;
}

#[tokio::test]
async fn several_backfills_run_beside_each_other() {
    let world = world().await;
    world.register("lp", "v1").await;
    let host = world.host("h");
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(host.scheduler.backfill_start(&Backfill { force: true, ..wish(3) }, "").await.unwrap().id);
    }
    let all_run = async || {
        world.clock.advance(100_000);
        let counts = world.store.backfill_counts(&ids).await.unwrap();
        counts.values().all(|counts| counts.running == 2)
    };
    world.until("each runs two ticks", all_run).await;
    assert_eq!(world.started().await.len(), 10);
    host.stop().await;
}

#[tokio::test]
async fn a_new_host_hears_the_ends_of_what_an_earlier_one_launched() {
    let run = run(Backfill { parallelism: Some(1), ..wish(2) }).await;
    run.until(&[Running, Pending]).await;
    let Run { world, host, id } = run;
    host.kill().await;
    let host = world.host("h");
    let run = Run { world, host, id };
    // It has looked once, and found that nothing has ended yet.
    for _ in 0..20 {
        run.world.clock.advance(100_000);
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    run.end(0, SUCCEEDED).await;
    run.until(&[Succeeded, Running]).await;
    run.host.stop().await;
}

#[tokio::test]
async fn backfills_that_ended_long_ago_are_forgotten_and_no_others() {
    on_each(async |mut world| {
        world.config.keep_backfills = config::Duration::from_hours(48);
        world.register("lp", "v1").await;
        let host = world.host("h");
        let old = host.scheduler.backfill_start(&wish(1), "me").await.unwrap().id;
        let open =
            host.scheduler.backfill_start(&Backfill { force: true, ..wish(2) }, "me").await.unwrap().id;
        let run = Run { world, host, id: old.clone() };
        run.until(&[TickState::Running]).await;
        run.end(0, SUCCEEDED).await;
        run.until_state(BackfillState::Succeeded).await;
        let is_there = async |id: &str| run.world.store.backfill_get(id).await.unwrap().is_some();
        run.world.clock.advance(47 * HOUR);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert!(is_there(&old).await, "it is kept for 48 hours");
        run.world
            .until("it is forgotten", async || {
                run.world.clock.advance(HOUR);
                !is_there(&old).await
            })
            .await;
        assert_eq!(run.ticks().await, []);
        assert!(is_there(&open).await);
        run.host.stop().await;
    })
    .await;
}
