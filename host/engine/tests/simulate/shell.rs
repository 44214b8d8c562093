//! Drives one execution as the worker does: observe, commit, act; and breaks down where it is told to.

mod check;
mod perform;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use engine::{
    Changes, Execution, Expansion, Graph, NodeIdx, NodeSnapshot, Observation, Phase, Recalled, Report,
    Resolved, Step,
};
use model::Timestamp;
use proto::flyteidl::core;

use crate::rng::Rng;
use crate::rows::{Batch, Rows};
use crate::scenario::{Scenario, Spec, What};
use crate::world::World;

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
    /// By unique id.
    pub nodes: BTreeMap<Arc<str>, NodeSnapshot>,
    pub commits: u64,
    pub crashes: u64,
    /// Nodes that were forgotten before the end.
    pub n_released: usize,
    /// Whether an abort was seen in time.
    pub must_abort: bool,
}

/// Something said about a node. Positions change from life to life, ids do not.
#[derive(Clone, Debug)]
enum Word {
    Inputs(Result<Resolved, core::ExecutionError>),
    Report(u32, Report),
    Cleaned(u32),
    Outputs(Result<String, core::ExecutionError>),
    Expanded(Result<Expansion, core::ExecutionError>),
}

#[derive(Clone, Debug)]
enum Event {
    Start,
    Said(Arc<str>, Word),
    Commit,
    AskAbort { force: bool },
}

/// The fake shell.
pub struct Shell<'a> {
    scenario: &'a Scenario,
    rng: Rng,
    graphs: &'a HashMap<&'a str, Arc<Graph>>,
    world: World<'a>,
    recalled: Option<Arc<Recalled>>,
    rows: Rows,
    run: Execution,
    /// Positions of this life's nodes, by unique id.
    ids: HashMap<Arc<str>, NodeIdx>,
    now: i64,
    events: BTreeMap<(i64, u64), Event>,
    n_events: u64,
    uncommitted: Vec<Batch>,
    guarded: Vec<Step>,
    history: Vec<(Arc<str>, Word)>,
    commits: u64,
    crashes: u64,
    crash: CrashPoint,
    abort_at_commit: Option<(u64, bool)>,
    lost: bool,
    must_abort: bool,
    /// Whether this life has begun.
    begun: bool,
    /// What is, or is in, a failure node.
    handlers: HashSet<Arc<str>>,
    n_released: usize,
    /// Nodes of the workflow itself.
    n_root: u64,
    /// Whether everything is printed (`SIMULATE_TRACE`).
    traces: bool,
}

impl<'a> Shell<'a> {
    pub fn new(scenario: &'a Scenario, graphs: &'a HashMap<&'a str, Arc<Graph>>, crash: CrashPoint) -> Self {
        let graph = Arc::clone(&graphs[scenario.flow.name.as_str()]);
        let n_root = u64::from(graph.top + u32::from(graph.failure_node.is_some()));
        Self {
            scenario,
            rng: Rng::of(&[scenario.seed, scenario.salt, 99]),
            world: World::new(scenario, graphs),
            recalled: None,
            rows: Rows::new(),
            run: Execution::new(graph, scenario.settings.clone(), Timestamp(0)),
            graphs,
            ids: HashMap::new(),
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
            handlers: HashSet::new(),
            n_released: 0,
            n_root,
            traces: std::env::var_os("SIMULATE_TRACE").is_some(),
        }
    }

    pub fn abort_at_commit(mut self, commit: u64, force: bool) -> Self {
        self.abort_at_commit = Some((commit, force));
        self
    }

    /// Lets the execution recover another.
    pub fn recovering(mut self, recalled: Arc<Recalled>) -> Self {
        self.run = self.run.with_recalled(Arc::clone(&recalled));
        self.recalled = Some(recalled);
        self
    }

