//! Writes a file under a temporary name and renames it into place.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::Error;

/// How often a write makes its directory again before it gives up.
const MAX_TRIES: u32 = 100;

/// A file that disappears unless it is committed.
#[derive(Debug)]
pub(crate) struct TempFile {
    file: File,
    path: PathBuf,
    committed: bool,
}

/// Why a finished file could not take its place.
pub(crate) enum CommitError {
    /// A directory of the path exists as a file.
    ParentIsFile,
    /// The path exists as a directory with files in it.
    IsDirectory,
    /// There is an object already, and it must not be replaced.
    Exists,
    /// Anything else.
    Io(io::Error),
}

impl TempFile {
    /// Creates an empty file in `dir`, which is made when missing.
    pub(crate) fn create(dir: &Path) -> Result<Self, Error> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
        // The process id alone does not tell apart hosts that share a directory.
        let path = dir.join(format!("{:x}-{serial:x}-{:08x}", std::process::id(), rand::random::<u32>()));
        let open = || OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = open().or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => fs::create_dir_all(dir).and_then(|()| open()),
            _ => Err(error),
        });
        match file {
            Ok(file) => Ok(Self { file, path, committed: false }),
            Err(source) => Err(Error::Io { action: "create", path, source }),
        }
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|source| self.fault("write", source))
    }

    /// Appends the rest of another file, in the kernel where it can.
    pub(crate) fn copy_from(&mut self, source: &mut impl io::Read) -> Result<u64, Error> {
        io::copy(source, &mut self.file).map_err(|source| self.fault("write", source))
    }

    /// Gives the file the name `path`, replacing what is there unless `exclusive`.
    pub(crate) fn commit(
        mut self,
        path: &Path,
        exclusive: bool,
        sync: bool,
    ) -> Result<fs::Metadata, CommitError> {
        if sync {
            self.file.sync_all().map_err(CommitError::Io)?;
        }
        let meta = self.file.metadata().map_err(CommitError::Io)?;
        // A concurrent delete may remove a directory that just became empty: make it again.
        let mut n_tries = 0;
        loop {
            // A link never replaces; the temporary name goes when `self` is dropped.
            let placed =
                if exclusive { fs::hard_link(&self.path, path) } else { fs::rename(&self.path, path) };
            let Err(error) = placed else { break };
            n_tries += 1;
            match error.kind() {
                _ if n_tries > MAX_TRIES => return Err(CommitError::Io(error)),
                io::ErrorKind::NotFound => make_parent(path)?,
                io::ErrorKind::NotADirectory => return Err(CommitError::ParentIsFile),
                io::ErrorKind::AlreadyExists if exclusive && !path.is_dir() => {
                    return Err(CommitError::Exists);
                }
                // A directory without any file below it is the trace of deleted objects.
                io::ErrorKind::IsADirectory
                | io::ErrorKind::DirectoryNotEmpty
                | io::ErrorKind::AlreadyExists => {
                    remove_empty_tree(path).map_err(|_| CommitError::IsDirectory)?;
                }
                _ => return Err(CommitError::Io(error)),
            }
        }
        self.committed = !exclusive;
        if sync && let Some(parent) = path.parent() {
            File::open(parent).and_then(|dir| dir.sync_all()).map_err(CommitError::Io)?;
        }
        Ok(meta)
    }

    fn fault(&self, action: &'static str, source: io::Error) -> Error {
        Error::Io { action, path: self.path.clone(), source }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing depends on it: the sweep removes what stays behind.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn make_parent(path: &Path) -> Result<(), CommitError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    match fs::create_dir_all(parent) {
        Ok(()) => Ok(()),
        Err(error) => match error.kind() {
            io::ErrorKind::NotADirectory => Err(CommitError::ParentIsFile),
            io::ErrorKind::AlreadyExists if parent.ancestors().any(Path::is_file) => {
                Err(CommitError::ParentIsFile)
            }
            // A part of the path went while the next one was made: the caller tries again.
            io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(CommitError::Io(error)),
        },
    }
}

/// Removes a directory that holds nothing but empty directories.
fn remove_empty_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        remove_empty_tree(&entry.path())?;
    }
    fs::remove_dir(dir)
}
