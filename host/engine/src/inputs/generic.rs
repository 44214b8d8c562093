//! Looks into generic scalars: dataclasses that older flytekits write as protobuf structs.

use prost_types::Struct;
use prost_types::value::Kind;
use proto::flyteidl::core;
use proto::flyteidl::core::primitive::Value as Primitive;
use proto::flyteidl::core::scalar::Value as Scalar;

use super::attribute::{NoAttribute, index, key, list, none, pick, primitive, scalar};

/// The part of a struct a path leads to: a primitive (numbers are floats), a struct, or a list of these.
pub(super) fn resolve(
    structure: &Struct,
    path: &[core::PromiseAttribute],
) -> Result<core::Literal, NoAttribute> {
    let Some((first, rest)) = path.split_first() else {
        return Ok(scalar(Scalar::Generic(structure.clone())));
    };
    let mut current = field(structure, first)?;
    for step in rest {
        current = match &current.kind {
            Some(Kind::StructValue(inner)) => field(inner, step)?,
            Some(Kind::ListValue(items)) => pick(&items.values, index(step)?)?,
            Some(Kind::NumberValue(_) | Kind::StringValue(_) | Kind::BoolValue(_)) => {
                return Err(NoAttribute::NoAttributes { what: "primitive" });
            }
            Some(Kind::NullValue(_)) | None => return Err(NoAttribute::NoAttributes { what: "none" }),
        };
    }
    Ok(literal(current))
}

fn field<'a>(
    structure: &'a Struct,
    step: &core::PromiseAttribute,
) -> Result<&'a prost_types::Value, NoAttribute> {
    let key = key(step)?;
    structure.fields.get(key).ok_or_else(|| NoAttribute::NoKey { key: key.to_owned() })
}

fn literal(value: &prost_types::Value) -> core::Literal {
    match &value.kind {
        Some(Kind::StructValue(inner)) => scalar(Scalar::Generic(inner.clone())),
        Some(Kind::ListValue(items)) => list(items.values.iter().map(literal).collect()),
        Some(Kind::NumberValue(value)) => primitive(Primitive::FloatValue(*value)),
        Some(Kind::StringValue(value)) => primitive(Primitive::StringValue(value.clone())),
        Some(Kind::BoolValue(value)) => primitive(Primitive::Boolean(*value)),
        Some(Kind::NullValue(_)) | None => none(),
    }
}
