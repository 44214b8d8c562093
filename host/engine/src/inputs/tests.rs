//! Checks each kind of binding, each way along an attribute path, and the output check.

mod decisions;

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::flyteidl::core;
use proto::flyteidl::core::binding_data::Value as Source;
use proto::flyteidl::core::execution_error::ErrorKind;
use proto::flyteidl::core::primitive::Value as Primitive;
use proto::flyteidl::core::promise_attribute::Value as Attribute;
use proto::flyteidl::core::scalar::Value as Scalar;
use rmpv::Value as Packed;

use super::attribute::{list, none, primitive, scalar};
use super::{check_outputs, keep_declared, resolve};
use crate::Graph;
use crate::testing::{closure, node};

fn int(value: i64) -> core::Literal {
    primitive(Primitive::Integer(value))
}

fn text(value: &str) -> core::Literal {
    primitive(Primitive::StringValue(value.into()))
}

fn map(entries: &[(&str, core::Literal)]) -> core::Literal {
    let literals = entries.iter().map(|(key, literal)| ((*key).to_owned(), literal.clone())).collect();
    core::Literal {
        value: Some(core::literal::Value::Map(core::LiteralMap { literals })),
        ..Default::default()
    }
}

fn packed(value: &Packed) -> core::Literal {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    scalar(Scalar::Binary(core::Binary { value: bytes, tag: "msgpack".into() }))
}

fn of(source: Source) -> core::BindingData {
    core::BindingData { value: Some(source), ..Default::default() }
}

fn promise(node_id: &str, var: &str, path: &[&str]) -> core::BindingData {
    let step = |step: &&str| {
        let value = match step.parse() {
            Ok(index) => Attribute::IntValue(index),
            Err(_) => Attribute::StringValue((*step).to_owned()),
        };
        core::PromiseAttribute { value: Some(value) }
    };
    let attr_path = path.iter().map(step).collect();
    of(Source::Promise(core::OutputReference { node_id: node_id.into(), var: var.into(), attr_path }))
}

fn graph() -> Graph {
    let mut aliased = node("n1", &[]);
    aliased.output_aliases = vec![core::Alias { var: "o".into(), alias: "result".into() }];
    Graph::build(&closure(vec![node("n0", &[]), aliased])).unwrap()
}

/// Outputs of every node but n9, which cannot be read.
fn fetch(outputs: &[(&str, core::Literal)], id: &str) -> Result<Arc<core::LiteralMap>, String> {
    match id {
        "n0" | "n1" | "start-node" => {
            let own = |(name, literal): &(&str, core::Literal)| ((*name).to_owned(), literal.clone());
            Ok(Arc::new(core::LiteralMap { literals: outputs.iter().map(own).collect() }))
        }
        _ => Err("disk on fire".into()),
    }
}

fn resolved(data: core::BindingData, outputs: &[(&str, core::Literal)]) -> Result<core::Literal, String> {
    let bindings = [core::Binding { var: "x".into(), binding: Some(data) }];
    let result = resolve(&graph(), &bindings, &mut |id: &str| fetch(outputs, id));
    match result {
        Ok(mut map) => Ok(map.literals.remove("x").unwrap()),
        Err(error) => {
            assert_eq!((error.code.as_str(), error.kind()), ("BindingResolutionFailure", ErrorKind::System));
            Err(error.message.strip_prefix("Error binding Var [x]: ").unwrap().to_owned())
        }
    }
}

#[test]
fn every_kind_of_binding_gives_its_value() {
    let outputs = [("o", int(7)), ("list", list(vec![int(1), int(2)]))];
    let constant = || of(Source::Scalar(core::Scalar { value: Some(Scalar::NoneType(core::Void {})) }));
    let mut typed = promise("n0", "o", &[]);
    typed.union = Some(core::UnionInfo { target_type: Some(core::LiteralType::default()) });
    let offloaded = core::LiteralOffloadedMetadata { uri: "s3://b/k".into(), ..Default::default() };
    let wrapped = core::literal::Value::OffloadedMetadata(offloaded.clone());
    let both = || core::BindingDataCollection { bindings: vec![promise("n0", "o", &[]), constant()] };
    let named =
        core::BindingDataMap { bindings: BTreeMap::from([("k".to_owned(), promise("n0", "o", &[]))]) };
    for (data, expected) in [
        (constant(), none()),
        (promise("n0", "o", &[]), int(7)),
        (promise("start-node", "o", &[]), int(7)),
        (promise("n1", "result", &[]), int(7)),
        (promise("n0", "[1].list", &[]), int(2)),
        (typed, int(7)),
        (of(Source::Collection(both())), list(vec![int(7), none()])),
        (of(Source::Map(named)), map(&[("k", int(7))])),
        (
            of(Source::OffloadedMetadata(offloaded)),
            core::Literal { value: Some(wrapped), ..Default::default() },
        ),
    ] {
        assert_eq!(resolved(data.clone(), &outputs), Ok(expected), "{data:?}");
    }
}

