//! Authenticates requests by AWS signature version 4, in the `Authorization` header or in the query.
//!
//! Of the old version 2, only presigned URLs are taken (`auth_v2`), because botocore still makes them.

use std::fmt::Write as _;

use config::Secret;
use hmac::Mac as _;
use http::{HeaderMap, StatusCode, request::Parts};
use sha2::{Digest as _, Sha256};

use super::{auth_v2, error::S3Error};
use crate::{encode, sign::mac};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far the clock of a client may be off.
const MAX_SKEW_SECS: i64 = 15 * 60;
/// Longest life of a presigned URL.
const MAX_EXPIRES_SECS: i64 = 7 * 24 * 3600;

/// Who may call.
pub(super) struct Keys {
    pub(super) access_key: String,
    pub(super) secret_key: Secret,
    pub(super) allow_anonymous: bool,
}

/// What the sender says of the body.
#[derive(Debug)]
pub(super) enum Payload {
    /// Nothing.
    Unsigned,
    /// Its digest.
    Sha256(Vec<u8>),
    /// It comes in chunks, signed one by one if there is a chain.
    Chunked(Option<ChunkChain>),
}

/// Carries the signature from chunk to chunk.
#[derive(Debug)]
pub(super) struct ChunkChain {
    key: Vec<u8>,
    date: String,
    scope: String,
    previous: String,
}

/// The parts of a signature, wherever they stood.
struct Claim {
    access_key: String,
    /// `20260101/us-east-1/s3/aws4_request`.
    scope: String,
    date: String,
    signed_headers: String,
    signature: String,
    /// In seconds, for a presigned URL.
    expires: Option<i64>,
}

/// Finds out whether the sender may call, and what it says of the body.
pub(super) fn authenticate(keys: &Keys, parts: &Parts, now: i64) -> Result<Payload, S3Error> {
    if let Some(checked) = auth_v2::authenticate(keys, parts, now) {
        return checked.map(|()| Payload::Unsigned);
    }
    let claim = match (claim_of_header(&parts.headers)?, claim_of_query(parts)?) {
        (Some(_), Some(_)) => {
            return Err(S3Error::invalid_argument("only one way of signing may be used at a time"));
        }
        (Some(claim), None) | (None, Some(claim)) => claim,
        (None, None) if keys.allow_anonymous => return payload(&parts.headers, None, true),
        (None, None) => return Err(S3Error::denied("AccessDenied", "the request is not signed")),
    };
    keys.check_access_key(&claim.access_key)?;
    check_time(&claim, now)?;
    check_signed_headers(&claim, &parts.headers)?;
    let presigned = claim.expires.is_some();
    let payload_hash = match header(&parts.headers, "x-amz-content-sha256") {
        Some(hash) => hash,
        None if presigned => "UNSIGNED-PAYLOAD",
        None => return Err(S3Error::invalid_argument("x-amz-content-sha256 is missing")),
    };
    let canonical = canonical_request(parts, &claim, presigned, payload_hash);
    let key = signing_key(&keys.secret_key, &claim.scope);
    let to_sign =
        format!("{ALGORITHM}\n{}\n{}\n{}", claim.date, claim.scope, sha256_hex(canonical.as_bytes()));
    verify(&key, &to_sign, &claim.signature).map_err(|()| wrong_signature())?;
    let chain = ChunkChain { key, date: claim.date, scope: claim.scope, previous: claim.signature };
    payload(&parts.headers, Some(chain), presigned)
}

impl Keys {
    pub(super) fn check_access_key(&self, access_key: &str) -> Result<(), S3Error> {
        if access_key == self.access_key {
            return Ok(());
        }
        Err(S3Error::denied("InvalidAccessKeyId", "the access key is not the one of this endpoint"))
    }
}

pub(super) fn wrong_signature() -> S3Error {
    let message =
        "the signature is not the one that this endpoint computes: check secret key, path and headers";
    S3Error::denied("SignatureDoesNotMatch", message)
}

