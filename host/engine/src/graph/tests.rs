//! Checks edges, kinds and refusals.

use std::sync::Arc;

use proto::flyteidl::core;
use proto::flyteidl::core::connection_set::IdList;

use super::{GateKind, Graph, MAX_NESTING, NodeKind, Otherwise};
use crate::Error;
use crate::testing::{closure, enduring, kinds, node, task_id, task_metadata, template, workflow};

fn edges(graph: &Graph) -> Vec<String> {
    let id = |idx: &u32| graph.nodes[*idx as usize].id.to_string();
    let list = |list: &[u32]| list.iter().map(id).collect::<Vec<_>>().join(" ");
    graph
        .nodes
        .iter()
        .map(|n| format!("{} | {} | {}", list(&n.upstream), n.id, list(&n.downstream)))
        .collect()
}

fn promise(node_id: &str) -> core::BindingData {
    let promise = core::OutputReference { node_id: node_id.into(), var: "o".into(), ..Default::default() };
    core::BindingData { value: Some(core::binding_data::Value::Promise(promise)), ..Default::default() }
}

/// A binding that names nodes at every depth.
fn nested(node_ids: [&str; 3]) -> core::Binding {
    use core::binding_data::Value;
    let wrap = |value| core::BindingData { value: Some(value), ..Default::default() };
    let map = core::BindingDataMap { bindings: [("k".to_owned(), promise(node_ids[0]))].into() };
    let inner = core::BindingDataCollection { bindings: vec![wrap(Value::Map(map)), promise(node_ids[1])] };
    let list =
        core::BindingDataCollection { bindings: vec![promise(node_ids[2]), wrap(Value::Collection(inner))] };
    core::Binding { var: "x".into(), binding: Some(wrap(Value::Collection(list))) }
}

#[test]
fn edges_come_from_names_and_bindings() {
    let mut last = node("d", &["a"]);
    last.inputs = vec![nested(["b", "c", "start-node"])];
    let graph =
        Graph::build(&closure(vec![node("a", &[]), node("b", &["a", "a"]), node("c", &[]), last])).unwrap();
    assert_eq!(
        edges(&graph),
        [
            " | start-node | a c d",
            "d | end-node | ",
            "start-node | a | b d",
            "a | b | d",
            "start-node | c | d",
            "start-node a b c | d | end-node",
        ]
    );
    assert_eq!((graph.start, graph.end, graph.idx("d"), graph.idx("e")), (0, 1, Some(5), None));
}

#[test]
fn connections_add_edges() {
    let mut closure = workflow(&[("a", &[]), ("b", &[]), ("c", &[])]);
    let list = |ids: &[&str]| IdList { ids: ids.iter().map(|id| (*id).to_owned()).collect() };
    closure.primary.as_mut().unwrap().connections = Some(core::ConnectionSet {
        downstream: [("a".to_owned(), list(&["b"]))].into(),
        upstream: [("b".to_owned(), list(&["a"])), ("c".to_owned(), list(&["b"]))].into(),
    });
    let graph = Graph::build(&closure).unwrap();
    assert_eq!(edges(&graph)[2..], ["start-node | a | b", "a | b | c", "b | c | end-node"]);
}

#[test]
fn end_node_takes_the_workflow_outputs() {
    let mut closure = workflow(&[("a", &[]), ("b", &["a"])]);
    let output = core::Binding { var: "o0".into(), binding: Some(promise("a")) };
    template(&mut closure).outputs = vec![output.clone()];
    let graph = Graph::build(&closure).unwrap();
    assert_eq!(graph.nodes[1].bindings, std::slice::from_ref(&output));
    assert_eq!(edges(&graph)[1], "a b | end-node | ");
    template(&mut closure).nodes[1].inputs = vec![output.clone()];
    template(&mut closure).outputs = vec![];
    assert_eq!(Graph::build(&closure).unwrap().nodes[1].bindings, [output], "as flyte compiles it");
}

