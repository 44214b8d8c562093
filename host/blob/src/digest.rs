//! Checks a body against the digests that its sender announced.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use crc_fast::CrcAlgorithm;
use http::HeaderMap;
use md5::{Digest as _, Md5};
use sha2::Sha256;

/// What the body must hash to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Raw MD5 digests; more than one when a signed URL and a header both name one.
    pub(crate) md5: Vec<Vec<u8>>,
    /// The digest that is part of the signature.
    pub(crate) sha256: Option<Vec<u8>>,
    /// An `x-amz-checksum-*`; its value may come after the body, as a trailer.
    pub(crate) checksum: Option<Checksum>,
}

/// One checksum of the S3 kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checksum {
    kind: Kind,
    /// Base64 as it came, once known.
    pub(crate) value: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha256,
}

const PREFIX: &str = "x-amz-checksum-";

impl Kind {
    fn from_header(name: &str) -> Option<Self> {
        match name.strip_prefix(PREFIX)? {
            "crc32" => Some(Self::Crc32),
            "crc32c" => Some(Self::Crc32c),
            "crc64nvme" => Some(Self::Crc64Nvme),
            "sha256" => Some(Self::Sha256),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }
}

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Mismatch {
    #[error("the body does not have the digest that Content-MD5 names")]
    Md5,
    #[error("the body does not have the digest that x-amz-content-sha256 names")]
    Sha256,
    #[error("the body does not have the checksum that {0} names")]
    Checksum(&'static str),
}

impl Checksum {
    /// The first checksum that the headers carry, or announce as a trailer. Kinds that are not known are ignored.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        for name in headers.keys() {
            if let Some(kind) = Kind::from_header(name.as_str()) {
                return Some(Self { kind, value: value(name.as_str()).map(str::to_owned) });
            }
        }
        let trailers = value("x-amz-trailer")?;
        let kind =
            trailers.split(',').find_map(|name| Kind::from_header(&name.trim().to_ascii_lowercase()))?;
        Some(Self { kind, value: None })
    }

    /// The header that names it.
    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }
}

impl Expected {
    /// Reads `Content-MD5`; `Err` when it is not a base64 digest.
    pub(crate) fn add_content_md5(&mut self, headers: &HeaderMap) -> Result<(), Mismatch> {
        let Some(value) = headers.get("content-md5") else { return Ok(()) };
        let digest = BASE64.decode(value.as_bytes()).ok().filter(|digest| digest.len() == 16);
        self.md5.push(digest.ok_or(Mismatch::Md5)?);
        Ok(())
    }
}

/// Hashes a body as it passes.
pub(crate) struct Digests {
    expected: Expected,
    md5: Option<Md5>,
    sha256: Option<Sha256>,
    crc: Option<crc_fast::Digest>,
}

impl Digests {
    /// Prepares exactly the hashes that will be compared.
    pub(crate) fn new(expected: Expected) -> Self {
        let kind = expected.checksum.as_ref().map(|checksum| checksum.kind);
        let algorithm = match kind {
            Some(Kind::Crc32) => Some(CrcAlgorithm::Crc32IsoHdlc),
            Some(Kind::Crc32c) => Some(CrcAlgorithm::Crc32Iscsi),
            Some(Kind::Crc64Nvme) => Some(CrcAlgorithm::Crc64Nvme),
            Some(Kind::Sha256) | None => None,
        };
        let sha256 = expected.sha256.is_some() || kind == Some(Kind::Sha256);
        Self {
            md5: (!expected.md5.is_empty()).then(Md5::new),
            sha256: sha256.then(Sha256::new),
            crc: algorithm.map(crc_fast::Digest::new),
            expected,
        }
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(crc) = &mut self.crc {
            crc.update(bytes);
        }
    }

    /// Takes the value of a trailer.
    pub(crate) fn trailer(&mut self, name: &str, value: &str) {
        if let Some(checksum) = &mut self.expected.checksum
            && checksum.name() == name
        {
            checksum.value = Some(value.to_owned());
        }
    }

    /// Compares.
    pub(crate) fn verify(self) -> Result<(), Mismatch> {
        if let Some(md5) = self.md5 {
            let actual = md5.finalize();
            if self.expected.md5.iter().any(|expected| expected.as_slice() != actual.as_slice()) {
                return Err(Mismatch::Md5);
            }
        }
        let sha256 = self.sha256.map(|sha256| sha256.finalize().to_vec());
        if self.expected.sha256.is_some() && self.expected.sha256 != sha256 {
            return Err(Mismatch::Sha256);
        }
        let Some(Checksum { kind, value: Some(value) }) = self.expected.checksum else { return Ok(()) };
        let crc = self.crc.map(|crc| crc.finalize()).unwrap_or_default().to_be_bytes();
        let actual = match kind {
            Kind::Crc32 | Kind::Crc32c => BASE64.encode(&crc[4..]),
            Kind::Crc64Nvme => BASE64.encode(crc),
            Kind::Sha256 => BASE64.encode(sha256.unwrap_or_default()),
        };
        if actual == value.trim() { Ok(()) } else { Err(Mismatch::Checksum(kind.name())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(headers: &[(&'static str, &str)], body: &[u8]) -> Result<(), Mismatch> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let mut expected = Expected { checksum: Checksum::from_headers(&headers), ..Expected::default() };
        expected.add_content_md5(&headers)?;
        let mut digests = Digests::new(expected);
        body.chunks(4).for_each(|chunk| digests.update(chunk));
        digests.verify()
    }

    #[test]
    fn known_checksums_are_compared() {
        // The check values of the CRC catalogue, for "123456789".
        for (name, value) in [
            ("x-amz-checksum-crc32", "y/Q5Jg=="),
            ("x-amz-checksum-crc32c", "4waSgw=="),
            ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="),
            ("x-amz-checksum-sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
            ("content-md5", "JfnnlDI7RTiF9RgfG2JNCw=="),
        ] {
            let result = verify(&[(name, value)], b"123456789");
            assert!(result.is_ok(), "{name}: {result:?}");
            assert!(verify(&[(name, value)], b"12345678").is_err(), "{name}");
        }
        assert_eq!(verify(&[("content-md5", "not base64")], b""), Err(Mismatch::Md5));
        assert_eq!(verify(&[("x-amz-checksum-sha1", "whatever")], b""), Ok(()));
    }
}