#[test]
fn unbound_inputs_stay_absent() {
    let bindings = [
        core::Binding { var: "a".into(), binding: None },
        core::Binding { var: "b".into(), binding: Some(core::BindingData::default()) },
    ];
    let none = resolve(&graph(), &bindings, &mut |_: &str| Err("not asked for"));
    assert_eq!(none, Ok(core::LiteralMap::default()));
}

#[test]
fn missing_sources_are_named() {
    let outputs = [("o", int(7)), ("list", list(vec![]))];
    for (data, message) in [
        (promise("gone", "o", &[]), r#"IllegalStateError: node "gone" is not in the workflow"#),
        (
            promise("end-node", "o", &[]),
            r#"CausedByError: cannot read the outputs of node "end-node": disk on fire"#,
        ),
        (promise("n0", "p", &[]), r#"OutputsNotFoundError: node "n0" has no output "p""#),
        (promise("n0", "[0].o", &[]), r#"BadSpecificationError: output "o" of node "n0" is not a list"#),
        (promise("n0", "[0].list", &[]), r#"OutputsNotFoundError: output "list" of node "n0" has no item 0"#),
        (promise("n0", "[x].list", &[]), r#"OutputsNotFoundError: node "n0" has no output "[x].list""#),
    ] {
        assert_eq!(resolved(data, &outputs), Err(message.to_owned()));
    }
}

fn person() -> Packed {
    let entry = |key: &str, value| (Packed::from(key), value);
    Packed::Map(vec![
        entry("name", "Ada".into()),
        entry("age", 36.into()),
        entry("height", 1.7.into()),
        entry("half", Packed::F32(0.5)),
        entry("alive", false.into()),
        entry("nothing", Packed::Nil),
        entry("huge", u64::MAX.into()),
        entry("raw", Packed::Binary(vec![1, 2])),
        entry("tags", Packed::Array(vec!["x".into(), Packed::Array(vec![9.into()])])),
        entry("home", Packed::Map(vec![entry("city", "London".into())])),
    ])
}

fn follow(literal: core::Literal, path: &[&str]) -> Result<core::Literal, String> {
    let problem = r#"PromiseAttributeResolveError: output "o" of node "n0": "#;
    resolved(promise("n0", "o", path), &[("o", literal)])
        .map_err(|message| message.strip_prefix(problem).unwrap().to_owned())
}

#[test]
fn paths_lead_into_packed_values() {
    let home = Packed::Map(vec![("city".into(), "London".into())]);
    for (path, expected) in [
        (&["name"][..], text("Ada")),
        (&["age"], int(36)),
        (&["height"], primitive(Primitive::FloatValue(1.7))),
        (&["half"], primitive(Primitive::FloatValue(0.5))),
        (&["alive"], primitive(Primitive::Boolean(false))),
        (&["nothing"], none()),
        (&["raw"], packed(&Packed::Binary(vec![1, 2]))),
        (&["tags"], list(vec![packed(&"x".into()), packed(&Packed::Array(vec![9.into()]))])),
        (&["tags", "0"], text("x")),
        (&["tags", "1", "0"], int(9)),
        (&["home"], packed(&home)),
        (&["home", "city"], text("London")),
    ] {
        assert_eq!(follow(packed(&person()), path), Ok(expected.clone()), "{path:?}");
        let deep = map(&[("k", list(vec![packed(&person())]))]);
        assert_eq!(follow(deep, &[&["k", "0"], path].concat()), Ok(expected), "{path:?} behind literals");
    }
}

#[test]
fn paths_lead_through_unions_and_literals() {
    let optional = |literal: core::Literal| {
        scalar(Scalar::Union(Box::new(core::Union { value: Some(Box::new(literal)), r#type: None })))
    };
    let structure = prost_types::Struct {
        fields: BTreeMap::from([
            ("n".to_owned(), prost_types::value::Kind::NumberValue(2.0).into()),
            ("z".to_owned(), prost_types::value::Kind::NullValue(0).into()),
        ]),
    };
    let generic = scalar(Scalar::Generic(prost_types::Struct {
        fields: BTreeMap::from([
            ("s".to_owned(), prost_types::value::Kind::StructValue(structure.clone()).into()),
            ("b".to_owned(), true.into()),
            ("l".to_owned(), vec![prost_types::Value::from("x".to_owned())].into()),
        ]),
    }));
    let number = primitive(Primitive::FloatValue(2.0));
    for (literal, path, expected) in [
        (optional(packed(&person())), &["age"][..], int(36)),
        (optional(optional(list(vec![int(1), int(2)]))), &["1"], int(2)),
        (list(vec![optional(int(5))]), &["0"], optional(int(5))),
        (map(&[("a", packed(&person()))]), &["a"], packed(&person())),
        (generic.clone(), &["s", "n"], number),
        (generic.clone(), &["s", "z"], none()),
        (generic.clone(), &["s"], scalar(Scalar::Generic(structure))),
        (generic.clone(), &["b"], primitive(Primitive::Boolean(true))),
        (generic.clone(), &["l"], list(vec![text("x")])),
        (generic.clone(), &["l", "0"], text("x")),
        (generic.clone(), &[], generic),
    ] {
        assert_eq!(follow(literal, path), Ok(expected), "{path:?}");
    }
}

#[test]
fn wrong_paths_are_explained() {
    let unknown = scalar(Scalar::Binary(core::Binary { value: vec![], tag: "cbor".into() }));
    let offloaded = core::LiteralOffloadedMetadata { uri: "s3://b/k".into(), ..Default::default() };
    let offloaded = core::literal::Value::OffloadedMetadata(offloaded);
    let offloaded = core::Literal { value: Some(offloaded), ..Default::default() };
    for (literal, path, message) in [
        (packed(&person()), &["nope"][..], r#"key "nope" does not exist"#),
        (packed(&person()), &["0"], "a map is asked for index 0, it has keys only"),
        (packed(&person()), &["tags", "x"], r#"a list is asked for key "x", it has indexes only"#),
        (packed(&person()), &["tags", "2"], "index 2 is out of range of 2 items"),
        (packed(&person()), &["tags", "-1"], "index -1 is out of range of 2 items"),
        (packed(&person()), &["age", "x"], "a primitive has no attributes"),
        (packed(&person()), &["nothing", "x"], "a none has no attributes"),
        (
            packed(&person()),
            &["huge"],
            "an integer beyond 64 bits with sign cannot be expressed as a literal",
        ),
        (unknown, &["x"], r#"unsupported binary format "cbor", only "msgpack" can be looked into"#),
        (map(&[]), &["x"], r#"key "x" does not exist"#),
        (list(vec![]), &["0"], "index 0 is out of range of 0 items"),
        (int(1), &["x"], "a primitive has no attributes"),
        (none(), &["x"], "a none has no attributes"),
        (core::Literal::default(), &["x"], "a missing value has no attributes"),
        (offloaded, &["x"], "the value is offloaded to s3://b/k, its attributes cannot be read"),
    ] {
        assert_eq!(follow(literal, path), Err(message.to_owned()));
    }
}

#[test]
fn deep_packed_values_are_refused() {
    let bomb = scalar(Scalar::Binary(core::Binary { value: vec![0x91; 100_000], tag: "msgpack".into() }));
    assert!(follow(bomb, &["0"]).unwrap_err().starts_with("msgpack bytes cannot be read"));
}

#[test]
fn outputs_are_checked_by_name_and_type() {
    let variable = |simple: core::SimpleType| core::Variable {
        r#type: Some(core::LiteralType {
            r#type: Some(core::literal_type::Type::Simple(simple as i32)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let declared = core::VariableMap {
        variables: BTreeMap::from([
            ("a".to_owned(), variable(core::SimpleType::Integer)),
            ("b".to_owned(), variable(core::SimpleType::String)),
            ("untyped".to_owned(), core::Variable::default()),
        ]),
    };
    let outputs = |entries: &[(&str, core::Literal)]| core::LiteralMap {
        literals: entries.iter().map(|(name, literal)| ((*name).to_owned(), literal.clone())).collect(),
    };
    let mut good = outputs(&[("a", int(1)), ("b", text("x")), ("untyped", none()), ("extra", none())]);
    assert_eq!(check_outputs(&declared, &good), Ok(()));
    keep_declared(&declared, &mut good);
    assert_eq!(good.literals.len(), 3);
    let error = check_outputs(&declared, &outputs(&[("b", text("x"))])).unwrap_err();
    assert_eq!((error.code.as_str(), error.kind()), ("OutputsNotFound", ErrorKind::User));
    assert_eq!(error.message, "declared outputs were not written: a, untyped");
    let wrong = outputs(&[("a", text("1")), ("b", text("x")), ("untyped", none())]);
    let error = check_outputs(&declared, &wrong).unwrap_err();
    assert_eq!((error.code.as_str(), error.kind()), ("MismatchingTypes", ErrorKind::User));
    assert!(error.message.starts_with("output \"a\" is not a"), "{}", error.message);
}

#[test]
fn outputs_of_a_branch_go_by_the_names_of_its_arms() {
    use crate::testing::kinds::branch;
    let arm = |id: &str, var: &str| core::Node {
        output_aliases: vec![core::Alias { var: var.into(), alias: "result".into() }],
        ..node(id, &[])
    };
    let inner = branch(vec![arm("c-d-t", "deep"), node("c-d-e", &[])], "c-d", &[]);
    let outer = branch(vec![arm("c-t", "o"), inner], "c", &[]);
    let graph = Graph::build(&closure(vec![outer])).unwrap();
    let binding = |var: &str| core::Binding { var: "x".into(), binding: Some(promise("c", var, &[])) };
    for written in ["o", "deep", "result"] {
        let literals = [(written.to_owned(), int(1))].into();
        let outputs = Arc::new(core::LiteralMap { literals });
        let mut fetch = |_: &str| Ok::<_, String>(Arc::clone(&outputs));
        let inputs = resolve(&graph, &[binding("result")], &mut fetch).unwrap();
        assert_eq!(inputs.literals["x"], int(1), "{written}");
        assert!(resolve(&graph, &[binding("other")], &mut fetch).is_err());
    }
}
