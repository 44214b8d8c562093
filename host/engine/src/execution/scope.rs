//! Holds the scopes of an execution: each a running instance of (part of) a graph, with a range of node positions.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::{Execution, News};
use crate::graph::{Graph, GraphIdx};
use crate::phase::NodePhase;
use crate::step::NodeIdx;

/// Position of a scope in the execution.
pub(crate) type ScopeIdx = u32;

pub(super) const NO_SCOPE: ScopeIdx = ScopeIdx::MAX;
const ROOT: ScopeIdx = 0;

/// What a node is about to hold.
#[derive(Debug)]
pub(crate) enum Content {
    /// The nodes of a sub-workflow of its graph.
    SubWorkflow(usize),
    /// The nodes of a workflow that its task made.
    Expansion(Arc<Graph>),
    /// One node of its graph: the arm of a branch.
    Arm(GraphIdx),
    /// A node of its graph as often as an array has elements.
    Elements { inner: GraphIdx, size: u32, rules: ElementRules },
}

/// What an array says about its elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ElementRules {
    /// How many may be in flight.
    pub(crate) limit: u32,
    /// How many must succeed.
    pub(crate) min_successes: u32,
    /// Whether all run even when too many have failed.
    pub(crate) run_all: bool,
    /// Whether each is to be given inputs, or looked up in the catalog, before it starts; else it reads the array's.
    pub(crate) own_inputs: bool,
}

/// A running instance of (part of) a graph.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) kind: Kind,
    pub(super) graph: Arc<Graph>,
    /// The node that holds it; none for the workflow itself.
    pub(super) owner: Option<NodeIdx>,
    /// The workflow in which bindings find nodes; itself unless it is part of one.
    pub(super) around: ScopeIdx,
    /// The nearest dynamic node above, whose task made the graph.
    pub(super) closure: Option<NodeIdx>,
    /// Whether it lies below an array: its nodes take no places of `max_parallelism`.
    pub(super) in_array: bool,
    /// The nearest element of an array in which it lies. Elements below may have its place.
    pub(super) lender: Option<NodeIdx>,
    /// Whether what an earlier execution achieved may be taken over: not below a failure node, which handles the failure
    /// of this one.
    pub(super) recalls: bool,
    pub(super) first: NodeIdx,
    pub(super) len: u32,
    /// What unique ids of its nodes begin with.
    pub(super) prefix: Box<str>,
    pub(super) status: Status,
    /// Nodes that have something open: being resolved, in flight, or an attempt not cleaned up in or below them.
    pub(super) live: BTreeSet<NodeIdx>,
    /// The failure to report.
    pub(super) last_failure: Option<NodeIdx>,
}

/// Which part of its graph a scope runs.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// The nodes of the template and, behind them, a place for the failure node.
    All,
    /// One node.
    One(GraphIdx),
    /// One node many times.
    Elements(GraphIdx, Box<Elements>),
}

/// How an array's elements stand.
#[derive(Clone, Debug)]
pub(super) struct Elements {
    pub(super) rules: ElementRules,
    /// The element to look at next when there is room.
    pub(super) next: u32,
    pub(super) in_flight: u32,
    pub(super) n_succeeded: u32,
    pub(super) n_failed: u32,
    /// Whether it stands in the execution's line for a place.
    pub(super) in_line: bool,
    /// Whether it stands in the line for the place of the element in which it lies.
    pub(super) in_lender_line: bool,
}

/// What goes on in a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Nodes start.
    Open,
    /// A failure decided it; what is live is cleaned up.
    Failing,
    /// Its failure node runs.
    Handling,
    /// Whoever holds it ends; what is live is cleaned up.
    Stopped,
    /// Its outcome is told. Attempts may still be cleaned up.
    Ended,
}

/// What the engine keeps about a node beside its row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) scope: ScopeIdx,
    pub(super) inner: ScopeIdx,
    /// Upstream nodes not decided yet.
    pub(super) upstream: u32,
    /// Of an element: how many elements that lie in it, and in no other below it, are in flight.
    pub(super) n_below: u32,
    /// Whether one of the decided ones did not succeed.
    pub(super) upstream_lost: bool,
    /// Whether it was found to be ready.
    pub(super) ready: bool,
    /// Whether its inputs are being made, or waited for.
    pub(super) resolving: bool,
    /// Whether it holds a place: of `max_parallelism`, or of its array.
    pub(super) has_place: bool,
    /// Whether rows of what it holds are still to be made.
    pub(super) showing: bool,
    /// Whether this round's changes name it.
    pub(super) changed: bool,
    /// Whether nothing is kept of it any more.
    pub(super) released: bool,
}

