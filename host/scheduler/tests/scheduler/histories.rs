//! Random histories: whatever is paused, deactivated, killed or retried, each tick that should be fired is, once.

use std::collections::{BTreeMap, BTreeSet};

use model::Timestamp;
use proptest::prelude::*;
use scheduler::timetable::Timetable;
use store::NewSchedule;

use crate::clock::MINUTE;
use crate::world::{DOMAIN, Host, World, timing, world};

const EXPRESSIONS: [&str; 5] =
    ["*/5 * * * *", "0 * * * *", "rate(7 minutes)", "@every 150s", "13,47 */2 * * *"];

#[derive(Clone, Debug)]
enum Move {
    /// Time goes by.
    Advance(i64),
    /// The host is killed at one of its next steps while time goes by, and stays away for a while.
    Crash {
        step: i64,
        minutes: i64,
        away: i64,
    },
    /// The host stops in order, and another starts.
    Restart,
    /// A launch plan is activated with one of the expressions.
    Activate(usize, usize),
    Deactivate(usize),
    Pause(usize),
    Resume(usize),
    PauseAll,
    ResumeAll,
    /// The next starts of a launch plan fail for a reason that passes.
    Busy(usize, usize),
}

const PLANS: usize = 3;

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let plan = 0..PLANS;
    let one = prop_oneof![
        8 => (1i64..120).prop_map(Move::Advance),
        4 => (0i64..12, 1i64..60, 0i64..60).prop_map(|(step, minutes, away)| Move::Crash { step, minutes, away }),
        1 => Just(Move::Restart),
        5 => (plan.clone(), 0..EXPRESSIONS.len()).prop_map(|(plan, n)| Move::Activate(plan, n)),
        1 => plan.clone().prop_map(Move::Deactivate),
        2 => plan.clone().prop_map(Move::Pause),
        3 => plan.clone().prop_map(Move::Resume),
        1 => Just(Move::PauseAll),
        3 => Just(Move::ResumeAll),
        2 => (plan, 1usize..4).prop_map(|(plan, n)| Move::Busy(plan, n)),
    ];
    prop::collection::vec(one, 5..30)
}

/// What one launch plan should do.
#[derive(Default)]
struct Model {
    expression: Option<usize>,
    anchor: Timestamp,
    paused: bool,
    /// Ticks up to here are dealt with.
    until: Timestamp,
    want: BTreeSet<Timestamp>,
}

impl Model {
    /// Time went by to `now`.
    fn advance(&mut self, now: Timestamp, all_paused: bool) {
        if let Some(n) = self.expression
            && !self.paused
            && !all_paused
        {
            let table = Timetable::parse(EXPRESSIONS[n], "UTC").unwrap();
            self.want.extend(table.ticks(self.until.plus(1), now.plus(1), self.anchor));
        }
        self.until = now;
    }

    fn activate(&mut self, n: usize, now: Timestamp) {
        if self.expression.is_none() {
            self.paused = false;
        }
        if self.expression != Some(n) {
            self.anchor = now;
        }
        self.expression = Some(n);
    }
}

struct Run {
    world: World,
    host: Option<Host>,
    models: Vec<Model>,
    all_paused: bool,
    version: usize,
}

fn name(plan: usize) -> String {
    format!("lp{plan}")
}

impl Run {
    /// Everything that is due was dealt with, retries included.
    async fn settle(&self) {
        if self.all_paused {
            // Nothing is moved; what is due rests.
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
        } else {
            self.world.settle().await;
        }
    }

    async fn advance(&mut self, micros: i64) {
        self.world.clock.advance(micros);
        self.settle().await;
        let now = self.world.now();
        self.models.iter_mut().for_each(|model| model.advance(now, self.all_paused));
    }

    /// Time goes by in small steps until no tick waits for another try.
    async fn let_retries_pass(&mut self) {
        while !self.all_paused && self.waits_for_a_try().await {
            self.advance(4_000_000).await;
        }
    }

