//! Writes wire bytes as JSON.

use std::{collections::BTreeMap, io::Write as _};

use base64::{display::Base64Display, prelude::BASE64_STANDARD};
use model::raw::{Fields, Malformed, Value};

use super::{
    known,
    schema::{Absent, Field, Kind, Message, Scalar, Schema, Shape},
};

/// Messages nested deeper than this are refused; decoding them into Rust types stops at 100.
const MAX_DEPTH: usize = 128;

/// Bytes that are no message of their type.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the bytes are no message of its type")]
    Malformed,
    #[error("messages are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("a text is no UTF-8")]
    Text,
}

impl From<Malformed> for Broken {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

type Result<T = (), E = Broken> = std::result::Result<T, E>;

pub(super) fn message(schema: &Schema, ty: usize, bytes: &[u8], out: &mut Vec<u8>) -> Result {
    nested(schema, ty, bytes, out, 0)
}

pub(super) fn nested(schema: &Schema, ty: usize, bytes: &[u8], out: &mut Vec<u8>, depth: usize) -> Result {
    let plan = plan(schema, ty, depth)?;
    if let Some(found) = plan.known {
        return known::write(schema, found, bytes, out, depth);
    }
    out.push(b'{');
    fields(schema, plan, bytes, out, depth)?;
    close(b'}', out);
    Ok(())
}

/// Writes the fields of a message that has no JSON form of its own, each with a comma behind it.
pub(super) fn fields(
    schema: &Schema,
    plan: &Message,
    bytes: &[u8],
    out: &mut Vec<u8>,
    depth: usize,
) -> Result {
    let mut found = occurrences(plan, bytes)?;
    if plan.n_oneofs > 0 {
        keep_last_members(plan, &mut found);
    }
    // Stable, so that elements stay in order.
    found.sort_by_key(|(place, _)| *place);
    let mut rest = found.as_slice();
    for (place, field) in plan.fields.iter().enumerate() {
        let n_values = rest.iter().take_while(|(found, _)| *found == place).count();
        let (values, tail) = rest.split_at(n_values);
        rest = tail;
        field_value(schema, field, values, out, depth)?;
    }
    Ok(())
}

pub(super) fn plan(schema: &Schema, ty: usize, depth: usize) -> Result<&Message> {
    if depth > MAX_DEPTH {
        return Err(Broken::TooDeep);
    }
    schema.messages.get(ty).ok_or(Broken::Malformed)
}

/// Replaces the comma behind the last part by the end, or puts the end behind the beginning.
pub(super) fn close(end: u8, out: &mut Vec<u8>) {
    match out.last_mut() {
        Some(last) if *last == b',' => *last = end,
        _ => out.push(end),
    }
}

type Occurrence<'a> = (usize, Value<'a>);

fn occurrences<'a>(plan: &Message, bytes: &'a [u8]) -> Result<Vec<Occurrence<'a>>> {
    let mut found = Vec::new();
    for field in Fields(bytes) {
        let (number, raw) = field?;
        if let Some(place) = plan.place(number) {
            found.push((place, raw));
        }
    }
    Ok(found)
}

/// Of each oneof the member that came last wins; what came before another member is forgotten.
fn keep_last_members(plan: &Message, found: &mut Vec<Occurrence<'_>>) {
    let oneof = |place: usize| plan.fields.get(place).and_then(|field| field.oneof);
    // For each oneof: the member that came last, and since when it came alone.
    let mut last: Vec<Option<(usize, usize)>> = vec![None; plan.n_oneofs];
    let mut n_changes = 0;
    for (idx, (place, _)) in found.iter().enumerate() {
        let Some(member) = oneof(*place).and_then(|oneof| last.get_mut(oneof)) else { continue };
        match member {
            Some((winner, _)) if winner == place => {}
            other => {
                n_changes += usize::from(other.is_some());
                *other = Some((*place, idx));
            }
        }
    }
    if n_changes == 0 {
        return;
    }
    let mut idx = 0;
    found.retain(|(place, _)| {
        let here = idx;
        idx += 1;
        let member = oneof(*place).and_then(|oneof| last.get(oneof).copied().flatten());
        member.is_none_or(|(winner, since)| *place == winner && here >= since)
    });
}