impl Scope {
    pub(super) fn range(&self) -> Range<NodeIdx> {
        self.first..self.first + self.len
    }

    /// The place of its failure node, if it has one.
    pub(super) fn failure_slot(&self) -> Option<NodeIdx> {
        match self.kind {
            Kind::All => self.graph.failure_node.map(|_| self.first + self.graph.top),
            Kind::One(_) | Kind::Elements(..) => None,
        }
    }

    pub(super) fn elements_mut(&mut self) -> Option<&mut Elements> {
        match &mut self.kind {
            Kind::Elements(_, elements) => Some(elements),
            Kind::All | Kind::One(_) => None,
        }
    }
}

impl Execution {
    /// Opens the scope of the workflow itself.
    pub(super) fn open_root(&mut self, graph: Arc<Graph>) {
        let scope = Scope {
            kind: Kind::All,
            len: graph.top + u32::from(graph.failure_node.is_some()),
            graph,
            owner: None,
            around: ROOT,
            closure: None,
            in_array: false,
            lender: None,
            recalls: true,
            first: 0,
            prefix: Box::default(),
            status: Status::Open,
            live: BTreeSet::new(),
            last_failure: None,
        };
        self.add_scope(scope);
    }

    /// How many nodes there would be if a node came to hold this, when that is more than there may be. Rows of an
    /// earlier life are taken up whatever the limit is now.
    pub(crate) fn over_limit(&self, owner: NodeIdx, content: &Content) -> Option<u64> {
        let of = |graph: &Graph| graph.top + u32::from(graph.failure_node.is_some());
        let more = match content {
            Content::SubWorkflow(sub) => self.graph_of(owner).subs.get(*sub).map_or(0, |graph| of(graph)),
            Content::Expansion(graph) => of(graph),
            Content::Arm(_) => 1,
            Content::Elements { size, .. } => *size,
        };
        let actual = self.n_made.saturating_add(u64::from(more));
        let in_positions =
            (self.nodes.len() as u64).saturating_add(u64::from(more)) <= u64::from(NodeIdx::MAX);
        let in_limit = !self.begun || actual <= u64::from(self.settings.max_nodes);
        (!in_positions || !in_limit).then_some(actual)
    }

    /// Opens the scope of what a node holds. None when there would be too many nodes, or the graph has no such part.
    pub(crate) fn open_scope(&mut self, owner: NodeIdx, content: Content) -> Option<ScopeIdx> {
        if self.over_limit(owner, &content).is_some() {
            return None;
        }
        let outer_idx = self.scope_of(owner);
        let outer = self.scope(outer_idx);
        let index = ScopeIdx::try_from(self.scopes.len()).ok().filter(|index| *index != NO_SCOPE)?;
        let own = |graph: &Arc<Graph>| Arc::clone(graph);
        let is_expansion = matches!(content, Content::Expansion(_));
        let is_array = matches!(content, Content::Elements { .. });
        let workflow = |graph: Arc<Graph>| {
            let len = graph.top + u32::from(graph.failure_node.is_some());
            (Kind::All, graph, index, len)
        };
        let (kind, graph, around, len) = match content {
            Content::SubWorkflow(sub) => workflow(own(outer.graph.subs.get(sub)?)),
            Content::Expansion(graph) => workflow(graph),
            Content::Arm(inner) => (Kind::One(inner), own(&outer.graph), outer.around, 1),
            Content::Elements { inner, size, rules } => {
                let elements = Elements {
                    rules,
                    next: 0,
                    in_flight: 0,
                    n_succeeded: 0,
                    n_failed: 0,
                    in_line: false,
                    in_lender_line: false,
                };
                (Kind::Elements(inner, Box::new(elements)), own(&outer.graph), outer.around, size)
            }
        };
        let first = NodeIdx::try_from(self.nodes.len()).ok()?;
        first.checked_add(len)?;
        let scope = Scope {
            kind,
            graph,
            owner: Some(owner),
            around,
            closure: if is_expansion { Some(owner) } else { outer.closure },
            in_array: outer.in_array || is_array,
            lender: if matches!(outer.kind, Kind::Elements(..)) { Some(owner) } else { outer.lender },
            recalls: outer.recalls && outer.failure_slot() != Some(owner),
            first,
            len,
            prefix: format!("{}-{}-", self.unique_id(owner), self.node(owner).attempt).into(),
            status: Status::Open,
            live: BTreeSet::new(),
            last_failure: None,
        };
        self.add_scope(scope);
        self.state_mut(owner).expanded = true;
        self.link_mut(owner).inner = index;
        Some(index)
    }

