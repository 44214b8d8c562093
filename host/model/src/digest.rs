//! Hashes registered entities so that a second registration can be told apart from a different one.

use prost::Message;
use sha2::{Digest, Sha256};

use crate::raw::Unknown;

/// SHA-256 of the canonical encoding: maps sorted by key, unset fields absent, so that neither map order nor
/// unset-against-default changes the digest.
pub fn of_message(message: &impl Message) -> [u8; 32] {
    of_bytes(&message.encode_to_vec())
}

/// SHA-256 of bytes.
pub fn of_bytes(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 of a canonical encoding and of the fields that it leaves out because nobody here knows them. Without any,
/// the same as [`of_bytes`].
pub fn with_unknown(canonical: &[u8], unknown: &[Unknown]) -> [u8; 32] {
    let mut digest = Sha256::new_with_prefix(canonical);
    if !unknown.is_empty() {
        digest.update(Unknown::fingerprint(unknown));
    }
    digest.finalize().into()
}
