//! Schedules of active launch plans, leadership, and backfills.

use std::time::Duration;

use store::{
    BackfillRow, BackfillState, Leader, NewSchedule, ScheduleRow, Scope, Store, TickCounts, TickRow,
    TickState, Timing, Wake,
};

use crate::sample::{self, HOSTILE, NOW};
use crate::world::on_each;

fn new_schedule(expression: &str) -> NewSchedule {
    let timing =
        Timing { expression: expression.to_owned(), timezone: "UTC".to_owned(), kickoff: "at".to_owned() };
    NewSchedule { timing, catch_up: "latest".to_owned() }
}

async fn register(store: &Store, name: &str, version: &str) -> model::EntityId {
    let row = sample::launch_plan(name, version, 0);
    store.launch_plan_insert(&row).await.unwrap();
    row.id
}

async fn get(store: &Store, name: &str) -> Option<ScheduleRow> {
    store.schedule_get("p", "d", name).await.unwrap()
}

#[tokio::test]
async fn a_schedule_lives_and_dies_with_the_activation() {
    on_each(|w| async move {
        let (v1, v2) = (register(&w.store, "lp", "v1").await, register(&w.store, "lp", "v2").await);
        let mut wakes = w.store.subscribe();
        w.store.launch_plan_activate(&v1, Some(&new_schedule("daily")), NOW).await.unwrap();
        assert_eq!(wakes.recv().await.unwrap(), Wake::Scheduler);
        let row = get(&w.store, "lp").await.unwrap();
        assert_eq!((&row.plan, &row.timing), (&v1, &new_schedule("daily").timing));
        assert_eq!((row.anchor, row.not_before, row.due_at, row.next_at), (NOW, NOW, Some(NOW), None));

        // The version that is not active has none to lose.
        w.store.launch_plan_set_state(&v2, 0, NOW).await.unwrap();
        assert!(get(&w.store, "lp").await.is_some());
        w.store.launch_plan_set_state(&v1, 0, NOW).await.unwrap();
        assert_eq!(get(&w.store, "lp").await, None);

        w.store.launch_plan_activate(&v1, Some(&new_schedule("daily")), NOW).await.unwrap();
        w.store.launch_plan_activate(&v2, None, NOW).await.unwrap();
        assert_eq!(get(&w.store, "lp").await, None);
        let active = w.store.launch_plan_fetch_active("p", "d", "lp").await.unwrap().unwrap();
        assert_eq!(active.id, v2);
        let missing = sample::id(model::EntityKind::LaunchPlan, "lp", "v3");
        assert!(w.store.launch_plan_activate(&missing, Some(&new_schedule("daily")), NOW).await.is_err());
        assert_eq!(get(&w.store, "lp").await, None, "a failed activation leaves nothing");
    })
    .await;
}

#[tokio::test]
async fn a_new_version_of_the_same_times_goes_on_and_another_starts_anew() {
    on_each(|w| async move {
        let (v1, v2) = (register(&w.store, "lp", "v1").await, register(&w.store, "lp", "v2").await);
        w.store.launch_plan_activate(&v1, Some(&new_schedule("rate(1 days)")), NOW).await.unwrap();
        let mut row = get(&w.store, "lp").await.unwrap();
        row.next_at = Some(NOW.plus(500));
        row.due_at = row.next_at;
        row.n_fired = 3;
        assert_eq!(w.store.schedules_advance(&[row]).await.unwrap(), 1);
        let same = NewSchedule { catch_up: String::new(), ..new_schedule("rate(1 days)") };
        w.store.launch_plan_activate(&v2, Some(&same), NOW.plus(100)).await.unwrap();
        let row = get(&w.store, "lp").await.unwrap();
        assert_eq!((row.plan.version.as_str(), row.catch_up.as_str()), ("v2", ""));
        assert_eq!((row.anchor, row.next_at, row.n_fired), (NOW, Some(NOW.plus(500)), 3));

        w.store.launch_plan_activate(&v1, Some(&new_schedule("rate(2 days)")), NOW.plus(200)).await.unwrap();
        let row = get(&w.store, "lp").await.unwrap();
        assert_eq!((row.anchor, row.not_before), (NOW.plus(200), NOW.plus(200)));
        assert_eq!((row.next_at, row.due_at), (None, Some(NOW.plus(200))));

        // A pause outlives either.
        w.store.schedule_set_paused(("p", "d", "lp"), true, "me", NOW).await.unwrap();
        for expression in ["rate(2 days)", "rate(3 days)"] {
            w.store.launch_plan_activate(&v2, Some(&new_schedule(expression)), NOW).await.unwrap();
            let row = get(&w.store, "lp").await.unwrap();
            assert_eq!((row.paused_at, row.due_at), (Some(NOW), None), "{expression}");
        }
    })
    .await;
}

