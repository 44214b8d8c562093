//! Keeps messages as the bytes that arrived, also the fields that this host's `.proto` files do not have.
//!
//! Decoding a message into its Rust type and encoding it again drops what the type does not know. What comes from
//! clients is therefore cut out of their bytes ([`field`]), and what this host changes in it is grafted into them
//! ([`Type::graft`]): parts that did not change are the very bytes that arrived, parts that did are written anew
//! with the unknown fields of their place behind them. [`Type::unknown`] finds those fields, so that two
//! registrations that differ in nothing else are told apart.

mod graft;
mod schema;
mod unknown;
mod wire;

#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::LazyLock};

use prost::Message;

use schema::Schema;

pub use unknown::Unknown;
pub use wire::{Fields, Malformed, Value, put};

static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::new);

/// A message type, by its place in the descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type(Option<usize>);

impl Type {
    /// The message type of that full name. Of a type that no descriptor has, every field is unknown.
    pub fn named(name: &str) -> Self {
        Self(SCHEMA.find(name))
    }

    /// Gives `after` the unknown fields of `arrived`, at every depth; what is the same before and after is taken over
    /// byte for byte. `before` is `arrived` decoded and encoded again.
    pub fn graft(self, arrived: &[u8], before: &[u8], after: &[u8]) -> Vec<u8> {
        match self.0 {
            Some(ty) => graft::message(&SCHEMA, ty, arrived, before, after),
            None => after.to_vec(),
        }
    }

    /// As [`Type::graft`] for a message at hand.
    pub fn keep<M: Message + Default>(self, arrived: &[u8], after: &M) -> Vec<u8> {
        let after = after.encode_to_vec();
        // Bytes that can't be read were not decoded into `after` either.
        let Ok(before) = M::decode(arrived) else { return after };
        self.graft(arrived, &before.encode_to_vec(), &after)
    }

    /// The fields of a message that no descriptor knows, at every depth, sorted by their place.
    pub fn unknown(self, message: &[u8]) -> Vec<Unknown> {
        unknown::of(&SCHEMA, self.0, message)
    }
}

/// The body of a length-delimited field. A message that came in parts is put together; without the field it is
/// empty.
pub fn field(message: &[u8], number: u32) -> Cow<'_, [u8]> {
    let mut found = Cow::Borrowed(&[][..]);
    for part in fields(message, number) {
        match &mut found {
            Cow::Borrowed([]) => found = Cow::Borrowed(part),
            found => found.to_mut().extend_from_slice(part),
        }
    }
    found
}

/// The body of a field inside others; `way` are the field numbers from the outside.
pub fn field_at<'a>(message: &'a [u8], way: &[u32]) -> Cow<'a, [u8]> {
    way.iter().fold(Cow::Borrowed(message), |outer, number| match outer {
        Cow::Borrowed(outer) => field(outer, *number),
        Cow::Owned(outer) => Cow::Owned(field(&outer, *number).into_owned()),
    })
}

/// Every occurrence of a length-delimited field. Ends at broken bytes: the caller has decoded the message before.
pub fn fields(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    Fields(message).map_while(Result::ok).filter_map(move |(found, value)| match value {
        Value::Bytes(body) if found == number => Some(body),
        _ => None,
    })
}

/// The value of a key in a map of texts to messages; of several the last.
pub fn entry<'a>(message: &'a [u8], number: u32, key: &str) -> Option<Cow<'a, [u8]>> {
    let of_key = fields(message, number).filter(|entry| *field(entry, 1) == *key.as_bytes());
    of_key.last().map(|entry| field(entry, 2))
}
