//! Keys: those of Flyte's own tests, and those that a model in Python computes (`fixtures/keys.py`).

use catalog::{KeyError, Signature, literal_hash, task_key};
use prost::Message;
use proto::flyteidl::core::*;
use serde::Deserialize;

use crate::catalog::build::{integer, map, primitive, template, template_of, variables};

#[derive(Deserialize)]
struct Fixtures {
    literals: Vec<LiteralCase>,
    maps: Vec<MapCase>,
    variables: Vec<VariableCase>,
}

#[derive(Deserialize)]
struct LiteralCase {
    name: String,
    message: String,
    whole: String,
    input: String,
}

#[derive(Deserialize)]
struct MapCase {
    name: String,
    message: String,
    ignored: Vec<String>,
    hash: String,
}

#[derive(Deserialize)]
struct VariableCase {
    name: String,
    message: String,
    hash: String,
}

fn fixtures() -> Fixtures {
    serde_json::from_str(include_str!("../fixtures/keys.json")).unwrap()
}

fn read<M: Message + Default>(hex_text: &str) -> M {
    M::decode(hex::decode(hex_text).unwrap().as_slice()).unwrap()
}

/// The tag of a call with these inputs, all of them declared.
fn tag(inputs: &LiteralMap, ignored: &[String]) -> String {
    let names: Vec<(&str, SimpleType)> =
        inputs.literals.keys().map(|name| (name.as_str(), SimpleType::Integer)).collect();
    let mut template = template_of("1", Some(variables(&names)), None);
    if let Some(metadata) = template.metadata.as_mut() {
        metadata.cache_ignore_input_vars = ignored.to_vec();
    }
    task_key(&template, inputs).unwrap().tag.strip_prefix("flyte_cached-").unwrap().to_owned()
}

#[test]
fn inputs_have_flytes_hashes() {
    let hash = |value: &str| Literal { hash: value.to_owned(), ..Literal::default() };
    let float = |value| primitive(primitive::Value::FloatValue(value));
    for (inputs, want) in [
        (map([]), "GKw-c0PwFokMUQ6T-TUmEWnZ4_VlQ2Qpgw-vCTT0-OQ"),
        (map([("1", integer(1)), ("2", integer(2))]), "GQid5LjHbakcW68DS3P2jp80QLbiF0olFHF2hTh5bg8"),
        (map([("x", float(1.5))]), "8lQDD3hVO97v_KD4tbNy-ZFTIxYlqKPeb7TqhabQp8E"),
        (map([("x", hash("abc"))]), "UxOBMriNXGaILV8TFfFcxzzyDUymX8keno3kW7OeAN4"),
        (
            map([("b", primitive(primitive::Value::Boolean(false)))]),
            "ekzpTTPYa2QXPk3qm8wePwqLnxRmdHwbMzCrKUljZ6A",
        ),
    ] {
        assert_eq!(tag(&inputs, &[]), want, "{inputs:?}");
    }
    let three = map([("1", integer(1)), ("2", integer(2)), ("3", integer(3))]);
    assert_eq!(tag(&three, &["3".to_owned()]), "GQid5LjHbakcW68DS3P2jp80QLbiF0olFHF2hTh5bg8");
}

#[test]
fn interfaces_have_flytes_hashes() {
    let two = variables(&[("1", SimpleType::Integer), ("2", SimpleType::Integer)]);
    for (inputs, want) in [
        (None, "1.0.0-GKw-c0Pw-GKw-c0Pw"),
        (Some(VariableMap::default()), "1.0.0-GKw-c0Pw-GKw-c0Pw"),
        (Some(two), "1.0.0-UxVtPm0k-GKw-c0Pw"),
    ] {
        let key = task_key(&template_of("1.0.0", inputs, None), &LiteralMap::default()).unwrap();
        assert_eq!(key.dataset.version, want);
        assert_eq!(key.dataset.name, "flyte_task-t");
        assert_eq!(key.dataset.resource_type(), ResourceType::Dataset);
        assert_eq!((key.dataset.project.as_str(), key.dataset.domain.as_str()), ("project", "domain"));
    }
}

