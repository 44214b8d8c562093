//! Checks what inputs decide: arms of branches, sizes of arrays, parts of elements.

use proto::flyteidl::core;
use proto::flyteidl::core::boolean_expression::Expr;
use proto::flyteidl::core::comparison_expression::Operator;
use proto::flyteidl::core::conjunction_expression::LogicalOperator;
use proto::flyteidl::core::execution_error::ErrorKind;
use proto::flyteidl::core::operand::Val;
use proto::flyteidl::core::primitive::Value as Primitive;
use proto::flyteidl::core::scalar::Value as Scalar;

use super::{int, map, text};
use crate::inputs::attribute::{list, none, primitive, scalar};
use crate::inputs::{array_size, decide_branch, element_inputs, gather, inject_error};
use crate::testing::kinds::{array, branch};
use crate::testing::{boom, closure, node};
use crate::{Graph, GraphIdx};

fn inputs(entries: &[(&str, core::Literal)]) -> core::LiteralMap {
    let Some(core::literal::Value::Map(map)) = map(entries).value else { panic!("no map") };
    map
}

fn var(name: &str) -> Option<core::Operand> {
    Some(core::Operand { val: Some(Val::Var(name.into())) })
}

fn operand(literal: core::Literal) -> Option<core::Operand> {
    let Some(core::literal::Value::Scalar(scalar)) = literal.value else { panic!("no scalar") };
    Some(core::Operand { val: Some(Val::Scalar(*scalar)) })
}

fn compare(
    left: Option<core::Operand>,
    operator: Operator,
    right: Option<core::Operand>,
) -> core::BooleanExpression {
    let comparison =
        core::ComparisonExpression { operator: operator as i32, left_value: left, right_value: right };
    core::BooleanExpression { expr: Some(Expr::Comparison(comparison)) }
}

fn both(
    left: core::BooleanExpression,
    operator: LogicalOperator,
    right: core::BooleanExpression,
) -> core::BooleanExpression {
    let conjunction = core::ConjunctionExpression {
        operator: operator as i32,
        left_expression: Some(Box::new(left)),
        right_expression: Some(Box::new(right)),
    };
    core::BooleanExpression { expr: Some(Expr::Conjunction(Box::new(conjunction))) }
}

/// A branch `c` of one case and another node, changed.
fn choosing(
    condition: core::BooleanExpression,
    change: impl FnOnce(&mut core::IfElseBlock),
) -> (Graph, GraphIdx) {
    let mut node = branch(vec![node("c-t", &[]), node("c-e", &[])], "c", &[]);
    if let Some(core::node::Target::BranchNode(branch)) = &mut node.target {
        let block = branch.if_else.as_mut().unwrap();
        block.case.as_mut().unwrap().condition = Some(condition);
        change(block);
    }
    (Graph::build(&closure(vec![node])).unwrap(), 2)
}

fn decide(condition: core::BooleanExpression, given: &core::LiteralMap) -> Result<u32, core::ExecutionError> {
    let (graph, node) = choosing(condition, |_| {});
    decide_branch(&graph, node, given)
}

fn moment(seconds: i64, nanos: i32) -> core::Literal {
    primitive(Primitive::Datetime(prost_types::Timestamp { seconds, nanos }))
}

