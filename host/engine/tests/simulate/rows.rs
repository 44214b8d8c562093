//! Stands for the store: the rows as committed, and the checks every change of them must pass.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};

use engine::{
    AttemptChangeKind, AttemptRow, Changes, Execution, ExecutionSnapshot, Expansion, NodeIdx, NodeKind,
    NodePhase, NodeSnapshot, Observation, Phase, Report, transition,
};
use model::Timestamp;

/// An attempt, by the unique id of its node.
pub type Key = (Arc<str>, u32);

/// What a round changed, as the shell writes it.
#[derive(Clone, Debug)]
pub struct Batch {
    execution: Option<ExecutionSnapshot>,
    nodes: Vec<NodeSnapshot>,
    /// An attempt whose end the plugin reported, without asking to be aborted.
    ended: Option<Key>,
    attempts: Vec<(Key, bool, AttemptChangeKind)>,
    /// Whether nothing is left to do; written with the execution's row.
    done: Option<bool>,
}

/// The committed rows.
#[derive(Clone, Debug)]
pub struct Rows {
    pub execution: ExecutionSnapshot,
    /// By unique id.
    pub nodes: BTreeMap<Arc<str>, NodeSnapshot>,
    /// Of tasks.
    pub attempts: BTreeMap<Key, AttemptRow>,
    /// Of nodes that run no task: no row tells of them; whether the last that was heard is that they are open.
    pub others: BTreeMap<Key, bool>,
    pub done: bool,
}

impl Batch {
    /// What the observation changed: the rows as they are right after it.
    pub fn new(run: &Execution, changes: &Changes, observation: &Observation) -> Self {
        let execution = changes.execution.then(|| ExecutionSnapshot {
            phase: run.phase(),
            abort_cause: None,
            abort_forced: false,
            error: run.error().cloned(),
            created_at: run.created_at(),
            started_at: run.started_at(),
            ended_at: run.ended_at(),
        });
        let attempt = |change: &engine::AttemptChange| {
            let is_task = matches!(run.graph_node(change.node).kind, NodeKind::Task { .. });
            ((run.unique_id(change.node), change.attempt), is_task, change.kind.clone())
        };
        Self {
            execution,
            nodes: changes.nodes.iter().map(|node| snapshot(run, *node)).collect(),
            ended: ended(run, changes, observation),
            attempts: changes.attempts.iter().map(attempt).collect(),
            done: changes.execution.then(|| run.is_done()),
        }
    }
}

/// A node's row.
pub fn snapshot(run: &Execution, node: NodeIdx) -> NodeSnapshot {
    let state = run.node(node);
    // What the node held may be released.
    let end = run.end_of(node);
    let expansion = state
        .spec_uri
        .as_ref()
        .zip(end)
        .map(|(uri, end)| Expansion { graph: Arc::clone(run.graph_of(end)), spec_uri: uri.to_string() });
    NodeSnapshot {
        id: run.unique_id(node).to_string(),
        parent: run.parent(node).map(|parent| run.unique_id(parent).to_string()).unwrap_or_default(),
        phase: state.phase,
        attempt: state.attempt,
        attempt_row: AttemptRow::Absent,
        system_failures: state.system_failures,
        detail: state.detail,
        spec_uri: state.spec_uri.as_deref().map(str::to_owned),
        expansion,
        error: state.error.as_deref().cloned(),
        input_uri: state.input_uri.to_string(),
        output_uri: state.output_uri.to_string(),
        deck_uri: state.deck_uri.to_string(),
        queued_at: state.queued_at,
        started_at: state.started_at,
        attempt_started_at: state.attempt_started_at,
        // The store keeps it as a span from the start.
        ended_at: state.ended_at.filter(|_| state.started_at.is_some()),
    }
}

