//! Holds the two lists that are stored with an attempt and encloses what the wall gives singly.

use prost::Message;
use proto::pinion::plugin::v1::{Action, ObjectRef};

/// Work promised to be done outside; `TaskExecutionRow::intent`.
#[derive(Clone, PartialEq, Message)]
pub struct Actions {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub actions: Vec<Action>,
}

/// Objects made for an attempt; `TaskExecutionRow::objects`.
#[derive(Clone, PartialEq, Message)]
pub struct ObjectRefs {
    /// In order of first appearance, each with its cluster.
    #[prost(message, repeated, tag = "1")]
    pub objects: Vec<ObjectRef>,
}

/// Every occurrence of a length-delimited field of an encoded message, as the bytes that arrived.
///
/// Stops silently at malformed bytes: the caller has decoded the message before.
pub(crate) fn raw_fields(message: &[u8], field: u32) -> Vec<&[u8]> {
    use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

    let mut found = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let Ok((tag, wire_type)) = decode_key(&mut rest) else { break };
        if wire_type == WireType::LengthDelimited {
            let Ok(n_bytes) = decode_varint(&mut rest) else { break };
            let Some((body, tail)) = usize::try_from(n_bytes).ok().and_then(|n| rest.split_at_checked(n))
            else {
                break;
            };
            if tag == field {
                found.push(body);
            }
            rest = tail;
        } else if skip_field(wire_type, tag, &mut rest, DecodeContext::default()).is_err() {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_fields_are_the_bytes_that_arrived() {
        let object = |name: &str| ObjectRef { name: name.into(), ..ObjectRef::default() };
        let list = ObjectRefs { objects: vec![object("a"), object("b")] };
        let mut bytes = list.encode_to_vec();
        bytes.extend([0x78, 0x05]); // an unknown varint field
        let found = raw_fields(&bytes, 1);
        assert_eq!(found, [object("a").encode_to_vec(), object("b").encode_to_vec()]);
        assert!(raw_fields(&bytes, 2).is_empty());
    }

    #[test]
    fn malformed_bytes_end_the_search() {
        for bytes in [&[0x0a_u8][..], &[0x0a, 0x7f, 1], &[0xff; 12]] {
            assert!(raw_fields(bytes, 1).is_empty(), "{bytes:?}");
        }
    }
}