    async fn waits_for_a_try(&self) -> bool {
        let rows = self.world.store.schedule_list(&store::Scope::default(), 99, 0).await.unwrap();
        let now = self.world.now();
        rows.iter().any(|row| row.paused_at.is_none() && row.next_at.is_some_and(|next| next <= now))
    }

    async fn apply(&mut self, step: Move) {
        let plan_key = |plan: usize| name(plan);
        match step {
            Move::Advance(minutes) => self.advance(minutes * MINUTE).await,
            Move::Restart => {
                self.host.take().unwrap().stop().await;
                self.host = Some(self.world.host("h"));
            }
            Move::Crash { step, minutes, away } => {
                self.host.take().unwrap().stop().await;
                let doomed = self.world.doomed_host("h", step);
                self.world.clock.advance(minutes * MINUTE);
                let (store, now) = (self.world.store.clone(), self.world.now());
                let all_paused = self.all_paused;
                self.world
                    .until("a crash or the end", async || {
                        all_paused
                            || doomed.has_crashed()
                            || store.schedules_due(now, 1).await.unwrap().is_empty()
                    })
                    .await;
                doomed.kill().await;
                self.world.clock.advance(away * MINUTE);
                self.host = Some(self.world.host("h"));
                self.advance(1).await;
            }
            Move::Activate(plan, n) => {
                self.version += 1;
                let new = NewSchedule { timing: timing(EXPRESSIONS[n]), catch_up: "all".to_owned() };
                self.world.activate(&plan_key(plan), &format!("v{}", self.version), new).await;
                self.models[plan].activate(n, self.world.now());
            }
            Move::Deactivate(plan) => {
                if let Some(row) = self.world.store.schedule_get("p", DOMAIN, &plan_key(plan)).await.unwrap()
                {
                    self.world.store.launch_plan_set_state(&row.plan, 0, self.world.now()).await.unwrap();
                }
                self.models[plan].expression = None;
            }
            Move::Pause(plan) | Move::Resume(plan) => {
                let paused = matches!(step, Move::Pause(_));
                let key = plan_key(plan);
                let now = self.world.now();
                let row =
                    self.world.store.schedule_set_paused(("p", DOMAIN, &key), paused, "", now).await.unwrap();
                if row.is_some() {
                    self.models[plan].paused = paused;
                }
            }
            Move::PauseAll | Move::ResumeAll => {
                self.all_paused = matches!(step, Move::PauseAll);
                let now = self.world.now();
                self.world.store.schedule_gate_set_paused(self.all_paused, "", now).await.unwrap();
            }
            Move::Busy(plan, n) => {
                let busy = (0..n).map(|_| launch::Error::Store(store::Error::Timeout));
                self.world.ledger.fail(&plan_key(plan), busy);
                // The faults are used up by whichever ticks come next.
                self.advance(150 * MINUTE).await;
                self.let_retries_pass().await;
                self.world.ledger.forget_faults();
            }
        }
        self.settle().await;
    }

    async fn check(&self, history: &[Move]) {
        let mut found: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
        for started in self.world.started().await {
            found.entry(started.plan.name).or_default().push(started.tick);
        }
        for (plan, model) in self.models.iter().enumerate() {
            let mut ticks = found.remove(&name(plan)).unwrap_or_default();
            ticks.sort_unstable();
            let want: Vec<Timestamp> = model.want.iter().copied().collect();
            assert_eq!(ticks, want, "launch plan {plan} after {history:?}");
        }
    }
}

async fn play(history: Vec<Move>) {
    let mut world = world().await;
    world.config.max_catch_up = 100_000;
    world.config.backoff_max = config::Duration::from_secs(4);
    let host = Some(world.host("h"));
    let models = (0..PLANS).map(|_| Model { until: world.now(), ..Model::default() }).collect();
    let mut run = Run { world, host, models, all_paused: false, version: 0 };
    for step in history.clone() {
        run.apply(step).await;
    }
    run.apply(Move::ResumeAll).await;
    run.advance(61 * MINUTE).await;
    run.check(&history).await;
    run.host.take().unwrap().stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_tick_fires_exactly_once_in_any_history(history in moves()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(play(history));
    }
}
