//! Compares structures by the JSON schemas that SDKs keep in the metadata of their types.

use std::collections::{BTreeMap, HashSet};

use prost_types::value::Kind;
use prost_types::{Struct, Value};

type Object = BTreeMap<String, Value>;

/// How many references in a row are followed.
const HOPS: usize = 32;

/// Whether every value that `upstream` describes has what `downstream` asks for: the same fields or more.
///
/// Titles, defaults, and which fields are required do not count.
pub(super) fn covers(upstream: &Struct, downstream: &Struct) -> bool {
    if upstream == downstream {
        return true;
    }
    let (up, down) = (&upstream.fields, &downstream.fields);
    if !is_schema(up) && !is_schema(down) {
        // Something else that an SDK keeps there.
        return down.iter().all(|(key, value)| up.get(key) == Some(value));
    }
    // A list of pairs to compare rather than recursion: schemas may refer to themselves and be deep.
    let mut pairs = vec![(up, down)];
    let mut seen = HashSet::new();
    while let Some((u, d)) = pairs.pop() {
        let (Some(u), Some(d)) = (resolve(up, u), resolve(down, d)) else { return false };
        if seen.insert((std::ptr::from_ref(u), std::ptr::from_ref(d))) && !compare(u, d, &mut pairs) {
            return false;
        }
    }
    true
}

fn is_schema(fields: &Object) -> bool {
    ["$ref", "type", "properties", "anyOf"].iter().any(|key| fields.contains_key(*key))
}

/// Compares one level; what is below goes to `pairs`.
fn compare<'a>(u: &'a Object, d: &'a Object, pairs: &mut Vec<(&'a Object, &'a Object)>) -> bool {
    for key in ["type", "format", "enum", "const"] {
        if let Some(expected) = d.get(key)
            && u.get(key) != Some(expected)
        {
            return false;
        }
    }
    if let Some(expected) = object(d.get("properties")) {
        let found = object(u.get("properties"));
        for (name, d) in expected {
            let Some(u) = found.and_then(|found| found.get(name)) else { return false };
            match (object(Some(u)), object(Some(d))) {
                (Some(u), Some(d)) => pairs.push((u, d)),
                _ if u == d => {}
                _ => return false,
            }
        }
    }
    for key in ["items", "additionalProperties"] {
        if let (Some(u), Some(d)) = (object(u.get(key)), object(d.get(key))) {
            pairs.push((u, d));
        }
    }
    ["anyOf", "oneOf"].iter().all(|key| match d.get(*key) {
        None => true,
        Some(expected) => alternatives(u, key, &list(expected), pairs),
    })
}

/// Pairs every alternative of `u` with one of the `expected` that looks like it.
fn alternatives<'a>(
    u: &'a Object,
    key: &str,
    expected: &[&'a Object],
    pairs: &mut Vec<(&'a Object, &'a Object)>,
) -> bool {
    let own = u.get(key).map_or_else(|| vec![u], list);
    own.into_iter().all(|u| {
        let alike =
            |d: &&&'a Object| ["$ref", "type", "format", "title"].iter().all(|k| u.get(*k) == d.get(*k));
        let found = expected.iter().find(|d| **d == u).or_else(|| expected.iter().find(alike));
        found.inspect(|d| pairs.push((u, d))).is_some()
    })
}

/// What a schema says, references within the document followed.
fn resolve<'a>(root: &'a Object, mut schema: &'a Object) -> Option<&'a Object> {
    for _ in 0..HOPS {
        let Some(Kind::StringValue(reference)) = schema.get("$ref").and_then(|value| value.kind.as_ref())
        else {
            return Some(schema);
        };
        let mut target = root;
        for part in reference.strip_prefix("#/")?.split('/') {
            target = object(target.get(part))?;
        }
        schema = target;
    }
    None
}

fn object(value: Option<&Value>) -> Option<&Object> {
    match value?.kind.as_ref()? {
        Kind::StructValue(inner) => Some(&inner.fields),
        _ => None,
    }
}

fn list(value: &Value) -> Vec<&Object> {
    match &value.kind {
        Some(Kind::ListValue(values)) => {
            values.values.iter().filter_map(|value| object(Some(value))).collect()
        }
        _ => Vec::new(),
    }
}