#[test]
fn compiled_single_task_workflow_builds() {
    let string = core::Variable {
        r#type: Some(core::LiteralType {
            r#type: Some(core::literal_type::Type::Simple(core::SimpleType::String as i32)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let variables =
        |name: &str| Some(core::VariableMap { variables: [(name.to_owned(), string.clone())].into() });
    let task = core::TaskTemplate {
        id: Some(task_id("greet")),
        r#type: "python-task".into(),
        interface: Some(core::TypedInterface { inputs: variables("who"), outputs: variables("o0") }),
        ..Default::default()
    };
    let (template, node_id) = compiler::workflow_of_task(&task);
    let tasks = [core::CompiledTask { template: Some(task.clone()) }];
    let compiled = compiler::compile_workflow(template, vec![], &tasks, &[]).unwrap();
    let graph = Graph::build(&compiled).unwrap();
    assert_eq!(
        edges(&graph),
        [
            format!(" | start-node | {node_id}"),
            format!("{node_id} | end-node | "),
            format!("start-node | {node_id} | end-node")
        ]
    );
    assert_eq!(graph.task(2), Some(&task));
    assert_eq!((graph.task(0), graph.task(9)), (None, None));
    assert_eq!(graph.nodes[1].bindings[0].var, "o0");
    assert_eq!(graph.nodes[2].metadata.max_attempts, Some(4), "three retries where the task names none");
}

#[test]
fn node_settings_beat_task_settings() {
    let seconds = |n| Some(prost_types::Duration { seconds: n, nanos: 0 });
    let retries = |n| Some(core::RetryStrategy { retries: n });
    let mut closure = workflow(&[("plain", &[]), ("own", &[]), ("zero", &[])]);
    let task = task_metadata(&mut closure);
    (task.retries, task.timeout) = (retries(2), seconds(20));
    task.interruptible_value = Some(core::task_metadata::InterruptibleValue::Interruptible(true));
    let nodes = &mut template(&mut closure).nodes;
    nodes[3].metadata = Some(core::NodeMetadata {
        name: "Own".into(),
        retries: retries(7),
        timeout: seconds(70),
        interruptible_value: Some(core::node_metadata::InterruptibleValue::Interruptible(false)),
        ..Default::default()
    });
    nodes[4].metadata =
        Some(core::NodeMetadata { retries: retries(0), timeout: seconds(0), ..Default::default() });
    let graph = Graph::build(&closure).unwrap();
    let of = |id: &str| {
        let m = graph.nodes[graph.idx(id).unwrap() as usize].metadata;
        (m.max_attempts, m.timeout_micros, m.interruptible)
    };
    assert_eq!(of("plain"), (Some(3), 20_000_000, Some(true)));
    assert_eq!(of("own"), (Some(8), 70_000_000, Some(false)));
    assert_eq!(of("zero"), (Some(3), 20_000_000, Some(true)));
    assert_eq!(of("start-node"), (None, 0, None));
    assert_eq!((graph.nodes[2].name.as_str(), graph.nodes[3].name.as_str()), ("plain", "Own"));
}

#[test]
fn failure_policy_is_read() {
    assert!(!Graph::build(&workflow(&[])).unwrap().continue_on_failure);
    assert!(Graph::build(&enduring(&[])).unwrap().continue_on_failure);
}

#[test]
fn broken_closures_are_refused() {
    let refused = |closure: &core::CompiledWorkflowClosure| Graph::build(closure).unwrap_err();
    assert_eq!(refused(&Default::default()), Error::NoTemplate);
    let mut headless = workflow(&[]);
    template(&mut headless).nodes.remove(0);
    assert_eq!(refused(&headless), Error::NodeMissing { node: "start-node" });
    let mut endless = workflow(&[]);
    template(&mut endless).nodes.remove(1);
    assert_eq!(refused(&endless), Error::NodeMissing { node: "end-node" });
    let lacks = |what| Error::IncompleteNode { node: "odd".into(), what };
    use core::node::Target;
    let targets = [
        (None, "a target"),
        (Some(Target::WorkflowNode(Default::default())), "a reference to a workflow"),
        (Some(Target::BranchNode(Default::default())), "a condition or a node of one of its cases"),
        (Some(Target::GateNode(Default::default())), "a condition to wait for"),
        (Some(Target::ArrayNode(Default::default())), "a node to run for each element"),
    ];
    for (target, what) in targets {
        let odd = core::Node { target, ..node("odd", &[]) };
        let error = refused(&closure(vec![odd]));
        assert_eq!(error, lacks(what));
        assert_eq!(error.execution_error().code, "BadSpecificationError");
    }
    let unknown =
        |node: &str, upstream: &str| Error::UnknownUpstream { node: node.into(), upstream: upstream.into() };
    assert_eq!(refused(&workflow(&[("a", &["z"])])), unknown("a", "z"));
    assert_eq!(refused(&workflow(&[("a", &[]), ("a", &[])])), Error::DuplicateNode { node: "a".into() });
    let mut taskless = workflow(&[("a", &[])]);
    taskless.tasks.clear();
    assert_eq!(refused(&taskless), Error::UnknownTask { node: "a".into(), task: "p:d:task:v".into() });
}

#[test]
fn circles_are_refused() {
    let circles: [&[crate::testing::TaskNode<'_>]; 4] = [
        &[("a", &["a"])],
        &[("a", &["b"]), ("b", &["a"])],
        &[("x", &[]), ("a", &["x", "c"]), ("b", &["a"]), ("c", &["b"])],
        &[("a", &["end-node"])],
    ];
    for circle in circles {
        let error = Graph::build(&workflow(circle)).unwrap_err();
        assert!(matches!(error, Error::Cycle { .. }), "{circle:?}: {error}");
    }
    let mut backwards = workflow(&[("a", &[])]);
    template(&mut backwards).nodes[0].upstream_node_ids = vec!["a".into()];
    assert!(matches!(Graph::build(&backwards).unwrap_err(), Error::Cycle { .. }));
}

#[test]
fn kinds_are_told_apart() {
    let graph = Graph::build(&workflow(&[("a", &[])])).unwrap();
    let kinds: Vec<_> = graph.nodes.iter().map(|node| node.kind.clone()).collect();
    assert_eq!(kinds, [NodeKind::Start, NodeKind::End, NodeKind::Task { task: 0 }]);
}

#[test]
fn every_kind_is_read() {
    let arms = vec![node("c-t", &[]), node("c-e", &[])];
    let ratio = |array: &mut core::ArrayNode| {
        array.success_criteria = Some(core::array_node::SuccessCriteria::MinSuccessRatio(0.5));
        array.parallelism_option = Some(core::array_node::ParallelismOption::Parallelism(0));
        array.bound_inputs = vec!["b".into()];
        array.run_all_sub_nodes = true;
    };
    let nodes = vec![
        kinds::sub("inner", "s", &[]),
        kinds::launch_plan("p", &[]),
        kinds::branch(arms, "c", &[]),
        kinds::array(node("of", &[]), "m", &[], ratio),
        kinds::sleep(5, "g", &[]),
        kinds::signal("h", &[]),
        kinds::approve("k", &[]),
        kinds::sub("inner", "t", &["s"]),
    ];
    let closure = kinds::on_failure(closure(nodes), node("efn", &[]));
    let graph = Graph::build(&kinds::with_subs(closure, vec![("inner", workflow(&[]))])).unwrap();
    assert_eq!((graph.top, graph.failure_node, graph.nodes.len(), graph.subs.len()), (10, Some(10), 14, 1));
    let kind = |id: &str| graph.nodes[graph.idx(id).unwrap() as usize].kind.clone();
    assert_eq!(
        (kind("s"), kind("t")),
        (NodeKind::SubWorkflow { graph: 0 }, NodeKind::SubWorkflow { graph: 0 })
    );
    assert_eq!(kind("p"), NodeKind::LaunchPlan { id: task_id("plan").into() });
    let NodeKind::Branch { arms, cases, otherwise } = kind("c") else { panic!("no branch") };
    assert_eq!((&*arms, cases.len(), &*otherwise), ([11, 12].as_slice(), 1, &Otherwise::Arm(1)));
    let NodeKind::Array { inner, individual_inputs, .. } = kind("m") else { panic!("no array") };
    assert_eq!((inner, individual_inputs, graph.idx("of")), (13, true, None), "no container, no name");
    assert_eq!(kind("g"), NodeKind::Gate(GateKind::Sleep { micros: 5 }));
    assert!(matches!(kind("h"), NodeKind::Gate(GateKind::Signal { output, .. }) if &*output == "o"));
    assert!(matches!(kind("k"), NodeKind::Gate(GateKind::Approve { id }) if &*id == "s"));
    assert_eq!(kind("efn"), NodeKind::Task { task: 0 });
    let upstream = |id: &str| graph.nodes[graph.idx(id).unwrap() as usize].upstream.clone();
    assert!(upstream("efn").is_empty() && upstream("c-t").is_empty() && !upstream("end-node").contains(&10));
    assert_eq!(graph.owner(12), graph.idx("c"));
}

#[test]
fn compiled_edges_of_inner_nodes_are_the_branchs() {
    let arm = || core::Node { inputs: vec![nested(["x", "x", "start-node"])], ..node("c-t", &[]) };
    let nodes =
        vec![node("x", &[]), kinds::branch(vec![arm(), node("c-e", &["y"])], "c", &[]), node("y", &[])];
    let mut closure = closure(nodes);
    let list = |ids: &[&str]| IdList { ids: ids.iter().map(|id| (*id).to_owned()).collect() };
    closure.primary.as_mut().unwrap().connections = Some(core::ConnectionSet {
        downstream: Default::default(),
        upstream: [("c-t".to_owned(), list(&["start-node", "x"])), ("c-e".to_owned(), list(&["c"]))].into(),
    });
    let graph = Graph::build(&closure).unwrap();
    assert_eq!(edges(&graph)[3], "start-node x y | c | end-node");
}

#[test]
fn nothing_can_wait_for_a_failure_node() {
    let closure = kinds::on_failure(workflow(&[("a", &["efn"])]), node("efn", &[]));
    let refused = Error::UnknownUpstream { node: "a".into(), upstream: "efn".into() };
    assert_eq!(Graph::build(&closure).unwrap_err(), refused);
    let twice = kinds::on_failure(workflow(&[("a", &[])]), node("a", &[]));
    assert_eq!(Graph::build(&twice).unwrap_err(), Error::DuplicateNode { node: "a".into() });
}

/// Workflows `w1` to `w<depth>`, each in the one before; the last one is empty.
fn deep(depth: usize) -> core::CompiledWorkflowClosure {
    let names: Vec<_> = (0..=depth).map(|i| format!("w{i}")).collect();
    let holding = |i: usize| match names.get(i + 1) {
        Some(inner) => closure(vec![kinds::sub(inner, "s", &[])]),
        None => workflow(&[]),
    };
    kinds::with_subs(holding(0), (1..=depth).map(|i| (names[i].as_str(), holding(i))).collect())
}

#[test]
fn sub_workflows_nest_deep_but_not_without_end() {
    let graph = Graph::build(&deep(MAX_NESTING)).unwrap();
    let mut innermost = &graph;
    while let Some(sub) = innermost.subs.first() {
        innermost = sub;
        assert!(Arc::ptr_eq(&graph.tasks, &sub.tasks), "one list of tasks");
    }
    assert_eq!(innermost.top, 2);
    drop(graph);
    let refused = Graph::build(&deep(MAX_NESTING + 1)).unwrap_err();
    assert!(matches!(refused, Error::NestedTooDeep { max: MAX_NESTING, .. }), "{refused}");
}

#[test]
fn sub_workflows_must_exist_and_end() {
    let unknown = Graph::build(&closure(vec![kinds::sub("gone", "s", &[])])).unwrap_err();
    let refused = Error::UnknownSubWorkflow { node: "s".into(), workflow: "p:d:gone:v".into() };
    assert_eq!(unknown, refused);
    let own = closure(vec![kinds::sub("own", "s", &[])]);
    let endless = kinds::with_subs(own.clone(), vec![("own", own)]);
    assert_eq!(Graph::build(&endless).unwrap_err(), Error::Cycle { node: "s".into() });
}

#[test]
fn node_says_whether_it_is_cached_before_its_task_does() {
    use core::node_metadata::CacheableValue::Cacheable;
    let says = |cacheable: bool| core::Node {
        metadata: Some(core::NodeMetadata {
            cacheable_value: Some(Cacheable(cacheable)),
            ..Default::default()
        }),
        ..node(if cacheable { "yes" } else { "no" }, &[])
    };
    for discoverable in [false, true] {
        let mut closure = closure(vec![node("silent", &[]), says(true), says(false)]);
        task_metadata(&mut closure).discoverable = discoverable;
        let graph = Graph::build(&closure).unwrap();
        let cacheable: Vec<_> = (1..5).map(|idx| graph.is_cacheable(idx)).collect();
        assert_eq!(cacheable, [false, discoverable, true, false]);
    }
}
