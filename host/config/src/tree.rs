//! Holds one layer of settings as a tree whose every node knows where it came from.

use figment::value::{Num, Value};

use crate::{Origin, key};

/// A value and its origin.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) origin: Origin,
    /// The text as it was written, where that text has no type of its own: unquoted in a file, or from an
    /// environment variable or flag. A string setting takes it as it is.
    pub(crate) raw: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Section(Vec<Entry>),
}

/// A key with its value, in the order of the source.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key stands, which may be above its value.
    pub(crate) origin: Origin,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn new(kind: Kind, origin: Origin) -> Self {
        Self { kind, origin, raw: None }
    }

    pub(crate) fn section(origin: Origin) -> Self {
        Self::new(Kind::Section(Vec::new()), origin)
    }

    /// Takes over a value of figment, all of it from one place.
    pub(crate) fn from_value(value: Value, origin: &Origin) -> Self {
        let kind = match value {
            Value::String(_, text) => Kind::Text(text),
            Value::Char(_, letter) => Kind::Text(letter.to_string()),
            Value::Bool(_, flag) => Kind::Bool(flag),
            Value::Num(_, number) => from_number(number),
            Value::Empty(..) => Kind::Null,
            Value::Array(_, items) => {
                Kind::List(items.into_iter().map(|item| Self::from_value(item, origin)).collect())
            }
            Value::Dict(_, dict) => Kind::Section(
                dict.into_iter()
                    .map(|(key, value)| Entry {
                        key,
                        origin: origin.clone(),
                        value: Self::from_value(value, origin),
                    })
                    .collect(),
            ),
        };
        Self::new(kind, origin.clone())
    }

    /// Reads an untyped text: `true`, `12`, `[a, b]`, `{a = 1}`, else the text itself.
    pub(crate) fn from_text(text: &str, origin: &Origin) -> Self {
        // The parser of figment is infallible: what it can't read is a string.
        let value = text.parse::<Value>().unwrap_or_else(|never| match never {});
        Self { raw: Some(text.to_owned()), ..Self::from_value(value, origin) }
    }

    /// Puts a value at a path, making sections on the way. What stands in the way is replaced.
    pub(crate) fn insert(&mut self, path: &[String], value: Node) {
        let Some((first, rest)) = path.split_first() else {
            *self = value;
            return;
        };
        if !matches!(self.kind, Kind::Section(_)) {
            *self = Self::section(value.origin.clone());
        }
        let Kind::Section(entries) = &mut self.kind else { return };
        let found = entries.iter().position(|entry| key::fold(&entry.key) == key::fold(first));
        let position = found.unwrap_or_else(|| {
            let origin = value.origin.clone();
            let below = Self::section(origin.clone());
            entries.push(Entry { key: first.clone(), origin, value: below });
            entries.len() - 1
        });
        entries[position].value.insert(rest, value);
    }

    /// What the value is, for a message; not the value itself, which may be a secret.
    pub(crate) fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Int(_) | Kind::Uint(_) => "an integer",
            Kind::Float(_) => "a number",
            Kind::Text(_) => "a string",
            Kind::List(_) => "a list",
            Kind::Section(_) => "a section",
        }
    }
}

fn from_number(number: Num) -> Kind {
    if let Some(uint) = number.to_u128().and_then(|uint| u64::try_from(uint).ok()) {
        Kind::Uint(uint)
    } else if let Some(int) = number.to_i128().and_then(|int| i64::try_from(int).ok()) {
        Kind::Int(int)
    } else {
        Kind::Float(number.to_f64().unwrap_or(f64::NAN))
    }
}
