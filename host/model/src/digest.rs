//! Hashes registered entities so that a second registration can be told apart from a different one.

use prost::Message;
use sha2::{Digest, Sha256};

/// SHA-256 of the canonical encoding: maps sorted by key, unset fields absent, so that neither map order nor
/// unset-against-default changes the digest.
pub fn of_message(message: &impl Message) -> [u8; 32] {
    of_bytes(&message.encode_to_vec())
}

/// SHA-256 of bytes.
pub fn of_bytes(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
