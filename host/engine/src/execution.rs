//! Holds the state of an execution and the two calls that drive it: apply what was seen, plan what is due.

mod access;
mod elements;
mod nodes;
mod outcome;
mod places;
mod recover;
mod release;
mod restore;
mod scope;
mod stop;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::core;

use crate::attempt::Settings;
use crate::deadline::{Deadline, Deadlines, Limit};
use crate::graph::Graph;
use crate::node;
use crate::phase::Phase;
use crate::recall::Recalled;
use crate::state::NodeState;
use crate::step::{AttemptChange, AttemptChangeKind, Changes, NodeIdx, Observation, Step};
use crate::transition::{self, ExecutionEvent, NodeEvent};

pub(crate) use nodes::Nodes as AllNodes;
use nodes::Nodes;
pub use release::Released;
pub use restore::holders;
use scope::Scope;
pub(crate) use scope::{Content, ElementRules, ScopeIdx};

/// Reason given to attempts that end because another node failed.
pub const AUTO_ABORT: &str = "Some node execution failed, auto-abort.";

/// A running execution.
#[derive(Clone, Debug)]
pub struct Execution {
    pub(crate) settings: Settings,
    recalled: Option<Arc<Recalled>>,
    phase: Phase,
    /// Whether `Start` was seen in this life.
    begun: bool,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    error: Option<Box<core::ExecutionError>>,
    /// Why attempts still open are aborted, once they are.
    stop_reason: Arc<str>,
    /// An abort that was asked for before `Start`.
    abort_request: Option<AbortRequest>,
    nodes: Nodes,
    /// All scopes, each after the one it lies in; the first is the workflow itself. Those that were released are gone.
    scopes: Vec<Option<Box<Scope>>>,
    /// How many nodes there ever were, as far as rows tell of those of earlier lives.
    n_made: u64,
    /// Nodes that have ended, and what they hold has come to rest.
    ended: Vec<NodeIdx>,
    /// Nodes that may start and wait for a place, in the order they became ready.
    ready: VecDeque<NodeIdx>,
    /// Places taken out of `max_parallelism`.
    places_taken: u32,
    /// Arrays that may have room for another element.
    hungry: Vec<ScopeIdx>,
    /// Places taken out of `max_elements_in_flight`.
    elements_in_flight: u32,
    /// Arrays that wait for one.
    line: VecDeque<ScopeIdx>,
    /// Arrays that wait for the place of the element they lie in.
    lender_lines: HashMap<NodeIdx, VecDeque<ScopeIdx>>,
    /// Recovered arrays whose elements are still to be shown.
    showing: VecDeque<ScopeIdx>,
    /// Nodes that are ready and had succeeded in the execution that is recovered.
    recovering: VecDeque<NodeIdx>,
    /// How many of them this call may still take over.
    recover_left: u32,
    news: VecDeque<News>,
    due: VecDeque<Due>,
    pub(crate) deadlines: Deadlines,
    changes: Changes,
    /// When the last call of `apply` was.
    last_seen: Timestamp,
}

/// An abort to be carried out.
#[derive(Clone, Debug)]
struct AbortRequest {
    cause: String,
    force: bool,
}

/// What happened inside and is still to be carried on.
#[derive(Clone, Copy, Debug)]
enum News {
    /// The outcome of a node counts for its surroundings.
    Decided(NodeIdx),
    /// Nothing in the scope is live any more.
    Quiet(ScopeIdx),
}

/// A step that is due unless the node moves on before it is handed out.
#[derive(Clone, Debug)]
enum Due {
    Resolve(NodeIdx),
    Start { node: NodeIdx, attempt: u32, recovered: bool },
    Clean { node: NodeIdx, attempt: u32, reason: Arc<str> },
    Gather(NodeIdx),
    Load(NodeIdx),
}

impl Execution {
    /// An execution that never started.
    pub fn new(graph: Arc<Graph>, settings: Settings, created_at: Timestamp) -> Self {
        let mut this = Self {
            settings,
            recalled: None,
            phase: Phase::Queued,
            begun: false,
            created_at,
            started_at: None,
            ended_at: None,
            error: None,
            stop_reason: Arc::from(AUTO_ABORT),
            abort_request: None,
            nodes: Nodes::default(),
            scopes: Vec::new(),
            n_made: 0,
            ended: Vec::new(),
            ready: VecDeque::new(),
            places_taken: 0,
            hungry: Vec::new(),
            elements_in_flight: 0,
            line: VecDeque::new(),
            lender_lines: HashMap::new(),
            showing: VecDeque::new(),
            recovering: VecDeque::new(),
            recover_left: 0,
            news: VecDeque::new(),
            due: VecDeque::new(),
            deadlines: Deadlines::default(),
            changes: Changes::default(),
            last_seen: created_at,
        };
        this.open_root(graph);
        this
    }

    /// Lets it take over what an earlier execution achieved. To be said before `Start`, in every life.
    #[must_use]
    pub fn with_recalled(mut self, recalled: Arc<Recalled>) -> Self {
        self.recalled = Some(recalled);
        self
    }