#[test]
fn the_cache_service_has_flytes_keys() {
    let mut template = template_of("7", None, None);
    template.id = Some(Identifier {
        project: "project_1".to_owned(),
        domain: "domain_1".to_owned(),
        name: "name_1".to_owned(),
        version: "0".to_owned(),
        org: "org_1".to_owned(),
        ..Identifier::default()
    });
    let key = task_key(&template, &LiteralMap::default()).unwrap();
    let of_nothing = "GKw-c0Pw-GKw-c0Pw-GKw-c0PwFokMUQ6T-TUmEWnZ4_VlQ2Qpgw-vCTT0-OQ-7";
    // Flyte's test leaves the resource type out; a task's key has it.
    assert!(key.cache_key().ends_with(of_nothing), "{}", key.cache_key());
    assert_eq!(key.cache_key().len(), 45 + of_nothing.len());
    let (identifier, _) = key.cache_key().split_at(44);
    assert!(identifier.ends_with('='), "{identifier}");
}

#[test]
fn literals_agree_with_the_model() {
    for case in fixtures().literals {
        let literal: Literal = read(&case.message);
        assert_eq!(literal_hash(&literal).unwrap(), case.whole, "{}", case.name);
        assert_eq!(tag(&map([("x", literal)]), &[]), case.input, "{}", case.name);
    }
}

#[test]
fn maps_agree_with_the_model() {
    for case in fixtures().maps {
        let inputs: LiteralMap = read(&case.message);
        assert_eq!(tag(&inputs, &case.ignored), case.hash, "{}", case.name);
    }
}

#[test]
fn interfaces_agree_with_the_model() {
    for case in fixtures().variables {
        let variables: VariableMap = read(&case.message);
        let fields = |inputs: Option<VariableMap>, outputs: Option<VariableMap>| {
            task_key(&template_of("1", inputs, outputs), &LiteralMap::default()).unwrap().fields
        };
        assert_eq!(fields(Some(variables.clone()), None).input_interface, case.hash, "{}", case.name);
        assert_eq!(fields(None, Some(variables)).output_interface, case.hash, "{}", case.name);
    }
}

#[test]
fn the_version_of_the_task_does_not_count() {
    let inputs = map([("x", integer(1)), ("y", integer(2))]);
    let mut other = template("1");
    if let Some(id) = other.id.as_mut() {
        id.version = "v2".to_owned();
    }
    assert_eq!(task_key(&template("1"), &inputs), task_key(&other, &inputs));
    let at = |version: &str| task_key(&template(version), &inputs).unwrap();
    assert_ne!(at("1").dataset, at("2").dataset);
    assert_eq!(at("1").tag, at("2").tag);
    assert_eq!(at("1").dataset, at(" 1 ").dataset, "spaces around the cache version do not count");
}

#[test]
fn a_task_without_cache_version_has_no_key() {
    for version in ["", "  "] {
        let error = task_key(&template(version), &LiteralMap::default()).unwrap_err();
        assert_eq!(error, KeyError::NoVersion { task: "t".to_owned() });
    }
    let nameless = TaskTemplate { id: None, ..template("1") };
    assert_eq!(task_key(&nameless, &LiteralMap::default()).unwrap_err(), KeyError::NoId);
    let timeless = primitive(primitive::Value::Datetime(prost_types::Timestamp { seconds: 0, nanos: -1 }));
    let error = task_key(&template("1"), &map([("x", timeless)])).unwrap_err();
    assert!(matches!(error, KeyError::Inputs { .. }), "{error}");
}

#[test]
fn a_node_may_give_a_version_of_its_own() {
    let inputs = map([("x", integer(1)), ("y", integer(2))]);
    let own = Signature::of_version(&template(""), "2").unwrap().key(&inputs).unwrap();
    assert_eq!(own, task_key(&template("2"), &inputs).unwrap());
}

#[test]
fn inputs_of_a_task_that_declares_none_do_not_count() {
    let key = |inputs| task_key(&template_of("1", None, None), &inputs).unwrap();
    assert_eq!(key(map([("x", integer(1))])), key(map([])));
}
