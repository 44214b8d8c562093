//! Finds what differs between two registrations of one version, as JSON paths with old and new values. Pure.
//!
//! Unset, empty and default are the same here, as is any order of map keys. Fields that this host does not know count
//! by their numbers and bytes.

use std::fmt;

use model::raw::{Type, Unknown};
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::{Map, Value};

use crate::descriptors;

/// Changes that are told; the rest is counted.
const MAX_CHANGES: usize = 8;
/// Characters of a value that are shown.
const MAX_SHOWN: usize = 120;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where, in the message's own field names: `/compiled_task/template/container/image`.
    pub path: String,
    /// What is registered; `None` when nothing is.
    pub old: Option<String>,
    /// What came; `None` when nothing did.
    pub new: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (old, new) = (self.old.as_deref(), self.new.as_deref());
        write!(f, "{}: {} -> {}", self.path, old.unwrap_or("(nothing)"), new.unwrap_or("(nothing)"))
    }
}

/// The first few changes, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The first few.
    pub shown: Vec<Change>,
    /// How many are not shown.
    pub more: usize,
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    fn add<V>(&mut self, path: &str, old: Option<V>, new: Option<V>, shown: impl Fn(V) -> String) {
        if self.shown.len() < MAX_CHANGES {
            let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
            self.shown.push(Change { path, old: old.map(&shown), new: new.map(&shown) });
        } else {
            self.more += 1;
        }
    }
}

/// Compares two encoded messages of one type (`flyteidl.admin.TaskClosure`). Bytes that can't be read as that
/// type count as one change.
pub fn messages(type_name: &str, old: &[u8], new: &[u8]) -> Changes {
    let mut changes = Changes::default();
    match (to_json(type_name, old), to_json(type_name, new)) {
        (Some(old), Some(new)) => values("", Some(&old), Some(&new), &mut changes),
        _ => changes.add("", None, None, shown),
    }
    let ty = Type::named(type_name);
    unknown(&ty.unknown(old), &ty.unknown(new), &mut changes);
    changes
}

/// Compares the fields that no descriptor knows; both sides are sorted by their paths.
fn unknown(old: &[Unknown], new: &[Unknown], changes: &mut Changes) {
    if old == new {
        return;
    }
    let mut paths: Vec<_> = old.iter().chain(new).map(|found| found.path.as_str()).collect();
    paths.sort_unstable();
    paths.dedup();
    let of = |side: &[Unknown], path: &str| -> Vec<Unknown> {
        side.iter().filter(|found| found.path == path).cloned().collect()
    };
    let told = |found: Vec<Unknown>| {
        let n_bytes: usize = found.iter().map(|found| found.value.len()).sum();
        format!("{n_bytes} bytes of a field that this server does not know")
    };
    for path in paths {
        let (old, new) = (of(old, path), of(new, path));
        if old != new {
            let some = |side: Vec<Unknown>| Some(side).filter(|side| !side.is_empty());
            changes.add(path, some(old), some(new), told);
        }
    }
}

fn to_json(type_name: &str, bytes: &[u8]) -> Option<Value> {
    let descriptor = descriptors::pool().get_message_by_name(type_name)?;
    let message = DynamicMessage::decode(descriptor, bytes).ok()?;
    let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(true);
    let value = message.serialize_with_options(serde_json::value::Serializer, &options).ok()?;
    Some(prune(value).unwrap_or(Value::Null))
}

/// Removes what says nothing; `None` when nothing is left.
fn prune(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Bool(false) => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => {
            Some(Value::Array(items.into_iter().map(|item| prune(item).unwrap_or(Value::Null)).collect()))
        }
        Value::Object(fields) => {
            let fields: Map<_, _> =
                fields.into_iter().filter_map(|(key, value)| Some((key, prune(value)?))).collect();
            if fields.is_empty() { None } else { Some(Value::Object(fields)) }
        }
        other => Some(other),
    }
}

fn values(path: &str, old: Option<&Value>, new: Option<&Value>, changes: &mut Changes) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                values(&format!("{path}/{key}"), old.get(key), new.get(key), changes);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for idx in 0..old.len().max(new.len()) {
                values(&format!("{path}/{idx}"), old.get(idx), new.get(idx), changes);
            }
        }
        (old, new) if old == new => {}
        (old, new) => changes.add(path, old, new, shown),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => text.get(..at).map(|head| format!("{head}...")).unwrap_or(text),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use proto::flyteidl::{
        admin::TaskClosure,
        core::{CompiledTask, Container, Resources, TaskMetadata, TaskTemplate, task_template::Target},
    };

    use super::*;

    const TYPE: &str = "flyteidl.admin.TaskClosure";

    fn closure(image: &str, args: &[&str]) -> TaskClosure {
        let container = Container {
            image: image.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            ..Container::default()
        };
        let template = TaskTemplate { target: Some(Target::Container(container)), ..TaskTemplate::default() };
        TaskClosure { compiled_task: Some(CompiledTask { template: Some(template) }), created_at: None }
    }

    fn compare(old: &TaskClosure, new: &TaskClosure) -> Changes {
        messages(TYPE, &old.encode_to_vec(), &new.encode_to_vec())
    }

    #[test]
    fn changes_name_path_old_and_new() {
        let changes = compare(&closure("a:1", &["x"]), &closure("a:2", &["x", "y"]));
        let texts: Vec<_> = changes.shown.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "/compiled_task/template/container/args/1: (nothing) -> \"y\"",
                "/compiled_task/template/container/image: \"a:1\" -> \"a:2\"",
            ]
        );
    }

    #[test]
    fn unset_and_empty_are_the_same() {
        let old = closure("a", &[]);
        let mut new = closure("a", &[]);
        let template = new.compiled_task.as_mut().unwrap().template.as_mut().unwrap();
        template.metadata = Some(TaskMetadata::default());
        if let Some(Target::Container(container)) = &mut template.target {
            container.resources = Some(Resources::default());
        }
        assert!(compare(&old, &new).is_empty());
    }

    #[test]
    fn many_changes_are_counted_not_listed() {
        let long = "v".repeat(10_000);
        let args: Vec<_> = (0..50).map(|_| long.as_str()).collect();
        let changes = compare(&closure("a", &[]), &closure("a", &args));
        assert_eq!(changes.shown.len(), 1);
        let changes = compare(&closure("a", &["x"; 50]), &closure("a", &args));
        assert_eq!((changes.shown.len(), changes.more), (8, 42));
        assert!(changes.shown.iter().all(|change| change.to_string().len() < 400));
    }
}