    fn add_scope(&mut self, scope: Scope) {
        let index = self.scopes.len() as ScopeIdx;
        let link = Link {
            scope: index,
            inner: NO_SCOPE,
            upstream: 0,
            upstream_lost: false,
            ready: false,
            resolving: false,
            has_place: false,
            n_below: 0,
            showing: false,
            changed: false,
            released: false,
        };
        self.n_made += u64::from(scope.len);
        match scope.kind {
            Kind::All => {
                let all = scope.graph.nodes.iter().take(scope.len as usize);
                self.nodes.extend(all.map(|node| Link { upstream: node.upstream.len() as u32, ..link }));
            }
            Kind::One(_) | Kind::Elements(..) => {
                self.nodes.extend((0..scope.len as usize).map(|_| link));
            }
        }
        self.scopes.push(Some(Box::new(scope)));
    }

    pub(super) fn root(&self) -> &Scope {
        self.scope(ROOT)
    }

    pub(super) fn scope(&self, scope: ScopeIdx) -> &Scope {
        self.known_scope(scope).expect("invariant: a scope position is one of this execution")
    }

    /// The scope, unless it was released.
    pub(super) fn known_scope(&self, scope: ScopeIdx) -> Option<&Scope> {
        self.scopes.get(scope as usize)?.as_deref()
    }

    pub(super) fn scope_mut(&mut self, scope: ScopeIdx) -> &mut Scope {
        let scope = self.scopes.get_mut(scope as usize).and_then(Option::as_deref_mut);
        scope.expect("invariant: a scope position is one of this execution")
    }

    /// The scope the node is in.
    pub(super) fn scope_of(&self, node: NodeIdx) -> ScopeIdx {
        self.link(node).scope
    }

    /// The scope of what the node holds.
    pub(super) fn inner(&self, node: NodeIdx) -> Option<ScopeIdx> {
        Some(self.link(node).inner).filter(|inner| *inner != NO_SCOPE)
    }

    /// Position of the first node of a scope.
    pub(crate) fn first_node(&self, scope: ScopeIdx) -> NodeIdx {
        self.scope(scope).first
    }

    /// Position of the start node of a scope that runs a workflow.
    pub(crate) fn start_node(&self, scope: ScopeIdx) -> NodeIdx {
        let scope = self.scope(scope);
        scope.first + scope.graph.start
    }

    /// The node that holds a scope.
    pub(crate) fn owner(&self, scope: ScopeIdx) -> Option<NodeIdx> {
        self.scope(scope).owner
    }

    pub(super) fn link(&self, node: NodeIdx) -> &Link {
        self.nodes.link(node).expect("invariant: a node position is one of this execution")
    }

    pub(super) fn link_mut(&mut self, node: NodeIdx) -> &mut Link {
        self.nodes.link_mut(node).expect("invariant: a node position is one of this execution")
    }

    /// Counts a node among the live ones of its scope as long as something is open in it.
    pub(super) fn refresh(&mut self, node: NodeIdx) {
        let state = self.node(node);
        let inner_is_quiet = self.inner(node).is_none_or(|inner| self.scope(inner).live.is_empty());
        let link = self.link(node);
        let rests =
            !state.open && !link.resolving && !link.showing && !state.phase.is_in_flight() && inner_is_quiet;
        if inner_is_quiet && !link.showing && link.inner != NO_SCOPE && state.phase.is_terminal() {
            self.ended.push(node);
        }
        let index = self.scope_of(node);
        let scope = self.scope_mut(index);
        if !rests {
            scope.live.insert(node);
        } else if scope.live.remove(&node) && scope.live.is_empty() {
            self.news.push_back(News::Quiet(index));
        }
    }

    /// Whether the node may start now.
    pub(super) fn may_start(&self, node: NodeIdx) -> bool {
        let scope = self.scope(self.scope_of(node));
        let open = match scope.status {
            Status::Open => true,
            Status::Handling => scope.failure_slot() == Some(node),
            Status::Failing | Status::Stopped | Status::Ended => false,
        };
        open && self.node(node).phase == NodePhase::NotYetStarted
    }
}
