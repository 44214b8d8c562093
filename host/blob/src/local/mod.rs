//! Keeps objects as plain files, `<dir>/<bucket>/<key>`.
//!
//! Other processes read and write the same files (a warm Python worker does), so a file is the whole object: there
//! is no metadata beside it, and nothing unfinished is visible. A write goes to `<dir>/../.tmp` and is renamed.
//!
//! All functions block; the callers decide what may run on an async thread (small objects) and what may not.

mod temp;
mod walk;

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use temp::CommitError;
pub(crate) use temp::TempFile;
pub(crate) use walk::{Found, Walk};

use crate::{DataReference, Error, ObjectMeta, SCHEME, config::LocalConfig, reference};

/// Objects in a directory.
#[derive(Debug)]
pub(crate) struct Local {
    dir: PathBuf,
    tmp: PathBuf,
    sync: bool,
    turn: Mutex<()>,
}

/// What must hold of the present object for a write to take place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Nothing.
    Always,
    /// There is none.
    Absent,
    /// It has one of these tags.
    Matches(Vec<String>),
}

impl Local {
    pub(crate) fn new(config: &LocalConfig) -> Result<Self, Error> {
        let dir = std::path::absolute(&config.dir).map_err(|source| Error::Io {
            action: "resolve",
            path: config.dir.clone(),
            source,
        })?;
        let Some(parent) = dir.parent() else {
            return Err(Error::Config("local.dir must not be the root directory".to_owned()));
        };
        Ok(Self { tmp: parent.join(".tmp"), dir, sync: config.sync, turn: Mutex::default() })
    }

    /// Where temporary files live, on the same file system as the objects.
    pub(crate) fn tmp(&self) -> &Path {
        &self.tmp
    }

    /// The directory that holds the buckets.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether writes wait for the disk.
    pub(crate) fn sync(&self) -> bool {
        self.sync
    }

    /// The directory of a bucket.
    pub(crate) fn bucket_dir(&self, bucket: &str) -> PathBuf {
        self.dir.join(bucket)
    }

    /// The file of an object. The only way from a key to a path.
    pub(crate) fn path(&self, r: &DataReference) -> Result<PathBuf, Error> {
        if r.scheme() != SCHEME {
            return Err(Error::ForeignScheme { reference: r.clone(), scheme: SCHEME });
        }
        reference::check_key(r.key())?;
        let mut path = self.bucket_dir(r.bucket());
        path.push(r.key());
        Ok(path)
    }

    /// Opens an object; a directory is no object.
    pub(crate) fn open(&self, r: &DataReference) -> Result<(File, ObjectMeta), Error> {
        let path = self.path(r)?;
        let opened = File::open(&path).and_then(|file| file.metadata().map(|meta| (file, meta)));
        match opened {
            Ok((file, meta)) if meta.is_file() => Ok((file, meta_of(&meta))),
            Ok(_) => Err(Error::NotFound { reference: r.clone() }),
            Err(source) if is_absent(&source) => Err(Error::NotFound { reference: r.clone() }),
            Err(source) => Err(Error::Io { action: "open", path, source }),
        }
    }

    pub(crate) fn head(&self, r: &DataReference) -> Result<Option<ObjectMeta>, Error> {
        let path = self.path(r)?;
        match fs::metadata(&path) {
            Ok(meta) if meta.is_file() => Ok(Some(meta_of(&meta))),
            Ok(_) => Ok(None),
            Err(source) if is_absent(&source) => Ok(None),
            Err(source) => Err(Error::Io { action: "read", path, source }),
        }
    }

    /// Writes a whole object and returns what a later `head` will say.
    pub(crate) fn put(&self, r: &DataReference, bytes: &Bytes) -> Result<ObjectMeta, Error> {
        let path = self.path(r)?;
        let mut temp = TempFile::create(&self.tmp)?;
        temp.write_all(bytes)?;
        self.commit(temp, r, &path)
    }

    /// Gives a finished temporary file the name of an object.
    pub(crate) fn commit(&self, temp: TempFile, r: &DataReference, path: &Path) -> Result<ObjectMeta, Error> {
        self.commit_if(temp, r, path, &Condition::Always)
    }

