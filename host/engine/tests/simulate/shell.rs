//! Drives one execution as the worker does: observe, commit, act; and breaks down where it is told to.

mod check;

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{AttemptRow, Execution, Graph, NodeIdx, NodeSnapshot, Observation, Phase, Step};
use model::Timestamp;
use proto::flyteidl::core;

use crate::rng::Rng;
use crate::rows::{Batch, Rows};
use crate::scenario::Scenario;
use crate::world::{FIRST_TASK, World};

/// When the host crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    Never,
    /// As often as the scenario says.
    Random,
    /// Right before this commit, once.
    Before(u64),
    /// Right after this commit and before anything is done about it, once.
    After(u64),
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub phase: Phase,
    pub error: Option<core::ExecutionError>,
    pub nodes: BTreeMap<NodeIdx, NodeSnapshot>,
    pub commits: u64,
    pub crashes: u64,
    /// Whether an abort was seen in time.
    pub must_abort: bool,
}

#[derive(Clone, Debug)]
enum Event {
    Observe(Observation),
    Commit,
    AskAbort,
}

/// The fake shell.
pub struct Shell<'a> {
    scenario: &'a Scenario,
    rng: Rng,
    graph: Arc<Graph>,
    world: World<'a>,
    rows: Rows,
    run: Execution,
    now: i64,
    events: BTreeMap<(i64, u64), Event>,
    n_events: u64,
    uncommitted: Vec<Batch>,
    guarded: Vec<Step>,
    history: Vec<Observation>,
    commits: u64,
    crashes: u64,
    crash: CrashPoint,
    abort_at_commit: Option<u64>,
    lost: bool,
    must_abort: bool,
    /// Whether this life has begun.
    begun: bool,
}

impl<'a> Shell<'a> {
    pub fn new(scenario: &'a Scenario, crash: CrashPoint) -> Self {
        let graph = scenario.graph();
        Self {
            scenario,
            rng: Rng::of(&[scenario.seed, 99]),
            world: World::new(scenario),
            rows: Rows::new(),
            run: Execution::new(Arc::clone(&graph), scenario.settings.clone(), Timestamp(0)),
            graph,
            now: 0,
            events: BTreeMap::new(),
            n_events: 0,
            uncommitted: Vec::new(),
            guarded: Vec::new(),
            history: Vec::new(),
            commits: 0,
            crashes: 0,
            crash,
            abort_at_commit: None,
            lost: false,
            must_abort: false,
            begun: false,
        }
    }

    pub fn abort_at_commit(mut self, commit: u64) -> Self {
        self.abort_at_commit = Some(commit);
        self
    }

    /// Runs to the end.
    pub fn run(mut self) -> Outcome {
        if let Some(at) = self.scenario.abort_at {
            self.schedule_at(at, Event::AskAbort);
        }
        self.schedule(Event::Observe(Observation::Start));
        let limit = 20_000 + 2_000 * self.scenario.tasks.len() as u64;
        let mut turns = 0;
        while !(self.rows.done && self.uncommitted.is_empty()) {
            turns += 1;
            assert!(turns < limit, "does not end: {:?}, {:?}", self.run.phase(), self.rows.nodes);
            self.turn();
        }
        self.check_end();
        Outcome {
            phase: self.rows.execution.phase,
            error: self.rows.execution.error,
            nodes: self.rows.nodes,
            commits: self.commits,
            crashes: self.crashes,
            must_abort: self.must_abort,
        }
    }

    /// The next thing that happens.
    fn turn(&mut self) {
        let event_at = self.events.first_key_value().map(|((at, _), _)| *at);
        let deadline_at = self.run.next_deadline().map(|at| at.0);
        match (event_at, deadline_at) {
            (None, None) if !self.uncommitted.is_empty() => self.commit(),
            (None, None) => {
                assert!(self.lost, "nothing under way: {:?}, {:?}", self.run.phase(), self.rows.nodes);
                self.restart();
            }
            (event, Some(deadline)) if event.is_none_or(|event| deadline <= event) => {
                self.now = self.now.max(deadline);
                self.observe(Observation::DeadlinePassed);
                let next = self.run.next_deadline();
                assert!(next.is_none_or(|at| at.0 > self.now), "a passed deadline stays");
            }
            _ => {
                let ((at, _), event) = self.events.pop_first().unwrap();
                self.now = self.now.max(at);
                match event {
                    Event::Observe(observation) => self.observe(observation),
                    Event::Commit => self.commit(),
                    Event::AskAbort => self.ask_abort(),
                }
            }
        }
    }

    /// What the API does, then what the owner sees.
    fn ask_abort(&mut self) {
        if !self.rows.execution.phase.is_terminal() {
            self.rows.execution.abort_cause = Some("enough".to_owned());
            let (cause, principal) = ("enough".to_owned(), "me".to_owned());
            self.observe(Observation::AbortRequested { cause, principal });
        }
    }

    fn observe(&mut self, observation: Observation) {
        let asks_abort = matches!(observation, Observation::AbortRequested { .. });
        self.must_abort |= asks_abort && !self.run.phase().is_terminal();
        self.apply(&observation);
        self.history.push(observation);
        if self.rng.chance(self.scenario.repeating) {
            self.observe_noise();
        }
        if self.rng.chance(70) {
            self.commit();
        } else {
            self.schedule(Event::Commit);
        }
    }

