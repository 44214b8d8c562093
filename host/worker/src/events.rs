//! Turns the rows of a commit into events: one for each transition of an execution, its nodes and its attempts.
//!
//! A row that is written again in the phase it had makes none. What was written last is kept here and, after a crash,
//! read back from the rows, so that nothing is missing and nothing is said twice. Phases that began and ended between
//! two commits are told too, as far as the times in the row show them.
//!
//! Invariant: events of a node stand in the order of its phases; those of the nodes stand between those with which
//! their execution begins and ends.

mod message;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::{EntityId, Timestamp};
use prost::Message;
use proto::flyteidl::admin::{ExecutionSpec, execution_spec::NotificationOverrides};
use proto::flyteidl::core::{node_execution, task_execution, workflow_execution};
use store::row::{Batch, ExecutionRow, ExecutionUpdate, NodeExecutionRow, TaskExecutionRow};
use store::{EventWish, OutboxRow};

use crate::info::Info;
use message::{Subject, node_event, task_event, workflow_event};

type Workflow = workflow_execution::Phase;
type Node = node_execution::Phase;
type Task = task_execution::Phase;

/// What was last told about an execution. Without a wish for events it stays empty.
#[derive(Debug, Default)]
pub(crate) struct Events {
    wish: EventWish,
    /// Whether the execution asks for notifications about its end.
    notified: bool,
    phase: i32,
    nodes: HashMap<Box<str>, Told>,
    /// Each task once, for the nodes that run it.
    targets: HashSet<Arc<EntityId>>,
}

/// What was last told about a node and its newest attempt.
#[derive(Debug, Default)]
struct Told {
    phase: i32,
    target: Option<Arc<EntityId>>,
    /// Attempt, phase and phase version.
    task: Option<(i32, i32, i32)>,
}

/// An event with what decides its place among those of the same node.
struct Link {
    at: Timestamp,
    rank: u8,
    event: OutboxRow,
}

/// What a commit says about one node.
#[derive(Default)]
struct Group<'a> {
    node: Option<&'a NodeExecutionRow>,
    tasks: Vec<&'a TaskExecutionRow>,
}

/// The events of one node, with what decides their place among those of others.
struct Chain {
    first: Timestamp,
    is_fresh: bool,
    started_at: Option<Timestamp>,
    links: Vec<Link>,
}

impl Events {
    /// Begins with what the stored rows tell.
    pub(crate) fn restored(
        wish: EventWish,
        row: &ExecutionRow,
        nodes: &[NodeExecutionRow],
        tasks: &[TaskExecutionRow],
    ) -> Self {
        let notified = wish.notified_ends && asks_for_notifications(&row.spec);
        let mut events = Self { wish, notified, phase: row.phase, ..Self::default() };
        if wish.nodes || wish.tasks {
            for node in nodes {
                events.nodes.entry(node.node_id.as_str().into()).or_default().phase = node.phase;
            }
            for task in tasks {
                let target = events.target(&task.task);
                let told = events.nodes.entry(task.node_id.as_str().into()).or_default();
                told.target = Some(target);
                told.task = told.task.max(Some((task.attempt, task.phase, task.phase_version)));
            }
        }
        events
    }

    /// The events of a commit, in their order. They count as told.
    pub(crate) fn of_batch(&mut self, info: &Info, batch: &Batch) -> Vec<OutboxRow> {
        if !self.wish.any() {
            return Vec::new();
        }
        let subject = Subject { key: info.key, id: &info.id };
        let mut out = Vec::new();
        let mut late = Vec::new();
        for update in batch.executions.iter().filter(|update| update.key == info.key) {
            for event in self.of_update(&subject, update) {
                let begins =
                    event.phase == Workflow::Queued as i32 || event.phase == Workflow::Running as i32;
                if begins { out.push(event) } else { late.push(event) }
            }
        }
        if self.wish.nodes || self.wish.tasks {
            self.push_nodes(&subject, batch, &mut out);
        }
        out.append(&mut late);
        out
    }

    /// The events of an execution that ends without having run.
    pub(crate) fn of_stillborn(
        wish: EventWish,
        row: &ExecutionRow,
        update: &ExecutionUpdate,
    ) -> Vec<OutboxRow> {
        if !wish.any() {
            return Vec::new();
        }
        Self::restored(wish, row, &[], &[]).of_update(&Subject { key: row.key, id: &row.id }, update)
    }

