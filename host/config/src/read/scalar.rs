//! Hands values to serde, whatever it asks for.
//!
//! A value without a type of its own (from the environment, from a flag, unquoted in a file) becomes what is asked
//! for; any other must be it.

use serde::{Deserializer, de::Visitor};

use super::{
    Fault, Stack,
    access::{Choice, Fields, Items},
};
use crate::{
    Origin, key,
    tree::{Kind, Node},
};

impl<'a> Stack<'a> {
    fn scalar<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        convert: impl FnOnce(&str) -> Option<Kind>,
    ) -> Result<V::Value, Fault> {
        self.note_origin();
        let Some(node) = self.top() else {
            return visitor
                .visit_unit::<Fault>()
                .map_err(|fault| fault.at(&self.path, self.layers.last().copied()));
        };
        let converted = untyped(node).and_then(convert);
        let result = match converted.as_ref().unwrap_or(&node.kind) {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(flag) => visitor.visit_bool(*flag),
            Kind::Int(int) => visitor.visit_i64(*int),
            Kind::Uint(uint) => visitor.visit_u64(*uint),
            Kind::Float(float) => visitor.visit_f64(*float),
            Kind::Text(text) => visitor.visit_str(text),
            Kind::List(_) | Kind::Section(_) => Err(Fault::type_of(Expecting(&visitor), node.describe())),
        };
        result.map_err(|fault: Fault| fault.at(&self.path, Some(node)))
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.scalar(visitor, |text| {
            let text = text.trim();
            let uint = text.parse().map(Kind::Uint);
            uint.or_else(|_| text.parse().map(Kind::Int)).or_else(|_| text.parse().map(Kind::Float)).ok()
        })
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let is_scalar = self
            .top()
            .is_some_and(|node| matches!(node.origin, Origin::Env(_) | Origin::Flag(_)) || is_leaf(node));
        self.scalar(visitor, |text| is_scalar.then(|| Kind::Text(text.to_owned())))
    }
}

/// The text of a value that has no type of its own.
fn untyped(node: &Node) -> Option<&str> {
    node.raw.as_deref()
}

fn is_leaf(node: &Node) -> bool {
    !matches!(node.kind, Kind::List(_) | Kind::Section(_))
}

/// Prints what a visitor expects.
struct Expecting<'v, V>(&'v V);

impl<'de, V: Visitor<'de>> std::fmt::Display for Expecting<'_, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.expecting(f)
    }
}

fn parse_bool(text: &str) -> Option<Kind> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(Kind::Bool(true)),
        "false" | "no" | "off" | "0" => Some(Kind::Bool(false)),
        _ => None,
    }
}

macro_rules! forward {
    ($($method:ident => $target:ident),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.$target(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Stack<'_> {
    type Error = Fault;

    forward! {
        deserialize_i8 => number, deserialize_i16 => number, deserialize_i32 => number,
        deserialize_i64 => number, deserialize_i128 => number, deserialize_u8 => number,
        deserialize_u16 => number, deserialize_u32 => number, deserialize_u64 => number,
        deserialize_u128 => number, deserialize_f32 => number, deserialize_f64 => number,
        deserialize_char => text, deserialize_str => text, deserialize_string => text,
        deserialize_identifier => text, deserialize_bytes => text, deserialize_byte_buf => text,
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.scalar(visitor, parse_bool)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.top().map(|node| &node.kind) {
            Some(Kind::List(_)) => self.deserialize_seq(visitor),
            Some(Kind::Section(_)) => self.deserialize_map(visitor),
            _ => self.scalar(visitor, |_| None),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Fault> {
        let is_null = self.layers.last().is_none_or(|node| matches!(node.kind, Kind::Null));
        if is_null {
            self.note_origin();
            return visitor.visit_none();
        }
        // A null takes away what is below it.
        let last_null = self.layers.iter().rposition(|node| matches!(node.kind, Kind::Null));
        self.layers.drain(..last_null.map_or(0, |position| position + 1));
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.scalar(visitor, |_| None)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.note_origin();
        let (context, path) = (self.context, self.path.as_str());
        let Some(node) = self.top() else { return visitor.visit_seq(Items::new(context, path, Vec::new())) };
        let is_free = matches!(node.origin, Origin::Env(_) | Origin::Flag(_)) && is_leaf(node);
        let result = match (&node.kind, untyped(node)) {
            (Kind::List(items), _) => visitor.visit_seq(Items::new(context, path, items.iter().collect())),
            // `a,b` of the environment, or `a` alone. The parts exist only here: blame the whole.
            (_, Some(text)) if is_free => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                let parts: Vec<_> = parts.map(|part| Node::from_text(part, &node.origin)).collect();
                let items = Items::new(context, path, parts.iter().collect());
                visitor.visit_seq(items).map_err(|fault: Fault| fault.at(path, Some(node)).blame(node))
            }
            _ => Err(Fault::type_of(Expecting(&visitor), node.describe())),
        };
        result.map_err(|fault: Fault| fault.at(path, Some(node)))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let keys = self.keys()?;
        if keys.is_empty() {
            self.note_origin();
        }
        visitor.visit_map(Fields::new(&self, keys)).map_err(|fault: Fault| fault.at(&self.path, self.top()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let fields = self.fields(fields)?;
        visitor.visit_map(Fields::new(&self, fields)).map_err(|fault: Fault| fault.at(&self.path, self.top()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let top = self.top();
        let path = self.path.clone();
        let choice = Choice::new(self, variants).map_err(|fault| fault.at(&path, top))?;
        visitor.visit_enum(choice).map_err(|fault: Fault| fault.at(&path, top))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}

/// The variant that a text means, in any spelling.
pub(super) fn variant_named<'v>(text: &str, variants: &'v [&'static str]) -> Option<&'v &'static str> {
    let exact = variants.iter().find(|variant| **variant == text);
    exact.or_else(|| variants.iter().find(|variant| key::fold(variant) == key::fold(text)))
}
