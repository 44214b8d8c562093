//! Encodes the fields of a key as they are kept with an entry, to tell later what differs.

use prost::Message;

use crate::key::KeyFields;

#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(string, tag = "1")]
    cache_version: String,
    #[prost(string, tag = "2")]
    input_interface: String,
    #[prost(string, tag = "3")]
    output_interface: String,
    #[prost(message, repeated, tag = "4")]
    inputs: Vec<StoredInput>,
    #[prost(string, repeated, tag = "5")]
    ignored: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredInput {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    hash: String,
}

/// As bytes.
pub(crate) fn encode(fields: &KeyFields) -> Vec<u8> {
    let inputs =
        fields.inputs.iter().map(|(name, hash)| StoredInput { name: name.clone(), hash: hash.clone() });
    Stored {
        cache_version: fields.cache_version.clone(),
        input_interface: fields.input_interface.clone(),
        output_interface: fields.output_interface.clone(),
        inputs: inputs.collect(),
        ignored: fields.ignored.clone(),
    }
    .encode_to_vec()
}

/// Back from bytes; `None` where an engine outside kept none.
pub(crate) fn decode(bytes: &[u8]) -> Option<KeyFields> {
    if bytes.is_empty() {
        return None;
    }
    let stored = Stored::decode(bytes).ok()?;
    Some(KeyFields {
        cache_version: stored.cache_version,
        input_interface: stored.input_interface,
        output_interface: stored.output_interface,
        inputs: stored.inputs.into_iter().map(|input| (input.name, input.hash)).collect(),
        ignored: stored.ignored,
    })
}