    fn apply(&mut self, observation: &Observation) {
        let changes = self.run.apply(observation.clone(), Timestamp(self.now));
        self.begun |= matches!(observation, Observation::AbortRequested { .. } | Observation::Start);
        self.check_changes(&changes);
        self.uncommitted.push(Batch::new(&self.run, &changes, observation));
        self.plan();
    }

    fn plan(&mut self) {
        for step in self.run.plan(Timestamp(self.now)) {
            if let Step::StartAttempt { node, .. } = step {
                assert!(self.run.node(node).phase.is_active(), "node {node} starts though it is over");
            }
            if step.is_free() { self.perform(step) } else { self.guarded.push(step) }
        }
        assert!(self.run.plan(Timestamp(self.now)).is_empty(), "steps are handed out once");
    }

    /// An observation that was seen before, or that makes no sense.
    fn observe_noise(&mut self) {
        let observation = match self.rng.below(4) {
            0 => Observation::Cleaned { node: u32::MAX, attempt: 0 },
            1 => Observation::InputsResolved { node: 1_000, result: Ok(String::new()) },
            _ => self.rng.pick(&self.history).clone(),
        };
        self.apply(&observation);
    }

    fn commit(&mut self) {
        if self.crashes_now(true) {
            return self.restart();
        }
        for batch in std::mem::take(&mut self.uncommitted) {
            self.rows.commit(batch);
        }
        self.check_rows();
        if self.crashes_now(false) {
            self.commits += 1;
            return self.restart();
        }
        self.commits += 1;
        for step in std::mem::take(&mut self.guarded) {
            self.perform(step);
        }
        if self.abort_at_commit == Some(self.commits - 1) {
            self.schedule_at(self.now, Event::AskAbort);
        }
    }

    fn crashes_now(&mut self, before: bool) -> bool {
        match self.crash {
            CrashPoint::Never => false,
            CrashPoint::Random => self.crashes < 30 && self.rng.chance(self.scenario.crashing),
            CrashPoint::Before(commit) => before && self.crashes == 0 && self.commits == commit,
            CrashPoint::After(commit) => !before && self.crashes == 0 && self.commits == commit,
        }
    }

    /// The host is gone and another takes over with what the rows say.
    fn restart(&mut self) {
        self.crashes += 1;
        self.lost = false;
        self.begun = false;
        self.uncommitted.clear();
        self.guarded.clear();
        let keep_answers = self.rng.chance(10);
        self.events.retain(|_, event| match event {
            Event::AskAbort => true,
            Event::Observe(Observation::Start) | Event::Commit => false,
            Event::Observe(_) => keep_answers,
        });
        let mut execution = self.rows.execution.clone();
        let is_open = !execution.phase.is_terminal();
        if execution.abort_cause.is_some() && is_open {
            self.must_abort = true;
            // The API may have written the phase with the request.
            if execution.phase != Phase::Queued && self.rng.chance(50) {
                execution.phase = Phase::Aborting;
            }
        }
        let settings = self.scenario.settings.clone();
        self.run = Execution::restore(
            Arc::clone(&self.graph),
            settings,
            execution,
            self.rows.snapshots().into_iter(),
        )
        .unwrap();
        self.schedule_at(self.now, Event::Observe(Observation::Start));
    }

    fn perform(&mut self, step: Step) {
        match step {
            Step::ResolveInputs { node } => {
                self.check_inputs_exist(node);
                let unresolvable = (node as usize)
                    .checked_sub(FIRST_TASK)
                    .is_some_and(|task| self.scenario.tasks[task].unresolvable);
                let result = if unresolvable { Err(Default::default()) } else { Ok(format!("in/{node}")) };
                self.answer(Observation::InputsResolved { node, result });
            }
            Step::StartAttempt { node, attempt, recovered } => {
                assert!(
                    self.rows.attempts.contains_key(&(node, attempt)),
                    "{node}/{attempt} starts without a row"
                );
                self.check_upstream_committed(node);
                let mut at = self.now;
                for report in self.world.start(node, attempt, recovered) {
                    at += 1 + self.rng.below(self.scenario.delay) as i64;
                    self.answer_at(at, Observation::TaskReported { node, attempt, report });
                }
            }
            Step::Abort { node, attempt, reason } => {
                assert!(!reason.is_empty(), "an abort says why");
                self.clean(node, attempt, AttemptRow::Live);
            }
            Step::Finalize { node, attempt } => self.clean(node, attempt, AttemptRow::Ended),
        }
    }

    fn clean(&mut self, node: NodeIdx, attempt: u32, expected: AttemptRow) {
        // An answer of an earlier life may have closed it already.
        let row = self.rows.attempts.get(&(node, attempt)).copied();
        assert!(
            row == Some(expected) || row == Some(AttemptRow::Closed),
            "{node}/{attempt} is cleaned up as {row:?}"
        );
        self.world.clean(node, attempt);
        self.answer(Observation::Cleaned { node, attempt });
    }

    fn answer(&mut self, observation: Observation) {
        let at = self.now + self.rng.below(self.scenario.delay) as i64;
        self.answer_at(at, observation);
    }

    fn answer_at(&mut self, at: i64, observation: Observation) {
        if self.rng.chance(self.scenario.losing) {
            self.lost = true;
        } else {
            self.schedule_at(at, Event::Observe(observation));
        }
    }

    fn schedule(&mut self, event: Event) {
        let at = self.now + self.rng.below(self.scenario.delay) as i64;
        self.schedule_at(at, event);
    }

    fn schedule_at(&mut self, at: i64, event: Event) {
        self.n_events += 1;
        self.events.insert((at, self.n_events), event);
    }
}
