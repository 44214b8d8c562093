//! Makes small workflows for tests and plays the shell for them.

pub(crate) mod kinds;

use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::{
    AttemptRow, Changes, Detail, Execution, ExecutionSnapshot, Expansion, Graph, NodeIdx, NodePhase,
    NodeSnapshot, NodeState, Observation, Report, Resolved, Settings, Step,
};

/// A task node: its id and the nodes it waits for.
pub(crate) type TaskNode<'a> = (&'a str, &'a [&'a str]);

pub(crate) fn task_id(name: &str) -> core::Identifier {
    core::Identifier {
        project: "p".into(),
        domain: "d".into(),
        name: name.into(),
        version: "v".into(),
        ..Default::default()
    }
}

pub(crate) fn node(id: &str, upstream: &[&str]) -> core::Node {
    let reference = core::task_node::Reference::ReferenceId(task_id("task"));
    let target = core::TaskNode { reference: Some(reference), ..Default::default() };
    core::Node {
        id: id.into(),
        upstream_node_ids: upstream.iter().map(|up| (*up).to_owned()).collect(),
        target: Some(core::node::Target::TaskNode(target)),
        ..Default::default()
    }
}

/// A closure of task nodes between start and end, all of one task.
pub(crate) fn closure(nodes: Vec<core::Node>) -> core::CompiledWorkflowClosure {
    let fixed = ["start-node", "end-node"].map(|id| core::Node { id: id.into(), ..Default::default() });
    let template = core::WorkflowTemplate {
        metadata: Some(core::WorkflowMetadata::default()),
        nodes: fixed.into_iter().chain(nodes).collect(),
        ..Default::default()
    };
    let task = core::TaskTemplate {
        id: Some(task_id("task")),
        metadata: Some(core::TaskMetadata::default()),
        ..Default::default()
    };
    core::CompiledWorkflowClosure {
        primary: Some(core::CompiledWorkflow { template: Some(template), connections: None }),
        tasks: vec![core::CompiledTask { template: Some(task) }],
        ..Default::default()
    }
}

/// The template of a closure, to be changed.
pub(crate) fn template(closure: &mut core::CompiledWorkflowClosure) -> &mut core::WorkflowTemplate {
    closure.primary.as_mut().unwrap().template.as_mut().unwrap()
}

/// The metadata of the closure's only task, to be changed.
pub(crate) fn task_metadata(closure: &mut core::CompiledWorkflowClosure) -> &mut core::TaskMetadata {
    closure.tasks[0].template.as_mut().unwrap().metadata.as_mut().unwrap()
}

