//! Reads texts of paths and queries into fields of a message. Pure.

use std::str::FromStr;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, Value};

use super::json;

/// A text that does not fit its field.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {reason}")]
pub(crate) struct Unfit {
    field: String,
    reason: String,
}

/// Sets a field that may lie inside others; of a repeated field, adds one element.
///
/// # Errors
/// The text is no value of the field, or another member of its oneof is set.
pub(crate) fn set(
    message: &mut DynamicMessage,
    way: &[FieldDescriptor],
    name: &str,
    text: &str,
) -> Result<(), Unfit> {
    let unfit = |reason: String| Unfit { field: name.to_owned(), reason };
    let Some((field, outer)) = way.split_last() else { return Ok(()) };
    let mut at = message;
    for step in outer {
        check_oneof(at, step).map_err(unfit)?;
        at = at.get_field_mut(step).as_message_mut().ok_or_else(|| unfit("is no message".to_owned()))?;
    }
    check_oneof(at, field).map_err(unfit)?;
    if field.is_map() {
        return Err(unfit("is a map; write map[key]=value".to_owned()));
    }
    let value = parse(&field.kind(), text).map_err(unfit)?;
    if field.is_list() {
        if let Some(list) = at.get_field_mut(field).as_list_mut() {
            list.push(value);
        }
        return Ok(());
    }
    at.set_field(field, value);
    Ok(())
}

/// Sets one entry of a map: `labels[a]=b`.
///
/// # Errors
/// Key or value do not fit.
pub(crate) fn set_entry(
    message: &mut DynamicMessage,
    way: &[FieldDescriptor],
    name: &str,
    key: &str,
    text: &str,
) -> Result<(), Unfit> {
    let unfit = |reason: String| Unfit { field: name.to_owned(), reason };
    let Some((field, outer)) = way.split_last() else { return Ok(()) };
    let mut at = message;
    for step in outer {
        at = at.get_field_mut(step).as_message_mut().ok_or_else(|| unfit("is no message".to_owned()))?;
    }
    let Kind::Message(entry) = field.kind() else { return Err(unfit("is no map".to_owned())) };
    if !field.is_map() {
        return Err(unfit("is no map".to_owned()));
    }
    let key = map_key(parse(&entry.map_entry_key_field().kind(), key).map_err(unfit)?);
    let key = key.ok_or_else(|| unfit("its key is of no type for keys".to_owned()))?;
    let value = parse(&entry.map_entry_value_field().kind(), text).map_err(unfit)?;
    if let Some(map) = at.get_field_mut(field).as_map_mut() {
        map.insert(key, value);
    }
    Ok(())
}

fn map_key(value: Value) -> Option<MapKey> {
    Some(match value {
        Value::Bool(key) => MapKey::Bool(key),
        Value::I32(key) => MapKey::I32(key),
        Value::I64(key) => MapKey::I64(key),
        Value::U32(key) => MapKey::U32(key),
        Value::U64(key) => MapKey::U64(key),
        Value::String(key) => MapKey::String(key),
        _ => return None,
    })
}

/// A query can't say twice what a value is.
fn check_oneof(message: &DynamicMessage, field: &FieldDescriptor) -> Result<(), String> {
    let Some(oneof) = field.containing_oneof() else { return Ok(()) };
    match oneof.fields().find(|other| other != field && message.has_field(other)) {
        Some(other) => Err(format!("`{}` is given too, and only one of them may be", other.name())),
        None => Ok(()),
    }
}

fn parse(kind: &Kind, text: &str) -> Result<Value, String> {
    Ok(match kind {
        Kind::String => Value::String(text.to_owned()),
        Kind::Bool => Value::Bool(boolean(text)?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number(text)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number(text)?),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number(text)?),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number(text)?),
        Kind::Float => Value::F32(number(text)?),
        Kind::Double => Value::F64(number(text)?),
        Kind::Bytes => Value::Bytes(bytes(text)?.into()),
        Kind::Enum(found) => Value::EnumNumber(enumeration(found, text)?),
        Kind::Message(found) => {
            if !found.full_name().starts_with("google.protobuf.") {
                return Err("is a message; name one of its fields".to_owned());
            }
            // A timestamp, a duration or a wrapped text is a JSON text, anything else is JSON as it stands.
            let quoted = serde_json::to_vec(text).map_err(|error| error.to_string())?;
            let read = json::read(found, text.as_bytes()).or_else(|_| json::read(found, &quoted));
            Value::Message(read?)
        }
    })
}

fn number<N: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<N, String> {
    text.parse().map_err(|error| format!("`{}`: {error}", short(text)))
}

/// What Go takes for a boolean.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("`{}` is neither true nor false", short(text))),
    }
}

/// The name of a value in any case, or its number.
fn enumeration(found: &EnumDescriptor, text: &str) -> Result<i32, String> {
    if let Some(value) = found.get_value_by_name(text) {
        return Ok(value.number());
    }
    if let Ok(number) = text.parse::<i32>() {
        return Ok(number);
    }
    let named = found.values().find(|value| value.name().eq_ignore_ascii_case(text));
    named.map(|value| value.number()).ok_or_else(|| {
        let names: Vec<_> = found.values().map(|value| value.name().to_owned()).collect();
        format!("`{}` is none of {}", short(text), names.join(", "))
    })
}

/// Base64 with either alphabet, padded or not.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let standard = GeneralPurpose::new(&alphabet::STANDARD, config);
    let url_safe = GeneralPurpose::new(&alphabet::URL_SAFE, config);
    // A plus in a query is a space by the time it comes here.
    let text = text.replace(' ', "+");
    let found = standard.decode(&text).or_else(|_| url_safe.decode(&text));
    found.map_err(|error| format!("is no base64: {error}"))
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}