#[tokio::test]
async fn due_schedules_are_read_in_order_and_moved_on_once() {
    on_each(|w| async move {
        for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            let id = register(&w.store, name, "v1").await;
            let at = NOW.plus(10 - n as i64);
            w.store.launch_plan_activate(&id, Some(&new_schedule("daily")), at).await.unwrap();
        }
        let names = |rows: Vec<ScheduleRow>| rows.into_iter().map(|row| row.plan.name).collect::<Vec<_>>();
        let due = w.store.schedules_due(NOW.plus(9), 10).await.unwrap();
        assert_eq!(names(due.clone()), ["d", "c", "b"]);
        assert_eq!(names(w.store.schedules_due(NOW.plus(9), 2).await.unwrap()), ["d", "c"]);
        assert_eq!(w.store.schedule_next_due(NOW.plus(9)).await.unwrap(), Some(NOW.plus(10)));
        assert_eq!(w.store.schedule_next_due(NOW.plus(10)).await.unwrap(), None);

        let moved: Vec<ScheduleRow> = due
            .iter()
            .map(|row| ScheduleRow {
                next_at: Some(NOW.plus(100)),
                due_at: Some(NOW.plus(100)),
                last_at: Some(NOW),
                last_execution: "f1".to_owned(),
                tries: 2,
                error: HOSTILE[0].to_owned(),
                error_at: Some(NOW),
                n_fired: 1,
                n_failed: 2,
                n_skipped: 3,
                updated_at: NOW.plus(7),
                ..row.clone()
            })
            .collect();
        // One was changed in between: what was decided on its old state is void.
        w.store.schedule_set_paused(("p", "d", "c"), true, "", NOW).await.unwrap();
        assert_eq!(w.store.schedules_advance(&moved).await.unwrap(), 2);
        assert_eq!(w.store.schedules_advance(&moved).await.unwrap(), 0, "a decision counts once");
        let found = get(&w.store, "d").await.unwrap();
        assert_eq!(found, ScheduleRow { revision: found.revision, ..moved[0].clone() });
        assert_eq!(get(&w.store, "c").await.unwrap().last_at, None);
        assert_eq!(w.store.schedules_advance(&[]).await.unwrap(), 0);

        let scope = Scope { project: "p".to_owned(), ..Scope::default() };
        assert_eq!(names(w.store.schedule_list(&scope, 2, 1).await.unwrap()), ["b", "c"]);
        assert_eq!(
            names(w.store.schedule_list(&Scope::default(), 9, 0).await.unwrap()),
            ["a", "b", "c", "d"]
        );
        let elsewhere = Scope { domain: "x".to_owned(), ..Scope::default() };
        assert!(w.store.schedule_list(&elsewhere, 9, 0).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn many_schedules_move_on_together() {
    on_each(|w| async move {
        for n in 0..300 {
            let id = register(&w.store, &format!("lp{n}"), "v1").await;
            w.store.launch_plan_activate(&id, Some(&new_schedule("daily")), NOW).await.unwrap();
        }
        let mut due = w.store.schedules_due(NOW, 1000).await.unwrap();
        assert_eq!(due.len(), 300);
        due.iter_mut().for_each(|row| row.due_at = None);
        assert_eq!(w.store.schedules_advance(&due).await.unwrap(), 300);
        assert!(w.store.schedules_due(NOW, 1000).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn pauses_are_seen_and_lifted() {
    on_each(|w| async move {
        let id = register(&w.store, "lp", "v1").await;
        w.store.launch_plan_activate(&id, Some(&new_schedule("daily")), NOW).await.unwrap();
        let name = ("p", "d", "lp");
        let paused = w.store.schedule_set_paused(name, true, "ann", NOW.plus(1)).await.unwrap().unwrap();
        assert_eq!((paused.paused_at, paused.paused_by.as_str()), (Some(NOW.plus(1)), "ann"));
        assert_eq!(paused.due_at, None);
        let again = w.store.schedule_set_paused(name, true, "bob", NOW.plus(2)).await.unwrap().unwrap();
        assert_eq!(again, paused);
        let resumed = w.store.schedule_set_paused(name, false, "", NOW.plus(3)).await.unwrap().unwrap();
        assert_eq!((resumed.paused_at, resumed.due_at), (None, Some(NOW.plus(3))));
        assert_eq!((resumed.not_before, resumed.next_at), (NOW.plus(3), None));
        assert_eq!(w.store.schedule_set_paused(name, false, "", NOW.plus(9)).await.unwrap(), Some(resumed));
        assert_eq!(w.store.schedule_set_paused(("p", "d", "none"), true, "", NOW).await.unwrap(), None);

        assert_eq!(w.store.schedule_gate().await.unwrap(), Default::default());
        w.store.schedule_gate_set_paused(true, "ann", NOW).await.unwrap();
        w.store.schedule_gate_set_paused(true, "bob", NOW.plus(1)).await.unwrap();
        let gate = w.store.schedule_gate().await.unwrap();
        assert_eq!((gate.paused_at, gate.paused_by.as_str()), (Some(NOW), "ann"));
        w.store.schedule_gate_set_paused(false, "", NOW.plus(5)).await.unwrap();
        let gate = w.store.schedule_gate().await.unwrap();
        assert_eq!((gate.paused_at, gate.not_before), (None, NOW.plus(5)));
    })
    .await;
}

#[tokio::test]
async fn one_host_leads_until_its_time_runs_out() {
    on_each(|w| async move {
        let other = w.other_host().await;
        let ttl = Duration::from_micros(100);
        let lead = |store: Store, host: &'static str, at: i64| async move {
            store.leader_acquire("role", host, ttl, NOW.plus(at)).await.unwrap()
        };
        assert_eq!(w.store.leader_get("role").await.unwrap(), None);
        assert_eq!(lead(w.store.clone(), "a", 0).await, Leader::Me);
        let held = Leader::Other { host: "a".to_owned(), expires_at: NOW.plus(100) };
        assert_eq!(lead(other.clone(), "b", 100).await, held);
        assert_eq!(lead(w.store.clone(), "a", 50).await, Leader::Me);
        assert!(matches!(lead(other.clone(), "b", 120).await, Leader::Other { .. }));
        assert_eq!(lead(other.clone(), "b", 151).await, Leader::Me);
        assert!(matches!(lead(w.store.clone(), "a", 160).await, Leader::Other { .. }));
        assert_eq!(w.store.leader_get("role").await.unwrap(), Some(("b".to_owned(), NOW.plus(251))));
        w.store.leader_resign("role", "a").await.unwrap();
        assert!(matches!(lead(w.store.clone(), "a", 170).await, Leader::Other { .. }));
        other.leader_resign("role", "b").await.unwrap();
        assert_eq!(lead(w.store.clone(), "a", 171).await, Leader::Me);
        assert_eq!(w.store.leader_acquire("other", "b", ttl, NOW).await.unwrap(), Leader::Me);
    })
    .await;
}

fn backfill(id: &str, name: &str, at: i64) -> BackfillRow {
    BackfillRow {
        id: id.to_owned(),
        plan: sample::id(model::EntityKind::LaunchPlan, name, "v1"),
        timing: new_schedule("daily").timing,
        from_at: NOW,
        to_at: NOW.plus(1000),
        parallelism: 3,
        backward: true,
        keep_going: true,
        forced: true,
        principal: HOSTILE[1].to_owned(),
        state: BackfillState::Running,
        cancelled_at: None,
        cancelled_by: String::new(),
        abort_running: false,
        created_at: NOW.plus(at),
        updated_at: NOW.plus(at),
        ended_at: None,
    }
}

fn ticks(n: u32) -> Vec<TickRow> {
    (0..n).map(|seq| TickRow::new(seq, NOW.plus(i64::from(seq) * 10), NOW)).collect()
}

#[tokio::test]
async fn backfills_round_trip_and_count_their_ticks() {
    on_each(|w| async move {
        let (a, b) = (backfill("a", "lp", 0), backfill("b", "other", 1));
        let mut wakes = w.store.subscribe();
        w.store.backfill_insert(&a, &ticks(150)).await.unwrap();
        assert_eq!(wakes.recv().await.unwrap(), Wake::Scheduler);
        w.store.backfill_insert(&b, &ticks(1)).await.unwrap();
        let store = w.reopened().await;
        assert_eq!(store.backfill_get("a").await.unwrap(), Some(a.clone()));
        assert_eq!(store.backfill_get("c").await.unwrap(), None);
        assert_eq!(store.backfill_list(&Scope::default(), 9, 0).await.unwrap(), [b.clone(), a.clone()]);
        let of_lp = Scope { name: Some("lp".to_owned()), ..Scope::default() };
        assert_eq!(store.backfill_list(&of_lp, 9, 0).await.unwrap(), std::slice::from_ref(&a));
        assert_eq!(store.backfill_ticks("a", None, 0, 1000).await.unwrap(), ticks(150));

        let mut done = ticks(2);
        done[0].state = TickState::Succeeded;
        done[0].execution = "b1".to_owned();
        done[1].state = TickState::Running;
        done[1].execution_key = Some(store::ExecutionKey(7));
        done[1].error = HOSTILE[2].to_owned();
        done[1].tries = 2;
        store.backfill_ticks_write("a", &done).await.unwrap();
        assert_eq!(
            store.backfill_ticks("a", Some(TickState::Running), 0, 9).await.unwrap(),
            [done[1].clone()]
        );
        let pending = store.backfill_ticks("a", Some(TickState::Pending), 5, 2).await.unwrap();
        assert_eq!(pending.iter().map(|tick| tick.seq).collect::<Vec<_>>(), [5, 6]);
        let counts = store.backfill_counts(&["a".to_owned(), "b".to_owned(), "c".to_owned()]).await.unwrap();
        let want = TickCounts { pending: 148, running: 1, succeeded: 1, ..TickCounts::default() };
        assert_eq!((counts["a"], counts["a"].total(), counts["b"].pending), (want, 150, 1));
        assert_eq!(counts.len(), 2);
        let successes = store.backfill_successes(&a.plan, NOW, NOW.plus(100)).await.unwrap();
        assert_eq!(successes.into_iter().collect::<Vec<_>>(), [(NOW, "b1".to_owned())]);
        assert!(store.backfill_successes(&a.plan, NOW.plus(1), NOW.plus(100)).await.unwrap().is_empty());
        assert!(store.backfill_successes(&b.plan, NOW, NOW.plus(100)).await.unwrap().is_empty());
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn backfills_rest_go_on_and_end() {
    on_each(|w| async move {
        w.store.backfill_insert(&backfill("a", "lp", 0), &ticks(4)).await.unwrap();
        let state = async || w.store.backfill_get("a").await.unwrap().unwrap();
        w.store.backfill_set_paused("a", true, NOW).await.unwrap();
        assert_eq!(state().await.state, BackfillState::Paused);
        assert_eq!(w.store.backfills_live().await.unwrap().len(), 1);
        w.store.backfill_set_paused("a", false, NOW).await.unwrap();
        w.store.backfill_set_paused("a", false, NOW).await.unwrap();
        assert_eq!(state().await.state, BackfillState::Running);

        let mut first = ticks(1);
        first[0].state = TickState::Running;
        w.store.backfill_ticks_write("a", &first).await.unwrap();
        w.store.backfill_cancel("a", "ann", false, NOW.plus(5)).await.unwrap();
        w.store.backfill_cancel("a", "bob", true, NOW.plus(6)).await.unwrap();
        let row = state().await;
        assert_eq!((row.cancelled_at, row.cancelled_by.as_str()), (Some(NOW.plus(5)), "ann"));
        assert!(row.abort_running);
        let counts = w.store.backfill_counts(&["a".to_owned()]).await.unwrap()["a"];
        assert_eq!((counts.running, counts.cancelled, counts.pending), (1, 3, 0));
        w.store.backfill_set_paused("a", true, NOW).await.unwrap();
        assert_eq!(state().await.state, BackfillState::Running, "what is cancelled does not rest");

        w.store.backfill_end("a", BackfillState::Cancelled, NOW.plus(9)).await.unwrap();
        w.store.backfill_end("a", BackfillState::Failed, NOW.plus(10)).await.unwrap();
        let row = state().await;
        assert_eq!((row.state, row.ended_at), (BackfillState::Cancelled, Some(NOW.plus(9))));
        assert!(w.store.backfills_live().await.unwrap().is_empty());
        w.store.backfill_cancel("a", "eve", true, NOW).await.unwrap();
        assert_eq!(state().await, row);
    })
    .await;
}

#[tokio::test]
async fn executions_are_found_by_keys_and_names() {
    on_each(|w| async move {
        let mut keys = Vec::new();
        for n in 0..600 {
            keys.push(w.store.execution_insert(&sample::execution(&format!("e{n}"))).await.unwrap());
        }
        let phases = w.store.execution_phases(&keys).await.unwrap();
        assert_eq!(phases.len(), 600);
        assert_eq!(phases[&keys[0]], (1, String::new()));
        assert!(w.store.execution_phases(&[store::ExecutionKey(-1)]).await.unwrap().is_empty());
        let mut names: Vec<String> = (0..600).map(|n| format!("e{n}")).collect();
        names.extend(HOSTILE.map(str::to_owned));
        let found = w.store.executions_named("p", "d", &names).await.unwrap();
        assert_eq!((found.len(), found["e7"]), (600, (keys[7], 1)));
        assert!(w.store.executions_named("p", "x", &names).await.unwrap().is_empty());
    })
    .await;
}
