//! Answers for objects wherever they are kept: the handle that other rooms hold.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::Method;
use md5::{Digest as _, Md5};

use crate::{
    Config, DataReference, Error, SCHEME,
    local::{self, Local},
    metric,
    remote::Remote,
    sign::{SignedUrl, UrlSigner},
    sweep,
};

/// Objects up to this size are read and written on the calling thread: a task of the blocking pool costs more than
/// the system calls do.
pub(crate) const INLINE: u64 = 64 * 1024;

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Size in bytes.
    pub size: u64,
    /// Changes when the object does; without quotes.
    pub etag: String,
    /// When the object was written.
    pub last_modified: jiff::Timestamp,
}

/// A cheap handle on the object store.
#[derive(Clone)]
pub struct Blob {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) backend: Backend,
    pub(crate) signer: UrlSigner,
    metadata_root: DataReference,
    raw_root: DataReference,
}

#[derive(Debug)]
pub(crate) enum Backend {
    Local(Arc<Local>),
    Remote(Remote),
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blob").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl Blob {
    /// Checks the settings and builds the handle. Nothing is opened, created or contacted.
    pub fn new(config: Config) -> Result<Self, Error> {
        config.validate()?;
        let backend = match &config.s3 {
            Some(s3) => Backend::Remote(Remote::new(s3, &config.bucket)?),
            None => Backend::Local(Arc::new(Local::new(&config.local)?)),
        };
        let signer = UrlSigner::new(config.signing_secret.expose());
        let (metadata_root, raw_root) = (config.metadata_root()?, config.raw_root()?);
        Ok(Self { inner: Arc::new(Inner { config, backend, signer, metadata_root, raw_root }) })
    }

    /// The bucket of metadata and uploads.
    pub fn bucket(&self) -> &str {
        &self.inner.config.bucket
    }

    /// The settings this handle was made from.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The directory that holds the buckets, when objects are files of this machine.
    pub fn local_dir(&self) -> Option<&std::path::Path> {
        match &self.inner.backend {
            Backend::Local(local) => Some(local.dir()),
            Backend::Remote(_) => None,
        }
    }

    /// Under which the inputs and outputs of executions are kept.
    pub fn metadata_root(&self) -> DataReference {
        self.inner.metadata_root.clone()
    }

    /// Under which tasks put raw data, unless the execution says otherwise.
    pub fn raw_root(&self) -> DataReference {
        self.inner.raw_root.clone()
    }

    /// Names an object of the main bucket.
    pub fn reference(&self, key: &str) -> Result<DataReference, Error> {
        DataReference::new(SCHEME, self.bucket(), key)
    }

    /// Reads a whole object.
    pub async fn get(&self, r: &DataReference) -> Result<Bytes, Error> {
        self.read("get", r, None, None).await
    }

    /// Reads a whole object, unless it is larger than `max` bytes.
    pub async fn get_limited(&self, r: &DataReference, max: u64) -> Result<Bytes, Error> {
        self.read("get", r, Some(max), None).await
    }

    /// Reads a part of an object. A range that ends beyond the object ends with it.
    pub async fn get_range(&self, r: &DataReference, range: Range<u64>) -> Result<Bytes, Error> {
        self.read("get_range", r, None, Some(range)).await
    }

    async fn read(
        &self,
        op: &'static str,
        r: &DataReference,
        max: Option<u64>,
        range: Option<Range<u64>>,
    ) -> Result<Bytes, Error> {
        let start = Instant::now();
        let result = match (&self.inner.backend, range) {
            (Backend::Local(local), range) => read_local(local, r, max, range).await,
            (Backend::Remote(remote), None) => remote.get(r, max).await,
            (Backend::Remote(remote), Some(range)) => remote.get_range(r, range).await,
        };
        metric::observe(op, start, &result);
        if let Ok(bytes) = &result {
            metric::read(bytes.len() as u64);
        }
        result
    }

    /// Writes a whole object. Readers see the old one or the new one, never a part.
    pub async fn put(&self, r: &DataReference, bytes: Bytes) -> Result<(), Error> {
        let (start, n_bytes) = (Instant::now(), bytes.len() as u64);
        let result = match &self.inner.backend {
            Backend::Local(local) if n_bytes <= INLINE && !local.sync() => local.put(r, &bytes).map(drop),
            Backend::Local(local) => {
                let (local, r) = (local.clone(), r.clone());
                blocking(move || local.put(&r, &bytes).map(drop)).await
            }
            Backend::Remote(remote) => remote.put(r, bytes).await,
        };
        metric::observe("put", start, &result);
        metric::written(n_bytes);
        result
    }

    /// Says whether an object exists, and what it is.
    pub async fn head(&self, r: &DataReference) -> Result<Option<ObjectMeta>, Error> {
        let start = Instant::now();
        let result = match &self.inner.backend {
            Backend::Local(local) => local.head(r),
            Backend::Remote(remote) => remote.head(r).await,
        };
        metric::observe("head", start, &result);
        result
    }

    /// Lists the objects below a prefix with their sizes, in key order. The prefix counts as a directory: `a` finds
    /// `a/b`, and neither `a` nor `ab`.
    pub async fn list(&self, prefix: &DataReference) -> Result<Vec<(DataReference, u64)>, Error> {
        let start = Instant::now();
        let result = match &self.inner.backend {
            Backend::Local(local) => {
                let (local, prefix) = (local.clone(), prefix.clone());
                blocking(move || local.list(&prefix)).await
            }
            Backend::Remote(remote) => remote.list(prefix).await,
        };
        metric::observe("list", start, &result);
        result
    }

