//! Finds the fields that no descriptor knows.

use super::{
    field,
    schema::{Schema, Shape},
    wire::{Fields, Value, put},
};

/// A field that no descriptor knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Where it is: the names of the fields around it and its own number, `/template/container/77`.
    pub path: String,
    /// Its value on the wire; integers as eight or four bytes.
    pub value: Vec<u8>,
}

pub(super) fn of(schema: &Schema, ty: Option<usize>, message: &[u8]) -> Vec<Unknown> {
    let mut found = Vec::new();
    // Almost no message has any, and looking is cheaper than keeping track of the place.
    if !is_there(schema, ty, message) {
        return found;
    }
    collect(schema, ty, message, &mut String::new(), &mut found);
    // Stable: those of one place stay in their order, while the order of map entries does not matter.
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn is_there(schema: &Schema, ty: Option<usize>, message: &[u8]) -> bool {
    let Some(ty) = ty else { return !message.is_empty() };
    Fields(message).map_while(Result::ok).any(|(number, value)| match (schema.field(ty, number), value) {
        (None, _) => true,
        (Some(known), Value::Bytes(body)) => match known.shape {
            Shape::Scalar => false,
            Shape::Message(inner) | Shape::Repeated(inner) | Shape::Map(inner) => {
                is_there(schema, Some(inner), body)
            }
        },
        (Some(_), _) => false,
    })
}

fn collect(schema: &Schema, ty: Option<usize>, message: &[u8], path: &mut String, found: &mut Vec<Unknown>) {
    let length = path.len();
    let mut n_elements = Vec::new();
    for (number, value) in Fields(message).map_while(Result::ok) {
        let known = ty.and_then(|ty| schema.field(ty, number));
        path.push('/');
        match (known, value) {
            (None, value) => {
                path.push_str(&number.to_string());
                found.push(Unknown { path: path.clone(), value: bytes(value) });
            }
            (Some(known), Value::Bytes(body)) => {
                let inner = match known.shape {
                    Shape::Scalar => None,
                    Shape::Message(inner) => Some((inner, String::new())),
                    Shape::Repeated(inner) => Some((inner, format!("/{}", count(&mut n_elements, number)))),
                    Shape::Map(inner) => {
                        let key = field(body, 1);
                        Some((inner, format!("/{}", String::from_utf8_lossy(&key))))
                    }
                };
                if let Some((inner, step)) = inner {
                    path.push_str(&known.name);
                    path.push_str(&step);
                    collect(schema, Some(inner), body, path, found);
                }
            }
            (Some(_), Value::Varint(_) | Value::Fixed32(_) | Value::Fixed64(_) | Value::Group(_)) => {}
        }
        path.truncate(length);
    }
}

/// How many elements of a field were met before.
fn count(n_elements: &mut Vec<(u32, usize)>, number: u32) -> usize {
    match n_elements.iter_mut().find(|(of, _)| *of == number) {
        Some((_, n)) => {
            *n += 1;
            *n
        }
        None => {
            n_elements.push((number, 0));
            0
        }
    }
}

fn bytes(value: Value<'_>) -> Vec<u8> {
    match value {
        Value::Varint(value) | Value::Fixed64(value) => value.to_be_bytes().to_vec(),
        Value::Fixed32(value) => value.to_be_bytes().to_vec(),
        Value::Bytes(body) | Value::Group(body) => body.to_vec(),
    }
}

impl Unknown {
    /// One text of bytes that is the same for the same fields only.
    pub fn fingerprint(unknown: &[Self]) -> Vec<u8> {
        let mut out = Vec::new();
        for found in unknown {
            put(1, found.path.as_bytes(), &mut out);
            put(2, &found.value, &mut out);
        }
        out
    }
}
