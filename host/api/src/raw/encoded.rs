//! Builds an encoded message of parts that are encoded already.

use std::marker::PhantomData;

use bytes::Bytes;
use prost::{
    Message,
    encoding::{self, WireType},
};

/// Flag and length before a message on the wire of gRPC.
pub(super) const PREFIX: usize = 5;

/// An encoded message of a type. Of a field written twice the last value stays, and messages are merged.
pub(crate) struct Encoded<M> {
    /// Begins with room for the prefix.
    bytes: Vec<u8>,
    of: PhantomData<fn() -> M>,
}

impl<M: Message> Encoded<M> {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; PREFIX], of: PhantomData }
    }

    /// The fields of a message at hand; to be completed.
    pub(crate) fn of(message: &M) -> Self {
        let mut encoded = Self::new();
        encoded.bytes.reserve(message.encoded_len());
        // Memory takes it all.
        let _ = message.encode(&mut encoded.bytes);
        encoded
    }

    /// Adds a field that is a message.
    pub(crate) fn message(mut self, number: u32, message: &impl Message) -> Self {
        encoding::encode_key(number, WireType::LengthDelimited, &mut self.bytes);
        encoding::encode_varint(message.encoded_len() as u64, &mut self.bytes);
        let _ = message.encode(&mut self.bytes);
        self
    }

    /// Adds a field that is encoded, in parts.
    pub(crate) fn parts(mut self, number: u32, parts: &[&[u8]]) -> Self {
        let n_bytes: usize = parts.iter().map(|part| part.len()).sum();
        encoding::encode_key(number, WireType::LengthDelimited, &mut self.bytes);
        encoding::encode_varint(n_bytes as u64, &mut self.bytes);
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self
    }

    /// Adds a text, unless it is empty.
    pub(crate) fn text(self, number: u32, text: &str) -> Self {
        if text.is_empty() { self } else { self.parts(number, &[text.as_bytes()]) }
    }

    /// Adds a field that is encoded, if there is one.
    pub(crate) fn maybe(self, number: u32, body: Option<impl AsRef<[u8]>>) -> Self {
        match body {
            Some(body) => self.parts(number, &[body.as_ref()]),
            None => self,
        }
    }

    /// Adds elements of a repeated field.
    pub(crate) fn elements<E: Message>(
        self,
        number: u32,
        elements: impl IntoIterator<Item = Encoded<E>>,
    ) -> Self {
        elements.into_iter().fold(self, |all, element| all.parts(number, &[element.as_bytes()]))
    }

    /// The message.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(PREFIX..).unwrap_or_default()
    }

    /// The message with its prefix.
    pub(super) fn into_framed(mut self) -> Bytes {
        let n_bytes = u32::try_from(self.bytes.len() - PREFIX).unwrap_or(u32::MAX);
        if let Some((_, length)) = self.bytes.first_chunk_mut::<PREFIX>().map(|prefix| prefix.split_at_mut(1))
        {
            length.copy_from_slice(&n_bytes.to_be_bytes());
        }
        self.bytes.into()
    }
}
