//! Workflows as flytekit serializes them; `tests/golden/make.py` writes the files.

use std::collections::HashSet;

use compiler::{
    LaunchPlanInterface, compile_dynamic, compile_task, compile_workflow, dynamic_node_count,
    dynamic_requirements, expected_inputs, requirements, validate_task,
};
use proptest::prelude::*;
use prost::Message;
use proto::flyteidl::admin::{LaunchPlan, WorkflowSpec};
use proto::flyteidl::core::binding_data::Value;
use proto::flyteidl::core::node::Target;
use proto::flyteidl::core::*;

use crate::build;

/// Everything in a file but its first message.
pub(crate) struct Registered {
    pub(crate) tasks: Vec<TaskTemplate>,
    pub(crate) launch_plans: Vec<LaunchPlanInterface>,
}

pub(crate) fn read<First: Message + Default>(bytes: &[u8]) -> (First, Registered) {
    let mut rest = bytes;
    let first = First::decode_length_delimited(&mut rest).unwrap();
    let mut tasks = Vec::new();
    while rest[0] != 0 {
        tasks.push(TaskTemplate::decode_length_delimited(&mut rest).unwrap());
    }
    rest = &rest[1..];
    let mut launch_plans = Vec::new();
    while !rest.is_empty() {
        launch_plans.push(launch_plan(LaunchPlan::decode_length_delimited(&mut rest).unwrap()));
    }
    (first, Registered { tasks, launch_plans })
}

/// As registration makes it.
fn launch_plan(plan: LaunchPlan) -> LaunchPlanInterface {
    let (spec, closure) = (plan.spec.unwrap(), plan.closure.unwrap());
    let inputs = closure.expected_inputs.unwrap().parameters;
    let inputs = inputs.into_iter().map(|(name, parameter)| (name, parameter.var.unwrap())).collect();
    let fixed_inputs = spec.fixed_inputs.unwrap_or_default();
    let defaults = spec.default_inputs.unwrap_or_default();
    LaunchPlanInterface {
        id: plan.id.unwrap(),
        expected_inputs: expected_inputs(&VariableMap { variables: inputs }, &defaults, &fixed_inputs)
            .unwrap(),
        fixed_inputs,
        expected_outputs: closure.expected_outputs.unwrap_or_default(),
    }
}

/// Compiles a file; checks on the way that the tasks are valid, that nothing the workflow needs is forgotten, and that
/// the result has the shape that clients rely on.
fn compile(bytes: &[u8]) -> CompiledWorkflowClosure {
    let (spec, registered): (WorkflowSpec, _) = read(bytes);
    let template = spec.template.unwrap();
    for task in &registered.tasks {
        validate_task(task.id.as_ref().unwrap(), task).unwrap();
    }
    let needed = requirements(&template, &spec.sub_workflows);
    let tasks: Vec<_> = registered
        .tasks
        .into_iter()
        .filter(|task| needed.tasks.contains(task.id.as_ref().unwrap()))
        .map(compile_task)
        .collect();
    assert_eq!(tasks.len(), needed.tasks.len());
    let known = |id: &Identifier| registered.launch_plans.iter().any(|plan| plan.id == *id);
    assert!(needed.launch_plans.iter().all(known), "{:?}", needed.launch_plans);
    let closure = compile_workflow(template, spec.sub_workflows, &tasks, &registered.launch_plans).unwrap();
    check_shape(&closure);
    closure
}

/// Compiles what a dynamic task wrote.
fn compile_spec(bytes: &[u8]) -> (DynamicJobSpec, CompiledWorkflowClosure) {
    let (spec, registered): (DynamicJobSpec, _) = read(bytes);
    let needed = dynamic_requirements(&spec);
    assert!(needed.tasks.is_empty(), "{:?}", needed.tasks);
    let known = |id: &Identifier| registered.launch_plans.iter().any(|plan| plan.id == *id);
    assert!(needed.launch_plans.iter().all(known), "{:?}", needed.launch_plans);
    let id = build::id(ResourceType::Workflow, "dynamic_n0");
    let parent = &registered.tasks[0];
    let closure = compile_dynamic(spec.clone(), id.clone(), parent, &[], &registered.launch_plans).unwrap();
    check_shape(&closure);
    let template = closure.primary.as_ref().unwrap().template.as_ref().unwrap();
    assert_eq!(template.id, Some(id));
    assert_eq!(
        template.interface.as_ref().unwrap().outputs,
        parent.interface.as_ref().unwrap().outputs,
        "the outputs are those of the task"
    );
    (spec, closure)
}

