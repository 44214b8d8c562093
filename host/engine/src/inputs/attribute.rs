//! Follows an attribute path (`promise.a["b"][0]`) into a literal.

use proto::flyteidl::core;
use proto::flyteidl::core::literal::Value as Shape;
use proto::flyteidl::core::promise_attribute::Value as Attribute;
use proto::flyteidl::core::scalar::Value as Scalar;

use super::{generic, msgpack};

/// Why a path leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAttribute {
    #[error("key {key:?} does not exist")]
    NoKey { key: String },
    #[error("index {index} is out of range of {len} items")]
    NoIndex { index: i32, len: usize },
    #[error("a map is asked for index {index}, it has keys only")]
    IndexOfMap { index: i32 },
    #[error("a list is asked for key {key:?}, it has indexes only")]
    KeyOfList { key: String },
    #[error("the path holds a step without key or index")]
    EmptyStep,
    #[error("a {what} has no attributes")]
    NoAttributes { what: &'static str },
    #[error("unsupported binary format {tag:?}, only \"msgpack\" can be looked into")]
    UnknownFormat { tag: String },
    #[error("msgpack bytes cannot be read: {cause}")]
    BadBytes { cause: String },
    #[error("{what} cannot be expressed as a literal")]
    NoLiteral { what: &'static str },
    #[error("the value is offloaded to {uri}, its attributes cannot be read")]
    Offloaded { uri: String },
}

/// The part of a literal a path leads to. Maps and lists of literals are walked as they are; the rest of the path is
/// looked up inside the scalar that is found there.
pub(super) fn resolve(
    literal: &core::Literal,
    path: &[core::PromiseAttribute],
) -> Result<core::Literal, NoAttribute> {
    let mut current = literal;
    let mut path = path;
    while let Some((step, rest)) = path.split_first() {
        current = match &current.value {
            Some(Shape::Map(map)) => {
                let key = key(step)?;
                map.literals.get(key).ok_or_else(|| NoAttribute::NoKey { key: key.to_owned() })?
            }
            Some(Shape::Collection(list)) => pick(&list.literals, index(step)?)?,
            Some(Shape::Scalar(scalar)) => match &scalar.value {
                Some(Scalar::Union(union)) => {
                    current =
                        union.value.as_deref().ok_or(NoAttribute::NoAttributes { what: "empty union" })?;
                    continue;
                }
                found => return inside(found.as_ref(), path),
            },
            Some(Shape::OffloadedMetadata(metadata)) => {
                return Err(NoAttribute::Offloaded { uri: metadata.uri.clone() });
            }
            None => return Err(NoAttribute::NoAttributes { what: "missing value" }),
        };
        path = rest;
    }
    Ok(current.clone())
}

fn inside(scalar: Option<&Scalar>, path: &[core::PromiseAttribute]) -> Result<core::Literal, NoAttribute> {
    let what = match scalar {
        Some(Scalar::Binary(binary)) => return msgpack::resolve(binary, path),
        Some(Scalar::Generic(structure)) => return generic::resolve(structure, path),
        Some(Scalar::Primitive(_)) => "primitive",
        Some(Scalar::Blob(_)) => "blob",
        Some(Scalar::Schema(_)) => "schema",
        Some(Scalar::NoneType(_)) => "none",
        Some(Scalar::Error(_)) => "error",
        Some(Scalar::StructuredDataset(_)) => "structured dataset",
        Some(Scalar::Union(_)) => "union",
        None => "missing scalar",
    };
    Err(NoAttribute::NoAttributes { what })
}

/// The key a step into a map names.
pub(super) fn key(step: &core::PromiseAttribute) -> Result<&str, NoAttribute> {
    match &step.value {
        Some(Attribute::StringValue(key)) => Ok(key),
        Some(Attribute::IntValue(index)) => Err(NoAttribute::IndexOfMap { index: *index }),
        None => Err(NoAttribute::EmptyStep),
    }
}

/// The index a step into a list names.
pub(super) fn index(step: &core::PromiseAttribute) -> Result<i32, NoAttribute> {
    match &step.value {
        Some(Attribute::IntValue(index)) => Ok(*index),
        Some(Attribute::StringValue(key)) => Err(NoAttribute::KeyOfList { key: key.clone() }),
        None => Err(NoAttribute::EmptyStep),
    }
}

/// The item at an index.
pub(super) fn pick<T>(items: &[T], index: i32) -> Result<&T, NoAttribute> {
    let found = usize::try_from(index).ok().and_then(|index| items.get(index));
    found.ok_or(NoAttribute::NoIndex { index, len: items.len() })
}

/// A literal that holds this scalar.
pub(super) fn scalar(value: Scalar) -> core::Literal {
    let scalar = core::Scalar { value: Some(value) };
    core::Literal { value: Some(Shape::Scalar(Box::new(scalar))), ..Default::default() }
}

/// A literal that holds this primitive.
pub(super) fn primitive(value: core::primitive::Value) -> core::Literal {
    scalar(Scalar::Primitive(core::Primitive { value: Some(value) }))
}

/// A literal that holds these literals as a list.
pub(super) fn list(literals: Vec<core::Literal>) -> core::Literal {
    let collection = Shape::Collection(core::LiteralCollection { literals });
    core::Literal { value: Some(collection), ..Default::default() }
}

/// The literal for nothing.
pub(super) fn none() -> core::Literal {
    scalar(Scalar::NoneType(core::Void {}))
}