/// The attempt whose task row now says that it ended by itself.
fn ended(run: &Execution, changes: &Changes, observation: &Observation) -> Option<Key> {
    let Observation::TaskReported { node, attempt, report } = observation else { return None };
    if !changes.nodes.contains(node) {
        return None;
    }
    let state = run.knows(*node).then(|| run.node(*node))?;
    let wanted = match report {
        Report::Succeeded { .. } => state.phase == NodePhase::Succeeded,
        // One that makes the execution too large fails, but its attempt has ended well.
        Report::Expanded { .. } => state.spec_uri.is_some() || state.phase == NodePhase::Failing,
        Report::Failed { cleanup, .. } => {
            !cleanup && matches!(state.phase, NodePhase::RetryableFailure | NodePhase::Failing)
        }
        Report::Waiting | Report::Running => false,
    };
    (wanted && state.attempt == *attempt && state.open).then(|| (run.unique_id(*node), *attempt))
}

impl Rows {
    pub fn new() -> Self {
        let execution = ExecutionSnapshot {
            phase: Phase::Queued,
            abort_cause: None,
            abort_forced: false,
            error: None,
            created_at: Timestamp(0),
            started_at: None,
            ended_at: None,
        };
        let (attempts, others) = (BTreeMap::new(), BTreeMap::new());
        Self { execution, nodes: BTreeMap::new(), attempts, others, done: false }
    }

    /// Writes a batch after checking that each change in it is legal.
    pub fn commit(&mut self, batch: Batch) {
        if let Some(after) = batch.execution {
            let before = self.execution.phase;
            assert!(legal_execution(before, after.phase), "execution {before:?} -> {:?}", after.phase);
            let abort_cause = self.execution.abort_cause.take();
            let abort_forced = self.execution.abort_forced;
            self.execution = ExecutionSnapshot { abort_cause, abort_forced, ..after };
        }
        for after in batch.nodes {
            let id: Arc<str> = after.id.as_str().into();
            let before = self.nodes.get(&id).map(|row| row.phase).unwrap_or_default();
            assert!(legal_node(before, after.phase), "node {id}: {before:?} -> {:?}", after.phase);
            let has_parent = after.parent.is_empty() || self.nodes.contains_key(after.parent.as_str());
            assert!(has_parent || before == NodePhase::NotYetStarted, "{id} has a row before its parent");
            self.nodes.insert(id, after);
        }
        for row in self.nodes.values() {
            assert!(row.parent.is_empty() || self.nodes.contains_key(row.parent.as_str()));
        }
        if let Some(key) = batch.ended
            && let Some(row) = self.attempts.get_mut(&key).filter(|row| **row == AttemptRow::Live)
        {
            *row = AttemptRow::Ended;
        }
        for (key, is_task, kind) in batch.attempts {
            match is_task {
                true => self.change_attempt(key, &kind),
                false => _ = self.others.insert(key, kind == AttemptChangeKind::Opened),
            }
        }
        if let Some(done) = batch.done {
            assert!(!self.done || done, "a finished execution came back to life");
            self.done = done;
        }
        self.check_clean();
    }

    fn change_attempt(&mut self, key: Key, kind: &AttemptChangeKind) {
        match kind {
            AttemptChangeKind::Opened => {
                let of_node = (Arc::clone(&key.0), 0)..=(Arc::clone(&key.0), u32::MAX);
                let live = self.attempts.range(of_node).find(|(_, row)| **row != AttemptRow::Closed);
                assert!(live.is_none(), "{key:?} opened beside {live:?}");
                assert_eq!(self.nodes[&key.0].attempt, key.1, "opened attempt is not the node's");
                assert!(self.attempts.insert(key, AttemptRow::Live).is_none(), "opened twice");
            }
            AttemptChangeKind::Ended { .. } => {
                assert_eq!(self.attempts.get(&key), Some(&AttemptRow::Live), "{key:?} ended by the engine");
            }
            AttemptChangeKind::Closed => {
                let row = self.attempts.insert(key.clone(), AttemptRow::Closed);
                assert!(
                    matches!(row, Some(AttemptRow::Live | AttemptRow::Ended)),
                    "{key:?} closed, was {row:?}"
                );
            }
        }
    }