    /// Takes in what the shell saw and says which rows it changed. An observation that no longer fits changes
    /// nothing; before `Start` only a request to abort counts.
    pub fn apply(&mut self, observation: Observation, now: Timestamp) -> Changes {
        self.last_seen = now;
        self.recover_left = self.settings.recovered_at_once.max(1);
        match observation {
            Observation::Start => self.begin(now),
            Observation::AbortRequested { cause, principal: _, force } => {
                self.request_abort(AbortRequest { cause, force }, now);
            }
            _ if !self.begun => {}
            Observation::InputsResolved { node, result } => self.inputs_resolved(node, result, now),
            Observation::TaskReported { node, attempt, report } => {
                node::attempt::reported(self, node, attempt, report, now);
            }
            Observation::Cleaned { node, attempt } => node::attempt::cleaned(self, node, attempt, now),
            Observation::OutputsWritten { node, result } => {
                node::container::outputs_written(self, node, result, now);
            }
            Observation::Expanded { node, result } => node::dynamic::loaded(self, node, result, now),
            Observation::DeadlinePassed => self.pass_deadlines(now),
        }
        if self.begun {
            self.carry_on(now);
        }
        self.deadlines.drop_stale(&self.nodes);
        let changes = std::mem::take(&mut self.changes);
        for node in &changes.nodes {
            self.link_mut(*node).changed = false;
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
        if self.is_taking_over() { Some(self.last_seen) } else { self.deadlines.earliest() }
    }

    /// Whether more is to be taken over from the execution that is recovered, right away.
    pub fn is_taking_over(&self) -> bool {
        !(self.recovering.is_empty() && self.showing.is_empty())
    }

    /// Carries on all that follows from what was applied.
    fn carry_on(&mut self, now: Timestamp) {
        loop {
            match self.news.pop_front() {
                Some(News::Decided(node)) => self.decided(node, now),
                Some(News::Quiet(scope)) => self.quiet(scope, now),
                None if self.start_waiting(now) => {}
                None => return,
            }
            crate::cost::tick();
        }
    }

    /// The state of a node, to be changed; its row counts as changed.
    pub(crate) fn change(&mut self, node: NodeIdx) -> &mut NodeState {
        if !std::mem::replace(&mut self.link_mut(node).changed, true) {
            self.changes.nodes.push(node);
        }
        self.state_mut(node)
    }

    /// The state of a node, to be changed in what no row tells.
    pub(crate) fn state_mut(&mut self, node: NodeIdx) -> &mut NodeState {
        self.nodes.get_mut(node).expect("invariant: a node position is one of this execution")
    }

    /// Moves a node by the table; an event that has no meaning in its phase changes nothing and answers false.
    pub(crate) fn move_node(&mut self, node: NodeIdx, event: NodeEvent) -> bool {
        let Some(phase) = transition::next(self.node(node).phase, event) else { return false };
        self.change(node).phase = phase;
        if phase.is_terminal() {
            self.give_back_place(node);
        }
        self.refresh(node);
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
        self.refresh(node);
        self.note_attempt(node, AttemptChangeKind::Opened, now);
        self.due.push_back(Due::Start { node, attempt, recovered });
    }

    /// Closes the node's current attempt.
    pub(crate) fn close_attempt(&mut self, node: NodeIdx, now: Timestamp) {
        self.state_mut(node).open = false;
        self.note_attempt(node, AttemptChangeKind::Closed, now);
        self.refresh(node);
        // What it holds may have waited for this.
        if let Some(inner) = self.inner(node) {
            self.news.push_back(News::Quiet(inner));
        }
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

    /// Asks for the outputs of what the node holds to be put together.
    pub(crate) fn gather(&mut self, node: NodeIdx) {
        self.due.push_back(Due::Gather(node));
    }

    /// Asks for what the node's task made in the execution that is recovered.
    pub(crate) fn load_expansion(&mut self, node: NodeIdx) {
        self.due.push_back(Due::Load(node));
    }

    /// Notes a change of the node's current attempt.
    pub(crate) fn note_attempt(&mut self, node: NodeIdx, kind: AttemptChangeKind, at: Timestamp) {
        let attempt = self.node(node).attempt;
        self.changes.attempts.push(AttemptChange { node, attempt, kind, at });
    }

    /// The outcome of a node is to be carried on.
    pub(crate) fn tell_decided(&mut self, node: NodeIdx) {
        self.news.push_back(News::Decided(node));
    }

    /// Whether anything is kept of the node at this position: one that was released is not known any more, and
    /// observations come from outside.
    pub fn knows(&self, node: NodeIdx) -> bool {
        self.nodes.get(node).is_some()
    }

    fn inputs_resolved(
        &mut self,
        node: NodeIdx,
        result: Result<crate::Resolved, core::ExecutionError>,
        now: Timestamp,
    ) {
        if self.knows(node) && std::mem::take(&mut self.link_mut(node).resolving) {
            node::resolved(self, node, result, now);
            self.refresh(node);
        }
    }

    fn pass_deadlines(&mut self, now: Timestamp) {
        while let Some(Deadline { node, limit, at: _ }) = self.deadlines.pop_due(&self.nodes, now) {
            let holds_nodes = self.node(node).expanded;
            match limit {
                Limit::Sleep => node::gate::wake(self, node, now),
                Limit::Active | Limit::Execution { .. } if holds_nodes => {
                    node::container::time_out(self, node, limit, now);
                }
                Limit::Active => node::attempt::time_out(self, node, now),
                Limit::Execution { attempt: _ } => node::attempt::expire(self, node, now),
            }
        }
    }

    /// The step that is due, unless the node moved on.
    fn step(&self, due: Due) -> Option<Step> {
        let (Due::Resolve(node)
        | Due::Start { node, .. }
        | Due::Clean { node, .. }
        | Due::Gather(node)
        | Due::Load(node)) = due;
        if !self.knows(node) {
            return None;
        }
        match due {
            Due::Resolve(node) => self.link(node).resolving.then_some(Step::ResolveInputs { node }),
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
            Due::Gather(node) => {
                let wanted = self.node(node).phase == crate::NodePhase::Succeeding;
                wanted.then_some(Step::GatherOutputs { node })
            }
            Due::Load(node) => {
                let spec_uri = node::dynamic::to_load(self, node)?.to_owned();
                Some(Step::LoadExpansion { node, spec_uri })
            }
        }
    }
}

#[cfg(test)]
mod tests;
