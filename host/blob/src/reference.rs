//! Names one object: `s3://bucket/key`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Error;

/// Longest key, in bytes, as in S3.
const MAX_KEY: usize = 1024;
/// Longest part of a key between slashes, as in the common file systems.
const MAX_SEGMENT: usize = 255;

/// The URI of an object, or of a prefix of objects.
///
/// A value of this type has a scheme and a bucket, and its key can't leave the bucket. Whether the key can name
/// an object (and not only a prefix) is checked when it is used as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataReference(String);

impl DataReference {
    /// Reads a URI such as `s3://bucket/some/key`. The key may be empty or end with a slash, as a prefix does.
    pub fn parse(uri: impl Into<String>) -> Result<Self, Error> {
        let uri = uri.into();
        match fault_of_uri(&uri) {
            None => Ok(Self(uri)),
            Some(reason) => Err(Error::InvalidReference { reference: uri, reason }),
        }
    }

    /// Builds a reference from its parts.
    pub fn new(scheme: &str, bucket: &str, key: &str) -> Result<Self, Error> {
        Self::parse(format!("{scheme}://{bucket}/{}", key.trim_start_matches('/')))
    }

    /// Appends to the key, with exactly one slash between.
    #[must_use]
    pub fn join(&self, tail: &str) -> Self {
        let (base, tail) = (self.0.trim_end_matches('/'), tail.trim_start_matches('/'));
        Self(format!("{base}/{tail}"))
    }

    /// The scheme, without `://`.
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        self.bucket_and_key().0
    }

    /// The key; empty for the root of the bucket.
    pub fn key(&self) -> &str {
        self.bucket_and_key().1
    }

    /// The last part of the key; empty for the root of the bucket.
    pub fn name(&self) -> &str {
        let key = self.key().trim_end_matches('/');
        key.rsplit_once('/').map_or(key, |(_, name)| name)
    }

    /// The reference with the last part of the key removed; nothing above the root of the bucket.
    pub fn parent(&self) -> Option<Self> {
        let key = self.key().trim_end_matches('/');
        if key.is_empty() {
            return None;
        }
        let parent = key.rsplit_once('/').map_or("", |(parent, _)| parent);
        Some(Self(format!("{}://{}/{parent}", self.scheme(), self.bucket())))
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn bucket_and_key(&self) -> (&str, &str) {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.split_once('/').unwrap_or((rest, ""))
    }
}

fn fault_of_uri(uri: &str) -> Option<&'static str> {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return Some("it has no scheme, such as `s3://`");
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(letter) {
        return Some("its scheme is malformed");
    }
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Some("it names no bucket");
    }
    if let Some(reason) = fault_of_bucket(bucket) {
        return Some(reason);
    }
    key.split('/').find_map(fault_of_segment)
}

/// Says which rule a bucket name breaks.
pub(crate) fn fault_of_bucket(bucket: &str) -> Option<&'static str> {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if bucket.len() > 63 {
        Some("a bucket name has at most 63 characters")
    } else if !bucket.starts_with(|c: char| c.is_ascii_alphanumeric()) || !bucket.chars().all(letter) {
        Some("a bucket name starts with a letter or digit and holds only letters, digits, `-`, `_` and `.`")
    } else {
        None
    }
}

/// Says which rule a part of a key breaks; an empty part is fine in a prefix.
fn fault_of_segment(segment: &str) -> Option<&'static str> {
    if segment.contains('\0') {
        return Some("it contains a NUL character");
    }
    if segment.len() > MAX_SEGMENT {
        return Some("a part between slashes is longer than 255 bytes");
    }
    // A dot segment in any encoding: some client or proxy may decode it once more.
    if segment.len() <= 6 {
        let decoded = segment.to_ascii_lowercase().replace("%2e", ".");
        if decoded == "." || decoded == ".." {
            return Some("it contains a `.` or `..` part");
        }
    }
    None
}

/// Checks that a key can name an object, and not only a prefix of objects.
pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    let reason = if key.is_empty() {
        Some("it is empty")
    } else if key.len() > MAX_KEY {
        Some("it is longer than 1024 bytes")
    } else if key.starts_with('/') {
        Some("it starts with a slash")
    } else if key.ends_with('/') {
        Some("it ends with a slash; directories are not objects")
    } else if key.contains("//") {
        Some("it contains an empty part (`//`)")
    } else {
        key.split('/').find_map(fault_of_segment)
    };
    match reason {
        None => Ok(()),
        Some(reason) => Err(Error::InvalidKey { key: key.to_owned(), reason }),
    }
}

impl fmt::Display for DataReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for DataReference {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for DataReference {
    type Err = Error;

    fn from_str(uri: &str) -> Result<Self, Error> {
        Self::parse(uri)
    }
}

impl Serialize for DataReference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DataReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(uri: &str) -> DataReference {
        DataReference::parse(uri).unwrap()
    }

    #[test]
    fn parts_are_found() {
        let it = reference("s3://my-s3-bucket/a/b c/d.pb");
        assert_eq!(
            (it.scheme(), it.bucket(), it.key(), it.name()),
            ("s3", "my-s3-bucket", "a/b c/d.pb", "d.pb")
        );
        assert_eq!(reference("s3://b").key(), "");
    }

    #[test]
    fn joining_leaves_one_slash() {
        for base in ["s3://b/a", "s3://b/a/"] {
            for tail in ["c/d", "/c/d"] {
                assert_eq!(reference(base).join(tail).as_str(), "s3://b/a/c/d");
            }
        }
        assert_eq!(reference("s3://b").join("x").as_str(), "s3://b/x");
    }

    #[test]
    fn parent_ends_at_the_bucket() {
        let it = reference("s3://b/a/c");
        assert_eq!(it.parent().unwrap().as_str(), "s3://b/a");
        assert_eq!(it.parent().unwrap().parent().unwrap().as_str(), "s3://b/");
        assert_eq!(it.parent().unwrap().parent().unwrap().parent(), None);
    }

    #[test]
    fn malformed_uris_are_refused() {
        for uri in [
            "",
            "/abs/path",
            "s3:/b/k",
            "://b/k",
            "s3:///k",
            "s3://../k",
            "s3://.hidden/k",
            "s3://b/../c/k",
            "s3://b/a/%2e%2E/k",
            "s3://b/a/.%2e",
            "s3://b/./k",
            "s3://b/a\0b",
        ] {
            assert!(matches!(DataReference::parse(uri), Err(Error::InvalidReference { .. })), "{uri}");
        }
    }

    #[test]
    fn prefixes_are_no_keys() {
        for key in ["", "a/", "/a", "a//b", "..", "a/../b", "%2e%2e/a", &"x".repeat(256), &"ab/".repeat(400)]
        {
            assert!(matches!(check_key(key), Err(Error::InvalidKey { .. })), "{key}");
        }
        for key in ["a", "a/b", "...", "a..b", ".a", "%2f", "JRVS======/x", "ü/é"] {
            assert!(check_key(key).is_ok(), "{key}");
        }
    }
}