fn field_value(
    schema: &Schema,
    field: &Field,
    values: &[Occurrence<'_>],
    out: &mut Vec<u8>,
    depth: usize,
) -> Result {
    match &field.shape {
        Shape::Singular(absent) => {
            if values.is_empty() && *absent == Absent::Nothing {
                return Ok(());
            }
            out.extend_from_slice(&field.key);
            singular(schema, field.kind, *absent, values, out, depth)?;
        }
        Shape::Repeated => {
            out.extend_from_slice(&field.key);
            out.push(b'[');
            for (_, raw) in values {
                elements(schema, field.kind, *raw, out, depth)?;
            }
            close(b']', out);
        }
        Shape::Map(key) => {
            out.extend_from_slice(&field.key);
            map(schema, *key, field.kind, values, out, depth)?;
        }
    }
    out.push(b',');
    Ok(())
}

fn singular(
    schema: &Schema,
    kind: Kind,
    absent: Absent,
    values: &[Occurrence<'_>],
    out: &mut Vec<u8>,
    depth: usize,
) -> Result {
    match (kind, values) {
        (_, []) if absent == Absent::Null => out.extend_from_slice(b"null"),
        (kind, []) => value(schema, kind, None, out, depth)?,
        (Kind::Message(ty), [_, _, ..]) => {
            // Parts of one message that came apart.
            let parts: Vec<u8> = values.iter().flat_map(|(_, raw)| bytes_of(*raw)).copied().collect();
            nested(schema, ty, &parts, out, depth + 1)?;
        }
        (kind, [.., (_, raw)]) => value(schema, kind, Some(*raw), out, depth)?,
    }
    Ok(())
}

fn bytes_of(raw: Value<'_>) -> &[u8] {
    match raw {
        Value::Bytes(bytes) => bytes,
        Value::Varint(_) | Value::Fixed32(_) | Value::Fixed64(_) | Value::Group(_) => &[],
    }
}

/// Writes one element, or several that are packed into one, each with a comma behind it.
fn elements(schema: &Schema, kind: Kind, raw: Value<'_>, out: &mut Vec<u8>, depth: usize) -> Result {
    let mut write = |raw: Value<'_>| {
        value(schema, kind, Some(raw), out, depth)?;
        out.push(b',');
        Result::Ok(())
    };
    let packed = match (kind, raw) {
        (Kind::Message(_) | Kind::Scalar(Scalar::String | Scalar::Bytes), raw) => return write(raw),
        (_, Value::Bytes(packed)) => packed,
        (_, raw) => return write(raw),
    };
    let mut rest = Fields(packed);
    while !rest.0.is_empty() {
        let raw = match kind {
            Kind::Scalar(Scalar::Fixed32 | Scalar::Sfixed32 | Scalar::Float) => {
                Value::Fixed32(u32::from_le_bytes(rest.array()?))
            }
            Kind::Scalar(Scalar::Fixed64 | Scalar::Sfixed64 | Scalar::Double) => {
                Value::Fixed64(u64::from_le_bytes(rest.array()?))
            }
            _ => Value::Varint(rest.varint()?),
        };
        write(raw)?;
    }
    Ok(())
}

fn map(
    schema: &Schema,
    key: Scalar,
    kind: Kind,
    entries: &[Occurrence<'_>],
    out: &mut Vec<u8>,
    depth: usize,
) -> Result {
    // The last of several entries with one key wins.
    let mut sorted = BTreeMap::new();
    for (_, entry) in entries {
        let (mut key_of, mut value_of) = (None, Vec::new());
        for field in Fields(bytes_of(*entry)) {
            match field? {
                (1, raw) => key_of = Some(raw),
                (2, raw) => value_of.push((0, raw)),
                _ => {}
            }
        }
        let mut text = Vec::new();
        scalar(key, key_of, &mut text)?;
        if text.first() != Some(&b'"') {
            text.insert(0, b'"');
            text.push(b'"');
        }
        sorted.insert(text, value_of);
    }
    out.push(b'{');
    for (key, value_of) in &sorted {
        out.extend_from_slice(key);
        out.push(b':');
        singular(schema, kind, Absent::Default, value_of, out, depth)?;
        out.push(b',');
    }
    close(b'}', out);
    Ok(())
}

/// Writes one value; `None` is the default of its type.
fn value(schema: &Schema, kind: Kind, raw: Option<Value<'_>>, out: &mut Vec<u8>, depth: usize) -> Result {
    match kind {
        Kind::Scalar(found) => scalar(found, raw, out),
        Kind::Message(ty) => nested(schema, ty, raw.map(bytes_of).unwrap_or_default(), out, depth + 1),
        Kind::Enum(ty) => {
            let found = schema.enums.get(ty).ok_or(Broken::Malformed)?;
            let number = varint_of(raw) as i32;
            match found.name(number) {
                _ if found.is_null => out.extend_from_slice(b"null"),
                Some(name) => text(name, out),
                None => number_text(number, out),
            }
            Ok(())
        }
    }
}

fn varint_of(raw: Option<Value<'_>>) -> u64 {
    match raw {
        Some(Value::Varint(value) | Value::Fixed64(value)) => value,
        Some(Value::Fixed32(value)) => u64::from(value),
        Some(Value::Bytes(_) | Value::Group(_)) | None => 0,
    }
}

/// Writes one scalar; `None` is its default.
pub(super) fn scalar(scalar: Scalar, raw: Option<Value<'_>>, out: &mut Vec<u8>) -> Result {
    let bits = varint_of(raw);
    // The casts drop what the type does not have, as decoding does.
    match scalar {
        Scalar::Bool => out.extend_from_slice(if bits == 0 { b"false" } else { b"true" }),
        Scalar::Int32 | Scalar::Sfixed32 => number_text(bits as i32, out),
        Scalar::Uint32 | Scalar::Fixed32 => number_text(bits as u32, out),
        Scalar::Sint32 => number_text(((bits as u32) >> 1) as i32 ^ -((bits & 1) as i32), out),
        Scalar::Int64 | Scalar::Sfixed64 => quoted(bits as i64, out),
        Scalar::Uint64 | Scalar::Fixed64 => quoted(bits, out),
        Scalar::Sint64 => quoted((bits >> 1) as i64 ^ -((bits & 1) as i64), out),
        Scalar::Float => {
            let value = f32::from_bits(bits as u32);
            float(value.is_finite(), value, f64::from(value), out);
        }
        Scalar::Double => {
            let value = f64::from_bits(bits);
            float(value.is_finite(), value, value, out);
        }
        Scalar::String => {
            let bytes = raw.map(bytes_of).unwrap_or_default();
            text(std::str::from_utf8(bytes).map_err(|_| Broken::Text)?, out);
        }
        Scalar::Bytes => {
            let bytes = raw.map(bytes_of).unwrap_or_default();
            quoted(Base64Display::new(bytes, &BASE64_STANDARD), out);
        }
    }
    Ok(())
}

fn number_text(number: impl std::fmt::Display, out: &mut Vec<u8>) {
    // Writing to memory can not fail.
    let _ = write!(out, "{number}");
}

fn quoted(text: impl std::fmt::Display, out: &mut Vec<u8>) {
    let _ = write!(out, "\"{text}\"");
}

/// Writes a number, or the name of what is none.
fn float(is_finite: bool, value: impl serde::Serialize, wide: f64, out: &mut Vec<u8>) {
    if is_finite {
        // A finite number is always written, and memory takes it.
        let _ = serde_json::to_writer(out, &value);
    } else if wide.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else {
        out.extend_from_slice(if wide > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    }
}

pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    // A text is always written, and memory takes it.
    let _ = serde_json::to_writer(out, text);
}
