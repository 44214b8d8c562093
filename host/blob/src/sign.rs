//! Signs and checks the URLs under which the host itself serves local objects.
//!
//! A URL carries method, expiry and, for uploads, the digest of the body; all of them and the key are covered by an
//! HMAC. Nothing is stored: any replica with the same secret checks what another one signed.
//!
//! What is signed stands in the query of an upload and in the path of a download: clients that fetch through `fsspec`
//! take a question mark for a pattern.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, Mac as _};
use http::Method;
use sha2::Sha256;

use crate::{DataReference, SCHEME, encode};

/// Where the signed routes are mounted.
pub(crate) const PATH: &str = "/data/";

/// Goes before each part of what is signed, where that stands in the path. No bucket has it in its name.
const IN_PATH: char = '~';

/// A URL that needs no further credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedUrl {
    /// An absolute http(s) URL.
    pub url: String,
    /// Headers that the client must send along.
    pub headers: BTreeMap<String, String>,
    /// When the URL stops working, in seconds since 1970.
    pub expires_at_unix: i64,
}

/// Why a URL is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the URL is not signed by this host: ask for a new one")]
    BadSignature,
    #[error("the URL has expired: ask for a new one")]
    Expired,
    #[error("the URL does not name an object")]
    BadPath,
}

/// What a checked URL permits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Permit {
    pub(crate) reference: DataReference,
    /// The digest that the body must have.
    pub(crate) content_md5: Option<Vec<u8>>,
}

/// Holds the key of this host.
#[derive(Clone)]
pub(crate) struct UrlSigner {
    key: Vec<u8>,
}

impl UrlSigner {
    /// Takes the configured secret; without one, makes a key that lives as long as the process.
    pub(crate) fn new(secret: &str) -> Self {
        let key = if secret.is_empty() { rand::random::<[u8; 32]>().to_vec() } else { secret.into() };
        Self { key }
    }

    /// The path, and for uploads the query, of a signed URL.
    pub(crate) fn sign(
        &self,
        method: &Method,
        r: &DataReference,
        expires_at: i64,
        content_md5: Option<&[u8]>,
    ) -> String {
        let md5 = content_md5.map(|md5| BASE64.encode(md5)).unwrap_or_default();
        let object = format!("{}/{}", r.bucket(), r.key());
        let signature = self.mac(method, &object, expires_at, &md5);
        let signature = hex::encode(signature.finalize().into_bytes());
        let object = encode::path(&object);
        if *method == Method::GET {
            return format!("{PATH}{IN_PATH}{expires_at}{IN_PATH}{signature}/{object}");
        }
        let mut url = format!("{PATH}{object}?expires={expires_at}");
        if !md5.is_empty() {
            url.push_str("&md5=");
            url.push_str(&encode::component(&md5));
        }
        url.push_str("&signature=");
        url.push_str(&signature);
        url
    }

    /// Checks a request for the path and query of a signed URL. A URL for reading serves HEAD too.
    pub(crate) fn check(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        now: i64,
    ) -> Result<Permit, Refusal> {
        let mut object = path.strip_prefix(PATH).and_then(encode::decode).ok_or(Refusal::BadPath)?;
        let mut expires = None;
        let mut md5 = String::new();
        let mut signature = None;
        if let Some(signed) = object.strip_prefix(IN_PATH) {
            let (claim, rest) = signed.split_once('/').ok_or(Refusal::BadPath)?;
            let (until, mac) = claim.split_once(IN_PATH).ok_or(Refusal::BadSignature)?;
            (expires, signature) = (until.parse().ok(), hex::decode(mac).ok());
            object = rest.to_owned();
        }
        for (name, value) in encode::query(query) {
            match name.as_str() {
                "expires" => expires = value.parse::<i64>().ok(),
                "md5" => md5 = value,
                "signature" => signature = hex::decode(&value).ok(),
                _ => {}
            }
        }
        let (Some(expires), Some(signature)) = (expires, signature) else {
            return Err(Refusal::BadSignature);
        };
        let method = if method == Method::HEAD { &Method::GET } else { method };
        // `verify_slice` compares in constant time.
        self.mac(method, &object, expires, &md5)
            .verify_slice(&signature)
            .map_err(|_| Refusal::BadSignature)?;
        if expires < now {
            return Err(Refusal::Expired);
        }
        let (bucket, key) = object.split_once('/').ok_or(Refusal::BadPath)?;
        let reference = DataReference::new(SCHEME, bucket, key).map_err(|_| Refusal::BadPath)?;
        let content_md5 = match md5.as_str() {
            "" => None,
            text => Some(BASE64.decode(text).map_err(|_| Refusal::BadSignature)?),
        };
        Ok(Permit { reference, content_md5 })
    }

