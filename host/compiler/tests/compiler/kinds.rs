//! Nodes that are not tasks.

use compiler::{ErrorCode, compile_workflow, requirements};
use proto::flyteidl::core::boolean_expression::Expr;
use proto::flyteidl::core::if_else_block::Default as Otherwise;
use proto::flyteidl::core::node::Target;
use proto::flyteidl::core::parameter::Behavior;
use proto::flyteidl::core::*;

use crate::build::*;

fn variable(var: &str) -> Operand {
    Operand { val: Some(operand::Val::Var(var.to_owned())) }
}

fn equals(left: Operand, right: Operand) -> BooleanExpression {
    let comparison = ComparisonExpression { operator: 0, left_value: Some(left), right_value: Some(right) };
    BooleanExpression { expr: Some(Expr::Comparison(comparison)) }
}

fn is_one(var: &str) -> BooleanExpression {
    equals(variable(var), Operand { val: Some(operand::Val::Scalar(int_scalar(1))) })
}

fn case(condition: Option<BooleanExpression>, node: Option<Node>) -> IfBlock {
    IfBlock { condition, then_node: node.map(Box::new) }
}

fn branch(id: &str, cases: Vec<IfBlock>, otherwise: Option<Otherwise>, inputs: Vec<Binding>) -> Node {
    let mut cases = cases.into_iter();
    let block = IfElseBlock { case: cases.next().map(Box::new), other: cases.collect(), default: otherwise };
    let branch = BranchNode { if_else: Some(Box::new(block)) };
    node_of(id, Target::BranchNode(Box::new(branch)), inputs)
}

/// `if a == 1 { inc(a) } else { make() }`, then `inc` of the output.
fn branching(change: impl FnOnce(&mut IfElseBlock)) -> WorkflowTemplate {
    let inc = node("t", "inc", vec![bind("x", promise("", "a"))]);
    let make = Otherwise::ElseNode(Box::new(node("e", "make", vec![])));
    let mut choose =
        branch("b", vec![case(Some(is_one("v")), Some(inc))], Some(make), vec![bind("v", promise("", "a"))]);
    if let Some(Target::BranchNode(branch)) = &mut choose.target {
        change(branch.if_else.as_mut().unwrap());
    }
    workflow(
        "wf",
        interface([("a", int())], [("r", int())]),
        vec![choose, node("n", "inc", vec![bind("x", promise("b", "o"))])],
        vec![bind("r", promise("n", "o"))],
    )
}

#[test]
fn nodes_inside_a_branch_carry_its_id() {
    let primary = compile(branching(|_| {})).unwrap().primary.unwrap();
    let template = primary.template.unwrap();
    let Some(Target::BranchNode(branch)) = &template.nodes[2].target else { panic!("no branch") };
    let block = branch.if_else.as_ref().unwrap();
    assert_eq!(block.case.as_ref().unwrap().then_node.as_ref().unwrap().id, "b-t");
    assert!(matches!(&block.default, Some(Otherwise::ElseNode(node)) if node.id == "b-e"));
    let connections = primary.connections.unwrap();
    let upstream = edges(&connections.upstream);
    assert_eq!((&upstream["b-t"][..], &upstream["b-e"][..]), (&["start-node"][..], &["start-node"][..]));
    assert_eq!(upstream["end-node"], ["n"]);
    let downstream = edges(&connections.downstream);
    assert_eq!(downstream["start-node"], ["b"]);
    assert!(!downstream.contains_key("b-t") && !downstream.contains_key("b-e"));
}

#[test]
fn bad_branches_are_refused() {
    use ErrorCode::*;
    type Change = fn(&mut IfElseBlock);
    let cases: [(&str, Change, &[ErrorCode]); 9] = [
        ("no default", |b| b.default = None, &[BranchNodeHasNoDefault]),
        ("no case", |b| b.case = None, &[BranchNodeHasNoCondition]),
        ("no condition", |b| b.case.as_mut().unwrap().condition = None, &[BranchNodeHasNoCondition]),
        ("no node", |b| b.case.as_mut().unwrap().then_node = None, &[BranchNodeIdNotFound]),
        (
            "empty condition",
            |b| b.other.push(case(Some(BooleanExpression { expr: None }), Some(node("z", "make", vec![])))),
            &[BranchNodeHasNoCondition],
        ),
        (
            "unknown variable",
            |b| b.case.as_mut().unwrap().condition = Some(is_one("q")),
            &[VariableNameNotFound],
        ),
        (
            "unlike operands",
            |b| {
                let text = Operand { val: Some(operand::Val::Scalar(text_scalar("1"))) };
                b.case.as_mut().unwrap().condition = Some(equals(variable("v"), text));
            },
            &[MismatchingTypes],
        ),
        (
            "no common output",
            |b| {
                b.other.push(case(
                    Some(is_one("v")),
                    Some(node("z", "say", vec![bind("s", scalar(text_scalar("")))])),
                ))
            },
            &[VariableNameNotFound],
        ),
        (
            "same id",
            |b| b.other.push(case(Some(is_one("v")), Some(node("t", "make", vec![])))),
            &[DuplicateId],
        ),
    ];
    for (name, change, expected) in cases {
        let found: Vec<_> = codes(compile(branching(change))).into_iter().map(|(code, _)| code).collect();
        assert_eq!(found, expected, "{name}");
    }
    let fail = Otherwise::Error(Error { failed_node_id: "b".into(), message: "no".into() });
    compile(branching(|block| block.default = Some(fail))).unwrap();
}

