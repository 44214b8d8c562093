//! Finds the tasks and sub-workflows of a closure by reference, and builds each sub-workflow once, the innermost first.

use std::collections::HashMap;
use std::sync::Arc;

use proto::flyteidl::core;
use proto::flyteidl::core::node::Target;
use proto::flyteidl::core::workflow_node::Reference::SubWorkflowRef;

use super::kind::NodeKind;
use super::{Graph, MAX_NESTING, build};
use crate::error::Error;

/// What identifies a task or a workflow; the resource type is left out because references do not always carry it.
type Key<'a> = [&'a str; 4];

/// The tasks and finished sub-workflows of a closure, and which of them the graph under construction uses.
pub(super) struct Library<'a> {
    tasks: &'a [core::CompiledTask],
    task_ids: HashMap<Key<'a>, usize>,
    /// The list that all graphs share.
    pub(super) shared_tasks: Arc<Vec<core::CompiledTask>>,
    finished: HashMap<Key<'a>, Finished>,
    used: HashMap<Key<'a>, usize>,
    subs: Vec<Arc<Graph>>,
}

struct Finished {
    graph: Arc<Graph>,
    depth: usize,
}

/// A task of the closure.
pub(super) struct Found<'a> {
    pub(super) position: usize,
    pub(super) template: Option<&'a core::TaskTemplate>,
}

/// Builds the graph of a closure's primary workflow.
pub(super) fn build(closure: &core::CompiledWorkflowClosure) -> Result<Graph, Error> {
    let primary = closure.primary.as_ref().ok_or(Error::NoTemplate)?;
    let mut library = Library::new(&closure.tasks);
    let subs: HashMap<Key<'_>, &core::CompiledWorkflow> =
        closure.sub_workflows.iter().filter_map(|sub| Some((key_of(sub)?, sub))).collect();
    // A stack of workflows, each with the sub-workflows that are still to be looked at before it can be built.
    let mut open = vec![(primary, needs(primary))];
    let mut on_stack: HashMap<Key<'_>, ()> = HashMap::new();
    while let Some((workflow, needed)) = open.last_mut() {
        if let Some((node, key)) = needed.pop() {
            if library.finished.contains_key(&key) {
                continue;
            }
            let unknown = || Error::UnknownSubWorkflow { node: node.to_owned(), workflow: key.join(":") };
            let sub = *subs.get(&key).ok_or_else(unknown)?;
            if on_stack.insert(key, ()).is_some() {
                return Err(Error::Cycle { node: node.to_owned() });
            }
            if open.len() > MAX_NESTING {
                return Err(Error::NestedTooDeep { workflow: key.join(":"), max: MAX_NESTING });
            }
            open.push((sub, needs(sub)));
            continue;
        }
        let (workflow, last) = (*workflow, open.len() == 1);
        open.pop();
        let graph = library.graph(workflow)?;
        if last {
            return Ok(graph);
        }
        if let Some(key) = key_of(workflow) {
            library.finish(key, graph, workflow)?;
        }
    }
    Err(Error::NoTemplate)
}

/// The sub-workflows a workflow names, each with the node that does.
fn needs(workflow: &core::CompiledWorkflow) -> Vec<(&str, Key<'_>)> {
    let Some(template) = &workflow.template else { return Vec::new() };
    let mut found = Vec::new();
    let mut left: Vec<&core::Node> = template.nodes.iter().chain(&template.failure_node).collect();
    while let Some(node) = left.pop() {
        match &node.target {
            Some(Target::WorkflowNode(target)) => {
                if let Some(SubWorkflowRef(id)) = &target.reference {
                    found.push((node.id.as_str(), key(id)));
                }
            }
            Some(Target::BranchNode(branch)) => left.extend(arms(branch)),
            Some(Target::ArrayNode(array)) => left.extend(array.node.as_deref()),
            Some(Target::TaskNode(_) | Target::GateNode(_)) | None => {}
        }
    }
    found
}

fn arms(branch: &core::BranchNode) -> impl Iterator<Item = &core::Node> {
    use core::if_else_block::Default::ElseNode;
    let block = branch.if_else.as_deref();
    let cases = block.into_iter().flat_map(|block| block.case.as_deref().into_iter().chain(&block.other));
    let otherwise = block.and_then(|block| match &block.default {
        Some(ElseNode(node)) => Some(node.as_ref()),
        Some(core::if_else_block::Default::Error(_)) | None => None,
    });
    cases.filter_map(|case| case.then_node.as_deref()).chain(otherwise)
}

impl<'a> Library<'a> {
    fn new(tasks: &'a [core::CompiledTask]) -> Self {
        let id = |(position, task): (usize, &'a core::CompiledTask)| {
            Some((key(task.template.as_ref()?.id.as_ref()?), position))
        };
        Self {
            tasks,
            task_ids: tasks.iter().enumerate().filter_map(id).collect(),
            shared_tasks: Arc::new(tasks.to_vec()),
            finished: HashMap::new(),
            used: HashMap::new(),
            subs: Vec::new(),
        }
    }

    fn graph(&mut self, workflow: &'a core::CompiledWorkflow) -> Result<Graph, Error> {
        self.used.clear();
        self.subs.clear();
        let mut graph = build::graph(workflow, self)?;
        graph.subs = std::mem::take(&mut self.subs);
        Ok(graph)
    }

    fn finish(
        &mut self,
        key: Key<'a>,
        graph: Graph,
        workflow: &'a core::CompiledWorkflow,
    ) -> Result<(), Error> {
        let inner = needs(workflow).into_iter().filter_map(|(_, key)| Some(self.finished.get(&key)?.depth));
        let depth = 1 + inner.max().unwrap_or(0);
        if depth > MAX_NESTING {
            return Err(Error::NestedTooDeep { workflow: key.join(":"), max: MAX_NESTING });
        }
        self.finished.insert(key, Finished { graph: Arc::new(graph), depth });
        Ok(())
    }

    /// The task a node names.
    pub(super) fn find_task(&self, node: &str, target: &core::TaskNode) -> Result<Found<'a>, Error> {
        use core::task_node::Reference::ReferenceId;
        let unknown = |task| Error::UnknownTask { node: node.to_owned(), task };
        let Some(ReferenceId(id)) = &target.reference else {
            return Err(unknown("without a reference".to_owned()));
        };
        let position = *self.task_ids.get(&key(id)).ok_or_else(|| unknown(key(id).join(":")))?;
        Ok(Found { position, template: self.tasks.get(position).and_then(|task| task.template.as_ref()) })
    }

    /// The sub-workflow a node names, as a position among those the graph uses.
    pub(super) fn sub_workflow(&mut self, node: &str, id: &'a core::Identifier) -> Result<NodeKind, Error> {
        let key = key(id);
        if let Some(graph) = self.used.get(&key) {
            return Ok(NodeKind::SubWorkflow { graph: *graph });
        }
        let unknown = || Error::UnknownSubWorkflow { node: node.to_owned(), workflow: key.join(":") };
        let found = self.finished.get(&key).ok_or_else(unknown)?;
        self.subs.push(Arc::clone(&found.graph));
        self.used.insert(key, self.subs.len() - 1);
        Ok(NodeKind::SubWorkflow { graph: self.subs.len() - 1 })
    }
}

fn key_of(workflow: &core::CompiledWorkflow) -> Option<Key<'_>> {
    workflow.template.as_ref()?.id.as_ref().map(key)
}

fn key(id: &core::Identifier) -> Key<'_> {
    [&id.project, &id.domain, &id.name, &id.version]
}