    fn of_update(&mut self, subject: &Subject<'_>, update: &ExecutionUpdate) -> Vec<OutboxRow> {
        let before = std::mem::replace(&mut self.phase, update.phase);
        let phase = Workflow::try_from(update.phase).unwrap_or_default();
        // Who asks for an abort writes that event, together with the wish; being queued is told at the launch.
        if before == update.phase
            || matches!(phase, Workflow::Undefined | Workflow::Queued | Workflow::Aborting)
        {
            return Vec::new();
        }
        let is_end =
            matches!(phase, Workflow::Succeeded | Workflow::Failed | Workflow::Aborted | Workflow::TimedOut);
        if !(self.wish.workflows || is_end && (self.wish.ends || self.notified)) {
            return Vec::new();
        }
        let mut out = Vec::new();
        let has_begun = before > Workflow::Queued as i32;
        let was_aborted = matches!(phase, Workflow::Aborted);
        if let Some(started_at) = update.started_at
            && self.wish.workflows
            && !(has_begun || was_aborted || phase == Workflow::Running)
        {
            out.push(workflow_event(subject, Workflow::Running, started_at, None));
        }
        let at = match (phase, update.started_at) {
            (Workflow::Running, Some(started_at)) => started_at,
            (_, started_at) => ended_at(started_at, update.duration).unwrap_or(update.updated_at),
        };
        out.push(workflow_event(subject, phase, at, Some(update)));
        out
    }

    fn push_nodes(&mut self, subject: &Subject<'_>, batch: &Batch, out: &mut Vec<OutboxRow>) {
        let mut groups: Vec<(&str, Group<'_>)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for node in batch.nodes.iter().filter(|node| node.execution == subject.key) {
            group_of(&mut groups, &mut places, &node.node_id).node = Some(node);
        }
        for task in batch.tasks.iter().filter(|task| task.execution == subject.key) {
            group_of(&mut groups, &mut places, &task.node_id).tasks.push(task);
        }
        let mut chains: Vec<Chain> =
            groups.into_iter().filter_map(|(id, group)| self.chain(subject, id, &group)).collect();
        // What goes on comes before what begins because of it, and a child's end before its parent's.
        chains.sort_by_key(|chain| (chain.first, chain.is_fresh, Reverse(chain.started_at)));
        out.extend(chains.into_iter().flat_map(|chain| chain.links).map(|link| link.event));
    }

    /// What is new about one node and its attempts.
    fn chain(&mut self, subject: &Subject<'_>, node_id: &str, group: &Group<'_>) -> Option<Chain> {
        let target = group.tasks.last().map(|task| self.target(&task.task));
        let wish = self.wish;
        let told = match self.nodes.get_mut(node_id) {
            Some(told) => told,
            None => self.nodes.entry(node_id.into()).or_default(),
        };
        if target.is_some() {
            told.target = target;
        }
        let is_fresh = told.phase == Node::Undefined as i32 && told.task.is_none();
        let nodes = group.node.map(|row| node_links(subject, told, row)).unwrap_or_default();
        let mut attempts: Vec<&TaskExecutionRow> = group.tasks.clone();
        attempts.sort_unstable_by_key(|row| row.attempt);
        let tasks: Vec<Link> =
            attempts.into_iter().flat_map(|row| task_links(subject, told, row, group.node)).collect();
        let links =
            merge(if wish.nodes { nodes } else { Vec::new() }, if wish.tasks { tasks } else { Vec::new() });
        let first = links.first()?.at;
        Some(Chain { first, is_fresh, started_at: group.node.and_then(|row| row.started_at), links })
    }

    fn target(&mut self, task: &EntityId) -> Arc<EntityId> {
        if let Some(known) = self.targets.get(task) {
            return Arc::clone(known);
        }
        let new = Arc::new(task.clone());
        self.targets.insert(Arc::clone(&new));
        new
    }
}

fn group_of<'g, 'a>(
    groups: &'g mut Vec<(&'a str, Group<'a>)>,
    places: &mut HashMap<&'a str, usize>,
    node_id: &'a str,
) -> &'g mut Group<'a> {
    let place = *places.entry(node_id).or_insert_with(|| {
        groups.push((node_id, Group::default()));
        groups.len() - 1
    });
    &mut groups[place].1
}

fn ended_at(started_at: Option<Timestamp>, duration: Option<i64>) -> Option<Timestamp> {
    Some(started_at?.plus(duration?))
}