/// What flytekit and the engine take for granted (client-api.md, 6.2).
fn check_shape(closure: &CompiledWorkflowClosure) {
    let tasks: HashSet<_> =
        closure.tasks.iter().map(|task| task.template.as_ref().unwrap().id.clone().unwrap().name).collect();
    assert_eq!(tasks.len(), closure.tasks.len(), "a task is listed once");
    for compiled in closure.primary.iter().chain(&closure.sub_workflows) {
        let template = compiled.template.as_ref().unwrap();
        assert_eq!(
            (template.nodes[0].id.as_str(), template.nodes[1].id.as_str()),
            ("start-node", "end-node")
        );
        assert_eq!(template.nodes[1].inputs, template.outputs);
        let connections = compiled.connections.as_ref().unwrap();
        let mut mirrored: Vec<(&str, &str)> = Vec::new();
        for node in &template.nodes {
            check_node(node, None);
            let upstream = connections.upstream.get(&node.id).map_or(&[][..], |list| &list.ids);
            assert!(upstream.is_sorted(), "{upstream:?}");
            assert_eq!(upstream.is_empty(), node.id == "start-node", "{}", node.id);
            mirrored.extend(upstream.iter().map(|from| (from.as_str(), node.id.as_str())));
        }
        let mut downstream: Vec<(&str, &str)> = Vec::new();
        for (from, list) in &connections.downstream {
            downstream.extend(list.ids.iter().map(|to| (from.as_str(), to.as_str())));
        }
        mirrored.sort_unstable();
        downstream.sort_unstable();
        assert_eq!(mirrored, downstream);
        if let Some(node) = &template.failure_node {
            check_node(node, None);
            assert!(!connections.downstream.contains_key(&node.id));
        }
    }
}

fn check_node(node: &Node, branch: Option<&str>) {
    assert!(branch.is_none_or(|branch| node.id.starts_with(&format!("{branch}-"))), "{}", node.id);
    assert!(!node.upstream_node_ids.iter().any(|id| id == "start-node"), "{}", node.id);
    let mut bound: Vec<_> = node.inputs.iter().filter_map(|binding| binding.binding.as_ref()).collect();
    while let Some(data) = bound.pop() {
        match data.value.as_ref().unwrap() {
            Value::Promise(promise) => assert!(!promise.node_id.is_empty(), "{} has {promise:?}", node.id),
            Value::Collection(list) => bound.extend(&list.bindings),
            Value::Map(map) => bound.extend(map.bindings.values()),
            Value::Scalar(_) | Value::OffloadedMetadata(_) => {}
        }
    }
    match &node.target {
        Some(Target::BranchNode(target)) => {
            let block = target.if_else.as_ref().unwrap();
            for case in block.case.iter().map(|case| &**case).chain(&block.other) {
                check_node(case.then_node.as_ref().unwrap(), Some(&node.id));
            }
            if let Some(if_else_block::Default::ElseNode(inner)) = &block.default {
                check_node(inner, Some(&node.id));
            }
        }
        Some(Target::ArrayNode(array)) => check_node(array.node.as_ref().unwrap(), None),
        _ => {}
    }
}

fn upstream(closure: &CompiledWorkflowClosure) -> std::collections::BTreeMap<&str, Vec<&str>> {
    build::edges(&closure.primary.as_ref().unwrap().connections.as_ref().unwrap().upstream)
}

macro_rules! golden {
    ($name:literal) => {
        include_bytes!(concat!("../golden/", $name, ".bin"))
    };
}