pub(crate) fn workflow(nodes: &[TaskNode<'_>]) -> core::CompiledWorkflowClosure {
    closure(nodes.iter().map(|(id, upstream)| node(id, upstream)).collect())
}

/// A workflow whose independent nodes run on after a failure.
pub(crate) fn enduring(nodes: &[TaskNode<'_>]) -> core::CompiledWorkflowClosure {
    let mut closure = workflow(nodes);
    let policy = core::workflow_metadata::OnFailurePolicy::FailAfterExecutableNodesComplete;
    template(&mut closure).metadata.as_mut().unwrap().on_failure = policy as i32;
    closure
}

/// An error as a plugin reports it.
pub(crate) fn boom(kind: ErrorKind) -> core::ExecutionError {
    core::ExecutionError {
        code: "Boom".into(),
        message: "it broke".into(),
        kind: kind as i32,
        ..Default::default()
    }
}

/// The answer that a node's inputs are written and decide nothing.
pub(crate) fn plain(uri: &str) -> Result<Resolved, core::ExecutionError> {
    Ok(Resolved { uri: uri.to_owned(), detail: Detail::Plain })
}

/// A shell without a store: each call is a second later than the one before.
pub(crate) struct Driver {
    pub(crate) run: Execution,
    pub(crate) now: Timestamp,
}

impl Driver {
    pub(crate) fn new(closure: &core::CompiledWorkflowClosure, settings: Settings) -> Self {
        let graph = Arc::new(Graph::build(closure).unwrap());
        Self { run: Execution::new(graph, settings, Timestamp(0)), now: Timestamp(0) }
    }

    /// A started execution without a limit on parallelism.
    pub(crate) fn started(closure: &core::CompiledWorkflowClosure) -> Self {
        let mut this = Self::new(closure, Settings { max_parallelism: 0, ..Settings::default() });
        this.apply(Observation::Start);
        this
    }

    pub(crate) fn apply(&mut self, observation: Observation) -> Changes {
        self.now = self.now.plus(1_000_000);
        self.run.apply(observation, self.now)
    }

    pub(crate) fn plan(&mut self) -> Vec<Step> {
        self.run.plan(self.now)
    }

    pub(crate) fn idx(&self, id: &str) -> NodeIdx {
        let named = |node: &NodeIdx| self.run.knows(*node) && &*self.run.unique_id(*node) == id;
        (0..self.run.len() as NodeIdx).find(named).unwrap_or_else(|| panic!("no node {id}"))
    }

    pub(crate) fn state(&self, id: &str) -> &NodeState {
        self.run.node(self.idx(id))
    }

    pub(crate) fn resolved(&mut self, id: &str) -> Changes {
        let node = self.idx(id);
        self.decided(node, Detail::Plain)
    }

    /// The inputs of a node are written and decided this.
    pub(crate) fn decided(&mut self, node: NodeIdx, detail: Detail) -> Changes {
        let uri = format!("in/{}", self.run.unique_id(node));
        self.apply(Observation::InputsResolved { node, result: Ok(Resolved { uri, detail }) })
    }

    pub(crate) fn report(&mut self, id: &str, report: Report) -> Changes {
        let (node, attempt) = (self.idx(id), self.state(id).attempt);
        self.apply(Observation::TaskReported { node, attempt, report })
    }

    pub(crate) fn succeeded(&mut self, id: &str) -> Changes {
        let output_uri = format!("out/{id}");
        self.report(id, Report::Succeeded { output_uri, deck_uri: String::new() })
    }

    pub(crate) fn failed(&mut self, id: &str, kind: ErrorKind, recoverable: bool) -> Changes {
        self.report(id, Report::Failed { error: boom(kind), recoverable, cleanup: false })
    }

    pub(crate) fn cleaned(&mut self, id: &str) -> Changes {
        let (node, attempt) = (self.idx(id), self.state(id).attempt);
        self.apply(Observation::Cleaned { node, attempt })
    }

    pub(crate) fn expanded(&mut self, id: &str, closure: &core::CompiledWorkflowClosure) -> Changes {
        let expansion = kinds::expansion(closure);
        self.report(id, Report::Expanded { expansion, deck_uri: String::new() })
    }

    /// Outputs of what the node holds are written.
    pub(crate) fn gathered(&mut self, id: &str) -> Changes {
        let (node, result) = (self.idx(id), Ok(format!("gathered/{id}")));
        self.apply(Observation::OutputsWritten { node, result })
    }

    /// The inputs of a node that is due are written and decide this; other steps are forgotten.
    pub(crate) fn decide(&mut self, id: &str, detail: Detail) -> Changes {
        self.plan();
        let node = self.idx(id);
        self.decided(node, detail)
    }

    /// Where each of these nodes stands.
    pub(crate) fn phases<const N: usize>(&self, ids: [&str; N]) -> [NodePhase; N] {
        ids.map(|id| self.state(id).phase)
    }

    /// The same execution in another life, restored from its rows.
    pub(crate) fn reborn(&self) -> Self {
        let (run, execution) = (&self.run, self.snapshot());
        let started = |node: &NodeIdx| run.knows(*node) && run.node(*node).phase != NodePhase::NotYetStarted;
        let rows = (0..run.len() as NodeIdx).filter(started).map(|node| self.row(node));
        let (graph, settings) = (Arc::clone(run.graph()), run.settings().clone());
        let run = Execution::restore(graph, settings, execution, rows).unwrap();
        let mut this = Self { run, now: self.now };
        assert!(this.apply(Observation::Start).nodes.is_empty(), "something is found half done");
        this
    }

    /// The row of the execution.
    pub(crate) fn snapshot(&self) -> ExecutionSnapshot {
        let run = &self.run;
        ExecutionSnapshot {
            phase: run.phase(),
            abort_cause: None,
            abort_forced: false,
            error: run.error().cloned(),
            created_at: run.created_at(),
            started_at: run.started_at(),
            ended_at: run.ended_at(),
        }
    }

    /// The row of a node.
    pub(crate) fn row(&self, node: NodeIdx) -> NodeSnapshot {
        let (run, state) = (&self.run, self.run.node(node));
        let expansion = state.spec_uri.as_ref().zip(run.end_of(node)).map(|(uri, end)| {
            let graph = Arc::clone(run.graph_of(end));
            Expansion { graph, spec_uri: uri.to_string() }
        });
        let attempt_row = match (state.open, state.ended, state.queued_at.is_some()) {
            (true, true, _) => AttemptRow::Ended,
            (true, false, _) => AttemptRow::Live,
            (false, _, true) if state.phase != NodePhase::Queued => AttemptRow::Closed,
            (false, _, _) => AttemptRow::Absent,
        };
        NodeSnapshot {
            id: run.unique_id(node).to_string(),
            parent: run.parent(node).map(|parent| run.unique_id(parent).to_string()).unwrap_or_default(),
            phase: state.phase,
            attempt: state.attempt,
            attempt_row,
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
            ended_at: state.ended_at,
        }
    }

    pub(crate) fn abort(&mut self) -> Changes {
        let (cause, principal) = ("enough".into(), "me".into());
        self.apply(Observation::AbortRequested { cause, principal, force: false })
    }

    /// Resolves and starts these nodes, which are due, and forgets the steps.
    pub(crate) fn run_up_to(&mut self, ids: &[&str]) {
        self.plan();
        for id in ids {
            self.resolved(id);
        }
        self.plan();
    }

    /// Lets a node that is due run and succeed.
    pub(crate) fn pass(&mut self, id: &str) {
        self.run_up_to(&[id]);
        self.succeeded(id);
        self.plan();
        self.cleaned(id);
    }

    /// Ids of the nodes whose inputs are to be resolved now; all other steps are forgotten.
    pub(crate) fn resolving(&mut self) -> Vec<String> {
        let id = |step: Step| match step {
            Step::ResolveInputs { node } => Some(self.run.unique_id(node).to_string()),
            Step::StartAttempt { .. }
            | Step::Abort { .. }
            | Step::Finalize { .. }
            | Step::GatherOutputs { .. }
            | Step::LoadExpansion { .. } => None,
        };
        self.run.clone().plan(self.now).into_iter().filter_map(id).collect()
    }
}
