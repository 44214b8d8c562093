//! Holds the state of an execution and the two calls that drive it: apply what was seen, plan what is due.

mod flow;
mod restore;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::core;

use crate::attempt::{Rules, Settings};
use crate::deadline::{Deadline, Deadlines, Limit};
use crate::graph::{Graph, GraphNode};
use crate::node;
use crate::phase::{NodePhase, Phase};
use crate::state::NodeState;
use crate::step::{AttemptChange, AttemptChangeKind, Changes, NodeIdx, Observation, Step};
use crate::transition::{self, ExecutionEvent, NodeEvent};

/// Reason given to attempts that end because another node failed.
pub const AUTO_ABORT: &str = "Some node execution failed, auto-abort.";

/// A running execution.
#[derive(Clone, Debug)]
pub struct Execution {
    pub(crate) graph: Arc<Graph>,
    pub(crate) settings: Settings,
    phase: Phase,
    /// Whether `Start` was seen in this life.
    begun: bool,
    /// Rows that were restored, until `Start`.
    restored: Vec<NodeIdx>,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    error: Option<Box<core::ExecutionError>>,
    /// Why attempts still open are aborted, once they are.
    stop_reason: Arc<str>,
    /// An abort that was asked for in an earlier life.
    abort_cause: Option<String>,
    /// The failure to report when everything that can run has run.
    last_failure: Option<NodeIdx>,
    pub(crate) nodes: Vec<NodeState>,
    waits: Vec<Wait>,
    /// Nodes whose current attempt is open.
    open: BTreeSet<NodeIdx>,
    /// Nodes that may start and wait for a place, in the order they became ready.
    ready: VecDeque<NodeIdx>,
    /// Places taken out of `max_parallelism`.
    places_taken: u32,
    due: VecDeque<Due>,
    pub(crate) deadlines: Deadlines,
    changes: Changes,
}

/// What the engine keeps about a node beside its row.
#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    /// Upstream nodes not decided yet.
    upstream: u32,
    /// Whether one of the decided ones did not succeed.
    upstream_lost: bool,
    /// Whether it was found to be ready.
    ready: bool,
    /// Whether its inputs are being made.
    resolving: bool,
    /// Whether it holds a place.
    has_place: bool,
    /// Whether this round's changes name it.
    changed: bool,
}

/// A step that is due unless the node moves on before it is handed out.
#[derive(Clone, Debug)]
enum Due {
    Resolve(NodeIdx),
    Start { node: NodeIdx, attempt: u32, recovered: bool },
    Clean { node: NodeIdx, attempt: u32, reason: Arc<str> },
}

impl Execution {
    /// An execution that never started.
    pub fn new(graph: Arc<Graph>, settings: Settings, created_at: Timestamp) -> Self {
        let wait = |node: &GraphNode| Wait { upstream: node.upstream.len() as u32, ..Wait::default() };
        Self {
            phase: Phase::Queued,
            begun: false,
            restored: Vec::new(),
            created_at,
            started_at: None,
            ended_at: None,
            error: None,
            stop_reason: Arc::from(AUTO_ABORT),
            abort_cause: None,
            last_failure: None,
            nodes: vec![NodeState::default(); graph.nodes.len()],
            waits: graph.nodes.iter().map(wait).collect(),
            open: BTreeSet::new(),
            ready: VecDeque::new(),
            places_taken: 0,
            due: VecDeque::new(),
            deadlines: Deadlines::default(),
            changes: Changes::default(),
            graph,
            settings,
        }
    }

