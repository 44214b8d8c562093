//! Splits an encoded message into its fields, without copying.

use prost::encoding::{WireType, decode_key, decode_varint};

/// The value of a field as it stands on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Raw<'a> {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in the order they arrived. Ends with an error at the first broken byte.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

/// The bytes are no message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Malformed;

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Raw<'a>), Malformed>;

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
    fn field(&mut self) -> Result<(u32, Raw<'a>), Malformed> {
        let (number, wire_type) = decode_key(&mut self.0).map_err(|_| Malformed)?;
        let value = match wire_type {
            WireType::Varint => Raw::Varint(varint(&mut self.0)?),
            WireType::SixtyFourBit => Raw::Fixed64(u64::from_le_bytes(array(&mut self.0)?)),
            WireType::ThirtyTwoBit => Raw::Fixed32(u32::from_le_bytes(array(&mut self.0)?)),
            WireType::LengthDelimited => {
                let n_bytes = usize::try_from(varint(&mut self.0)?).map_err(|_| Malformed)?;
                let (body, rest) = self.0.split_at_checked(n_bytes).ok_or(Malformed)?;
                self.0 = rest;
                Raw::Bytes(body)
            }
            WireType::StartGroup | WireType::EndGroup => return Err(Malformed),
        };
        Ok((number, value))
    }
}

pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    decode_varint(bytes).map_err(|_| Malformed)
}

/// Takes as many bytes as the array has.
pub(super) fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or(Malformed)?;
    *bytes = rest;
    Ok(*head)
}
