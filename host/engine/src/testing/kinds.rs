//! Makes nodes that are not tasks.

use proto::flyteidl::core;
use proto::flyteidl::core::gate_node::Condition;
use proto::flyteidl::core::node::Target;
use proto::flyteidl::core::workflow_node::Reference;

use super::{node, task_id, template};
use crate::{Expansion, Graph};

pub(crate) fn of(target: Target, id: &str, upstream: &[&str]) -> core::Node {
    core::Node { target: Some(target), ..node(id, upstream) }
}

/// A node that runs the sub-workflow of this name.
pub(crate) fn sub(name: &str, id: &str, upstream: &[&str]) -> core::Node {
    let reference = Some(Reference::SubWorkflowRef(task_id(name)));
    of(Target::WorkflowNode(core::WorkflowNode { reference }), id, upstream)
}

pub(crate) fn launch_plan(id: &str, upstream: &[&str]) -> core::Node {
    let reference = Some(Reference::LaunchplanRef(task_id("plan")));
    of(Target::WorkflowNode(core::WorkflowNode { reference }), id, upstream)
}

/// A branch of these nodes; the last is for when no case holds.
pub(crate) fn branch(arms: Vec<core::Node>, id: &str, upstream: &[&str]) -> core::Node {
    let mut arms = arms.into_iter().map(Box::new);
    let otherwise = arms.next_back().map(core::if_else_block::Default::ElseNode);
    let case = |node| core::IfBlock { condition: Some(Default::default()), then_node: Some(node) };
    let mut cases = arms.map(case);
    let block =
        core::IfElseBlock { case: cases.next().map(Box::new), other: cases.collect(), default: otherwise };
    let branch = core::BranchNode { if_else: Some(Box::new(block)) };
    of(Target::BranchNode(Box::new(branch)), id, upstream)
}

/// An array of this node, changed.
pub(crate) fn array(
    inner: core::Node,
    id: &str,
    upstream: &[&str],
    change: impl FnOnce(&mut core::ArrayNode),
) -> core::Node {
    let mut array = core::ArrayNode { node: Some(Box::new(inner)), ..Default::default() };
    change(&mut array);
    of(Target::ArrayNode(Box::new(array)), id, upstream)
}

pub(crate) fn sleep(micros: i64, id: &str, upstream: &[&str]) -> core::Node {
    let duration = Some(model::time::duration_to_proto(micros));
    gate(Condition::Sleep(core::SleepCondition { duration }), id, upstream)
}

pub(crate) fn signal(id: &str, upstream: &[&str]) -> core::Node {
    let signal =
        core::SignalCondition { signal_id: "s".into(), output_variable_name: "o".into(), r#type: None };
    gate(Condition::Signal(signal), id, upstream)
}

pub(crate) fn approve(id: &str, upstream: &[&str]) -> core::Node {
    gate(Condition::Approve(core::ApproveCondition { signal_id: "s".into() }), id, upstream)
}

fn gate(condition: Condition, id: &str, upstream: &[&str]) -> core::Node {
    of(Target::GateNode(core::GateNode { condition: Some(condition) }), id, upstream)
}

/// The closure with these workflows under these names beside it.
pub(crate) fn with_subs(
    mut closure: core::CompiledWorkflowClosure,
    subs: Vec<(&str, core::CompiledWorkflowClosure)>,
) -> core::CompiledWorkflowClosure {
    for (name, mut sub) in subs {
        template(&mut sub).id = Some(task_id(name));
        closure.sub_workflows.extend(sub.primary);
        closure.sub_workflows.extend(sub.sub_workflows);
    }
    closure
}

/// Lets a workflow run this node when it failed.
pub(crate) fn on_failure(
    mut closure: core::CompiledWorkflowClosure,
    node: core::Node,
) -> core::CompiledWorkflowClosure {
    template(&mut closure).failure_node = Some(node);
    closure
}

/// Lets the task of the closure run in a container, where elements pick their part of an array's inputs.
pub(crate) fn in_container(mut closure: core::CompiledWorkflowClosure) -> core::CompiledWorkflowClosure {
    let task = closure.tasks[0].template.as_mut().unwrap();
    task.target = Some(core::task_template::Target::Container(core::Container::default()));
    closure
}

/// What a task made.
pub(crate) fn expansion(closure: &core::CompiledWorkflowClosure) -> Expansion {
    Expansion { graph: std::sync::Arc::new(Graph::build(closure).unwrap()), spec_uri: "futures.pb".into() }
}
