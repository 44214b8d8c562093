//! Which types and values may flow where.

use compiler::typing::{castable, describe, literal_matches, literal_type};
use proto::flyteidl::core::schema_type::schema_column::SchemaColumnType;
use proto::flyteidl::core::*;
use serde_json::json;

use crate::build::*;

#[test]
fn castable_table() {
    let float = || simple(SimpleType::Float);
    let record = || simple(SimpleType::Struct);
    let colour = || choice(["red", "blue"]);
    let columns = || dataset("", [("a", int()), ("b", string())]);
    let cases = [
        (int(), int(), true),
        (int(), float(), false),
        (float(), int(), false),
        (none(), none(), true),
        (int(), none(), false),
        (none(), int(), false),
        // enums
        (colour(), string(), true),
        (string(), colour(), true),
        (colour(), colour(), true),
        (colour(), choice(["red"]), false),
        (colour(), int(), false),
        // containers
        (list(int()), list(int()), true),
        (list(int()), list(string()), false),
        (list(none()), list(int()), true),
        (map(none()), map(list(int())), true),
        (list(int()), map(int()), false),
        (int(), list(int()), false),
        (none(), list(int()), false),
        // blobs
        (blob("csv"), blob(""), true),
        (blob(""), blob("csv"), true),
        (blob("csv"), blob("csv"), true),
        (blob("csv"), blob("png"), false),
        (string(), blob(""), false),
        // tables
        (columns(), dataset("", []), true),
        (dataset("", []), columns(), true),
        (columns(), dataset("", [("a", int())]), true),
        (dataset("", [("a", int())]), columns(), false),
        (columns(), dataset("", [("a", string())]), false),
        (dataset("Parquet", []), dataset("parquet", []), true),
        (dataset("csv", []), dataset("parquet", []), false),
        (dataset("csv", []), schema([]), false),
        (dataset("", []), schema([]), true),
        (schema([]), dataset("PARQUET", []), true),
        (schema([]), dataset("csv", []), false),
        (schema([("a", SchemaColumnType::Integer)]), dataset("", [("a", int())]), true),
        (dataset("", [("a", int())]), schema([("a", SchemaColumnType::String)]), false),
        (schema([("a", SchemaColumnType::Integer)]), schema([("b", SchemaColumnType::Integer)]), false),
        (none(), dataset("", []), true),
        (none(), schema([]), false),
        (int(), dataset("", []), false),
        // unions
        (int(), union([int(), string()]), true),
        (float(), union([int(), string()]), false),
        (int(), union([int(), int()]), false),
        (union([int(), string()]), union([string(), int(), none()]), true),
        (union([int(), float()]), union([int(), string()]), false),
        (union([int()]), int(), true),
        (union([union([int()])]), int(), true),
        (union([int(), string()]), int(), false),
        (union([]), int(), false),
        (list(union([int()])), list(int()), true),
        (int(), union([union([int(), none()]), string()]), true),
        (none(), union([dataset("", []), none()]), true),
        (none(), union([dataset("", []), int()]), true),
        // tags
        (tagged(int(), "int"), tagged(int(), "int"), true),
        (tagged(int(), "int"), tagged(int(), "long"), false),
        (tagged(int(), "int"), int(), false),
        (int(), tagged(int(), "int"), true),
        // structures
        (record(), record(), true),
        (record(), map(int()), false),
        (LiteralType::default(), LiteralType::default(), true),
        (LiteralType::default(), int(), false),
    ];
    for (upstream, downstream, expected) in cases {
        let text = format!("{} to {}", describe(&upstream), describe(&downstream));
        assert_eq!(castable(&upstream, &downstream), expected, "{text}");
    }
}

#[test]
fn structures_need_the_fields_that_are_asked_for() {
    let object = |properties| structure(&json!({"type": "object", "title": "T", "properties": properties}));
    let a = || json!({"type": "integer"});
    let small = object(json!({"a": a()}));
    let large = object(json!({"a": {"type": "integer", "title": "A"}, "b": {"type": "string"}}));
    let other = object(json!({"a": {"type": "string"}}));
    let deep = |inner: serde_json::Value| {
        structure(&json!({
            "$schema": "draft-07",
            "definitions": {
                "Outer": {"type": "object", "properties": {
                    "inner": {"$ref": "#/definitions/Inner"},
                    "list": {"type": "array", "items": {"$ref": "#/definitions/Inner"}},
                    "again": {"$ref": "#/definitions/Outer"},
                }},
                "Inner": {"type": "object", "properties": inner},
            },
            "$ref": "#/definitions/Outer",
        }))
    };
    let optional = |t: &str| object(json!({"a": {"anyOf": [{"type": t}, {"type": "null"}]}}));
    let plain = simple(SimpleType::Struct);
    let cases = [
        (&small, &small, true),
        (&large, &small, true),
        (&small, &large, false),
        (&other, &small, false),
        (&plain, &small, true),
        (&small, &plain, true),
        (&deep(json!({"a": a(), "b": a()})), &deep(json!({"a": a()})), true),
        (&deep(json!({"a": a()})), &deep(json!({"a": a(), "b": a()})), false),
        (&deep(json!({"a": a()})), &small, false),
        (&optional("integer"), &optional("integer"), true),
        (&optional("integer"), &optional("string"), false),
        (&small, &optional("integer"), true),
        (&structure(&json!({"pb_type": "x"})), &structure(&json!({"pb_type": "y"})), false),
        (&structure(&json!({"$ref": "#/nowhere"})), &small, false),
        (
            &structure(
                &json!({"definitions": {"A": {"$ref": "#/definitions/A"}}, "$ref": "#/definitions/A"}),
            ),
            &small,
            false,
        ),
    ];
    for (i, (upstream, downstream, expected)) in cases.into_iter().enumerate() {
        assert_eq!(castable(upstream, downstream), expected, "case {i}");
    }
}

