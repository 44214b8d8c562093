//! Writes the types of `google.protobuf` that have a JSON form of their own.

use model::raw::{Fields, Value as Raw};
use prost::Message;
use prost_types::{Any, Duration, FieldMask, Timestamp};

use super::{
    schema::{Known, Schema},
    write::{self, Broken, close, text},
};

type Result<T = (), E = Broken> = std::result::Result<T, E>;

pub(super) fn write(schema: &Schema, known: Known, bytes: &[u8], out: &mut Vec<u8>, depth: usize) -> Result {
    match known {
        Known::Any => any(schema, bytes, out, depth),
        Known::Timestamp => {
            text(&decode::<Timestamp>(bytes)?.to_string(), out);
            Ok(())
        }
        Known::Duration => {
            text(&decode::<Duration>(bytes)?.to_string(), out);
            Ok(())
        }
        Known::FieldMask => {
            let paths = decode::<FieldMask>(bytes)?.paths;
            text(&paths.iter().map(|path| camel(path)).collect::<Vec<_>>().join(","), out);
            Ok(())
        }
        Known::Struct => {
            structure(&decode(bytes)?, out);
            Ok(())
        }
        Known::Value => {
            value(&decode(bytes)?, out);
            Ok(())
        }
        Known::List => {
            list(&decode(bytes)?, out);
            Ok(())
        }
        Known::Wrapper(scalar) => {
            let mut raw = None;
            for field in Fields(bytes) {
                if let (1, found) = field? {
                    raw = Some(found);
                }
            }
            write::scalar(scalar, raw, out)
        }
    }
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M> {
    M::decode(bytes).map_err(|_| Broken::Malformed)
}

/// The fields of the message inside, and its type. A type nobody here knows is given as its bytes.
pub(super) fn any(schema: &Schema, bytes: &[u8], out: &mut Vec<u8>, depth: usize) -> Result {
    let any: Any = decode(bytes)?;
    if any.type_url.is_empty() && any.value.is_empty() {
        out.extend_from_slice(b"{}");
        return Ok(());
    }
    out.extend_from_slice(b"{\"@type\":");
    text(&any.type_url, out);
    out.push(b',');
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    match schema.find(name) {
        Some(ty) => {
            let plan = write::plan(schema, ty, depth + 1)?;
            if plan.known.is_some() {
                out.extend_from_slice(b"\"value\":");
                write::nested(schema, ty, &any.value, out, depth + 1)?;
            } else {
                write::fields(schema, plan, &any.value, out, depth + 1)?;
            }
        }
        None => {
            out.extend_from_slice(b"\"value\":");
            write::scalar(super::schema::Scalar::Bytes, Some(Raw::Bytes(&any.value)), out)?;
        }
    }
    close(b'}', out);
    Ok(())
}

fn structure(found: &prost_types::Struct, out: &mut Vec<u8>) {
    out.push(b'{');
    for (key, item) in &found.fields {
        text(key, out);
        out.push(b':');
        value(item, out);
        out.push(b',');
    }
    close(b'}', out);
}

fn list(found: &prost_types::ListValue, out: &mut Vec<u8>) {
    out.push(b'[');
    for item in &found.values {
        value(item, out);
        out.push(b',');
    }
    close(b']', out);
}

fn value(found: &prost_types::Value, out: &mut Vec<u8>) {
    use prost_types::value::Kind;
    match &found.kind {
        None | Some(Kind::NullValue(_)) => out.extend_from_slice(b"null"),
        Some(Kind::BoolValue(value)) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Some(Kind::NumberValue(number)) => {
            // Infinities and NaN have no place in JSON's own values; they are given as the texts that numbers
            // of messages use.
            let _ = write::scalar(super::schema::Scalar::Double, Some(Raw::Fixed64(number.to_bits())), out);
        }
        Some(Kind::StringValue(found)) => text(found, out),
        Some(Kind::StructValue(found)) => structure(found, out),
        Some(Kind::ListValue(found)) => list(found, out),
    }
}

/// `a_field.of_it` as `aField.ofIt`.
fn camel(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut upper = false;
    for c in path.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}