#[test]
fn cases_agree_on_types() {
    let mut tasks = tasks();
    tasks.push(task("text", interface([], [("o", string())])));
    let template =
        branching(|block| block.default = Some(Otherwise::ElseNode(Box::new(node("e", "text", vec![])))));
    assert_eq!(codes(compile_with(template, &tasks)), [(ErrorCode::MismatchingInterfaces, "b".to_owned())]);
}

#[test]
fn circles_through_a_branch_are_found() {
    let template = branching(|block| {
        block.case.as_mut().unwrap().then_node.as_mut().unwrap().inputs = vec![bind("x", promise("n", "o"))];
    });
    let found = codes(compile(template));
    assert!(found.iter().any(|(code, _)| *code == ErrorCode::CycleDetected), "{found:?}");
}

#[test]
fn approved_values_pass_through() {
    let gate = |condition| Target::GateNode(GateNode { condition });
    let approve = gate(Some(gate_node::Condition::Approve(ApproveCondition { signal_id: "s".into() })));
    let signal = gate(Some(gate_node::Condition::Signal(SignalCondition {
        signal_id: "s".into(),
        r#type: Some(string()),
        output_variable_name: "o".into(),
    })));
    let sleep = gate(Some(gate_node::Condition::Sleep(SleepCondition::default())));
    let with = |nodes| compile(workflow("wf", interface([], []), nodes, vec![]));
    with(vec![
        node("last", "inc", vec![bind("x", promise("ok", "v"))]),
        node_of("ok", approve.clone(), vec![bind("v", promise("ok0", "w"))]),
        node_of("ok0", approve.clone(), vec![bind("w", promise("m", "o"))]),
        node("m", "make", vec![]),
        node_of("z", sleep, vec![]),
        node_of("sig", signal.clone(), vec![]),
        node("t", "say", vec![bind("s", promise("sig", "o"))]),
    ])
    .unwrap();
    let wrong = with(vec![
        node("m", "make", vec![]),
        node_of("ok", approve, vec![bind("v", promise("m", "o"))]),
        node("t", "say", vec![bind("s", promise("ok", "v"))]),
    ]);
    assert_eq!(codes(wrong), [(ErrorCode::MismatchingTypes, "t".to_owned())]);
    let wrong = with(vec![node_of("g", gate(None), vec![])]);
    assert_eq!(codes(wrong), [(ErrorCode::NoConditionFound, "g".to_owned())]);
}

fn array(inner: Option<Node>, original: bool, criteria: Option<array_node::SuccessCriteria>) -> Target {
    Target::ArrayNode(Box::new(ArrayNode {
        node: inner.map(Box::new),
        is_original_sub_node_interface: Some(original),
        success_criteria: criteria,
        ..ArrayNode::default()
    }))
}

#[test]
fn array_nodes_take_and_give_lists() {
    let with = |target, output: LiteralType| {
        let nodes = vec![node_of("n", target, vec![bind("x", promise("", "xs"))])];
        let interface = interface([("xs", list(int()))], [("r", output)]);
        compile(workflow("wf", interface, nodes, vec![bind("r", promise("n", "o"))]))
    };
    let inner = || Some(node("i", "inc", vec![]));
    with(array(inner(), true, None), list(int())).unwrap();
    let some = Some(array_node::SuccessCriteria::MinSuccessRatio(0.5));
    with(array(inner(), true, some), list(union([int(), none()]))).unwrap();
    let all = Some(array_node::SuccessCriteria::MinSuccessRatio(1.0));
    with(array(inner(), true, all), list(int())).unwrap();
    // An interface that says lists already is taken as it is.
    assert_eq!(codes(with(array(inner(), false, None), list(int())))[0].0, ErrorCode::MismatchingTypes);
    assert_eq!(
        codes(with(array(None, true, None), list(int()))),
        [(ErrorCode::ValueRequired, "n".to_owned())]
    );
    let nested = branch("b", vec![], None, vec![]);
    let found = codes(with(array(Some(nested), true, None), list(int())));
    assert_eq!(found, [(ErrorCode::WorkflowBuildError, "b".to_owned())]);
}

fn sub(name: &str, nodes: Vec<Node>) -> WorkflowTemplate {
    workflow(name, interface([("a", int())], [("r", int())]), nodes, vec![bind("r", promise("", "a"))])
}

