//! Inputs of launch plans.

use compiler::{ErrorCode, expected_inputs};
use proto::flyteidl::core::parameter::Behavior;
use proto::flyteidl::core::*;

use crate::build::*;

fn fixed<const N: usize>(items: [(&str, Literal); N]) -> LiteralMap {
    LiteralMap { literals: items.map(|(name, value)| (name.to_owned(), value)).into() }
}

#[test]
fn inputs_are_defaulted_fixed_or_required() {
    let inputs = variables([("a", int()), ("b", string()), ("c", int())]);
    let default = || Behavior::Default(literal(text_scalar("x")));
    let found = expected_inputs(
        &inputs,
        &parameters([("b", string(), default())]),
        &fixed([("c", literal(int_scalar(1)))]),
    );
    let expected = parameters([("a", int(), Behavior::Required(true)), ("b", string(), default())]);
    assert_eq!(found.unwrap(), expected);
}

#[test]
fn bad_inputs_are_refused() {
    let inputs = variables([("a", int()), ("e", choice(["red"]))]);
    let default = |value| Behavior::Default(value);
    let cases = [
        ("q", int(), Behavior::Required(true), ErrorCode::VariableNameNotFound),
        ("a", string(), Behavior::Required(true), ErrorCode::MismatchingTypes),
        ("a", int(), default(literal(text_scalar("x"))), ErrorCode::MismatchingTypes),
        ("e", string(), default(literal(text_scalar("blue"))), ErrorCode::MismatchingTypes),
        ("a", int(), default(Literal::default()), ErrorCode::InvalidLiteralType),
        ("a", int(), Behavior::Required(false), ErrorCode::ValueRequired),
        ("a", int(), Behavior::ArtifactQuery(ArtifactQuery::default()), ErrorCode::InvalidValue),
    ];
    for (name, t, behavior, code) in cases {
        let found = expected_inputs(&inputs, &parameters([(name, t, behavior)]), &fixed([]));
        assert_eq!(codes(found), [(code, String::new())], "{name}");
    }
    let cases = [
        ("q", literal(int_scalar(1)), ErrorCode::VariableNameNotFound),
        ("a", literal(text_scalar("x")), ErrorCode::MismatchingTypes),
        ("e", literal(text_scalar("blue")), ErrorCode::MismatchingTypes),
        ("a", Literal::default(), ErrorCode::InvalidLiteralType),
    ];
    for (name, value, code) in cases {
        let found = expected_inputs(&inputs, &ParameterMap::default(), &fixed([(name, value)]));
        assert_eq!(codes(found), [(code, String::new())], "{name}");
    }
}
