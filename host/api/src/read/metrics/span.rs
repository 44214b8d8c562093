//! Parts the wall time of an execution into spans. Pure.
//!
//! Invariant: a span's parts lie within it, and a chain of them, end to start, covers it without gap or overlap: the
//! parts of a chain sum to the whole, to the microsecond. In a scope of nodes that run side by side, the chain is
//! that of the nodes which others waited for. Times that contradict each other are cut to fit.

use std::collections::VecDeque;

use model::Timestamp;
use proto::flyteidl::core::{
    NodeExecutionIdentifier, Span, TaskExecutionIdentifier, WorkflowExecutionIdentifier, span::Id,
};

const NODE_IDLE: &str = "NODE_IDLE";
const NODE_RESET: &str = "NODE_RESET";
const NODE_SETUP: &str = "NODE_SETUP";
const NODE_TEARDOWN: &str = "NODE_TEARDOWN";
const NODE_TRANSITION: &str = "NODE_TRANSITION";
const TASK_RUNTIME: &str = "TASK_RUNTIME";
const TASK_SETUP: &str = "TASK_SETUP";
const TASK_TEARDOWN: &str = "TASK_TEARDOWN";
const WORKFLOW_SETUP: &str = "WORKFLOW_SETUP";
const WORKFLOW_TEARDOWN: &str = "WORKFLOW_TEARDOWN";

/// An execution, as its rows tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExecutionPart {
    pub(crate) id: WorkflowExecutionIdentifier,
    pub(crate) created: Timestamp,
    pub(crate) end: Timestamp,
    /// `None` where parts are not asked for.
    pub(crate) scope: Option<Scope>,
}

/// Nodes that hang together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// From when its first nodes could run.
    pub(crate) begin: Timestamp,
    pub(crate) nodes: Vec<NodePart>,
}

/// A node, as its rows tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodePart {
    pub(crate) id: NodeExecutionIdentifier,
    /// Positions of the nodes of the scope that it waits for.
    pub(crate) upstream: Vec<usize>,
    pub(crate) created: Timestamp,
    pub(crate) started: Option<Timestamp>,
    pub(crate) end: Timestamp,
    /// `None` where parts are not asked for.
    pub(crate) inside: Option<Inside>,
}

/// What happens in a node, in this order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inside {
    /// It waits for somebody.
    pub(crate) is_gate: bool,
    /// Its attempts.
    pub(crate) tasks: Vec<TaskPart>,
    /// The execution it started.
    pub(crate) execution: Option<Box<ExecutionPart>>,
    /// Its child nodes.
    pub(crate) scope: Option<Scope>,
}

/// An attempt, as its row tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskPart {
    pub(crate) id: TaskExecutionIdentifier,
    pub(crate) created: Timestamp,
    pub(crate) started: Option<Timestamp>,
    /// When the task itself was done; the attempt ends when that is noted.
    pub(crate) ran_until: Option<Timestamp>,
    pub(crate) end: Timestamp,
    /// Whether its parts are asked for.
    pub(crate) with_parts: bool,
}

/// The spans of an execution, from its creation.
pub(crate) fn of_execution(part: ExecutionPart) -> Span {
    let (from, upto) = (part.created, part.end.max(part.created));
    execution(part, from, upto)
}

/// Lays parts end to end from `at`, never beyond `upto`.
struct Line {
    at: Timestamp,
    upto: Timestamp,
    parts: Vec<Span>,
}

impl Line {
    fn new(at: Timestamp, upto: Timestamp) -> Self {
        Self { at, upto, parts: Vec::new() }
    }

    /// The next part ends at `end`, or at once if that has passed. Parts without length are left out.
    fn operation(&mut self, name: &str, end: Timestamp) {
        let end = end.clamp(self.at, self.upto);
        if end > self.at {
            self.parts.push(span(self.at, end, Id::OperationId(name.to_owned()), Vec::new()));
            self.at = end;
        }
    }

    fn whole(self, from: Timestamp, id: Id) -> Span {
        span(from, self.upto, id, self.parts)
    }
}

fn span(from: Timestamp, upto: Timestamp, id: Id, spans: Vec<Span>) -> Span {
    Span { start_time: Some(from.to_proto()), end_time: Some(upto.to_proto()), id: Some(id), spans }
}

