//! Follows a path from an output of a node to a value inside it.

use std::borrow::Cow;

use proto::flyteidl::core::literal_type::Type;
use proto::flyteidl::core::promise_attribute::Value;
use proto::flyteidl::core::{LiteralType, PromiseAttribute, SimpleType, UnionType};

use super::{is_simple, of, variants};

/// Where a path ends.
pub(crate) enum Walk<'a> {
    /// At a value of this type.
    Type(Cow<'a, LiteralType>),
    /// Inside a structure that does not tell the types of its fields; only the run shows.
    Unknown,
    /// Nowhere: the step at this position does not exist.
    NotFound(usize),
}

/// Follows `path` from a value of type `t`. Through a union, every variant that has the step is followed.
pub(crate) fn walk<'a>(t: &'a LiteralType, path: &[PromiseAttribute]) -> Walk<'a> {
    let mut reached = vec![t];
    let mut unknown = false;
    for (i, step) in path.iter().enumerate() {
        let mut next = Vec::new();
        for t in reached {
            for t in variants(t).unwrap_or_else(|| vec![t]) {
                match take(t, step) {
                    Step::To(inner) => next.push(inner),
                    Step::Unknown => unknown = true,
                    Step::Nowhere => {}
                }
            }
        }
        if next.is_empty() && !unknown {
            return Walk::NotFound(i);
        }
        reached = next;
    }
    match reached[..] {
        _ if unknown => Walk::Unknown,
        [only] => Walk::Type(Cow::Borrowed(only)),
        _ => {
            let variants = reached.into_iter().cloned().collect();
            Walk::Type(Cow::Owned(of(Type::UnionType(UnionType { variants }))))
        }
    }
}

enum Step<'a> {
    To(&'a LiteralType),
    Unknown,
    Nowhere,
}

fn take<'a>(t: &'a LiteralType, step: &PromiseAttribute) -> Step<'a> {
    match (&t.r#type, &step.value) {
        (Some(Type::CollectionType(inner)), Some(Value::IntValue(_)))
        | (Some(Type::MapValueType(inner)), Some(Value::StringValue(_))) => Step::To(inner),
        (Some(Type::Simple(_)), Some(step)) if is_simple(t, SimpleType::Struct) => {
            match t.structure.as_ref().map(|structure| &structure.dataclass_type) {
                Some(fields) if !fields.is_empty() => match step {
                    Value::StringValue(name) => fields.get(name).map_or(Step::Nowhere, Step::To),
                    Value::IntValue(_) => Step::Nowhere,
                },
                _ => Step::Unknown,
            }
        }
        _ => Step::Nowhere,
    }
}
