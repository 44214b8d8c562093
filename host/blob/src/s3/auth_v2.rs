//! Checks presigned URLs of signature version 2, which botocore makes unless told otherwise.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::request::Parts;
use sha1::Sha1;

use super::{
    auth::{Keys, wrong_signature},
    error::S3Error,
};
use crate::encode;

/// The parameters that take part in the signature.
const SIGNED: [&str; 29] = [
    "acl",
    "cors",
    "delete",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// Checks the URL if it is signed in this way.
pub(super) fn authenticate(keys: &Keys, parts: &Parts, now: i64) -> Option<Result<(), S3Error>> {
    let query: Vec<_> = encode::query(parts.uri.query().unwrap_or("")).collect();
    let find = |name: &str| query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    let (access_key, signature, expires) = (find("AWSAccessKeyId")?, find("Signature")?, find("Expires")?);
    Some(check(keys, parts, &query, (access_key, signature, expires), now))
}

fn check(
    keys: &Keys,
    parts: &Parts,
    query: &[(String, String)],
    (access_key, signature, expires): (&str, &str, &str),
    now: i64,
) -> Result<(), S3Error> {
    keys.check_access_key(access_key)?;
    let text = text_to_sign(parts, query, expires);
    let signature = BASE64.decode(signature).map_err(|_| wrong_signature())?;
    let mut mac = Hmac::<Sha1>::new_from_slice(keys.secret_key.expose().as_bytes())
        .expect("invariant: HMAC takes a key of any length");
    mac.update(text.as_bytes());
    mac.verify_slice(&signature).map_err(|_| wrong_signature())?;
    if expires.parse::<i64>().is_ok_and(|expires| expires >= now) {
        return Ok(());
    }
    Err(S3Error::denied("AccessDenied", "Request has expired"))
}

fn text_to_sign(parts: &Parts, query: &[(String, String)], expires: &str) -> String {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut amz: Vec<_> = parts
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-"))
        .collect();
    amz.sort_unstable();
    let amz: String = amz.into_iter().map(|name| format!("{name}:{}\n", header(name))).collect();
    let mut signed: Vec<String> = query
        .iter()
        .filter(|(name, _)| SIGNED.contains(&name.as_str()))
        .map(|(name, value)| if value.is_empty() { name.clone() } else { format!("{name}={value}") })
        .collect();
    signed.sort_unstable();
    let separator = if signed.is_empty() { "" } else { "?" };
    let (method, path) = (&parts.method, parts.uri.path());
    let (md5, content_type) = (header("content-md5"), header("content-type"));
    format!("{method}\n{md5}\n{content_type}\n{expires}\n{amz}{path}{separator}{}", signed.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn botocore_url_is_accepted_until_it_expires() {
        let keys =
            Keys { access_key: "minio".into(), secret_key: "miniostorage".into(), allow_anonymous: false };
        let uri = "/b/a%20b.txt?response-content-type=text%2Fplain&AWSAccessKeyId=minio&Signature=SIGNATURE&Expires=2000";
        let signature = {
            let mut mac = Hmac::<Sha1>::new_from_slice(b"miniostorage").unwrap();
            mac.update(b"GET\n\n\n2000\n/b/a%20b.txt?response-content-type=text/plain");
            BASE64.encode(mac.finalize().into_bytes())
        };
        let uri = uri.replace("SIGNATURE", &encode::component(&signature));
        let outcome = |method: &str, uri: &str, now| {
            let parts = http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts().0;
            authenticate(&keys, &parts, now).map(|result| result.map_or_else(|error| error.code, |()| "ok"))
        };
        assert_eq!(outcome("GET", &uri, 2000), Some("ok"));
        assert_eq!(outcome("GET", &uri, 2001), Some("AccessDenied"));
        assert_eq!(outcome("PUT", &uri, 2000), Some("SignatureDoesNotMatch"));
        assert_eq!(outcome("GET", &uri.replace("=2000", "=3000"), 2000), Some("SignatureDoesNotMatch"));
        assert_eq!(outcome("GET", &uri.replace("minio&", "other&"), 2000), Some("InvalidAccessKeyId"));
        assert_eq!(outcome("GET", "/b/a", 2000), None);
    }
}