#[test]
fn workflows_of_every_construct_compile() {
    for bytes in [
        &golden!("hello")[..],
        golden!("nested_values"),
        golden!("unions"),
        golden!("files"),
        golden!("keep_going"),
        golden!("with_launch_plan"),
        golden!("gates"),
        golden!("mapped"),
        golden!("on_failure"),
        golden!("comparisons"),
        golden!("branch_of_everything"),
        golden!("with_err"),
        golden!("cleaned_by_a_workflow"),
        golden!("plans"),
        golden!("maps"),
        golden!("maps_of_plans"),
        golden!("gated"),
        golden!("references"),
        golden!("eagerly"),
        golden!("odds_and_ends"),
        golden!("imperative"),
    ] {
        compile(bytes);
    }
}

#[test]
fn explicit_order_becomes_edges() {
    let closure = compile(golden!("chain"));
    assert_eq!(upstream(&closure)["n3"], ["n1", "n2"]);
    assert_eq!(upstream(&closure)["end-node"], ["n1", "n3"]);
    assert_eq!(upstream(&compile(golden!("plans")))["n2"], ["n0"]);
}

#[test]
fn nodes_inside_branches_have_edges_of_their_own() {
    let closure = compile(golden!("branching"));
    assert_eq!(upstream(&closure)["n2-n0"], ["n1", "start-node"]);
    assert_eq!(upstream(&closure)["n1-n0"], ["start-node"]);
    let closure = compile(golden!("branch_of_everything"));
    let nested = upstream(&closure);
    let inside: Vec<_> = nested.keys().filter(|id| id.starts_with("n1-")).collect();
    assert_eq!(inside, [&"n1-n0", &"n1-n1", &"n1-n2", &"n1-n2-n0", &"n1-n3"]);
    assert_eq!(closure.sub_workflows.len(), 1, "the one that an arm runs");
}

#[test]
fn sub_workflows_of_sub_workflows_and_failure_nodes_compile() {
    assert_eq!(compile(golden!("with_sub")).sub_workflows.len(), 2);
    let closure = compile(golden!("cleaned_by_a_workflow"));
    let name = |sub: &CompiledWorkflow| sub.template.clone().unwrap().id.unwrap().name;
    let names: Vec<_> = closure.sub_workflows.iter().map(name).collect();
    let expected = ["with_err", "clean_wf", "sub_in_sub", "inner_branch"];
    assert_eq!(names, expected.map(|name| format!("constructs.{name}")));
    assert!(closure.primary.unwrap().template.unwrap().failure_node.is_some());
}

#[test]
fn what_a_dynamic_task_wrote_compiles() {
    let (spec, closure) = compile_spec(golden!("dynamic_fan"));
    assert_eq!((dynamic_node_count(&spec), closure.tasks.len()), (4, 2));
    assert_eq!(upstream(&closure)["dn3"], ["dn0", "dn1", "dn2"]);
    assert_eq!(upstream(&closure)["end-node"], ["dn3"]);

    let (spec, closure) = compile_spec(golden!("dynamic_nests"));
    assert_eq!(dynamic_node_count(&spec), 4 + 4);
    assert_eq!(closure.sub_workflows.len(), 3);

    let (spec, closure) = compile_spec(golden!("dynamic_calls_plans"));
    let needed = dynamic_requirements(&spec).launch_plans;
    let needed: Vec<_> = needed.iter().map(|id| id.name.as_str()).collect();
    assert_eq!(needed, ["constructs.plan", "constructs.fixed"]);
    assert!(closure.tasks.len() >= 2);

    compile_spec(golden!("dynamic_waits"));
    let (_, closure) = compile_spec(golden!("dynamic_constant"));
    assert_eq!(upstream(&closure)["end-node"], ["dn0"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn damaged_workflows_do_no_harm(
        which in 0usize..6,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let files: [&[u8]; 6] = [
            golden!("chain"),
            golden!("nested_values"),
            golden!("unions"),
            golden!("branching"),
            golden!("with_sub"),
            golden!("gates"),
        ];
        let (good, registered): (WorkflowSpec, _) = read(files[which]);
        let mut bytes = good.encode_to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(WorkflowSpec { template: Some(template), sub_workflows, .. }) = WorkflowSpec::decode(&bytes[..]) {
            let tasks: Vec<_> = registered.tasks.into_iter().map(compile_task).collect();
            if let Err(errors) = compile_workflow(template, sub_workflows, &tasks, &[]) {
                prop_assert!(!errors.0.is_empty() && !errors.to_string().is_empty());
            }
        }
    }
}