    /// The same, if the object that is there is as the writer expects.
    pub(crate) fn commit_if(
        &self,
        temp: TempFile,
        r: &DataReference,
        path: &Path,
        condition: &Condition,
    ) -> Result<ObjectMeta, Error> {
        let failed = || Error::ConditionFailed { reference: r.clone() };
        // Writers that compare take turns; a link is atomic by itself.
        let mut _turn = None;
        if let Condition::Matches(tags) = condition {
            _turn = Some(self.turn.lock().unwrap_or_else(PoisonError::into_inner));
            let meta = self.head(r)?.ok_or_else(|| Error::NotFound { reference: r.clone() })?;
            if !tags.iter().any(|tag| tag == "*" || *tag == meta.etag) {
                return Err(failed());
            }
        }
        let conflict = |reason| Error::KeyConflict { reference: r.clone(), reason };
        let exclusive = *condition == Condition::Absent;
        temp.commit(path, exclusive, self.sync).map(|meta| meta_of(&meta)).map_err(|error| match error {
            CommitError::Exists => failed(),
            CommitError::ParentIsFile => conflict("a part of its key before a slash is already an object"),
            CommitError::IsDirectory => conflict("other objects have this key as a prefix before a slash"),
            CommitError::Io(source) => Error::Io { action: "write", path: path.to_owned(), source },
        })
    }

    /// Removes an object and the directories that it leaves empty. A missing object is no error.
    pub(crate) fn delete(&self, r: &DataReference) -> Result<(), Error> {
        let path = self.path(r)?;
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(source) if is_absent(&source) || source.kind() == io::ErrorKind::IsADirectory => {
                return Ok(());
            }
            // What `unlink` says of a directory on some systems.
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied && path.is_dir() => return Ok(()),
            Err(source) => return Err(Error::Io { action: "delete", path, source }),
        }
        let bucket = self.bucket_dir(r.bucket());
        let mut dir = path.parent();
        while let Some(parent) = dir.filter(|parent| **parent != bucket && parent.starts_with(&bucket)) {
            // Fails on the first directory that is still in use, which is the point.
            if fs::remove_dir(parent).is_err() {
                break;
            }
            dir = parent.parent();
        }
        Ok(())
    }

    pub(crate) fn copy(&self, from: &DataReference, to: &DataReference) -> Result<ObjectMeta, Error> {
        let path = self.path(to)?;
        let (mut source_file, _) = self.open(from)?;
        let mut temp = TempFile::create(&self.tmp)?;
        temp.copy_from(&mut source_file)?;
        self.commit(temp, to, &path)
    }

    /// All objects below a prefix, as a directory has them below it, in key order.
    pub(crate) fn list(&self, prefix: &DataReference) -> Result<Vec<(DataReference, u64)>, Error> {
        let mut key_prefix = prefix.key().trim_end_matches('/').to_owned();
        if !key_prefix.is_empty() {
            key_prefix.push('/');
        }
        let root = self.bucket_dir(prefix.bucket());
        let mut found = Vec::new();
        Walk::new(&root, &key_prefix)
            .run(&mut |entry| {
                if let Found::Object { key, meta } = entry {
                    found.push((key, meta.size));
                }
                std::ops::ControlFlow::Continue(())
            })
            .map_err(|source| Error::Io { action: "list", path: root, source })?;
        found
            .into_iter()
            .map(|(key, size)| Ok((DataReference::new(SCHEME, prefix.bucket(), &key)?, size)))
            .collect()
    }
}

/// Reads `len` bytes from `start`.
pub(crate) fn read_part(mut file: &File, start: u64, len: u64) -> io::Result<Bytes> {
    if start > 0 {
        file.seek(SeekFrom::Start(start))?;
    }
    let capacity = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut buffer = Vec::with_capacity(capacity);
    file.take(len).read_to_end(&mut buffer)?;
    Ok(buffer.into())
}

/// What a file says of the object. The tag comes from the file alone, so that every reader derives the same one,
/// whoever wrote the file.
pub(crate) fn meta_of(meta: &fs::Metadata) -> ObjectMeta {
    let nanos = i32::try_from(meta.mtime_nsec()).unwrap_or_default();
    ObjectMeta {
        size: meta.len(),
        etag: format!("{:x}{nanos:08x}-{:x}-{:x}", meta.mtime(), meta.ino(), meta.len()),
        last_modified: jiff::Timestamp::new(meta.mtime(), nanos).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
    }
}

/// Whether an error means that there is no such file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