    /// Failed, aborted and finished executions have nothing open; a forced abort cleans up behind.
    fn check_clean(&self) {
        let forced = self.execution.phase == Phase::Aborted && self.execution.abort_forced;
        let ended = matches!(self.execution.phase, Phase::Failed | Phase::Aborted) && !forced;
        let open = self.open().next();
        assert!(!(self.done || ended) || open.is_none(), "{:?} with {open:?}", self.execution.phase);
        // What succeeded is cleaned up behind; all else ends when it is cleaned up.
        for (uid, attempt) in self.open() {
            let phase = self.nodes[uid].phase;
            assert!(!phase.is_terminal() || phase.is_success(), "{uid} is {phase:?} with {attempt} open");
        }
    }

    /// Attempts that are not closed.
    pub fn open(&self) -> impl Iterator<Item = &Key> {
        let tasks = self.attempts.iter().filter(|(_, row)| **row != AttemptRow::Closed).map(|(key, _)| key);
        tasks.chain(self.others.iter().filter(|(_, open)| **open).map(|(key, _)| key))
    }

    /// The node rows, each with how the row of its current attempt stands. What tasks made is loaded where it is needed.
    pub fn snapshots(&self) -> Vec<NodeSnapshot> {
        let with_attempt = |(id, row): (&Arc<str>, &NodeSnapshot)| {
            let attempt_row = self.attempts.get(&(Arc::clone(id), row.attempt)).copied();
            NodeSnapshot { attempt_row: attempt_row.unwrap_or_default(), ..row.clone() }
        };
        let mut all: Vec<_> = self.nodes.iter().map(with_attempt).collect();
        let holders: HashSet<String> =
            engine::holders(all.iter().map(NodeSnapshot::life)).map(str::to_owned).collect();
        for row in &mut all {
            if !row.phase.is_in_flight() && !holders.contains(&row.id) {
                row.expansion = None;
            }
        }
        all
    }
}

type Edges = HashSet<(String, String)>;

fn edges(table: &str) -> Edges {
    let edge = |line: &str| {
        let (before, rest) = line.split_once(" --(")?;
        Some((before.to_owned(), rest.split_once("--> ")?.1.to_owned()))
    };
    table.lines().map(|line| edge(line).unwrap()).collect()
}

/// Whether some steps of the table lead there: a round may take several at once (an array that has no chance is
/// queued, runs, and has failed).
fn legal(edges: &Edges, before: &str, after: &str) -> bool {
    let mut reached = vec![before.to_owned()];
    let mut next = 0;
    while let Some(from) = reached.get(next).cloned() {
        for (_, to) in edges.iter().filter(|(a, _)| *a == from) {
            if !reached.contains(to) {
                reached.push(to.clone());
            }
        }
        next += 1;
    }
    reached.iter().any(|phase| phase == after)
}

/// The answers for all pairs, found once.
fn legal_node(before: NodePhase, after: NodePhase) -> bool {
    static PAIRS: OnceLock<HashSet<(NodePhase, NodePhase)>> = OnceLock::new();
    let pairs = PAIRS.get_or_init(|| {
        let edges = edges(transition::NODE_TABLE);
        let all = NodePhase::ALL.into_iter().flat_map(|a| NodePhase::ALL.into_iter().map(move |b| (a, b)));
        all.filter(|(a, b)| legal(&edges, &format!("{a:?}"), &format!("{b:?}"))).collect()
    });
    pairs.contains(&(before, after))
}

fn legal_execution(before: Phase, after: Phase) -> bool {
    static EDGES: OnceLock<Edges> = OnceLock::new();
    let edges = EDGES.get_or_init(|| edges(transition::EXECUTION_TABLE));
    legal(edges, &format!("{before:?}"), &format!("{after:?}"))
}
