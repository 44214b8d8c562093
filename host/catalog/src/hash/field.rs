//! Hashes fields by the rules of proto3 JSON. Pure.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proto::flyteidl::core;

use super::Result;
use super::objecthash::{self, Dict, Hash, List};

/// An object whose fields are those of a message.
#[derive(Default)]
pub(crate) struct Message(Dict);

impl Message {
    /// Adds a field that is present.
    pub(crate) fn set(&mut self, name: &str, value: Hash) {
        self.0.put(name, value);
    }

    /// Adds a string unless it is empty.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.set(name, objecthash::text(value));
        }
    }

    /// Adds bytes unless there are none.
    pub(crate) fn bytes(&mut self, name: &str, value: &[u8]) {
        if !value.is_empty() {
            self.set(name, objecthash::text(&BASE64_STANDARD.encode(value)));
        }
    }

    /// Adds an enum unless it is 0. `known` names the numbers that have a name.
    pub(crate) fn enumeration(&mut self, name: &str, value: i32, known: Option<&str>) {
        if value != 0 {
            self.set(name, enumeration(value, known));
        }
    }

    /// Adds a message if it is there.
    pub(crate) fn message<T>(
        &mut self,
        name: &str,
        value: Option<&T>,
        hash: impl FnOnce(&T) -> Result<Hash>,
    ) -> Result<()> {
        if let Some(value) = value {
            self.set(name, hash(value)?);
        }
        Ok(())
    }

    /// Adds a list unless it is empty.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: &[T],
        hash: impl Fn(&T) -> Result<Hash>,
    ) -> Result<()> {
        if !items.is_empty() {
            self.set(name, list(items, hash)?);
        }
        Ok(())
    }

    /// Adds a map unless it is empty.
    pub(crate) fn map<'a, T: 'a>(
        &mut self,
        name: &str,
        entries: impl ExactSizeIterator<Item = (&'a String, &'a T)>,
        hash: impl Fn(&T) -> Result<Hash>,
    ) -> Result<()> {
        if entries.len() > 0 {
            self.set(name, map(entries, hash)?);
        }
        Ok(())
    }

    /// The hash of the message.
    pub(crate) fn hash(self) -> Hash {
        self.0.hash()
    }
}

/// A list, which may be empty.
pub(crate) fn list<T>(items: &[T], hash: impl Fn(&T) -> Result<Hash>) -> Result<Hash> {
    let mut out = List::default();
    for item in items {
        out.push(hash(item)?);
    }
    Ok(out.hash())
}

/// A map, which may be empty.
pub(crate) fn map<'a, T: 'a>(
    entries: impl Iterator<Item = (&'a String, &'a T)>,
    hash: impl Fn(&T) -> Result<Hash>,
) -> Result<Hash> {
    let mut out = Dict::default();
    for (key, value) in entries {
        out.put(key, hash(value)?);
    }
    Ok(out.hash())
}

/// A member of an enum: its name, or its number where it has none.
pub(crate) fn enumeration(value: i32, known: Option<&str>) -> Hash {
    known.map_or_else(|| objecthash::number(f64::from(value)), objecthash::text)
}

/// The name of a registered thing, its version left out.
pub(crate) fn identifier(id: &core::Identifier) -> Hash {
    let mut out = Message::default();
    let known = core::ResourceType::try_from(id.resource_type).ok();
    out.enumeration("resourceType", id.resource_type, known.as_ref().map(core::ResourceType::as_str_name));
    out.text("project", &id.project);
    out.text("domain", &id.domain);
    out.text("name", &id.name);
    out.text("org", &id.org);
    out.hash()
}
