//! Large workflows: nothing recurses over their depth or takes quadratic time.

use std::time::{Duration, Instant};

use compiler::ErrorCode;

use crate::build::*;

/// Generous: linear code in a debug build takes a fraction of it, quadratic code many times as long.
const ENOUGH: Duration = Duration::from_secs(20);

#[test]
fn a_long_chain_compiles() {
    let nodes = (0..50_000).map(|i| {
        let before = if i == 0 { promise("", "a") } else { promise(&format!("n{}", i - 1), "o") };
        node(&format!("n{i}"), "inc", vec![bind("x", before)])
    });
    let template = workflow("wf", interface([("a", int())], []), nodes.collect(), vec![]);
    let begin = Instant::now();
    let closure = compile(template.clone()).unwrap();
    assert!(begin.elapsed() < ENOUGH, "{:?}", begin.elapsed());
    assert_eq!(closure.primary.unwrap().connections.unwrap().upstream.len(), 50_001);

    let mut template = template;
    template.nodes[0].upstream_node_ids.push("n49999".to_owned());
    let errors = compile(template).unwrap_err();
    assert_eq!(errors.0[0].code, ErrorCode::CycleDetected);
    assert!(errors.to_string().len() < 1_000);
}

#[test]
fn a_wide_join_compiles() {
    let mut nodes: Vec<_> = (0..50_000).map(|i| node(&format!("n{i}"), "make", vec![])).collect();
    let mut last = node("last", "make", vec![]);
    last.upstream_node_ids = nodes.iter().map(|node| node.id.clone()).collect();
    nodes.push(last);
    let begin = Instant::now();
    compile(workflow("wf", interface([], []), nodes, vec![])).unwrap();
    assert!(begin.elapsed() < ENOUGH, "{:?}", begin.elapsed());
}

#[test]
fn deep_approvals_compile() {
    use proto::flyteidl::core::{ApproveCondition, GateNode, gate_node, node};
    let condition = Some(gate_node::Condition::Approve(ApproveCondition::default()));
    let mut nodes: Vec<_> = (0..5_000)
        .map(|i| {
            let before = if i == 0 { promise("", "a") } else { promise(&format!("n{}", i - 1), "v") };
            let gate = GateNode { condition: condition.clone() };
            node_of(&format!("n{i}"), node::Target::GateNode(gate), vec![bind("v", before)])
        })
        .collect();
    nodes.reverse();
    let interface = interface([("a", int())], [("r", int())]);
    compile(workflow("wf", interface, nodes, vec![bind("r", promise("n4999", "v"))])).unwrap();
}

#[test]
fn a_large_dynamic_workflow_compiles() {
    let mut parent = task("parent", interface([], [])).template.unwrap();
    parent.metadata = Some(Default::default());
    let mut make = task("make", interface([], [("o", int())])).template.unwrap();
    make.metadata = Some(Default::default());
    let nodes = (0..50_000).map(|i| node(&format!("dn{i}"), "make", vec![])).collect();
    let spec =
        proto::flyteidl::core::DynamicJobSpec { nodes, tasks: vec![make; 1_000], ..Default::default() };
    let begin = Instant::now();
    assert!(compiler::dynamic_requirements(&spec).tasks.is_empty());
    let id = id(proto::flyteidl::core::ResourceType::Workflow, "dynamic_n0");
    let closure = compiler::compile_dynamic(spec, id, &parent, &[], &[]).unwrap();
    assert!(begin.elapsed() < ENOUGH, "{:?}", begin.elapsed());
    assert_eq!(closure.tasks.len(), 1);
}