#[test]
fn literals_have_types() {
    let one = || literal(int_scalar(1));
    let text = || literal(text_scalar("a"));
    let binary = |tag: &str| {
        let binary = Binary { value: vec![1], tag: tag.to_owned() };
        literal(Scalar { value: Some(scalar::Value::Binary(binary)) })
    };
    let offloaded = LiteralOffloadedMetadata { inferred_type: Some(list(int())), ..Default::default() };
    let offloaded =
        Literal { value: Some(literal::Value::OffloadedMetadata(offloaded)), ..Default::default() };
    let untyped_blob = literal(Scalar { value: Some(scalar::Value::Blob(Blob::default())) });
    let cases = [
        (one(), Some(int())),
        (literals([]), Some(list(none()))),
        (literals([one(), one()]), Some(list(int()))),
        (literals([one(), text()]), Some(list(union([int(), string()])))),
        (literals([text(), one()]), Some(list(union([int(), string()])))),
        (literal_map([("k", one())]), Some(map(int()))),
        (literals([literals([one()]), literals([])]), Some(list(union([list(none()), list(int())])))),
        (in_union(one(), tagged(int(), "int")), Some(union([tagged(int(), "int")]))),
        (binary("msgpack"), Some(simple(SimpleType::Struct))),
        (binary(""), Some(simple(SimpleType::Binary))),
        (offloaded, Some(list(int()))),
        (untyped_blob, None),
        (Literal::default(), None),
        (literals([Literal::default()]), None),
    ];
    for (value, expected) in cases {
        assert_eq!(literal_type(&value), expected, "{value:?}");
    }
}

#[test]
fn values_match_types() {
    let colour = || choice(["red", "blue"]);
    let one = || literal(int_scalar(1));
    let red = || literal(text_scalar("red"));
    let green = || literal(text_scalar("green"));
    let nothing = || literal(none_scalar());
    let int_tag = || tagged(int(), "int");
    let optional = || union([int_tag(), tagged(none(), "none")]);
    let cases = [
        (red(), colour(), true),
        (green(), colour(), false),
        (one(), colour(), false),
        (literals([red(), red()]), list(colour()), true),
        (literals([red(), green()]), list(colour()), false),
        (literal_map([("k", green())]), map(colour()), false),
        (in_union(one(), int_tag()), optional(), true),
        (in_union(nothing(), tagged(none(), "none")), optional(), true),
        (in_union(red(), tagged(string(), "str")), optional(), false),
        (in_union(red(), int_tag()), optional(), false),
        (in_union(green(), string()), union([colour(), none()]), false),
        (one(), optional(), true),
        (nothing(), optional(), true),
        (nothing(), union([dataset("", []), none()]), true),
        (literals([one(), red()]), list(union([int(), string()])), true),
        (literals([]), union([list(int()), map(int())]), true),
        (literals([]), union([list(int()), list(string())]), false),
        (literals([]), int(), false),
        (literal_map([]), list(int()), false),
        (Literal::default(), int(), false),
    ];
    for (value, t, expected) in cases {
        assert_eq!(literal_matches(&value, &t), expected, "{value:?} as {}", describe(&t));
    }
}

#[test]
fn descriptions_are_short() {
    assert_eq!(describe(&list(map(union([int(), none()])))), "list of map of one of (integer, none)");
    assert_eq!(describe(&blob("csv")), "file (csv)");
    assert_eq!(describe(&LiteralType::default()), "unknown");
    let mut deep = int();
    for _ in 0..50 {
        deep = union([deep, string()]);
    }
    assert!(describe(&deep).len() < 200);
    let many = choice(["abcdefghij"; 1000]);
    assert!(describe(&many).len() < 200);
}