fn execution(part: ExecutionPart, from: Timestamp, upto: Timestamp) -> Span {
    let mut line = Line::new(from, upto);
    if let Some(parts) = part.scope {
        line.operation(WORKFLOW_SETUP, if parts.nodes.is_empty() { upto } else { parts.begin });
        scope(&mut line, parts.nodes);
        line.operation(WORKFLOW_TEARDOWN, upto);
    }
    line.whole(from, Id::WorkflowId(part.id))
}

/// Lays the nodes side by side, each behind those it waits for, and goes on behind the last.
fn scope(line: &mut Line, nodes: Vec<NodePart>) {
    let (begin, upto) = (line.at, line.upto);
    let order = in_order(&nodes);
    let mut ends = vec![begin; nodes.len()];
    let mut nodes: Vec<Option<NodePart>> = nodes.into_iter().map(Some).collect();
    for at in order {
        let Some(part) = nodes[at].take() else { continue };
        let ready = part.upstream.iter().map(|n| ends[*n]).max().unwrap_or(begin);
        let end = part.end.clamp(ready, upto);
        ends[at] = end;
        line.at = line.at.max(end);
        line.parts.push(node(part, ready, end));
    }
}

/// Positions in an order in which each node comes behind those it waits for. Nodes of a circle, which no compiled
/// workflow has, come last.
fn in_order(nodes: &[NodePart]) -> Vec<usize> {
    let mut waits: Vec<usize> = nodes.iter().map(|node| node.upstream.len()).collect();
    let mut downstream = vec![Vec::new(); nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        node.upstream.iter().for_each(|upstream| downstream[*upstream].push(at));
    }
    let mut ready: VecDeque<usize> = (0..nodes.len()).filter(|at| waits[*at] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(at) = ready.pop_front() {
        order.push(at);
        for next in &downstream[at] {
            waits[*next] -= 1;
            if waits[*next] == 0 {
                ready.push_back(*next);
            }
        }
    }
    order.extend((0..nodes.len()).filter(|at| waits[*at] > 0));
    order
}

fn node(part: NodePart, from: Timestamp, upto: Timestamp) -> Span {
    let mut line = Line::new(from, upto);
    if let Some(inside) = part.inside {
        line.operation(NODE_TRANSITION, part.created);
        let mut is_empty = true;
        if inside.is_gate {
            line.operation(NODE_SETUP, part.started.unwrap_or(upto));
            line.operation(NODE_IDLE, upto);
        }
        let n_tasks = inside.tasks.len();
        let next_begins: Vec<Timestamp> = inside.tasks.iter().skip(1).map(|next| next.created).collect();
        for (n, part) in inside.tasks.into_iter().enumerate() {
            line.operation(if n == 0 { NODE_SETUP } else { NODE_RESET }, part.created);
            let limit = next_begins.get(n).copied().unwrap_or(upto).clamp(line.at, upto);
            task(&mut line, part, limit);
            is_empty = false;
        }
        if let Some(child) = inside.execution {
            line.operation(if n_tasks == 0 { NODE_SETUP } else { NODE_RESET }, child.created);
            let (from, end) = (line.at, child.end.clamp(line.at, upto));
            line.parts.push(execution(*child, from, end));
            line.at = end;
            is_empty = false;
        }
        if let Some(parts) = inside.scope.filter(|parts| !parts.nodes.is_empty()) {
            line.operation(if is_empty { NODE_SETUP } else { NODE_RESET }, parts.begin);
            scope(&mut line, parts.nodes);
            is_empty = false;
        }
        line.operation(if is_empty { NODE_SETUP } else { NODE_TEARDOWN }, upto);
    }
    line.whole(from, Id::NodeId(part.id))
}

fn task(into: &mut Line, part: TaskPart, limit: Timestamp) {
    let from = into.at;
    let end = part.end.clamp(from, limit);
    let mut line = Line::new(from, end);
    if part.with_parts {
        line.operation(TASK_SETUP, part.started.unwrap_or(end));
        line.operation(TASK_RUNTIME, part.ran_until.unwrap_or(end));
        line.operation(TASK_TEARDOWN, end);
    }
    into.parts.push(line.whole(from, Id::TaskId(part.id)));
    into.at = end;
}

#[cfg(test)]
#[path = "span_tests.rs"]
mod tests;
