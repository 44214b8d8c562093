//! Reads JSON into a message and says at which field it can not.

use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer};

struct Seed<'a>(&'a MessageDescriptor);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = DynamicMessage;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<DynamicMessage, D::Error> {
        DynamicMessage::deserialize_with_options(self.0.clone(), deserializer, &DeserializeOptions::new())
    }
}

/// Reads a message; an empty text is an empty message.
///
/// # Errors
/// A sentence that names the field.
pub(crate) fn read(descriptor: &MessageDescriptor, json: &[u8]) -> Result<DynamicMessage, String> {
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(DynamicMessage::new(descriptor.clone()));
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let found = Seed(descriptor).deserialize(&mut reader).and_then(|found| {
        reader.end()?;
        Ok(found)
    });
    // Keeping track of the path costs time, so that it is only done once something is wrong.
    found.map_err(|error| explain(descriptor, json).unwrap_or_else(|| error.to_string()))
}

fn explain(descriptor: &MessageDescriptor, json: &[u8]) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
    let error = Seed(descriptor).deserialize(tracked).err()?;
    let path = track.path().to_string();
    Some(if path == "." { error.to_string() } else { format!("{path}: {error}") })
}
