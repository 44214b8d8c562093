//! Splits an encoded message into its fields, without copying.

use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};

/// The value of a field as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A variable-length integer.
    Varint(u64),
    /// Four bytes.
    Fixed32(u32),
    /// Eight bytes.
    Fixed64(u64),
    /// A text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// A group, with its end. No message of ours has any, but unknown fields may be groups.
    Group(&'a [u8]),
}

/// The numbers and values of a message's fields, in the order they arrived. Ends with an error at the first broken
/// byte.
#[derive(Clone, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

/// The bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no message")]
pub struct Malformed;

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let found = self.field();
        if found.is_err() {
            self.0 = &[];
        }
        Some(found)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let (number, wire_type) = decode_key(&mut self.0).map_err(|_| Malformed)?;
        let value = match wire_type {
            WireType::Varint => Value::Varint(self.varint()?),
            WireType::SixtyFourBit => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            WireType::ThirtyTwoBit => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            WireType::LengthDelimited => {
                let n_bytes = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                let (body, rest) = self.0.split_at_checked(n_bytes).ok_or(Malformed)?;
                self.0 = rest;
                Value::Bytes(body)
            }
            WireType::StartGroup => {
                let start = self.0;
                skip_field(wire_type, number, &mut self.0, DecodeContext::default())
                    .map_err(|_| Malformed)?;
                Value::Group(start.get(..start.len() - self.0.len()).ok_or(Malformed)?)
            }
            WireType::EndGroup => return Err(Malformed),
        };
        Ok((number, value))
    }

    /// Takes one integer off packed ones.
    ///
    /// # Errors
    /// Bytes that are none.
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        decode_varint(&mut self.0).map_err(|_| Malformed)
    }

    /// Takes as many bytes as the array has.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }
}

/// Appends a length-delimited field.
pub fn put(number: u32, body: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(body.len() as u64, out);
    out.extend_from_slice(body);
}
