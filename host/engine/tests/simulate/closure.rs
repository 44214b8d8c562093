//! Writes a drawn workflow as an SDK would have it compiled.

use std::collections::HashMap;
use std::sync::Arc;

use engine::Graph;
use proto::flyteidl::core;
use proto::flyteidl::core::node::Target;
use proto::flyteidl::core::workflow_node::Reference;

use crate::scenario::{Array, Flow, Spec, TaskKind, What};

/// The graph of a flow and of every flow that a dynamic task makes in it, by name.
pub fn graphs(flow: &Flow) -> HashMap<&str, Arc<Graph>> {
    let all = flow.flows();
    let graph = |flow: &Flow| Arc::new(Graph::build(&closure(flow, &all)).unwrap());
    all.iter().map(|flow| (flow.name.as_str(), graph(flow))).collect()
}

fn closure(primary: &Flow, all: &[&Flow]) -> core::CompiledWorkflowClosure {
    let task = |kind: TaskKind| {
        let target = match kind {
            TaskKind::Container => Some(core::task_template::Target::Container(core::Container::default())),
            TaskKind::Plain | TaskKind::Cached => None,
        };
        let discoverable = kind == TaskKind::Cached;
        let template = core::TaskTemplate {
            id: Some(id(task_name(kind))),
            metadata: Some(core::TaskMetadata { discoverable, ..Default::default() }),
            target,
            ..Default::default()
        };
        core::CompiledTask { template: Some(template) }
    };
    core::CompiledWorkflowClosure {
        primary: Some(workflow(primary)),
        sub_workflows: all.iter().map(|flow| workflow(flow)).collect(),
        tasks: [TaskKind::Container, TaskKind::Plain, TaskKind::Cached].map(task).to_vec(),
        ..Default::default()
    }
}

fn workflow(flow: &Flow) -> core::CompiledWorkflow {
    let policy = if flow.continue_on_failure {
        core::workflow_metadata::OnFailurePolicy::FailAfterExecutableNodesComplete
    } else {
        core::workflow_metadata::OnFailurePolicy::FailImmediately
    };
    let fixed = ["start-node", "end-node"].map(|id| core::Node { id: id.into(), ..Default::default() });
    let nodes = flow.nodes.iter().map(|spec| {
        // Half of the edges are bindings, half are plain order; an arm of a branch takes the bindings.
        let (bound, named): (Vec<usize>, Vec<usize>) = spec.upstream.iter().partition(|up| *up % 2 == 0);
        let inputs: Vec<_> = bound.into_iter().map(|up| binding(&flow.nodes[up].id)).collect();
        let upstream_node_ids = named.into_iter().map(|up| flow.nodes[up].id.clone()).collect();
        core::Node { upstream_node_ids, ..node(spec, inputs) }
    });
    let template = core::WorkflowTemplate {
        id: Some(id(&flow.name)),
        metadata: Some(core::WorkflowMetadata { on_failure: policy as i32, ..Default::default() }),
        nodes: fixed.into_iter().chain(nodes).collect(),
        failure_node: flow.failure_node.as_ref().map(|spec| node(spec, vec![binding("start-node")])),
        ..Default::default()
    };
    core::CompiledWorkflow { template: Some(template), connections: None }
}

fn binding(node: &str) -> core::Binding {
    let promise = core::OutputReference { node_id: node.to_owned(), var: "o".into(), ..Default::default() };
    let value = Some(core::binding_data::Value::Promise(promise));
    core::Binding {
        var: format!("from-{node}"),
        binding: Some(core::BindingData { value, ..Default::default() }),
    }
}

fn node(spec: &Spec, inputs: Vec<core::Binding>) -> core::Node {
    let reaches_inside = matches!(spec.what, What::Branch { .. });
    core::Node {
        id: spec.id.clone(),
        metadata: Some(core::NodeMetadata {
            retries: Some(core::RetryStrategy { retries: spec.retries }),
            timeout: Some(model::time::duration_to_proto(spec.timeout)),
            ..Default::default()
        }),
        target: Some(target(spec, if reaches_inside { &inputs } else { &[] })),
        inputs: if reaches_inside { Vec::new() } else { inputs },
        ..Default::default()
    }
}

fn target(spec: &Spec, of_arms: &[core::Binding]) -> Target {
    let workflow = |reference| Target::WorkflowNode(core::WorkflowNode { reference: Some(reference) });
    match &spec.what {
        What::Task { kind } => task(*kind),
        What::Dynamic(_) => task(TaskKind::Container),
        What::Sub(flow) => workflow(Reference::SubWorkflowRef(id(&flow.name))),
        What::LaunchPlan => workflow(Reference::LaunchplanRef(id("child"))),
        What::Branch { arms, has_default } => branch(arms, *has_default, of_arms),
        What::Array(spec) => array(spec),
        What::Sleep { micros } => gate(core::gate_node::Condition::Sleep(core::SleepCondition {
            duration: Some(model::time::duration_to_proto(*micros)),
        })),
        What::Signal => gate(core::gate_node::Condition::Signal(core::SignalCondition {
            signal_id: spec.id.clone(),
            output_variable_name: "o".into(),
            ..Default::default()
        })),
        What::Approve => {
            gate(core::gate_node::Condition::Approve(core::ApproveCondition { signal_id: spec.id.clone() }))
        }
    }
}

fn gate(condition: core::gate_node::Condition) -> Target {
    Target::GateNode(core::GateNode { condition: Some(condition) })
}

fn task(kind: TaskKind) -> Target {
    let reference = core::task_node::Reference::ReferenceId(id(task_name(kind)));
    Target::TaskNode(core::TaskNode { reference: Some(reference), ..Default::default() })
}

fn branch(arms: &[Spec], has_default: bool, inputs: &[core::Binding]) -> Target {
    let (last, first) = arms.split_last().unwrap();
    let cases = if has_default { first } else { arms };
    let mut cases = cases.iter().map(|arm| core::IfBlock {
        condition: Some(core::BooleanExpression::default()),
        then_node: Some(Box::new(node(arm, inputs.to_vec()))),
    });
    let block = core::IfElseBlock {
        case: cases.next().map(Box::new),
        other: cases.collect(),
        default: has_default
            .then(|| core::if_else_block::Default::ElseNode(Box::new(node(last, inputs.to_vec())))),
    };
    Target::BranchNode(Box::new(core::BranchNode { if_else: Some(Box::new(block)) }))
}

fn array(array: &Array) -> Target {
    use core::array_node::{ParallelismOption, SuccessCriteria};
    let criteria = match (array.min_successes, array.ratio) {
        (Some(count), _) => Some(SuccessCriteria::MinSuccesses(count)),
        (None, Some(ratio)) => Some(SuccessCriteria::MinSuccessRatio(ratio)),
        (None, None) => None,
    };
    Target::ArrayNode(Box::new(core::ArrayNode {
        node: Some(Box::new(node(&array.element, Vec::new()))),
        parallelism_option: array.parallelism.map(ParallelismOption::Parallelism),
        success_criteria: criteria,
        run_all_sub_nodes: array.run_all,
        ..Default::default()
    }))
}

fn task_name(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Container => "container",
        TaskKind::Plain => "plain",
        TaskKind::Cached => "cached",
    }
}

fn id(name: &str) -> core::Identifier {
    core::Identifier { name: name.into(), ..Default::default() }
}
