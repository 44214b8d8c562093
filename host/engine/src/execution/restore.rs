//! Takes up an execution from its rows and finds again what was under way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::Timestamp;

use super::scope::{Kind, ScopeIdx, Status};
use super::stop::abort_reason;
use super::{AbortRequest, Execution};
use crate::attempt::Settings;
use crate::error::Error;
use crate::graph::{Graph, NodeKind};
use crate::node;
use crate::phase::{NodePhase, Phase};
use crate::state::{AttemptRow, ExecutionSnapshot, NodeSnapshot, NodeState, RowLife};
use crate::step::{Expansion, NodeIdx};

/// The rows of the nodes that one node holds.
type Rows = Vec<NodeSnapshot>;

/// The ids of the nodes in which something is live: what they hold is taken up again, even if they have ended.
pub fn holders<'a>(rows: impl Iterator<Item = RowLife<'a>>) -> impl Iterator<Item = &'a str> {
    let mut live: Vec<&str> = Vec::new();
    let mut parents: HashMap<&str, &str> = HashMap::new();
    for row in rows {
        if !row.parent.is_empty() {
            parents.insert(row.id, row.parent);
            live.extend(row.is_live.then_some(row.parent));
        }
    }
    let mut found: HashSet<&str> = HashSet::new();
    while let Some(id) = live.pop() {
        crate::cost::tick();
        if found.insert(id) {
            live.extend(parents.get(id));
        }
    }
    found.into_iter()
}

/// Takes the rows of what a node holds away, however deep; says how many there are.
fn leave_out(rows: &mut HashMap<String, Rows>, node: String) -> u64 {
    let (mut left, mut n_rows) = (vec![node], 0);
    while let Some(id) = left.pop() {
        for row in rows.remove(&id).unwrap_or_default() {
            crate::cost::tick();
            n_rows += 1;
            left.push(row.id);
        }
    }
    n_rows
}

impl Execution {
    /// Restores the state that the rows tell, given in any order. Nodes without a row did not start. `Start` then
    /// plans again what was under way.
    ///
    /// # Errors
    /// A row of a node that the workflow does not have, or of one whose content is not stored with it.
    pub fn restore(
        graph: Arc<Graph>,
        settings: Settings,
        execution: ExecutionSnapshot,
        nodes: impl Iterator<Item = NodeSnapshot>,
    ) -> Result<Self, Error> {
        let mut this = Self::new(graph, settings, execution.created_at);
        this.phase = execution.phase;
        this.started_at = execution.started_at;
        this.ended_at = execution.ended_at;
        this.error = match this.phase {
            Phase::Failing | Phase::Failed => execution.error.map(Box::new),
            Phase::Queued | Phase::Running | Phase::Succeeded | Phase::Aborting | Phase::Aborted => None,
        };
        if let Some(cause) = execution.abort_cause {
            this.stop_reason = abort_reason(&cause);
            this.abort_request = Some(AbortRequest { cause, force: execution.abort_forced });
        }
        let nodes: Vec<NodeSnapshot> = nodes.collect();
        let holders: HashSet<Box<str>> =
            holders(nodes.iter().map(NodeSnapshot::life)).map(Box::from).collect();
        let mut rows: HashMap<String, Rows> = HashMap::new();
        for mut row in nodes {
            rows.entry(std::mem::take(&mut row.parent)).or_default().push(row);
        }
        let mut next: ScopeIdx = 0;
        while (next as usize) < this.scopes.len() {
            let owner = this.scope(next).owner.map(|owner| this.unique_id(owner));
            let own = rows.remove(owner.as_deref().unwrap_or_default()).unwrap_or_default();
            this.restore_scope(next, own, &mut rows, &holders)?;
            next += 1;
        }
        // Inner scopes are restored last: only now is it known whether something is live in them.
        let scopes = this.scopes.iter().rev().flatten();
        let owners: Vec<NodeIdx> = scopes.filter_map(|scope| scope.owner).collect();
        for owner in owners {
            this.refresh(owner);
            let link = this.link(owner);
            if link.has_place && link.n_below == 0 && this.node(owner).phase.is_terminal() {
                this.drop_place(owner);
            }
        }
        match rows.into_values().flatten().next() {
            Some(orphan) => Err(Error::UnknownNode { node: orphan.id }),
            None => Ok(this),
        }
    }

    /// Restores the nodes of one scope and opens the scopes of what they hold.
    fn restore_scope(
        &mut self,
        scope: ScopeIdx,
        own: Rows,
        others: &mut HashMap<String, Rows>,
        holders: &HashSet<Box<str>>,
    ) -> Result<(), Error> {
        let by_id = self.made_ids(scope, &own);
        let mut restored = Vec::with_capacity(own.len());
        for row in own {
            crate::cost::tick();
            let found = self.position(scope, &row.id, &by_id);
            let node = found.ok_or_else(|| Error::UnknownNode { node: row.id.clone() })?;
            let id = row.id.clone();
            let n_below = others.get(&id).map_or(0, Vec::len);
            self.restore_node(node, row, holders.contains(&*id), n_below)?;
            if self.inner(node).is_none() {
                self.n_made += leave_out(others, id);
            }
            restored.push(node);
        }
        restored.sort_unstable();
        restored.dedup();
        self.restore_status(scope);
        for node in restored {
            self.refresh(node);
            if self.node(node).is_decided() && self.scope(scope).failure_slot() != Some(node) {
                self.note(node);
                self.count_for_downstream(node);
            }
        }
        Ok(())
    }

