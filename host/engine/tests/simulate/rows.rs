//! Stands for the store: the rows as committed, and the checks every change of them must pass.

use std::collections::{BTreeMap, HashSet};
use std::sync::OnceLock;

use engine::{
    AttemptChange, AttemptChangeKind, AttemptRow, Changes, Execution, ExecutionSnapshot, NodeIdx, NodePhase,
    NodeSnapshot, Observation, Phase, Report, transition,
};
use model::Timestamp;

/// What a round changed, as the shell writes it.
#[derive(Clone, Debug)]
pub struct Batch {
    execution: Option<ExecutionSnapshot>,
    nodes: Vec<(NodeIdx, NodeSnapshot)>,
    /// An attempt whose end the plugin reported, without asking to be aborted.
    ended: Option<(NodeIdx, u32)>,
    attempts: Vec<AttemptChange>,
    /// Whether nothing is left to do; written with the execution's row.
    done: Option<bool>,
}

/// The committed rows.
#[derive(Clone, Debug)]
pub struct Rows {
    pub execution: ExecutionSnapshot,
    pub nodes: BTreeMap<NodeIdx, NodeSnapshot>,
    pub attempts: BTreeMap<(NodeIdx, u32), AttemptRow>,
    pub done: bool,
}

impl Batch {
    /// What the observation changed: the rows as they are right after it.
    pub fn new(run: &Execution, changes: &Changes, observation: &Observation) -> Self {
        let execution = changes.execution.then(|| ExecutionSnapshot {
            phase: run.phase(),
            abort_cause: None,
            error: run.error().cloned(),
            created_at: run.created_at(),
            started_at: run.started_at(),
            ended_at: run.ended_at(),
        });
        let nodes = changes.nodes.iter().map(|node| (*node, snapshot(run, *node))).collect();
        Self {
            execution,
            nodes,
            ended: ended(run, changes, observation),
            attempts: changes.attempts.clone(),
            done: changes.execution.then(|| run.is_done()),
        }
    }
}

fn snapshot(run: &Execution, node: NodeIdx) -> NodeSnapshot {
    let state = run.node(node);
    NodeSnapshot {
        id: run.graph().nodes[node as usize].id.to_string(),
        phase: state.phase,
        attempt: state.attempt,
        attempt_row: AttemptRow::Absent,
        system_failures: state.system_failures,
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
fn ended(run: &Execution, changes: &Changes, observation: &Observation) -> Option<(NodeIdx, u32)> {
    let Observation::TaskReported { node, attempt, report } = observation else { return None };
    if !changes.nodes.contains(node) {
        return None;
    }
    let state = run.nodes().get(*node as usize)?;
    let wanted = match report {
        Report::Succeeded { .. } => state.phase == NodePhase::Succeeded,
        Report::Failed { cleanup, .. } => {
            !cleanup && matches!(state.phase, NodePhase::RetryableFailure | NodePhase::Failing)
        }
        Report::Waiting | Report::Running => false,
    };
    (wanted && state.attempt == *attempt && state.open).then_some((*node, *attempt))
}

impl Rows {
    pub fn new() -> Self {
        let execution = ExecutionSnapshot {
            phase: Phase::Queued,
            abort_cause: None,
            error: None,
            created_at: Timestamp(0),
            started_at: None,
            ended_at: None,
        };
        Self { execution, nodes: BTreeMap::new(), attempts: BTreeMap::new(), done: false }
    }

    /// Writes a batch after checking that each change in it is legal.
    pub fn commit(&mut self, batch: Batch) {
        if let Some(after) = batch.execution {
            let before = self.execution.phase;
            assert!(legal_execution(before, after.phase), "execution {before:?} -> {:?}", after.phase);
            let abort_cause = self.execution.abort_cause.take();
            self.execution = ExecutionSnapshot { abort_cause, ..after };
        }
        for (node, after) in batch.nodes {
            let before = self.nodes.get(&node).map(|row| row.phase).unwrap_or_default();
            assert!(legal_node(before, after.phase), "node {node}: {before:?} -> {:?}", after.phase);
            self.nodes.insert(node, after);
        }
        if let Some(key) = batch.ended
            && let Some(row) = self.attempts.get_mut(&key).filter(|row| **row == AttemptRow::Live)
        {
            *row = AttemptRow::Ended;
        }
        for AttemptChange { node, attempt, kind, at: _ } in batch.attempts {
            self.change_attempt(node, attempt, &kind);
        }
        if let Some(done) = batch.done {
            assert!(!self.done || done, "a finished execution came back to life");
            self.done = done;
        }
        self.check_clean();
    }

    fn change_attempt(&mut self, node: NodeIdx, attempt: u32, kind: &AttemptChangeKind) {
        let key = (node, attempt);
        match kind {
            AttemptChangeKind::Opened => {
                let live = self
                    .attempts
                    .range((node, 0)..=(node, u32::MAX))
                    .find(|(_, row)| **row != AttemptRow::Closed);
                assert!(live.is_none(), "{key:?} opened beside {live:?}");
                assert!(self.attempts.insert(key, AttemptRow::Live).is_none(), "{key:?} opened twice");
                assert_eq!(self.nodes[&node].attempt, attempt, "opened attempt is not the node's");
            }
            AttemptChangeKind::Ended { .. } => {
                assert_eq!(self.attempts.get(&key), Some(&AttemptRow::Live), "{key:?} ended by the engine");
            }
            AttemptChangeKind::Closed => {
                let row = self.attempts.insert(key, AttemptRow::Closed);
                assert!(
                    matches!(row, Some(AttemptRow::Live | AttemptRow::Ended)),
                    "{key:?} closed, was {row:?}"
                );
            }
        }
    }

    /// Failed, aborted and finished executions have nothing open.
    fn check_clean(&self) {
        let must_be_clean = self.done || matches!(self.execution.phase, Phase::Failed | Phase::Aborted);
        let open = self.attempts.iter().find(|(_, row)| **row != AttemptRow::Closed);
        assert!(!must_be_clean || open.is_none(), "{:?} with {open:?}", self.execution.phase);
    }

    /// The node rows, each with how the row of its current attempt stands.
    pub fn snapshots(&self) -> Vec<NodeSnapshot> {
        let with_attempt = |(node, row): (&NodeIdx, &NodeSnapshot)| {
            let attempt_row = self.attempts.get(&(*node, row.attempt)).copied().unwrap_or_default();
            NodeSnapshot { attempt_row, ..row.clone() }
        };
        self.nodes.iter().map(with_attempt).collect()
    }

    /// How many nodes hold a place.
    pub fn in_flight(&self) -> usize {
        self.nodes.values().filter(|row| row.phase.is_in_flight()).count()
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

/// Whether one or two steps of the table lead there: a round may take two at once (both deadlines passed).
fn legal(edges: &Edges, before: &str, after: &str) -> bool {
    let direct = |from: &str, to: &str| edges.iter().any(|(a, b)| a == from && b == to);
    before == after || direct(before, after) || edges.iter().any(|(a, b)| a == before && direct(b, after))
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