fn payload(headers: &HeaderMap, chain: Option<ChunkChain>, lenient: bool) -> Result<Payload, S3Error> {
    match header(headers, "x-amz-content-sha256") {
        None | Some("UNSIGNED-PAYLOAD") => Ok(Payload::Unsigned),
        Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER") => Ok(Payload::Chunked(None)),
        Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD" | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER") => {
            Ok(Payload::Chunked(chain))
        }
        Some(text) => match hex::decode(text) {
            Ok(digest) if digest.len() == 32 => Ok(Payload::Sha256(digest)),
            _ if lenient && !text.starts_with("STREAMING-") => Ok(Payload::Unsigned),
            _ => Err(S3Error::not_implemented(text)),
        },
    }
}

fn claim_of_header(headers: &HeaderMap) -> Result<Option<Claim>, S3Error> {
    let Some(text) = header(headers, "authorization") else { return Ok(None) };
    let malformed = || {
        let message = "the Authorization header is malformed; this endpoint takes AWS4-HMAC-SHA256";
        S3Error::new(StatusCode::BAD_REQUEST, "AuthorizationHeaderMalformed", message)
    };
    let fields = text.strip_prefix(ALGORITHM).ok_or_else(malformed)?;
    let field = |name: &str| {
        let mut fields = fields.split(',').filter_map(|field| field.trim().split_once('='));
        fields.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned()).ok_or_else(malformed)
    };
    let credential = field("Credential")?;
    let (access_key, scope) = credential.split_once('/').ok_or_else(malformed)?;
    let date = match header(headers, "x-amz-date") {
        Some(date) => date.to_owned(),
        None => return Err(S3Error::denied("AccessDenied", "x-amz-date is missing")),
    };
    Ok(Some(Claim {
        access_key: access_key.to_owned(),
        scope: scope.to_owned(),
        date,
        signed_headers: field("SignedHeaders")?,
        signature: field("Signature")?,
        expires: None,
    }))
}

fn claim_of_query(parts: &Parts) -> Result<Option<Claim>, S3Error> {
    let pairs: Vec<_> = encode::query(parts.uri.query().unwrap_or("")).collect();
    let find = |name: &str| pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
    let malformed = |name: &str| {
        let message = format!("{name} is missing or malformed");
        S3Error::new(StatusCode::BAD_REQUEST, "AuthorizationQueryParametersError", message)
    };
    match find("X-Amz-Algorithm") {
        None => Ok(None),
        Some(algorithm) if algorithm != ALGORITHM => Err(malformed("X-Amz-Algorithm")),
        Some(_) => {
            let required = |name: &str| find(name).ok_or_else(|| malformed(name));
            let credential = required("X-Amz-Credential")?;
            let (access_key, scope) =
                credential.split_once('/').ok_or_else(|| malformed("X-Amz-Credential"))?;
            let expires = required("X-Amz-Expires")?.parse().ok();
            let expires = expires.filter(|secs| (1..=MAX_EXPIRES_SECS).contains(secs));
            Ok(Some(Claim {
                access_key: access_key.to_owned(),
                scope: scope.to_owned(),
                date: required("X-Amz-Date")?,
                signed_headers: required("X-Amz-SignedHeaders")?,
                signature: required("X-Amz-Signature")?,
                expires: Some(expires.ok_or_else(|| malformed("X-Amz-Expires"))?),
            }))
        }
    }
}

fn check_time(claim: &Claim, now: i64) -> Result<(), S3Error> {
    let malformed = || S3Error::denied("AccessDenied", "the date of the signature is malformed");
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", &claim.date).map_err(|_| malformed())?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| malformed())?.timestamp().as_second();
    let mut scope = claim.scope.split('/');
    let day_matches = scope.next().is_some_and(|day| claim.date.starts_with(day) && day.len() == 8);
    if !day_matches || scope.nth(1) != Some("s3") || scope.next() != Some("aws4_request") {
        return Err(malformed());
    }
    let skewed = match claim.expires {
        Some(expires) if now > time.saturating_add(expires) => {
            return Err(S3Error::denied("AccessDenied", "Request has expired"));
        }
        Some(_) => time > now + MAX_SKEW_SECS,
        None => (time - now).abs() > MAX_SKEW_SECS,
    };
    if skewed {
        let message = "the clocks of the client and of this endpoint differ by more than 15 minutes";
        return Err(S3Error::denied("RequestTimeTooSkewed", message));
    }
    Ok(())
}

