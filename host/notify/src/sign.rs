//! Signs requests as Standard Webhooks describes, so that receivers can tell ours from others' and old from new.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use model::Timestamp;
use sha2::{Digest as _, Sha256};

/// Marks a key that is written in base64.
const PREFIX: &str = "whsec_";

/// A key for signatures. Never shown.
#[derive(Clone)]
pub(crate) struct Signer {
    key: Vec<u8>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Reads a secret; an empty one is no signer.
    ///
    /// # Errors
    /// A sentence when the part behind `whsec_` is no base64.
    pub(crate) fn read(secret: &config::Secret) -> Result<Option<Self>, String> {
        let text = secret.expose();
        if text.is_empty() {
            return Ok(None);
        }
        let key = match text.strip_prefix(PREFIX) {
            Some(coded) => {
                STANDARD.decode(coded).map_err(|_| format!("what stands behind `{PREFIX}` is not base64"))?
            }
            None => text.as_bytes().to_vec(),
        };
        Ok(Some(Self { key }))
    }

    /// The headers of a request: its id, the time in seconds, and the signature over both and the body.
    pub(crate) fn headers(&self, id: &str, at: Timestamp, body: &[u8]) -> [(&'static str, String); 3] {
        let seconds = at.0.div_euclid(1_000_000).to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key)
            .unwrap_or_else(|_| unreachable!("invariant: HMAC takes keys of any length"));
        for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
            mac.update(part);
        }
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        [("webhook-id", id.to_owned()), ("webhook-timestamp", seconds), ("webhook-signature", signature)]
    }
}

/// The id of a request that carries these things: the same for a repeat, and without a dot, which parts the signed
/// text.
pub(crate) fn message_id<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    format!("msg_{}", hex::encode(&hash.finalize()[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example_is_signed_alike() {
        // Published by Svix, where the scheme comes from.
        let secret = config::Secret::from("whsec_plJ3nmyCDGBKInavdOK15jsl");
        let signer = Signer::read(&secret).unwrap().unwrap();
        let body = br#"{"event_type":"ping","data":{"success":true}}"#;
        let headers = signer.headers("msg_loFOjxBNrRLzqYUf", Timestamp(1_731_705_121_999_999), body);
        let values = headers.each_ref().map(|(_, value)| value.as_str());
        let signature = "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=";
        assert_eq!(values, ["msg_loFOjxBNrRLzqYUf", "1731705121", signature]);
    }

    #[test]
    fn ids_repeat_for_the_same_parts_only() {
        assert_eq!(message_id(["a", "b"]), message_id(["a", "b"]));
        assert_ne!(message_id(["a", "b"]), message_id(["ab"]));
        assert!(!message_id(["x.y"]).contains('.'));
        assert!(Signer::read(&config::Secret::from("whsec_***")).is_err());
        assert!(Signer::read(&config::Secret::default()).unwrap().is_none());
    }
}