fn asks_for_notifications(spec: &[u8]) -> bool {
    let spec = ExecutionSpec::decode(spec).unwrap_or_default();
    matches!(spec.notification_overrides, Some(NotificationOverrides::Notifications(list))
        if !list.notifications.is_empty())
}

/// The phases that a node went through since it was last told of.
fn node_links(subject: &Subject<'_>, told: &mut Told, row: &NodeExecutionRow) -> Vec<Link> {
    let before = std::mem::replace(&mut told.phase, row.phase);
    let phase = Node::try_from(row.phase).unwrap_or_default();
    if before == row.phase || phase == Node::Undefined {
        return Vec::new();
    }
    let mut links = Vec::new();
    let mut link = |phase: Node, at: Timestamp, whole: bool| {
        let rank = match phase {
            Node::Queued => 0,
            Node::Running => 2,
            _ => 3,
        };
        let event = node_event(subject, row, told.target.as_deref(), phase, at, whole);
        links.push(Link { at, rank, event });
    };
    let was_untold = before == Node::Undefined as i32;
    if let Some(queued_at) = row.queued_at
        && was_untold
        && phase != Node::Queued
    {
        link(Node::Queued, queued_at, false);
    }
    if let Some(started_at) = row.started_at
        && (was_untold || before == Node::Queued as i32)
        && !matches!(phase, Node::Queued | Node::Running)
    {
        link(Node::Running, started_at, false);
    }
    let at = match phase {
        Node::Queued => row.queued_at,
        Node::Running => row.started_at.filter(|_| before != Node::DynamicRunning as i32),
        _ => ended_at(row.started_at, row.duration),
    };
    link(phase, at.unwrap_or(row.updated_at), true);
    links
}

/// The phases that an attempt went through since it was last told of.
fn task_links(
    subject: &Subject<'_>,
    told: &mut Told,
    row: &TaskExecutionRow,
    node: Option<&NodeExecutionRow>,
) -> Vec<Link> {
    let before = told.task.filter(|(attempt, ..)| *attempt == row.attempt);
    let is_over = told.task.is_some_and(|(attempt, ..)| attempt > row.attempt);
    let now = (row.attempt, row.phase, row.phase_version);
    if is_over || before == Some(now) {
        return Vec::new();
    }
    told.task = Some(now);
    let phase = Task::try_from(row.phase).unwrap_or_default();
    let input = node.map(|node| node.input_uri.as_str()).unwrap_or_default();
    let mut links = Vec::new();
    let mut link = |phase: Task, at: Timestamp, whole: bool| {
        links.push(Link { at, rank: 1, event: task_event(subject, row, input, phase, at, whole) });
    };
    if before.is_none() && phase != Task::Queued {
        link(Task::Queued, row.created_at, false);
    }
    // An attempt that failed has a time of start even if it never ran; one that succeeded has run.
    let was_running = before.is_some_and(|(_, phase, _)| phase == Task::Running as i32);
    if let Some(started_at) = row.started_at
        && phase == Task::Succeeded
        && !was_running
    {
        link(Task::Running, started_at, false);
    }
    let at = match phase {
        Task::Queued if before.is_none() => Some(row.created_at),
        Task::Running if !was_running => row.started_at,
        _ => ended_at(row.started_at, row.duration),
    };
    link(phase, at.unwrap_or(row.updated_at), true);
    links
}

/// Puts two rows of events into one by their times, each in its own order.
fn merge(nodes: Vec<Link>, tasks: Vec<Link>) -> Vec<Link> {
    let mut out = Vec::with_capacity(nodes.len() + tasks.len());
    let (mut nodes, mut tasks) =
        (monotone(nodes).into_iter().peekable(), monotone(tasks).into_iter().peekable());
    loop {
        let next = match (nodes.peek(), tasks.peek()) {
            (Some((at, node)), Some((other, task))) if (at, node.rank) <= (other, task.rank) => nodes.next(),
            (_, Some(_)) => tasks.next(),
            (_, None) => nodes.next(),
        };
        match next {
            Some((_, link)) => out.push(link),
            None => return out,
        }
    }
}

/// Times by which a row of events can be merged: none lies before its predecessor.
fn monotone(links: Vec<Link>) -> Vec<(Timestamp, Link)> {
    let mut latest = Timestamp(i64::MIN);
    let step = |link: Link| {
        latest = latest.max(link.at);
        (latest, link)
    };
    links.into_iter().map(step).collect()
}