/// A header with a meaning for S3 that is not signed may have been added on the way.
fn check_signed_headers(claim: &Claim, headers: &HeaderMap) -> Result<(), S3Error> {
    let signed = |name: &str| claim.signed_headers.split(';').any(|it| it == name);
    let presigned = claim.expires.is_some();
    // Of a presigned URL, the digest takes part in the signature in any case.
    let exempt = |name: &str| name == "x-amz-content-sha256" || (presigned && name == "x-amz-date");
    let unsigned = headers
        .keys()
        .map(http::HeaderName::as_str)
        .find(|name| name.starts_with("x-amz-") && !signed(name) && !exempt(name));
    match unsigned {
        Some(name) => Err(S3Error::denied("AccessDenied", format!("header `{name}` is not signed"))),
        None if !signed("host") => Err(S3Error::denied("AccessDenied", "header `host` is not signed")),
        None => Ok(()),
    }
}

fn canonical_request(parts: &Parts, claim: &Claim, presigned: bool, payload_hash: &str) -> String {
    let mut text = String::with_capacity(512);
    let path = encode::decode(parts.uri.path()).map(|path| encode::path(&path));
    let mut query: Vec<(String, String)> = encode::query(parts.uri.query().unwrap_or(""))
        .filter(|(name, _)| !(presigned && name == "X-Amz-Signature"))
        .map(|(name, value)| (encode::component(&name), encode::component(&value)))
        .collect();
    query.sort_unstable();
    let query: Vec<_> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    push(&mut text, parts.method.as_str());
    push(&mut text, path.as_deref().unwrap_or(parts.uri.path()));
    push(&mut text, &query.join("&"));
    for name in claim.signed_headers.split(';') {
        let values: Vec<_> = parts
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        // HTTP/2 has no host header.
        let host = || parts.uri.authority().map(ToString::to_string).unwrap_or_default();
        let value = if values.is_empty() && name == "host" { host() } else { values.join(",") };
        let _ = writeln!(text, "{name}:{value}");
    }
    text.push('\n');
    push(&mut text, &claim.signed_headers);
    text.push_str(payload_hash);
    text
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn signing_key(secret: &Secret, scope: &str) -> Vec<u8> {
    let mut key = format!("AWS4{}", secret.expose()).into_bytes();
    for part in scope.split('/') {
        key = hmac_sha256(&key, part);
    }
    key
}

fn hmac_sha256(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = mac(key);
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Compares in constant time.
fn verify(key: &[u8], text: &str, signature: &str) -> Result<(), ()> {
    let signature = hex::decode(signature).map_err(|_| ())?;
    let mut mac = mac(key);
    mac.update(text.as_bytes());
    mac.verify_slice(&signature).map_err(|_| ())
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

impl ChunkChain {
    /// Checks the next chunk, whose content has this digest.
    pub(super) fn check_chunk(&mut self, content: Sha256, signature: &str) -> Result<(), ()> {
        let (empty, content) = (sha256_hex(b""), hex::encode(content.finalize()));
        let Self { date, scope, previous, .. } = self;
        let text = format!("{ALGORITHM}-PAYLOAD\n{date}\n{scope}\n{previous}\n{empty}\n{content}");
        self.advance(&text, signature)
    }

    /// Checks the trailers, given as `name:value` lines.
    pub(super) fn check_trailers(&mut self, lines: &str, signature: &str) -> Result<(), ()> {
        let trailers = sha256_hex(lines.as_bytes());
        let Self { date, scope, previous, .. } = self;
        let text = format!("AWS4-HMAC-SHA256-TRAILER\n{date}\n{scope}\n{previous}\n{trailers}");
        self.advance(&text, signature)
    }

    fn advance(&mut self, text: &str, signature: &str) -> Result<(), ()> {
        verify(&self.key, text, signature)?;
        signature.clone_into(&mut self.previous);
        Ok(())
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
