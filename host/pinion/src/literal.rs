//! Prints literals as people read them.

use proto::flyteidl::core::{Literal, LiteralMap, Primitive, Scalar, literal, primitive, scalar};
use serde_json::{Map, Value};

/// A literal map as JSON.
pub(crate) fn map_to_json(map: &LiteralMap) -> Value {
    Value::Object(map.literals.iter().map(|(name, literal)| (name.clone(), to_json(literal))).collect())
}

/// A literal as JSON: numbers and texts as themselves, files and tables as their URI.
pub(crate) fn to_json(literal: &Literal) -> Value {
    match literal.value.as_ref() {
        Some(literal::Value::Scalar(scalar)) => scalar_to_json(scalar),
        Some(literal::Value::Collection(list)) => list.literals.iter().map(to_json).collect(),
        Some(literal::Value::Map(map)) => map_to_json(map),
        Some(literal::Value::OffloadedMetadata(metadata)) => metadata.uri.clone().into(),
        None => Value::Null,
    }
}

fn scalar_to_json(scalar: &Scalar) -> Value {
    match scalar.value.as_ref() {
        Some(scalar::Value::Primitive(primitive)) => primitive_to_json(primitive),
        Some(scalar::Value::Blob(blob)) => blob.uri.clone().into(),
        Some(scalar::Value::Schema(schema)) => schema.uri.clone().into(),
        Some(scalar::Value::StructuredDataset(dataset)) => dataset.uri.clone().into(),
        Some(scalar::Value::Binary(binary)) => binary_to_json(&binary.tag, &binary.value),
        Some(scalar::Value::Generic(value)) => Value::Object(
            value.fields.iter().map(|(name, value)| (name.clone(), struct_value(value))).collect(),
        ),
        Some(scalar::Value::Union(union)) => union.value.as_deref().map_or(Value::Null, to_json),
        Some(scalar::Value::Error(error)) => error.message.clone().into(),
        Some(scalar::Value::NoneType(_)) | None => Value::Null,
    }
}

fn primitive_to_json(primitive: &Primitive) -> Value {
    match primitive.value.as_ref() {
        Some(primitive::Value::Integer(value)) => (*value).into(),
        Some(primitive::Value::FloatValue(value)) => (*value).into(),
        Some(primitive::Value::StringValue(value)) => value.clone().into(),
        Some(primitive::Value::Boolean(value)) => (*value).into(),
        Some(primitive::Value::Datetime(value)) => value.to_string().into(),
        Some(primitive::Value::Duration(value)) => value.to_string().into(),
        None => Value::Null,
    }
}

fn binary_to_json(tag: &str, bytes: &[u8]) -> Value {
    if tag == "msgpack"
        && let Ok(value) = rmpv::decode::read_value(&mut &bytes[..])
    {
        return msgpack_to_json(&value);
    }
    format!("{} bytes ({tag})", bytes.len()).into()
}

fn msgpack_to_json(value: &rmpv::Value) -> Value {
    match value {
        rmpv::Value::Nil => Value::Null,
        rmpv::Value::Boolean(value) => (*value).into(),
        rmpv::Value::Integer(value) => {
            value.as_i64().map(Value::from).or_else(|| value.as_u64().map(Value::from)).unwrap_or_default()
        }
        rmpv::Value::F32(value) => f64::from(*value).into(),
        rmpv::Value::F64(value) => (*value).into(),
        rmpv::Value::String(value) => value.as_str().unwrap_or_default().into(),
        rmpv::Value::Binary(bytes) | rmpv::Value::Ext(_, bytes) => format!("{} bytes", bytes.len()).into(),
        rmpv::Value::Array(items) => items.iter().map(msgpack_to_json).collect(),
        rmpv::Value::Map(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                map.insert(key, msgpack_to_json(value));
            }
            Value::Object(map)
        }
    }
}

fn struct_value(value: &prost_types::Value) -> Value {
    use prost_types::value::Kind;
    match value.kind.as_ref() {
        Some(Kind::BoolValue(value)) => (*value).into(),
        Some(Kind::NumberValue(value)) => (*value).into(),
        Some(Kind::StringValue(value)) => value.clone().into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(struct_value).collect(),
        Some(Kind::StructValue(value)) => Value::Object(
            value.fields.iter().map(|(name, value)| (name.clone(), struct_value(value))).collect(),
        ),
        Some(Kind::NullValue(_)) | None => Value::Null,
    }
}