    /// The unique ids of a scope's nodes, where they cannot be read back because they may be hashed.
    fn made_ids(&self, index: ScopeIdx, own: &Rows) -> HashMap<Arc<str>, NodeIdx> {
        let scope = self.scope(index);
        let is_readable = scope.owner.is_none() || matches!(scope.kind, Kind::Elements(..));
        let range = if is_readable || own.is_empty() { 0..0 } else { scope.range() };
        range.map(|node| (self.unique_id(node), node)).collect()
    }

    /// The node of a scope that has this unique id.
    fn position(&self, index: ScopeIdx, id: &str, made: &HashMap<Arc<str>, NodeIdx>) -> Option<NodeIdx> {
        let scope = self.scope(index);
        match (&scope.kind, scope.owner) {
            (Kind::Elements(..), _) => {
                let element: u32 = id.strip_prefix(&*scope.prefix)?.strip_prefix('n')?.parse().ok()?;
                (element < scope.len).then(|| scope.first + element)
            }
            (Kind::All, None) => scope.graph.idx(id).filter(|idx| *idx < scope.len),
            (Kind::All | Kind::One(_), _) => made.get(id).copied(),
        }
    }

    fn restore_node(
        &mut self,
        node: NodeIdx,
        row: NodeSnapshot,
        holds_live: bool,
        n_below: usize,
    ) -> Result<(), Error> {
        let kind = self.graph_node(node).kind.clone();
        let open = match kind {
            NodeKind::LaunchPlan { .. } => row.phase.is_in_flight(),
            NodeKind::Gate(_) => row.phase.is_in_flight() && !node::gate::is_sleep(&kind),
            NodeKind::Task { .. } => matches!(row.attempt_row, AttemptRow::Live | AttemptRow::Ended),
            NodeKind::Start
            | NodeKind::End
            | NodeKind::SubWorkflow { .. }
            | NodeKind::Branch { .. }
            | NodeKind::Array { .. } => false,
        };
        let spec_uri = row.spec_uri.map(String::into_boxed_str);
        // Aborting an attempt that gave what the node goes on with is never right, whatever its row says.
        let ended =
            row.attempt_row == AttemptRow::Ended || row.phase == NodePhase::Succeeded || spec_uri.is_some();
        let mut state = NodeState {
            phase: row.phase,
            attempt: row.attempt,
            system_failures: row.system_failures,
            interruptible_now: false,
            open,
            ended,
            expanded: false,
            detail: row.detail,
            spec_uri,
            error: row.error.map(Box::new),
            input_uri: row.input_uri.into(),
            output_uri: row.output_uri.into(),
            deck_uri: row.deck_uri.into(),
            message: Box::default(),
            queued_at: row.queued_at,
            started_at: row.started_at,
            attempt_started_at: row.attempt_started_at,
            ended_at: row.ended_at,
        };
        state.interruptible_now = self.rules(node).interruptible(&state);
        self.share_input_uri(node, &mut state);
        *self.state_mut(node) = state;
        self.restore_content(node, &kind, row.expansion, holds_live, n_below)?;
        self.restore_place(node, &kind);
        Ok(())
    }

    /// Elements that read their array's inputs share the text of where these are.
    fn share_input_uri(&self, node: NodeIdx, state: &mut NodeState) {
        if let Some(array) = self.parent(node) {
            let uri = &self.node(array).input_uri;
            if *uri == state.input_uri {
                state.input_uri = Arc::clone(uri);
            }
        }
    }

    /// Opens the scope of what the node holds if it runs, or something in it does. What has come to rest in a node that
    /// ended stays with the rows, but for an array that was taken over and not all of whose elements have theirs.
    fn restore_content(
        &mut self,
        node: NodeIdx,
        kind: &NodeKind,
        expansion: Option<Expansion>,
        holds_live: bool,
        n_below: usize,
    ) -> Result<(), Error> {
        let state = self.node(node);
        let phase = state.phase;
        let runs = phase.is_in_flight() && phase != NodePhase::Queued;
        let shows = phase == NodePhase::Recovered && state.detail > n_below as i64 + 1;
        if !runs && !holds_live && !shows {
            return Ok(());
        }
        let content = match kind {
            NodeKind::Task { .. } => match expansion {
                Some(expansion) => Some(node::dynamic::content(expansion.graph)),
                None if matches!(phase, NodePhase::DynamicRunning | NodePhase::Succeeding) => {
                    let node = self.unique_id(node).to_string();
                    return Err(Error::UnknownContent { node, what: "what its task made" });
                }
                None => return Ok(()),
            },
            NodeKind::SubWorkflow { graph } => Some(node::sub_workflow::content(*graph)),
            NodeKind::Branch { .. } => node::branch::content(kind, state.detail),
            NodeKind::Array { .. } => node::array::content(self, node, state.detail),
            NodeKind::Start | NodeKind::End | NodeKind::LaunchPlan { .. } | NodeKind::Gate(_) => {
                return Ok(());
            }
        };
        let opened = content.and_then(|content| self.open_scope(node, content));
        opened.map(drop).ok_or_else(|| Error::UnknownContent {
            node: self.unique_id(node).to_string(),
            what: "what its inputs decided",
        })
    }

