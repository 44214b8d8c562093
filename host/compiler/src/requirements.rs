//! Finds what a workflow refers to, in the workflow itself and in its sub-workflows.

use std::collections::{HashMap, HashSet};

use proto::flyteidl::core::node::Target;
use proto::flyteidl::core::{Identifier, Node, WorkflowTemplate, task_node, workflow_node};

use crate::library::Key;
use crate::node::inner_nodes;

/// What a workflow needs that is registered elsewhere, in the order in which it is first named.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requirements {
    /// Tasks that nodes run.
    pub tasks: Vec<Identifier>,
    /// Launch plans that nodes start, without those of the workflow itself.
    pub launch_plans: Vec<Identifier>,
}

/// Everything that `template` refers to, directly or through the `sub_workflows` it uses.
pub fn requirements(template: &WorkflowTemplate, sub_workflows: &[WorkflowTemplate]) -> Requirements {
    find(template.id.as_ref(), &template.nodes, template.failure_node.as_ref(), sub_workflows)
}

/// As [`requirements`], for a workflow whose nodes are at hand.
pub(crate) fn find(
    own: Option<&Identifier>,
    nodes: &[Node],
    failure_node: Option<&Node>,
    sub_workflows: &[WorkflowTemplate],
) -> Requirements {
    let mut found = Requirements::default();
    let (mut tasks, mut launch_plans) = (HashSet::new(), HashSet::new());
    let own = own.map(Key::of);
    let primary = nested(nodes, failure_node);
    let used = used_by(&primary, sub_workflows);
    for nodes in std::iter::once(primary).chain(used.into_iter().map(all_nodes)) {
        for node in nodes {
            if let Some(id) = task_ref(node)
                && tasks.insert(Key::of(id))
            {
                found.tasks.push(id.clone());
            }
            if let Some(id) = launch_plan_ref(node)
                && Some(Key::of(id)) != own
                && launch_plans.insert(Key::of(id))
            {
                found.launch_plans.push(id.clone());
            }
        }
    }
    found
}

/// `template`, then the sub-workflows that it uses, each once, in the order in which they are first named.
pub(crate) fn used<'a>(
    template: &'a WorkflowTemplate,
    sub_workflows: &'a [WorkflowTemplate],
) -> Vec<&'a WorkflowTemplate> {
    let mut found = vec![template];
    found.extend(used_by(&all_nodes(template), sub_workflows));
    found
}

/// The sub-workflows that nodes use, directly or through another, each once, in the order in which they are first
/// named.
fn used_by<'a>(nodes: &[&'a Node], sub_workflows: &'a [WorkflowTemplate]) -> Vec<&'a WorkflowTemplate> {
    let by_id: HashMap<Key<'_>, &WorkflowTemplate> =
        sub_workflows.iter().filter_map(|sub| Some((Key::of(sub.id.as_ref()?), sub))).collect();
    let mut found: Vec<&WorkflowTemplate> = Vec::new();
    let mut seen = HashSet::new();
    let mut add = |nodes: &[&'a Node], found: &mut Vec<&'a WorkflowTemplate>| {
        for id in nodes.iter().filter_map(|node| sub_workflow_ref(node)) {
            if let Some(sub) = by_id.get(&Key::of(id))
                && seen.insert(Key::of(id))
            {
                found.push(sub);
            }
        }
    };
    add(nodes, &mut found);
    let mut next = 0;
    while let Some(workflow) = found.get(next).copied() {
        add(&all_nodes(workflow), &mut found);
        next += 1;
    }
    found
}

/// Every node of a workflow: each before the nodes inside it, and the failure node last.
pub(crate) fn all_nodes(workflow: &WorkflowTemplate) -> Vec<&Node> {
    nested(&workflow.nodes, workflow.failure_node.as_ref())
}

fn nested<'a>(nodes: &'a [Node], failure_node: Option<&'a Node>) -> Vec<&'a Node> {
    let mut found = Vec::with_capacity(nodes.len());
    let mut rest: Vec<&Node> = failure_node.into_iter().chain(nodes.iter().rev()).collect();
    while let Some(node) = rest.pop() {
        found.push(node);
        rest.extend(inner_nodes(node).into_iter().rev());
    }
    found
}

pub(crate) fn task_ref(node: &Node) -> Option<&Identifier> {
    match node.target.as_ref()? {
        Target::TaskNode(task) => task.reference.as_ref().map(|task_node::Reference::ReferenceId(id)| id),
        _ => None,
    }
}

pub(crate) fn sub_workflow_ref(node: &Node) -> Option<&Identifier> {
    match workflow_ref(node)? {
        workflow_node::Reference::SubWorkflowRef(id) => Some(id),
        workflow_node::Reference::LaunchplanRef(_) => None,
    }
}

fn launch_plan_ref(node: &Node) -> Option<&Identifier> {
    match workflow_ref(node)? {
        workflow_node::Reference::LaunchplanRef(id) => Some(id),
        workflow_node::Reference::SubWorkflowRef(_) => None,
    }
}

fn workflow_ref(node: &Node) -> Option<&workflow_node::Reference> {
    match node.target.as_ref()? {
        Target::WorkflowNode(workflow) => workflow.reference.as_ref(),
        _ => None,
    }
}
