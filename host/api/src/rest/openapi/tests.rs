//! Looks for what makes an OpenAPI document useless: dangling references, parameters nobody declares.

use std::collections::HashSet;

use serde_json::Value;

use super::*;

fn whole() -> Value {
    let pool = descriptors::pool();
    document(pool, &rule::routes(pool, &crate::rest::SERVICES).unwrap())
}

fn references(value: &Value, found: &mut HashSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if key == "$ref" => drop(found.insert(text.to_owned())),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_method_with_a_path_is_described_once() {
    let document = whole();
    let mut ids = HashSet::new();
    let mut n_operations = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            n_operations += 1;
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
            let parameters = operation["parameters"].as_array().unwrap();
            let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
            let names: HashSet<_> =
                in_path.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect();
            let wanted: HashSet<_> = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .map(str::to_owned)
                .collect();
            assert_eq!(names, wanted, "{method} {path}");
        }
    }
    let pool = descriptors::pool();
    let n_methods: usize = crate::rest::SERVICES
        .iter()
        .map(|name| pool.get_service_by_name(name).unwrap().methods().len())
        .sum();
    // `GetOrCreateSignal` has no path, four methods have a second one.
    assert_eq!(n_operations, n_methods - 1 + 4);
}

#[test]
fn references_lead_somewhere() {
    let document = whole();
    let mut found = HashSet::new();
    references(&document, &mut found);
    assert!(found.len() > 100);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    assert!(!document["components"]["schemas"].as_object().unwrap().values().any(Value::is_null));
}

#[test]
fn queries_name_nested_fields_and_leave_out_what_the_path_says() {
    let document = whole();
    let list = &document["paths"]["/api/v1/tasks/{id.project}/{id.domain}"]["get"];
    let names: Vec<_> = list["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|parameter| parameter["in"] == "query")
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect();
    for name in ["limit", "filters", "sort_by.key", "sort_by.direction", "id.name"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(!names.contains(&"id.project"), "{names:?}");
}

#[test]
fn comments_of_the_sources_come_along() {
    let document = whole();
    let schemas = &document["components"]["schemas"];
    assert_eq!(
        schemas["flyteidl.core.Resources"]["description"],
        "Requested and highest amounts of resources."
    );
    let n_described =
        |of: &Value| of.as_object().unwrap().values().filter(|it| it.get("description").is_some()).count();
    assert!(n_described(schemas) > 100, "{}", n_described(schemas));
}