    /// Runs to the end.
    pub fn run(mut self) -> Outcome {
        if let Some((at, force)) = self.scenario.abort_at {
            self.schedule_at(at, Event::AskAbort { force });
        }
        if let Some(at) = self.scenario.force_at {
            self.schedule_at(at, Event::AskAbort { force: true });
        }
        self.schedule(Event::Start);
        let mut turns = 0;
        while !(self.rows.done && self.uncommitted.is_empty()) {
            turns += 1;
            assert!(turns < 500_000, "does not end: {:?}, {:#?}", self.run.phase(), self.rows.nodes);
            self.turn();
        }
        self.check_end();
        Outcome {
            phase: self.rows.execution.phase,
            error: self.rows.execution.error,
            nodes: self.rows.nodes,
            commits: self.commits,
            crashes: self.crashes,
            n_released: self.n_released,
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
                assert!(self.lost, "nothing under way: {:?}, {:#?}", self.run.phase(), self.rows.nodes);
                self.restart();
            }
            (event, Some(deadline)) if event.is_none_or(|event| deadline <= event) => {
                self.now = self.now.max(deadline);
                self.observe(Observation::DeadlinePassed);
                let next = self.run.next_deadline();
                let passed = next.is_none_or(|at| at.0 > self.now);
                assert!(passed || self.run.is_taking_over(), "a passed deadline stays");
            }
            _ => {
                let ((at, _), event) = self.events.pop_first().unwrap();
                self.now = self.now.max(at);
                match event {
                    Event::Start => self.observe(Observation::Start),
                    Event::Said(uid, word) => self.hear(uid, word),
                    Event::Commit => self.commit(),
                    Event::AskAbort { force } => self.ask_abort(force),
                }
            }
        }
    }

    /// What the API does, then what the owner sees.
    fn ask_abort(&mut self, force: bool) {
        if !self.rows.execution.phase.is_terminal() {
            self.rows.execution.abort_cause = Some("enough".to_owned());
            self.rows.execution.abort_forced |= force;
            let (cause, principal) = ("enough".to_owned(), "me".to_owned());
            self.observe(Observation::AbortRequested { cause, principal, force });
        }
    }

    /// An answer arrives; one about a node that this life does not know is an earlier life's.
    fn hear(&mut self, uid: Arc<str>, word: Word) {
        if let Some(node) = self.ids.get(&uid) {
            let observation = said(*node, word.clone());
            self.history.push((uid, word));
            self.observe(observation);
        }
    }

    fn observe(&mut self, observation: Observation) {
        let asks_abort = matches!(observation, Observation::AbortRequested { .. });
        self.must_abort |= asks_abort && !self.run.phase().is_terminal();
        self.apply(&observation);
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
        self.learn_ids();
        if self.traces {
            self.trace(observation, &changes);
        }
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

    /// Prints what was seen and what it changed.
    fn trace(&self, observation: &Observation, changes: &Changes) {
        let seen: String = format!("{observation:?}").chars().take(120).collect();
        println!("{:>5} {seen} -> execution {:?}", self.now, self.run.phase());
        for node in &changes.nodes {
            println!("      {} {:?}", self.run.unique_id(*node), self.run.node(*node).phase);
        }
    }

    /// An observation that was seen before, or that makes no sense.
    fn observe_noise(&mut self) {
        let nonsense = match self.rng.below(6) {
            0 => Some(Observation::Cleaned { node: u32::MAX, attempt: 0 }),
            1 => Some(Observation::OutputsWritten { node: u32::MAX, result: Ok(String::new()) }),
            2 => Some(Observation::DeadlinePassed),
            _ if self.history.is_empty() => Some(Observation::Start),
            _ => None,
        };
        if let Some(observation) = nonsense.filter(|_| self.begun) {
            return self.apply(&observation);
        }
        if !self.history.is_empty() {
            let (uid, word) = self.rng.pick(&self.history).clone();
            if let Some(node) = self.ids.get(&uid) {
                self.apply(&said(*node, word));
            }
        }
    }

    fn commit(&mut self) {
        if self.crashes_now(true) {
            return self.restart();
        }
        for batch in std::mem::take(&mut self.uncommitted) {
            self.rows.commit(batch);
        }
        self.check_rows();
        self.release();
        if self.crashes_now(false) {
            self.commits += 1;
            return self.restart();
        }
        self.commits += 1;
        if self.rng.chance(5) {
            self.check_restored();
        }
        for step in std::mem::take(&mut self.guarded) {
            // An answer of an earlier life may have made it needless.
            if self.run.knows(step.node()) {
                self.perform(step);
            }
        }
        if let Some((commit, force)) = self.abort_at_commit
            && commit == self.commits - 1
        {
            self.schedule_at(self.now, Event::AskAbort { force });
        }
    }

    /// All rows are stored: what has come to rest is forgotten.
    fn release(&mut self) {
        for node in self.run.nodes().map(|(node, _)| node).collect::<Vec<_>>() {
            let mut up = Some(node);
            while let Some(at) = up {
                if self.run.is_failure_node(at) {
                    self.handlers.insert(self.run.unique_id(node));
                }
                up = self.run.parent(at);
            }
        }
        let n_before = self.run.n_kept();
        let released = self.run.release();
        for (part, node) in released.iter().flat_map(|part| part.nodes.clone().map(move |node| (part, node)))
        {
            assert!(!self.run.knows(node) && self.run.release().is_empty(), "{part:?}");
        }
        let n_released: usize = released.iter().map(|part| part.nodes.len()).sum();
        assert_eq!(self.run.n_kept() + n_released, n_before);
        self.n_released += n_released;
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
        if self.traces {
            println!("{:>5} crash", self.now);
        }
        self.lost = false;
        self.begun = false;
        self.uncommitted.clear();
        self.guarded.clear();
        let keep_answers = self.rng.chance(10);
        self.events.retain(|_, event| match event {
            Event::AskAbort { .. } => true,
            Event::Start | Event::Commit => false,
            Event::Said(..) => keep_answers,
        });
        if self.rows.execution.abort_cause.is_some() && !self.rows.execution.phase.is_terminal() {
            self.must_abort = true;
        }
        // The API may have written the phase with the request.
        let execution = &mut self.rows.execution;
        let asked = execution.abort_cause.is_some() && !execution.phase.is_terminal();
        if asked && execution.phase != Phase::Queued && self.rng.chance(50) {
            execution.phase = Phase::Aborting;
        }
        self.run = self.restored();
        self.ids.clear();
        self.learn_ids();
        self.schedule_at(self.now, Event::Start);
    }

    /// What the rows restore.
    fn restored(&mut self) -> Execution {
        let execution = self.rows.execution.clone();
        let graph = Arc::clone(&self.graphs[self.scenario.flow.name.as_str()]);
        let mut nodes = self.rows.snapshots();
        if self.rng.chance(50) {
            nodes.reverse();
        }
        let settings = self.scenario.settings.clone();
        let run = Execution::restore(graph, settings, execution, nodes.into_iter()).unwrap();
        match &self.recalled {
            Some(recalled) => run.with_recalled(Arc::clone(recalled)),
            None => run,
        }
    }

    /// Notes the ids of nodes that are new.
    fn learn_ids(&mut self) {
        for node in self.ids.len()..self.run.len() {
            let id = self.run.unique_id(node as NodeIdx);
            let twin = self.ids.insert(id, node as NodeIdx);
            assert_eq!(twin, None, "two nodes have the id {}", self.run.unique_id(node as NodeIdx));
        }
    }

    /// What the node is to do; nothing for start and end nodes.
    fn spec(&self, node: NodeIdx) -> Option<&'a Spec> {
        let find = |specs: &'a [Spec], failure: Option<&'a Spec>| {
            let id = &*self.run.graph_node(node).id;
            specs.iter().chain(failure).find(|spec| spec.id == id)
        };
        let Some(parent) = self.run.parent(node) else {
            return find(&self.scenario.flow.nodes, self.scenario.flow.failure_node.as_deref());
        };
        match &self.spec(parent)?.what {
            What::Sub(flow) | What::Dynamic(flow) => find(&flow.nodes, flow.failure_node.as_deref()),
            What::Branch { arms, .. } => find(arms, None),
            What::Array(array) => Some(&array.element),
            _ => None,
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

fn said(node: NodeIdx, word: Word) -> Observation {
    match word {
        Word::Inputs(result) => Observation::InputsResolved { node, result },
        Word::Report(attempt, report) => Observation::TaskReported { node, attempt, report },
        Word::Cleaned(attempt) => Observation::Cleaned { node, attempt },
        Word::Outputs(result) => Observation::OutputsWritten { node, result },
        Word::Expanded(result) => Observation::Expanded { node, result },
    }
}