    /// Takes in what the shell saw and says which rows it changed. An observation that no longer fits changes
    /// nothing; before `Start` only a request to abort counts.
    pub fn apply(&mut self, observation: Observation, now: Timestamp) -> Changes {
        match observation {
            Observation::Start => self.begin(now),
            Observation::AbortRequested { cause, principal: _ } => self.request_abort(&cause, now),
            Observation::InputsResolved { node, result } => self.inputs_resolved(node, result, now),
            Observation::TaskReported { node, attempt, report } if self.begun => {
                node::task::reported(self, node, attempt, report, now);
            }
            Observation::Cleaned { node, attempt } if self.begun => {
                node::task::cleaned(self, node, attempt, now);
            }
            Observation::DeadlinePassed => self.pass_deadlines(now),
            Observation::TaskReported { .. } | Observation::Cleaned { .. } => {}
        }
        self.deadlines.drop_stale(&self.nodes);
        let changes = std::mem::take(&mut self.changes);
        for node in &changes.nodes {
            if let Some(wait) = self.waits.get_mut(*node as usize) {
                wait.changed = false;
            }
        }
        changes
    }

    /// Hands out the steps that are due, each once in this life of the host.
    pub fn plan(&mut self, _now: Timestamp) -> Vec<Step> {
        self.admit();
        let mut steps = Vec::with_capacity(self.due.len());
        while let Some(due) = self.due.pop_front() {
            crate::cost::tick();
            steps.extend(self.step(due));
        }
        steps
    }

    /// When `DeadlinePassed` is to be applied next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.earliest()
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The `core.WorkflowExecution.Phase` number.
    pub fn wire_phase(&self) -> i32 {
        self.phase.wire()
    }

    /// Whether it has ended and every attempt is cleaned up.
    pub fn is_done(&self) -> bool {
        self.phase.is_terminal() && self.open.is_empty()
    }

    /// Why it fails or failed.
    pub fn error(&self) -> Option<&core::ExecutionError> {
        self.error.as_deref()
    }

    /// Where the outputs are; empty until it succeeded or when it has none.
    pub fn outputs_uri(&self) -> &str {
        match self.phase {
            Phase::Succeeded => &self.node(self.graph.end).output_uri,
            Phase::Queued
            | Phase::Running
            | Phase::Failing
            | Phase::Failed
            | Phase::Aborting
            | Phase::Aborted => "",
        }
    }

