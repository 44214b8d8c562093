//! Keeps objects in an S3-compatible store.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{HeaderName, HeaderValue, Method};
use object_store::{
    ClientOptions, ObjectStore as _, ObjectStoreExt as _,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
    signer::{SignedUrlOptions, Signer as _},
};

use crate::{DataReference, Error, ObjectMeta, SCHEME, config::S3Config, reference};

/// Longest wait for the next bytes of an answer; the whole of a large object may take longer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Objects in S3, one client per bucket.
#[derive(Debug)]
pub(crate) struct Remote {
    config: S3Config,
    clients: RwLock<HashMap<String, Arc<AmazonS3>>>,
}

impl Remote {
    /// Builds the client of the main bucket at once, so that a wrong setting shows at start.
    pub(crate) fn new(config: &S3Config, bucket: &str) -> Result<Self, Error> {
        let remote = Self { config: config.clone(), clients: RwLock::default() };
        remote.client(bucket)?;
        Ok(remote)
    }

    fn client(&self, bucket: &str) -> Result<Arc<AmazonS3>, Error> {
        if let Some(client) = self.clients.read().unwrap_or_else(PoisonError::into_inner).get(bucket) {
            return Ok(client.clone());
        }
        let s3 = &self.config;
        let options = ClientOptions::new()
            .with_timeout_disabled()
            .with_read_timeout(READ_TIMEOUT)
            .with_connect_timeout(CONNECT_TIMEOUT);
        let mut builder = AmazonS3Builder::from_env()
            .with_client_options(options)
            .with_bucket_name(bucket)
            .with_virtual_hosted_style_request(s3.virtual_hosted_style)
            .with_allow_http(s3.endpoint.starts_with("http://"));
        if !s3.endpoint.is_empty() {
            builder = builder.with_endpoint(&s3.endpoint);
        }
        if !s3.region.is_empty() {
            builder = builder.with_region(&s3.region);
        }
        if !s3.access_key.is_empty() {
            builder = builder
                .with_access_key_id(s3.access_key.expose())
                .with_secret_access_key(s3.secret_key.expose());
        }
        let client = builder.build().map_err(|error| Error::Config(format!("s3: {error}")))?;
        let client = Arc::new(client);
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        Ok(clients.entry(bucket.to_owned()).or_insert(client).clone())
    }

    fn locate(&self, r: &DataReference) -> Result<(Arc<AmazonS3>, Path), Error> {
        if r.scheme() != SCHEME {
            return Err(Error::ForeignScheme { reference: r.clone(), scheme: SCHEME });
        }
        reference::check_key(r.key())?;
        let path = Path::parse(r.key()).map_err(|_| Error::InvalidKey {
            key: r.key().to_owned(),
            reason: "it contains a character that the store does not take",
        })?;
        Ok((self.client(r.bucket())?, path))
    }

    pub(crate) async fn get(&self, r: &DataReference, max: Option<u64>) -> Result<Bytes, Error> {
        let (client, path) = self.locate(r)?;
        let answer = client.get(&path).await.map_err(|error| fault("get", r, error))?;
        let size = answer.meta.size;
        if let Some(max) = max.filter(|max| size > *max) {
            return Err(Error::TooLarge { reference: r.clone(), size, max });
        }
        answer.bytes().await.map_err(|error| fault("get", r, error))
    }

    pub(crate) async fn get_range(&self, r: &DataReference, range: Range<u64>) -> Result<Bytes, Error> {
        let (client, path) = self.locate(r)?;
        client.get_range(&path, range).await.map_err(|error| fault("get", r, error))
    }

    pub(crate) async fn put(&self, r: &DataReference, bytes: Bytes) -> Result<(), Error> {
        let (client, path) = self.locate(r)?;
        client.put(&path, bytes.into()).await.map_err(|error| fault("put", r, error))?;
        Ok(())
    }

    pub(crate) async fn head(&self, r: &DataReference) -> Result<Option<ObjectMeta>, Error> {
        let (client, path) = self.locate(r)?;
        match client.head(&path).await {
            Ok(meta) => Ok(Some(ObjectMeta {
                size: meta.size,
                etag: meta.e_tag.unwrap_or_default().trim_matches('"').to_owned(),
                last_modified: jiff::Timestamp::from_second(meta.last_modified.timestamp())
                    .unwrap_or(jiff::Timestamp::UNIX_EPOCH),
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(fault("head", r, error)),
        }
    }

    pub(crate) async fn list(&self, prefix: &DataReference) -> Result<Vec<(DataReference, u64)>, Error> {
        if prefix.scheme() != SCHEME {
            return Err(Error::ForeignScheme { reference: prefix.clone(), scheme: SCHEME });
        }
        let client = self.client(prefix.bucket())?;
        let path = Path::from(prefix.key());
        let metas: Vec<_> =
            client.list(Some(&path)).try_collect().await.map_err(|error| fault("list", prefix, error))?;
        let mut found = metas
            .into_iter()
            .map(|meta| Ok((DataReference::new(SCHEME, prefix.bucket(), meta.location.as_ref())?, meta.size)))
            .collect::<Result<Vec<_>, Error>>()?;
        found.sort_unstable();
        Ok(found)
    }

    pub(crate) async fn delete(&self, r: &DataReference) -> Result<(), Error> {
        let (client, path) = self.locate(r)?;
        match client.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(fault("delete", r, error)),
        }
    }

    pub(crate) async fn copy(&self, from: &DataReference, to: &DataReference) -> Result<(), Error> {
        let (client, source) = self.locate(from)?;
        if from.bucket() != to.bucket() {
            let bytes = self.get(from, None).await?;
            return self.put(to, bytes).await;
        }
        let (_, target) = self.locate(to)?;
        client.copy(&source, &target).await.map_err(|error| fault("copy", from, error))
    }

    /// Signs a URL; a digest becomes a header that the uploader must send.
    pub(crate) async fn sign(
        &self,
        method: Method,
        r: &DataReference,
        expires: Duration,
        content_md5: Option<&[u8]>,
    ) -> Result<(String, BTreeMap<String, String>), Error> {
        let (client, path) = self.locate(r)?;
        let mut options = SignedUrlOptions::default();
        let mut headers = BTreeMap::new();
        if let Some(md5) = content_md5 {
            let encoded = BASE64.encode(md5);
            let value = HeaderValue::from_str(&encoded)
                .map_err(|_| Error::Config("a base64 text is no header value".to_owned()))?;
            options = options.with_signed_header(HeaderName::from_static("content-md5"), value);
            headers.insert("Content-MD5".to_owned(), encoded);
        }
        let url = client
            .signed_url_opts(method, &path, expires, &options)
            .await
            .map_err(|error| fault("sign", r, error))?;
        Ok((url.into(), headers))
    }
}

fn fault(action: &'static str, r: &DataReference, error: object_store::Error) -> Error {
    match error {
        object_store::Error::NotFound { .. } => Error::NotFound { reference: r.clone() },
        source => Error::Store { action, reference: r.clone(), source: Box::new(source) },
    }
}