fn union(literal: core::Literal) -> core::Literal {
    let union = core::Union { value: Some(Box::new(literal)), r#type: None };
    scalar(Scalar::Union(Box::new(union)))
}

#[test]
fn every_comparison_is_made() {
    use Operator::{Eq, Gt, Gte, Lt, Lte, Neq};
    let float = |value: f64| primitive(Primitive::FloatValue(value));
    let boolean = |value: bool| primitive(Primitive::Boolean(value));
    let span = |seconds, nanos| primitive(Primitive::Duration(prost_types::Duration { seconds, nanos }));
    // (left, right, the operators that hold)
    let cases = [
        (int(1), int(1), vec![Eq, Gte, Lte]),
        (int(1), int(2), vec![Neq, Lt, Lte]),
        (int(2), int(1), vec![Neq, Gt, Gte]),
        (float(0.5), float(0.25), vec![Neq, Gt, Gte]),
        (float(f64::NAN), float(f64::NAN), vec![Neq]),
        (text("a"), text("b"), vec![Neq, Lt, Lte]),
        (moment(5, 1), moment(5, 2), vec![Neq, Lt, Lte]),
        (span(5, 2), span(5, 1), vec![Neq, Gt, Gte]),
        (union(int(1)), int(1), vec![Eq, Gte, Lte]),
        (union(union(text("a"))), text("a"), vec![Eq, Gte, Lte]),
    ];
    for (left, right, holding) in cases {
        for operator in [Eq, Neq, Gt, Gte, Lt, Lte] {
            let given = inputs(&[("x", left.clone()), ("y", right.clone())]);
            let arm = decide(compare(var("x"), operator, var("y")), &given).unwrap();
            assert_eq!(arm == 0, holding.contains(&operator), "{left:?} {operator:?} {right:?}");
        }
    }
    for (left, right, equal) in [
        (boolean(true), boolean(true), true),
        (boolean(true), boolean(false), false),
        (none(), none(), true),
        (none(), int(1), false),
        (union(none()), none(), true),
    ] {
        let given = inputs(&[("x", left)]);
        let arm = |operator| decide(compare(var("x"), operator, operand(right.clone())), &given).unwrap();
        assert_eq!((arm(Eq) == 0, arm(Neq) == 0), (equal, !equal), "{right:?}");
    }
}

#[test]
fn old_primitives_are_read() {
    #[allow(deprecated, reason = "SDKs still write it")]
    let one =
        core::Operand { val: Some(Val::Primitive(core::Primitive { value: Some(Primitive::Integer(1)) })) };
    let condition = compare(var("x"), Operator::Eq, Some(one));
    assert_eq!(decide(condition, &inputs(&[("x", int(1))])), Ok(0));
}

#[test]
fn both_sides_of_a_conjunction_are_judged() {
    let is = |value| compare(var("x"), Operator::Eq, operand(int(value)));
    let given = inputs(&[("x", int(1))]);
    for (left, right, and, or) in [(1, 1, 0, 0), (1, 2, 1, 0), (2, 1, 1, 0), (2, 2, 1, 1)] {
        assert_eq!(decide(both(is(left), LogicalOperator::And, is(right)), &given), Ok(and));
        assert_eq!(decide(both(is(left), LogicalOperator::Or, is(right)), &given), Ok(or));
    }
    let bad = compare(var("gone"), Operator::Eq, operand(int(1)));
    let error = decide(both(is(1), LogicalOperator::Or, bad), &given).unwrap_err();
    assert_eq!(error.code, "MalformedBranchUserError");
}

#[test]
fn first_case_that_holds_wins() {
    let above = |value| compare(var("x"), Operator::Gt, operand(int(value)));
    let (graph, node) = choosing(above(10), |block| {
        for (value, id) in [(5, "c-u"), (3, "c-v")] {
            let then_node = Some(Box::new(node(id, &[])));
            block.other.push(core::IfBlock { condition: Some(above(value)), then_node });
        }
    });
    for (x, arm) in [(11, 0), (7, 1), (4, 2), (0, 3)] {
        assert_eq!(decide_branch(&graph, node, &inputs(&[("x", int(x))])), Ok(arm), "{x}");
    }
}

#[test]
fn conditions_that_cannot_be_judged_are_the_users_fault() {
    use Operator::{Eq, Gt};
    let flag = primitive(Primitive::Boolean(true));
    let given = inputs(&[("x", int(1)), ("flag", flag.clone()), ("list", list(vec![])), ("none", none())]);
    let mut deep = compare(var("x"), Eq, var("x"));
    for _ in 0..200 {
        deep = both(deep, LogicalOperator::And, compare(var("x"), Eq, var("x")));
    }
    let cases = [
        (
            compare(var("x"), Eq, operand(text("1"))),
            "a value of type integer cannot be compared with one of type string",
        ),
        (compare(var("flag"), Gt, operand(flag)), "boolean values can be tested for equality only"),
        (compare(var("none"), Gt, operand(int(1))), "none values can be tested for equality only"),
        (compare(var("list"), Eq, operand(int(1))), "a list cannot be compared, only primitive values can"),
        (compare(var("gone"), Eq, operand(int(1))), "the branch has no input \"gone\""),
        (compare(None, Eq, operand(int(1))), "a condition or one of its operands is empty"),
        (deep, "conditions are nested more than 128 deep"),
    ];
    for (condition, message) in cases {
        let error = decide(condition, &given).unwrap_err();
        assert_eq!((error.code.as_str(), error.message.as_str()), ("MalformedBranchUserError", message));
        assert_eq!(error.kind(), ErrorKind::User);
    }
}

#[test]
fn branch_without_an_arm_to_take_fails() {
    let never = || compare(var("x"), Operator::Neq, var("x"));
    let given = inputs(&[("x", int(1))]);
    let (graph, node) = choosing(never(), |block| {
        let error = core::Error { message: "neither".into(), ..Default::default() };
        block.default = Some(core::if_else_block::Default::Error(error));
    });
    let error = decide_branch(&graph, node, &given).unwrap_err();
    assert_eq!((error.code.as_str(), error.message.as_str()), ("UserProvidedError", "neither"));
    let (graph, node) = choosing(never(), |block| block.default = None);
    assert_eq!(decide_branch(&graph, node, &given).unwrap_err().code, "MalformedBranch");
    assert_eq!(decide_branch(&graph, 0, &given).unwrap_err().code, "BadSpecificationError");
}

fn mapping(bound: &[&str]) -> (Graph, GraphIdx) {
    let bound: Vec<String> = bound.iter().map(|name| (*name).to_owned()).collect();
    let node = array(node("of", &[]), "m", &[], |array| array.bound_inputs = bound);
    (Graph::build(&closure(vec![node])).unwrap(), 2)
}

fn ints(values: std::ops::Range<i64>) -> core::Literal {
    list(values.map(int).collect())
}

#[test]
fn size_is_the_length_of_the_lists_mapped_over() {
    let cases = [
        (&[][..], vec![("x", ints(0..3)), ("y", ints(0..3))], Some(3)),
        (&[], vec![("x", ints(0..3)), ("y", int(7))], Some(3)),
        (&[], vec![("x", ints(0..0))], Some(0)),
        (&["y"], vec![("x", ints(0..3)), ("y", ints(0..9))], Some(3)),
        (&["x", "y"], vec![("x", ints(0..3)), ("y", ints(0..9))], Some(1)),
        (&[], vec![], Some(1)),
        (&[], vec![("x", union(ints(0..2)))], Some(2)),
        (&[], vec![("x", ints(0..3)), ("y", ints(0..4))], None),
        (&["y"], vec![("x", int(1)), ("y", ints(0..4))], None),
    ];
    for (bound, given, size) in cases {
        let (graph, node) = mapping(bound);
        let found = array_size(&graph, node, &inputs(&given));
        assert_eq!(found.as_ref().ok(), size.as_ref(), "{bound:?} {given:?}");
        if let Err(error) = found {
            assert_eq!((error.code.as_str(), error.kind()), ("InvalidArrayLength", ErrorKind::User));
        }
    }
}

#[test]
fn element_gets_its_items_and_all_else_whole() {
    let (graph, node) = mapping(&["whole"]);
    let given = inputs(&[("x", ints(10..13)), ("whole", ints(0..3)), ("y", int(7))]);
    let own = element_inputs(&graph, node, &given, 1).unwrap();
    assert_eq!(own, inputs(&[("x", int(11)), ("whole", ints(0..3)), ("y", int(7))]));
    assert_eq!(element_inputs(&graph, node, &given, 3).unwrap_err().code, "InvalidArrayLength");
    assert_eq!(element_inputs(&graph, 0, &given, 0).unwrap_err().code, "BadSpecificationError");
}

#[test]
fn outputs_are_gathered_in_order_with_none_for_what_is_missing() {
    let elements = [Some(inputs(&[("o", int(1)), ("p", int(2))])), None, Some(inputs(&[("o", int(3))]))];
    let outputs = gather(["o", "p"], elements.into_iter());
    let expected = [("o", list(vec![int(1), none(), int(3)])), ("p", list(vec![int(2), none(), none()]))];
    assert_eq!(outputs, inputs(&expected));
    assert_eq!(gather(["o"], std::iter::empty()), inputs(&[("o", list(vec![]))]));
}

#[test]
fn failure_node_is_told_only_where_it_asks() {
    let error = boom(ErrorKind::User);
    let mut silent = inputs(&[("x", int(1))]);
    inject_error(&mut silent, &error, "n1");
    assert_eq!(silent, inputs(&[("x", int(1))]));
    let mut asking = inputs(&[("err", none())]);
    inject_error(&mut asking, &error, "n1");
    let Some(core::literal::Value::Scalar(found)) = &asking.literals["err"].value else {
        panic!("no scalar")
    };
    let Some(Scalar::Union(union)) = &found.value else { panic!("no union") };
    let ty = union.r#type.as_ref().unwrap();
    assert_eq!(ty.r#type, Some(core::literal_type::Type::Simple(core::SimpleType::Error as i32)));
    assert_eq!(ty.structure.as_ref().unwrap().tag, "FlyteError");
    let told = core::Error { failed_node_id: "n1".into(), message: "it broke".into() };
    assert_eq!(**union.value.as_ref().unwrap(), scalar(Scalar::Error(told)));
}