    fn mac(&self, method: &Method, object: &str, expires_at: i64, md5: &str) -> Hmac<Sha256> {
        let mut mac = mac(&self.key);
        // No field but the last can hold a newline, so that no two requests share a text.
        mac.update(format!("pinion-url-1\n{method}\n{expires_at}\n{md5}\n{object}").as_bytes());
        mac
    }
}

/// Starts an HMAC-SHA256.
pub(crate) fn mac(key: &[u8]) -> Hmac<Sha256> {
    <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).expect("invariant: HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(url: &str) -> (String, String) {
        let (path, query) = url.split_once('?').unwrap();
        (path.to_owned(), query.to_owned())
    }

    #[test]
    fn own_url_is_accepted() {
        let signer = UrlSigner::new("k");
        let r = DataReference::parse("s3://b/JR====/ü x.txt").unwrap();
        let (path, query) = split(&signer.sign(&Method::PUT, &r, 100, Some(&[7; 16])));
        assert!(path.contains("JR%3D%3D%3D%3D/"), "{path}");
        let permit = signer.check(&Method::PUT, &path, &query, 100).unwrap();
        assert_eq!(permit, Permit { reference: r, content_md5: Some(vec![7; 16]) });
    }

    #[test]
    fn any_change_is_refused() {
        let signer = UrlSigner::new("k");
        let r = DataReference::parse("s3://b/a").unwrap();
        let (path, query) = split(&signer.sign(&Method::PUT, &r, 100, None));
        assert!(signer.check(&Method::PUT, &path, &query, 100).is_ok());
        for (method, path, query, now, refusal) in [
            (Method::GET, path.clone(), query.clone(), 100, Refusal::BadSignature),
            (Method::PUT, "/data/b/c".to_owned(), query.clone(), 100, Refusal::BadSignature),
            (Method::PUT, path.clone(), query.replace("100", "200"), 100, Refusal::BadSignature),
            (Method::PUT, path.clone(), format!("{query}&md5=AA%3D%3D"), 100, Refusal::BadSignature),
            (Method::PUT, path.clone(), String::new(), 100, Refusal::BadSignature),
            (Method::PUT, path.clone(), query.clone(), 101, Refusal::Expired),
            (Method::PUT, "/other/b/a".to_owned(), query.clone(), 100, Refusal::BadPath),
        ] {
            assert_eq!(signer.check(&method, &path, &query, now), Err(refusal), "{method} {path}?{query}");
        }
        let other = UrlSigner::new("");
        assert_eq!(other.check(&Method::PUT, &path, &query, 100), Err(Refusal::BadSignature));
    }

    #[test]
    fn downloads_are_signed_in_the_path() {
        let signer = UrlSigner::new("k");
        let r = DataReference::parse("s3://b/d/ü [1]*.pb").unwrap();
        let path = signer.sign(&Method::GET, &r, 100, None);
        assert!(!path.contains(['?', '*', '[']) && path.ends_with(".pb"), "{path}");
        let permit = signer.check(&Method::HEAD, &path, "", 100).unwrap();
        assert_eq!(permit, Permit { reference: r, content_md5: None });
        for (method, path, now, refusal) in [
            (Method::PUT, path.clone(), 100, Refusal::BadSignature),
            (Method::GET, path.replace("~100~", "~200~"), 100, Refusal::BadSignature),
            (Method::GET, path.replace(".pb", ".p"), 100, Refusal::BadSignature),
            (Method::GET, "/data/~100~zz/b/a".to_owned(), 100, Refusal::BadSignature),
            (Method::GET, "/data/~100/b/a".to_owned(), 100, Refusal::BadSignature),
            (Method::GET, "/data/~100~00".to_owned(), 100, Refusal::BadPath),
            (Method::GET, path.clone(), 101, Refusal::Expired),
        ] {
            assert_eq!(signer.check(&method, &path, "", now), Err(refusal), "{method} {path}");
        }
    }
}
