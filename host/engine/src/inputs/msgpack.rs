//! Looks into binary scalars: dataclasses and models that flytekit packs as msgpack.

use proto::flyteidl::core;
use proto::flyteidl::core::primitive::Value as Primitive;
use proto::flyteidl::core::scalar::Value as Scalar;
use rmpv::Value;

use super::attribute::{NoAttribute, index, key, list, none, pick, primitive, scalar};

const TAG: &str = "msgpack";
/// Deeper values are refused, so that reading them cannot exhaust the stack.
const MAX_DEPTH: usize = 128;

/// The part of a packed value a path leads to: a primitive, a packed map, or a list of packed values.
pub(super) fn resolve(
    binary: &core::Binary,
    path: &[core::PromiseAttribute],
) -> Result<core::Literal, NoAttribute> {
    if binary.tag != TAG {
        return Err(NoAttribute::UnknownFormat { tag: binary.tag.clone() });
    }
    let root = rmpv::decode::read_value_with_max_depth(&mut binary.value.as_slice(), MAX_DEPTH)
        .map_err(|cause| NoAttribute::BadBytes { cause: cause.to_string() })?;
    let mut current = &root;
    for step in path {
        current = match current {
            Value::Map(entries) => {
                let key = key(step)?;
                let found = entries.iter().find(|(name, _)| name.as_str() == Some(key));
                &found.ok_or_else(|| NoAttribute::NoKey { key: key.to_owned() })?.1
            }
            Value::Array(items) => pick(items, index(step)?)?,
            Value::Nil => return Err(NoAttribute::NoAttributes { what: "none" }),
            Value::Boolean(_) | Value::Integer(_) | Value::F32(_) | Value::F64(_) | Value::String(_) => {
                return Err(NoAttribute::NoAttributes { what: "primitive" });
            }
            Value::Binary(_) | Value::Ext(..) => {
                return Err(NoAttribute::NoAttributes { what: "binary value" });
            }
        };
    }
    literal(current)
}

fn literal(value: &Value) -> Result<core::Literal, NoAttribute> {
    let value = match value {
        Value::Nil => return Ok(none()),
        Value::Boolean(value) => Primitive::Boolean(*value),
        Value::Integer(value) => Primitive::Integer(
            value.as_i64().ok_or(NoAttribute::NoLiteral { what: "an integer beyond 64 bits with sign" })?,
        ),
        Value::F32(value) => Primitive::FloatValue(f64::from(*value)),
        Value::F64(value) => Primitive::FloatValue(*value),
        Value::String(value) => Primitive::StringValue(
            value.as_str().ok_or(NoAttribute::NoLiteral { what: "text that is not UTF-8" })?.to_owned(),
        ),
        Value::Array(items) => return Ok(list(items.iter().map(pack).collect::<Result<_, _>>()?)),
        Value::Map(_) | Value::Binary(_) | Value::Ext(..) => return pack(value),
    };
    Ok(primitive(value))
}

/// A value as a binary scalar.
fn pack(value: &Value) -> Result<core::Literal, NoAttribute> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value)
        .map_err(|cause| NoAttribute::BadBytes { cause: cause.to_string() })?;
    Ok(scalar(Scalar::Binary(core::Binary { value: bytes, tag: TAG.to_owned() })))
}
