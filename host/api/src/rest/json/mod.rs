//! Speaks JSON as grpc-gateway does: proto names, unpopulated fields present, 64-bit integers as texts.
//!
//! Replies go from wire bytes to JSON in one pass, without a message in between: `schema` is a table made once of
//! the descriptors, and `write` walks it together with the bytes. Requests are few and small; they are read into a
//! dynamic message (`read`).

mod known;
mod read;
mod schema;
mod write;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use prost_reflect::MessageDescriptor;

use schema::Schema;

pub(crate) use read::read;
pub(crate) use write::Broken;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::new(crate::descriptors::pool()));

/// A message type, ready to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Type(usize);

/// Looks a message type up; `None` if the descriptors do not have it.
pub(crate) fn type_of(descriptor: &MessageDescriptor) -> Option<Type> {
    SCHEMA.find(descriptor.full_name()).map(Type)
}

/// Writes an encoded message as JSON.
///
/// # Errors
/// Bytes that are no message of that type.
pub(crate) fn write(ty: Type, message: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    write::message(&SCHEMA, ty.0, message, out)
}

/// Writes a text with its quotes.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    write::text(text, out);
}

/// Writes an encoded `google.protobuf.Any` as JSON.
///
/// # Errors
/// Bytes that are no such message.
pub(crate) fn write_any(any: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    known::any(&SCHEMA, any, out, 0)
}
