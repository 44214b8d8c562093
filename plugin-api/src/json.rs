//! Converts between `google.protobuf.Struct` and JSON.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct};
use serde_json::{Map, Number, Value};

/// The struct as a JSON object. Whole numbers become JSON integers, as the protobuf JSON mapping prints them.
pub fn from_struct(value: &Struct) -> Value {
    Value::Object(value.fields.iter().map(|(key, value)| (key.clone(), from_value(value))).collect())
}

/// The JSON object as a struct; anything but an object is an empty struct. Integers beyond 2^53 lose precision.
pub fn to_struct(value: &Value) -> Struct {
    match value {
        Value::Object(map) => struct_of(map),
        _ => Struct::default(),
    }
}

/// The number that a protobuf value holds, if it holds one.
pub fn number(value: &prost_types::Value) -> Option<f64> {
    match value.kind {
        Some(Kind::NumberValue(number)) => Some(number),
        _ => None,
    }
}

fn struct_of(map: &Map<String, Value>) -> Struct {
    Struct { fields: map.iter().map(|(key, value)| (key.clone(), to_value(value))).collect() }
}

fn from_value(value: &prost_types::Value) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::StringValue(value)) => Value::String(value.clone()),
        Some(Kind::NumberValue(value)) => from_number(*value),
        Some(Kind::StructValue(value)) => from_struct(value),
        Some(Kind::ListValue(list)) => Value::Array(list.values.iter().map(from_value).collect()),
    }
}

fn from_number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[allow(clippy::cast_possible_truncation, reason = "whole and within 2^53 by the test above")]
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

fn to_value(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        Value::String(value) => Kind::StringValue(value.clone()),
        Value::Array(values) => Kind::ListValue(ListValue { values: values.iter().map(to_value).collect() }),
        Value::Object(map) => Kind::StructValue(struct_of(map)),
    };
    prost_types::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn struct_survives_the_round_trip() {
        let value = serde_json::json!({"a": 1, "b": [true, null, "x", 1.5], "c": {"d": {}}});
        assert_eq!(from_struct(&to_struct(&value)), value);
    }
}