    /// Removes an object. It is no error when there is none.
    pub async fn delete(&self, r: &DataReference) -> Result<(), Error> {
        let start = Instant::now();
        let result = match &self.inner.backend {
            Backend::Local(local) => local.delete(r),
            Backend::Remote(remote) => remote.delete(r).await,
        };
        metric::observe("delete", start, &result);
        result
    }

    /// Copies an object.
    pub async fn copy(&self, from: &DataReference, to: &DataReference) -> Result<(), Error> {
        let start = Instant::now();
        let result = match &self.inner.backend {
            Backend::Local(local) => {
                let (local, from, to) = (local.clone(), from.clone(), to.clone());
                blocking(move || local.copy(&from, &to).map(drop)).await
            }
            Backend::Remote(remote) => remote.copy(from, to).await,
        };
        metric::observe("copy", start, &result);
        result
    }

    /// The MD5 digest of the content, for the rule that an upload may repeat but not replace.
    pub async fn content_md5(&self, r: &DataReference) -> Result<[u8; 16], Error> {
        match &self.inner.backend {
            Backend::Local(local) => {
                let (local, r) = (local.clone(), r.clone());
                blocking(move || md5_of_file(&local, &r)).await
            }
            Backend::Remote(remote) => Ok(Md5::digest(remote.get(r, None).await?).into()),
        }
    }

    /// Signs a URL for one upload. With a digest, only that content is accepted.
    pub async fn sign_put(
        &self,
        r: &DataReference,
        expires: Duration,
        content_md5: Option<&[u8]>,
    ) -> Result<SignedUrl, Error> {
        self.sign(Method::PUT, r, expires, content_md5).await
    }

    /// Signs a URL for downloads.
    pub async fn sign_get(&self, r: &DataReference, expires: Duration) -> Result<SignedUrl, Error> {
        self.sign(Method::GET, r, expires, None).await
    }

    /// Signs a URL of this host for downloads; where the object is elsewhere, the host sends the client on. It has no
    /// query, which is more than clients that take it for a path can read.
    pub fn sign_download(&self, r: &DataReference, expires: Duration) -> Result<SignedUrl, Error> {
        self.check_expiry(expires)?;
        self.sign_own(&Method::GET, r, expires, None)
    }

    async fn sign(
        &self,
        method: Method,
        r: &DataReference,
        expires: Duration,
        content_md5: Option<&[u8]>,
    ) -> Result<SignedUrl, Error> {
        self.check_expiry(expires)?;
        match &self.inner.backend {
            Backend::Local(_) => self.sign_own(&method, r, expires, content_md5),
            Backend::Remote(remote) => {
                let expires_at_unix = unix_now().saturating_add_unsigned(expires.as_secs());
                let (url, headers) = remote.sign(method, r, expires, content_md5).await?;
                Ok(SignedUrl { url, headers, expires_at_unix })
            }
        }
    }

    fn check_expiry(&self, expires: Duration) -> Result<(), Error> {
        let max = self.inner.config.max_signed_url_expiry.get();
        if expires > max {
            return Err(Error::ExpiryTooLong { asked_secs: expires.as_secs(), max_secs: max.as_secs() });
        }
        Ok(())
    }

    fn sign_own(
        &self,
        method: &Method,
        r: &DataReference,
        expires: Duration,
        content_md5: Option<&[u8]>,
    ) -> Result<SignedUrl, Error> {
        if let Backend::Local(local) = &self.inner.backend {
            local.path(r)?;
        }
        let expires_at_unix = unix_now().saturating_add_unsigned(expires.as_secs());
        let path = self.inner.signer.sign(method, r, expires_at_unix, content_md5);
        let url = format!("{}{path}", self.inner.config.public_url.trim_end_matches('/'));
        Ok(SignedUrl { url, headers: Default::default(), expires_at_unix })
    }

    /// Removes what crashed writers and abandoned multipart uploads left behind. Call it at start and daily.
    pub async fn sweep(&self) -> Result<(), Error> {
        match &self.inner.backend {
            Backend::Local(local) => {
                let local = local.clone();
                blocking(move || sweep::run(local.tmp(), SystemTime::now())).await
            }
            Backend::Remote(_) => Ok(()),
        }
    }
}

async fn read_local(
    local: &Local,
    r: &DataReference,
    max: Option<u64>,
    range: Option<Range<u64>>,
) -> Result<Bytes, Error> {
    let (file, meta) = local.open(r)?;
    let size = meta.size;
    if let Some(max) = max.filter(|max| size > *max) {
        return Err(Error::TooLarge { reference: r.clone(), size, max });
    }
    let range = range.unwrap_or(0..size);
    if range.start > size {
        return Err(Error::OutOfRange { reference: r.clone(), size });
    }
    let len = range.end.min(size).saturating_sub(range.start);
    let path = local.path(r)?;
    let read = move || {
        local::read_part(&file, range.start, len).map_err(|source| Error::Io { action: "read", path, source })
    };
    if len <= INLINE { read() } else { blocking(read).await }
}

fn md5_of_file(local: &Local, r: &DataReference) -> Result<[u8; 16], Error> {
    let (mut file, _) = local.open(r)?;
    let mut hasher = Md5::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n_read = std::io::Read::read(&mut file, &mut buffer).map_err(|source| Error::Io {
            action: "read",
            path: local.dir().join(r.key()),
            source,
        })?;
        if n_read == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&buffer[..n_read]);
    }
}

/// Runs file operations off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    body: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(body).await {
        Ok(result) => result,
        Err(error) => Err(Error::Io {
            action: "finish work on",
            path: Default::default(),
            source: std::io::Error::other(error),
        }),
    }
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}