#[test]
fn used_sub_workflows_are_compiled_once() {
    let twice = vec![
        sub_workflow_node("s0", "one", vec![bind("a", promise("", "a"))]),
        sub_workflow_node("s1", "one", vec![bind("a", promise("s0", "r"))]),
    ];
    let one = sub("one", vec![sub_workflow_node("t", "two", vec![bind("a", promise("", "a"))])]);
    let two = sub("two", vec![node("m", "make", vec![])]);
    let unused = sub("unused", vec![node("n", "nope", vec![])]);
    let subs = vec![unused, two, one];
    let template = sub("wf", twice);
    assert_eq!(requirements(&template, &subs).tasks, [id(ResourceType::Task, "make")]);
    let closure = compile_workflow(template, subs, &tasks(), &[]).unwrap();
    let names: Vec<_> = closure
        .sub_workflows
        .iter()
        .map(|sub| {
            let template = sub.template.as_ref().unwrap();
            assert_eq!(template.nodes[0].id, "start-node");
            template.id.as_ref().unwrap().name.as_str()
        })
        .collect();
    assert_eq!(names, ["one", "two"]);
}

#[test]
fn bad_sub_workflows_are_refused() {
    let call = |name: &str| vec![sub_workflow_node("s", name, vec![bind("a", promise("", "a"))])];
    let compile = |subs| codes(compile_workflow(sub("wf", call("one")), subs, &tasks(), &[]));
    assert_eq!(compile(vec![]), [(ErrorCode::WorkflowReferenceNotFound, "s".to_owned())]);
    assert_eq!(compile(vec![sub("one", call("one"))]), [(ErrorCode::CycleDetected, String::new())]);
    let circle = vec![sub("one", call("two")), sub("two", call("one"))];
    assert_eq!(compile(circle), [(ErrorCode::CycleDetected, String::new())]);
    let bad = sub("one", vec![node("n", "nope", vec![])]);
    assert_eq!(compile(vec![bad]), [(ErrorCode::TaskReferenceNotFound, "n".to_owned())]);
    let good = || node("m", "make", vec![]);
    let two = vec![sub("one", vec![good()]), sub("one", vec![good(), Node { id: "k".into(), ..good() }])];
    assert_eq!(compile(two), [(ErrorCode::DuplicateId, String::new())]);
}

#[test]
fn launch_plans_know_their_defaults() {
    let plan = launch_plan(
        "lp",
        parameters([
            ("need", int(), Behavior::Required(true)),
            ("may", string(), Behavior::Default(literal(text_scalar("x")))),
        ]),
        variables([("o", int())]),
    );
    let with = |inputs: Vec<Binding>| {
        let nodes =
            vec![launch_plan_node("l", "lp", inputs), node("n", "inc", vec![bind("x", promise("l", "o"))])];
        compile_workflow(
            workflow("wf", interface([], []), nodes, vec![]),
            vec![],
            &tasks(),
            std::slice::from_ref(&plan),
        )
    };
    let need = || bind("need", scalar(int_scalar(1)));
    with(vec![need()]).unwrap();
    with(vec![need(), bind("may", scalar(text_scalar("y")))]).unwrap();
    let l = |code| vec![(code, "l".to_owned())];
    assert_eq!(codes(with(vec![])), l(ErrorCode::ParameterNotBound));
    assert_eq!(codes(with(vec![need(), bind("may", scalar(int_scalar(1)))])), l(ErrorCode::MismatchingTypes));
    assert_eq!(
        codes(with(vec![need(), bind("q", scalar(int_scalar(1)))])),
        l(ErrorCode::VariableNameNotFound)
    );
    let missing = workflow("wf", interface([], []), vec![launch_plan_node("l", "nope", vec![])], vec![]);
    assert_eq!(requirements(&missing, &[]).launch_plans, [id(ResourceType::LaunchPlan, "nope")]);
    assert_eq!(codes(compile(missing)), l(ErrorCode::WorkflowReferenceNotFound));
}

#[test]
fn a_workflow_may_launch_itself() {
    let template = sub("wf", vec![launch_plan_node("l", "wf", vec![bind("a", promise("", "a"))])]);
    assert!(requirements(&template, &[]).launch_plans.is_empty());
    compile(template).unwrap();
}

#[test]
fn the_failure_node_stays_apart() {
    let mut template = sub("wf", vec![node("m", "make", vec![])]);
    template.failure_node = Some(node("efn", "inc", vec![bind("x", promise("", "a"))]));
    assert_eq!(requirements(&template, &[]).tasks.len(), 2);
    let primary = compile(template.clone()).unwrap().primary.unwrap();
    let compiled = primary.template.unwrap();
    assert!(compiled.nodes.iter().all(|node| node.id != "efn"));
    assert_eq!(compiled.failure_node.unwrap().inputs, [bind("x", promise("start-node", "a"))]);
    let connections = primary.connections.unwrap();
    assert_eq!(edges(&connections.upstream)["efn"], ["start-node"]);
    assert!(!edges(&connections.downstream)["start-node"].contains(&"efn"));

    template.nodes[0].upstream_node_ids.push("efn".into());
    assert_eq!(codes(compile(template.clone())), [(ErrorCode::NodeReferenceNotFound, "m".to_owned())]);
    template.nodes[0].upstream_node_ids.clear();
    template.failure_node.as_mut().unwrap().id = "m".into();
    assert_eq!(codes(compile(template)), [(ErrorCode::DuplicateId, "m".to_owned())]);
}
