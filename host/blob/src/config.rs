//! Holds the settings of the object store.

use std::path::PathBuf;

use config::{Duration, Secret, Size};
use serde::{Deserialize, Serialize};

use crate::{DataReference, Error, SCHEME, reference};

/// Where objects are stored and how clients reach them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Bucket of metadata, uploads and, by default, raw outputs. Part of every registered URI: fix it per deployment.
    pub bucket: String,
    /// Key prefix under which the inputs and outputs of nodes are kept.
    pub metadata_prefix: String,
    /// Where tasks put raw data unless the execution says otherwise: a prefix in `bucket`, or a whole URI.
    pub raw_output_prefix: String,
    /// Key prefix of client uploads (code bundles, local files given as inputs). Empty: the root of `bucket`.
    pub upload_prefix: String,
    /// Longest life of a signed URL, and the life of one when the client names none.
    pub max_signed_url_expiry: Duration,
    /// Where clients reach this host over HTTP; signed URLs of local objects start with it.
    pub public_url: String,
    /// Largest upload through a signed URL of the host; 0: no limit.
    pub max_upload_size: Size,
    /// Key with which the host signs URLs of local objects. Empty: a random one per start, so that a signed URL
    /// does not outlive the process; set the same one on all replicas that share a directory.
    pub signing_secret: Secret,
    /// Objects as files of this machine, served as an embedded S3 endpoint. Used unless `s3` is given.
    pub local: LocalConfig,
    /// Objects in an S3-compatible store. Takes the place of `local`.
    pub s3: Option<S3Config>,
}

/// Objects as files under a directory, `<dir>/<bucket>/<key>`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LocalConfig {
    /// The directory that holds the buckets. Temporary files live beside it in `.tmp`, on the same file system.
    pub dir: PathBuf,
    /// Whether a write waits until the bytes are on the disk (`fsync`). Without it a crash of the process loses
    /// nothing, a power cut may lose the last seconds.
    pub sync: bool,
    /// Access key of the embedded S3 endpoint. The default is the one a stock flytekit uses with a sandbox.
    pub access_key: String,
    /// Secret key of the embedded S3 endpoint.
    pub secret_key: Secret,
    /// Whether the embedded S3 endpoint also answers requests without a signature. A wrong signature is refused
    /// either way.
    pub allow_anonymous: bool,
}

/// An S3-compatible store.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct S3Config {
    /// URL of the store; empty for AWS itself.
    pub endpoint: String,
    /// Region; empty: `AWS_REGION`, else `us-east-1`.
    pub region: String,
    /// Access key; empty: the AWS environment, web identity or instance role.
    pub access_key: Secret,
    /// Secret key.
    pub secret_key: Secret,
    /// Whether the bucket is part of the host name instead of the path.
    pub virtual_hosted_style: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bucket: "my-s3-bucket".to_owned(),
            metadata_prefix: "metadata/propeller".to_owned(),
            raw_output_prefix: "data".to_owned(),
            upload_prefix: String::new(),
            max_signed_url_expiry: Duration::from_hours(1),
            public_url: "http://localhost:30080".to_owned(),
            max_upload_size: Size::default(),
            signing_secret: Secret::default(),
            local: LocalConfig::default(),
            s3: None,
        }
    }
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("pinion-data/store"),
            sync: false,
            access_key: "minio".to_owned(),
            secret_key: Secret::new("miniostorage"),
            allow_anonymous: false,
        }
    }
}

impl Config {
    /// The default settings over a directory of this machine.
    pub fn local(dir: impl Into<PathBuf>) -> Self {
        Self { local: LocalConfig { dir: dir.into(), ..LocalConfig::default() }, ..Self::default() }
    }

    /// Checks what can be checked without I/O.
    pub fn validate(&self) -> Result<(), Error> {
        let fail = |message: String| Err(Error::Config(message));
        if let Some(reason) = reference::fault_of_bucket(&self.bucket) {
            return fail(format!("bucket `{}`: {reason}", self.bucket));
        }
        if self.max_signed_url_expiry > Duration::from_hours(1) || self.max_signed_url_expiry.is_zero() {
            return fail(format!(
                "max-signed-url-expiry is {}, it must lie between 1s and 1h",
                self.max_signed_url_expiry
            ));
        }
        if !self.public_url.starts_with("http://") && !self.public_url.starts_with("https://") {
            return fail(format!("public-url `{}` must start with http:// or https://", self.public_url));
        }
        self.metadata_root()?;
        self.raw_root()?;
        DataReference::new(SCHEME, &self.bucket, &self.upload_prefix)?;
        match &self.s3 {
            None if self.local.dir.as_os_str().is_empty() => fail("local.dir is empty".to_owned()),
            None if self.local.access_key.is_empty() || self.local.secret_key.is_empty() => {
                fail("local.access-key and local.secret-key must not be empty".to_owned())
            }
            Some(s3) if s3.access_key.is_empty() != s3.secret_key.is_empty() => {
                fail("s3.access-key and s3.secret-key must be given together".to_owned())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn metadata_root(&self) -> Result<DataReference, Error> {
        DataReference::new(SCHEME, &self.bucket, self.metadata_prefix.trim_matches('/'))
    }

    pub(crate) fn raw_root(&self) -> Result<DataReference, Error> {
        if self.raw_output_prefix.contains("://") {
            DataReference::parse(self.raw_output_prefix.trim_end_matches('/'))
        } else {
            DataReference::new(SCHEME, &self.bucket, self.raw_output_prefix.trim_matches('/'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        let config = Config::default();
        config.validate().unwrap();
        assert_eq!(config.metadata_root().unwrap().as_str(), "s3://my-s3-bucket/metadata/propeller");
        assert_eq!(config.raw_root().unwrap().as_str(), "s3://my-s3-bucket/data");
    }

    #[test]
    fn raw_outputs_may_live_elsewhere() {
        let config = Config { raw_output_prefix: "s3://other/raw/".into(), ..Config::default() };
        assert_eq!(config.raw_root().unwrap().as_str(), "s3://other/raw");
    }

    #[test]
    fn contradictions_are_named() {
        let half = S3Config { access_key: "a".into(), ..S3Config::default() };
        for (config, word) in [
            (Config { bucket: "a/b".into(), ..Config::default() }, "bucket"),
            (
                Config { max_signed_url_expiry: Duration::from_hours(2), ..Config::default() },
                "max-signed-url-expiry",
            ),
            (Config { public_url: "localhost".into(), ..Config::default() }, "public-url"),
            (Config { metadata_prefix: "a/../b".into(), ..Config::default() }, ".."),
            (Config { s3: Some(half), ..Config::default() }, "s3.secret-key"),
            (Config::local(""), "local.dir"),
        ] {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}