    /// When it was created.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// When it began to run.
    pub fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    /// When it ended.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at
    }

    /// The workflow it runs.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// What applies to all its nodes.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The rules a node's attempts follow.
    pub fn rules(&self, node: NodeIdx) -> Rules<'_> {
        Rules { metadata: &self.graph_node(node).metadata, settings: &self.settings }
    }

    /// The state of a node.
    ///
    /// # Panics
    /// When `node` is not a position in the graph.
    pub fn node(&self, node: NodeIdx) -> &NodeState {
        self.nodes.get(node as usize).expect("invariant: a node position is one of this graph")
    }

    /// The states of all nodes, in the order of [`Graph::nodes`].
    pub fn nodes(&self) -> &[NodeState] {
        &self.nodes
    }

    /// Whether this position exists: observations come from outside.
    pub(crate) fn knows(&self, node: NodeIdx) -> bool {
        (node as usize) < self.nodes.len()
    }

    pub(crate) fn graph_node(&self, node: NodeIdx) -> &GraphNode {
        self.graph.node(node).expect("invariant: a node position is one of this graph")
    }

    /// The state of a node, to be changed; its row counts as changed.
    pub(crate) fn change(&mut self, node: NodeIdx) -> &mut NodeState {
        let wait = self.wait(node);
        if !std::mem::replace(&mut wait.changed, true) {
            self.changes.nodes.push(node);
        }
        self.nodes.get_mut(node as usize).expect("invariant: a node position is one of this graph")
    }

    /// Moves a node by the table; an event that has no meaning in its phase changes nothing and answers false.
    pub(crate) fn move_node(&mut self, node: NodeIdx, event: NodeEvent) -> bool {
        let Some(phase) = transition::next(self.node(node).phase, event) else { return false };
        self.change(node).phase = phase;
        if phase.is_terminal() {
            self.give_back_place(node);
        }
        true
    }

    /// Moves the execution by the table.
    fn move_execution(&mut self, event: ExecutionEvent, now: Timestamp) -> bool {
        let Some(phase) = transition::next_of_execution(self.phase, event) else { return false };
        self.phase = phase;
        if phase.is_terminal() {
            self.ended_at = Some(now);
        }
        self.changes.execution = true;
        true
    }

    /// Opens the node's current attempt.
    pub(crate) fn open_attempt(&mut self, node: NodeIdx, recovered: bool, now: Timestamp) {
        let interruptible = self.rules(node).interruptible(self.node(node));
        let state = self.change(node);
        state.open = true;
        state.ended = false;
        state.interruptible_now = interruptible;
        let attempt = state.attempt;
        self.open.insert(node);
        self.note_attempt(node, AttemptChangeKind::Opened, now);
        self.due.push_back(Due::Start { node, attempt, recovered });
    }

    /// Closes the node's current attempt.
    pub(crate) fn close_attempt(&mut self, node: NodeIdx, now: Timestamp) {
        if let Some(state) = self.nodes.get_mut(node as usize) {
            state.open = false;
        }
        self.open.remove(&node);
        self.note_attempt(node, AttemptChangeKind::Closed, now);
    }

    /// Asks for the node's current attempt to be driven on after a crash.
    pub(crate) fn recover_attempt(&mut self, node: NodeIdx) {
        let attempt = self.node(node).attempt;
        self.due.push_back(Due::Start { node, attempt, recovered: true });
    }

    /// Asks for the node's current attempt to be cleaned up.
    pub(crate) fn clean_attempt(&mut self, node: NodeIdx, reason: &Arc<str>) {
        let attempt = self.node(node).attempt;
        self.due.push_back(Due::Clean { node, attempt, reason: Arc::clone(reason) });
    }

    /// Notes a change of the node's current attempt.
    pub(crate) fn note_attempt(&mut self, node: NodeIdx, kind: AttemptChangeKind, at: Timestamp) {
        let attempt = self.node(node).attempt;
        self.changes.attempts.push(AttemptChange { node, attempt, kind, at });
    }

    fn wait(&mut self, node: NodeIdx) -> &mut Wait {
        self.waits.get_mut(node as usize).expect("invariant: a node position is one of this graph")
    }

    fn inputs_resolved(
        &mut self,
        node: NodeIdx,
        result: Result<String, core::ExecutionError>,
        now: Timestamp,
    ) {
        let expected = self.knows(node) && std::mem::take(&mut self.wait(node).resolving);
        if expected && self.phase == Phase::Running {
            node::resolved(self, node, result, now);
        }
    }

    fn pass_deadlines(&mut self, now: Timestamp) {
        while let Some(Deadline { node, limit, at: _ }) = self.deadlines.pop_due(&self.nodes, now) {
            match limit {
                Limit::Active => node::task::time_out(self, node, now),
                Limit::Execution { attempt: _ } => node::task::expire(self, node, now),
            }
        }
    }

    /// The step that is due, unless the node moved on.
    fn step(&self, due: Due) -> Option<Step> {
        match due {
            Due::Resolve(node) => {
                let wanted =
                    self.phase == Phase::Running && self.node(node).phase == NodePhase::NotYetStarted;
                wanted.then_some(Step::ResolveInputs { node })
            }
            Due::Start { node, attempt, recovered } => {
                let state = self.node(node);
                let wanted = state.open && state.attempt == attempt && state.phase.is_active();
                wanted.then_some(Step::StartAttempt { node, attempt, recovered })
            }
            Due::Clean { node, attempt, reason } => {
                let state = self.node(node);
                match (state.open && state.attempt == attempt, state.ended) {
                    (false, _) => None,
                    (true, true) => Some(Step::Finalize { node, attempt }),
                    (true, false) => Some(Step::Abort { node, attempt, reason: reason.to_string() }),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
