//! Checks the table of merging inputs.

use proto::flyteidl::core::{
    EnumType, LiteralType, Primitive, Scalar, SimpleType, UnionType, Variable, Void, literal,
    literal_type::Type, primitive, scalar,
};

use super::*;

fn simple(simple: SimpleType) -> LiteralType {
    LiteralType { r#type: Some(Type::Simple(simple as i32)), ..LiteralType::default() }
}

fn scalar(value: scalar::Value) -> Literal {
    let scalar = Scalar { value: Some(value) };
    Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() }
}

fn integer(value: i64) -> Literal {
    scalar(scalar::Value::Primitive(Primitive { value: Some(primitive::Value::Integer(value)) }))
}

fn text(value: &str) -> Literal {
    let value = primitive::Value::StringValue(value.to_owned());
    scalar(scalar::Value::Primitive(Primitive { value: Some(value) }))
}

fn given(values: &[(&str, Literal)]) -> LiteralMap {
    LiteralMap { literals: values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect() }
}

fn expected(parameters: &[(&str, LiteralType, Behavior)]) -> ParameterMap {
    let parameter = |ty: &LiteralType, behavior: &Behavior| Parameter {
        var: Some(Variable { r#type: Some(ty.clone()), ..Variable::default() }),
        behavior: Some(behavior.clone()),
    };
    let parameters =
        parameters.iter().map(|(name, ty, behavior)| ((*name).to_owned(), parameter(ty, behavior)));
    ParameterMap { parameters: parameters.collect() }
}

fn required(name: &str, ty: SimpleType) -> ParameterMap {
    expected(&[(name, simple(ty), Behavior::Required(true))])
}

#[test]
fn given_wins_over_default_and_fixed_is_added() {
    let expected = expected(&[
        ("a", simple(SimpleType::Integer), Behavior::Required(true)),
        ("b", simple(SimpleType::Integer), Behavior::Default(integer(2))),
        ("c", simple(SimpleType::Integer), Behavior::Default(integer(3))),
    ]);
    let fixed = given(&[("d", integer(4))]);
    let merged = merge(&given(&[("a", integer(1)), ("b", integer(20))]), &fixed, &expected).unwrap();
    assert_eq!(merged, given(&[("a", integer(1)), ("b", integer(20)), ("c", integer(3)), ("d", integer(4))]));
}

#[test]
fn nothing_expected_and_nothing_given_is_nothing() {
    let none = LiteralMap::default();
    assert_eq!(merge(&none, &none, &ParameterMap::default()), Ok(LiteralMap::default()));
}

#[test]
fn refusals_name_input_expected_and_found() {
    let one = |given: LiteralMap, fixed: LiteralMap, expected: &ParameterMap| {
        let errors = merge(&given, &fixed, expected).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors[0].to_string()
    };
    let none = LiteralMap::default;
    let a = required("a", SimpleType::Integer);
    assert_eq!(one(none(), none(), &a), "required input `a` of type integer is missing");
    assert_eq!(
        one(given(&[("a", text("x"))]), none(), &a),
        "input `a` is of type integer, but a value of type string was given"
    );
    assert_eq!(
        one(given(&[("a", integer(1)), ("z", integer(1))]), none(), &a),
        "input `z` is unknown; there is `a`"
    );
    assert_eq!(
        one(given(&[("z", integer(1))]), none(), &ParameterMap::default()),
        "input `z` is unknown; there are none"
    );
    assert_eq!(
        one(given(&[("d", integer(1))]), given(&[("d", integer(4))]), &ParameterMap::default()),
        "input `d` is fixed by the launch plan and can't be given"
    );
    assert_eq!(
        one(given(&[("a", Literal::default())]), none(), &a),
        "input `a` has a literal without a known value"
    );
}

#[test]
fn all_findings_come_at_once_but_not_without_end() {
    let many: Vec<(String, Literal)> = (0..100).map(|i| (format!("x{i:03}"), integer(i))).collect();
    let literals = LiteralMap { literals: many.into_iter().collect() };
    let errors = merge(&literals, &LiteralMap::default(), &required("a", SimpleType::Integer)).unwrap_err();
    assert_eq!(errors.len(), MAX_ERRORS);
}

#[test]
fn optional_input_takes_none_and_value() {
    let union = UnionType { variants: vec![simple(SimpleType::Integer), simple(SimpleType::None)] };
    let ty = LiteralType { r#type: Some(Type::UnionType(union)), ..LiteralType::default() };
    let expected = expected(&[("a", ty, Behavior::Required(true))]);
    for value in [integer(1), scalar(scalar::Value::NoneType(Void {}))] {
        assert!(merge(&given(&[("a", value)]), &LiteralMap::default(), &expected).is_ok());
    }
    assert!(merge(&given(&[("a", text("x"))]), &LiteralMap::default(), &expected).is_err());
}

#[test]
fn enum_takes_its_own_words_only() {
    let words = EnumType { values: vec!["red".to_owned(), "blue".to_owned()] };
    let ty = LiteralType { r#type: Some(Type::EnumType(words)), ..LiteralType::default() };
    let expected = expected(&[("a", ty, Behavior::Required(true))]);
    let merge = |word: &str| merge(&given(&[("a", text(word))]), &LiteralMap::default(), &expected);
    assert!(merge("red").is_ok());
    assert!(merge("green").is_err());
}

#[test]
fn numbers_are_not_promoted() {
    let float = required("a", SimpleType::Float);
    assert!(merge(&given(&[("a", integer(1))]), &LiteralMap::default(), &float).is_err());
}