    fn restore_place(&mut self, node: NodeIdx, kind: &NodeKind) {
        let state = self.node(node);
        let given_back = state.expanded && matches!(kind, NodeKind::Task { .. });
        let is_element = self.element(node).is_some();
        let holds = state.phase.is_in_flight() && (is_element || (self.counts(node) && !given_back));
        if holds {
            self.take_place(node);
        } else if is_element && self.inner(node).is_some() {
            // What is below may still have its place.
            self.hold_place(node);
        }
    }

    /// What goes on in a scope follows from where its holder stands.
    fn restore_status(&mut self, index: ScopeIdx) {
        let scope = self.scope(index);
        let handles =
            scope.failure_slot().is_some_and(|slot| self.node(slot).phase != NodePhase::NotYetStarted);
        let failing = if handles { Status::Handling } else { Status::Failing };
        let status = match scope.owner.map(|owner| self.node(owner).phase) {
            None => match self.phase {
                Phase::Queued | Phase::Running => Status::Open,
                Phase::Failing => failing,
                Phase::Aborting | Phase::Aborted => Status::Stopped,
                Phase::Succeeded | Phase::Failed => Status::Ended,
            },
            Some(NodePhase::Running | NodePhase::DynamicRunning) => Status::Open,
            Some(NodePhase::Failing) => failing,
            Some(NodePhase::TimingOut | NodePhase::Aborting) => Status::Stopped,
            Some(
                NodePhase::NotYetStarted
                | NodePhase::Queued
                | NodePhase::Succeeding
                | NodePhase::RetryableFailure
                | NodePhase::Succeeded
                | NodePhase::Recovered
                | NodePhase::Failed
                | NodePhase::Skipped
                | NodePhase::TimedOut
                | NodePhase::Aborted,
            ) => Status::Ended,
        };
        self.scope_mut(index).status = status;
    }

    fn count_for_downstream(&mut self, node: NodeIdx) {
        let scope = self.scope(self.scope_of(node));
        if !matches!(scope.kind, Kind::All) {
            return;
        }
        let (graph, first) = (Arc::clone(&scope.graph), scope.first);
        let lost = !self.node(node).phase.is_success();
        for down in graph.node(node - first).map(|node| node.downstream.as_slice()).unwrap_or_default() {
            crate::cost::tick();
            let link = self.link_mut(first + down);
            link.upstream = link.upstream.saturating_sub(1);
            link.upstream_lost |= lost;
        }
    }

    /// Goes on where the rows stop, or from the start node when there are none. Each change of rows is complete in
    /// itself, so nothing is found half done; only a phase that the request to abort wrote by itself, and rows that
    /// somebody mended by hand, ask for more than planning again what was under way.
    pub(super) fn resume(&mut self, now: Timestamp) {
        // Scopes that open from here on are not restored ones.
        for index in (0..).take(self.scopes.len()) {
            let scope = self.scope(index);
            if scope.status == Status::Open && matches!(scope.kind, Kind::All) {
                node::start::run(self, index, now);
            }
            for node in self.scope(index).range() {
                crate::cost::tick();
                if self.node(node).phase != NodePhase::NotYetStarted {
                    node::resume(self, node, now);
                }
            }
            if !matches!(self.phase, Phase::Aborting | Phase::Aborted) {
                let shown = self.scope(index).range().filter(|node| self.inner(*node).is_some());
                let shown: Vec<NodeIdx> = shown.collect();
                shown.into_iter().for_each(|array| self.resume_showing(array));
            }
            match self.scope(index).status {
                Status::Open => {
                    self.resume_waiting(index, now);
                    self.judge(index, now);
                }
                Status::Failing | Status::Stopped | Status::Ended => self.stop_scope(index, now),
                Status::Handling => {}
            }
            self.news.push_back(super::News::Quiet(index));
        }
        if let Some(request) = self.abort_request.take() {
            self.abort(&request, now);
        }
        // The row is to say that nothing is left to do, should it not.
        self.changes.execution |= self.is_done();
    }

    /// Makes ready every node of a scope whose upstream nodes are all decided.
    fn resume_waiting(&mut self, index: ScopeIdx, now: Timestamp) {
        let scope = self.scope(index);
        if matches!(scope.kind, Kind::Elements(..)) {
            return self.feed(index);
        }
        let failure_slot = scope.failure_slot();
        for node in scope.range() {
            let link = *self.link(node);
            let waits = link.upstream > 0 || self.node(node).phase != NodePhase::NotYetStarted;
            if waits || Some(node) == failure_slot {
                continue;
            }
            if !link.upstream_lost {
                self.make_ready(node);
            } else if self.skip(node, now) {
                self.release_downstream(node, now);
            }
        }
    }
}
