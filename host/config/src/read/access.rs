//! Steps serde through fields, items and variants.

use serde::de::{
    DeserializeSeed, Deserializer as _, EnumAccess, Error as _, IntoDeserializer as _, MapAccess, SeqAccess,
    VariantAccess, Visitor, value::StrDeserializer,
};

use super::{Context, Fault, Field, Stack, scalar::variant_named};
use crate::tree::{Kind, Node};

/// The fields of a struct or the keys of a map.
pub(super) struct Fields<'s, 'a> {
    stack: &'s Stack<'a>,
    fields: std::vec::IntoIter<Field<'a>>,
    value: Option<Stack<'a>>,
}

impl<'s, 'a> Fields<'s, 'a> {
    pub(super) fn new(stack: &'s Stack<'a>, fields: Vec<Field<'a>>) -> Self {
        Self { stack, fields: fields.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Fields<'_, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        for field in self.fields.by_ref() {
            let value = self.stack.below(field.name, field.layers);
            // All of its values were wrong: as if it was not there.
            if value.layers.is_empty() {
                continue;
            }
            let name: StrDeserializer<'_, Fault> = field.name.into_deserializer();
            let (path, node) = (value.path.clone(), value.layers.last().copied());
            self.value = Some(value);
            return seed.deserialize(name).map(Some).map_err(|fault| fault.at(&path, node));
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let value = self.value.take().ok_or_else(|| Fault::custom("a value was asked for before its key"))?;
        let (path, node) = (value.path.clone(), value.layers.last().copied());
        seed.deserialize(value).map_err(|fault| fault.at(&path, node))
    }
}

/// The items of a list.
pub(super) struct Items<'a> {
    context: &'a Context,
    path: &'a str,
    items: std::iter::Enumerate<std::vec::IntoIter<&'a Node>>,
}

impl<'a> Items<'a> {
    pub(super) fn new(context: &'a Context, path: &'a str, items: Vec<&'a Node>) -> Self {
        Self { context, path, items: items.into_iter().enumerate() }
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        for (item_idx, item) in self.items.by_ref() {
            let path = format!("{}[{item_idx}]", self.path);
            let stack = Stack::new(self.context, path.clone(), vec![item]);
            if stack.layers.is_empty() {
                continue;
            }
            return seed.deserialize(stack).map(Some).map_err(|fault| fault.at(&path, Some(item)));
        }
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// A variant of an enum: its name alone, or its name with its content.
pub(super) struct Choice<'a> {
    variant: &'static str,
    content: Stack<'a>,
}

impl<'a> Choice<'a> {
    /// Finds the variant that the strongest layer chooses, with the content that weaker layers of the same choice
    /// have for it.
    pub(super) fn new(stack: Stack<'a>, variants: &'static [&'static str]) -> Result<Self, Fault> {
        stack.note_origin();
        let Some(top) = stack.top() else {
            return Err(Fault::unknown_variant("", variants));
        };
        let known = |text: &str| variant_named(text, variants).copied();
        if !matches!(top.kind, Kind::Section(_)) {
            let text = match (&top.raw, &top.kind) {
                (Some(raw), _) => raw.as_str(),
                (None, Kind::Text(text)) => text.as_str(),
                (None, _) => return Err(Fault::type_of("a name", top.describe())),
            };
            let variant = known(text).ok_or_else(|| Fault::unknown_variant(text, variants))?;
            return Ok(Self { variant, content: stack.below(variant, Vec::new()) });
        }
        let mut chosen: Option<&'static str> = None;
        let mut contents = Vec::new();
        for node in stack.layers.iter().rev() {
            let Kind::Section(entries) = &node.kind else { break };
            let [entry] = entries.as_slice() else {
                if chosen.is_some() {
                    break;
                }
                let names: Vec<_> = variants.iter().map(|name| format!("`{name}`")).collect();
                let expected = format!("exactly one of {}", names.join(", "));
                return Err(Fault::type_of(expected, format_args!("{} keys", entries.len())));
            };
            let variant = known(&entry.key);
            match chosen {
                None => chosen = Some(variant.ok_or_else(|| Fault::unknown_variant(&entry.key, variants))?),
                Some(_) if chosen != variant => break,
                Some(_) => {}
            }
            contents.push(&entry.value);
        }
        contents.reverse();
        let variant = chosen.unwrap_or_default();
        Ok(Self { variant, content: stack.below(variant, contents) })
    }
}

impl<'de, 'a> EnumAccess<'de> for Choice<'a> {
    type Error = Fault;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'a>), Fault> {
        let name: StrDeserializer<'_, Fault> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.content)))
    }
}

/// What belongs to a variant; a name alone stands for content that is all default.
pub(super) struct Content<'a>(Stack<'a>);

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.0.top() {
            Some(node) => Err(Fault::type_of("a name alone", node.describe())),
            None => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.0.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.0.deserialize_struct("", fields, visitor)
    }
}
