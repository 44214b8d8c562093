//! Knows where things lie below the root directory, and writes, reads and removes the records of pods.
//!
//! ```text
//! <root>/supervisor.lock, supervisor.log
//! <root>/journal                                   pods that were applied and deleted
//! <root>/pods/<namespace>/<pod>/pod.json           the object with its status, once it has ended
//! <root>/pods/<namespace>/<pod>/<container>.log    stdout and stderr, kept after the end
//! <root>/pods/<namespace>/<pod>/<container>/work   working directory of the attempt
//! <root>/pool/, trash/                             empty directories to use again, and full ones to remove
//! <root>/warm/                                     scripts of the warm parents and what they learned
//! ```
//! Nothing is synced to disk: after a power cut the worst is a pod that failed with the host anyway.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{Error, Object};

/// Pieces of a log are read at most this long.
pub(crate) const LOG_CHUNK: usize = 1 << 20;

/// The root directory and its inhabitants.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: PathBuf,
    /// Short, because tasks put sockets there and the path of a socket is limited to 107 bytes.
    scratch: PathBuf,
}

impl Files {
    /// Prepares the directories. `root` must be absolute.
    pub(crate) fn open(root: &Path) -> Result<Files, Error> {
        for name in ["pods", "pool", "trash", "warm"] {
            let path = root.join(name);
            fs::create_dir_all(&path).map_err(|error| Error::io("create", &path, error))?;
        }
        let root = root.canonicalize().map_err(|error| Error::io("find", root, error))?;
        let scratch = scratch_dir(&root).unwrap_or_else(|| root.join("tmp"));
        let trash = scratch.join("trash");
        fs::create_dir_all(&trash).map_err(|error| Error::io("create", &trash, error))?;
        Ok(Files { root, scratch })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn warm(&self) -> PathBuf {
        self.root.join("warm")
    }

    pub(crate) fn supervisor_log(&self) -> PathBuf {
        self.root.join("supervisor.log")
    }

    pub(crate) fn pod(&self, namespace: &str, name: &str) -> PathBuf {
        self.root.join("pods").join(namespace).join(name)
    }

    pub(crate) fn log(&self, namespace: &str, name: &str, container: &str) -> PathBuf {
        self.pod(namespace, name).join(format!("{container}.log"))
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub(crate) fn pool(&self, number: u64) -> PathBuf {
        self.root.join("pool").join(format!("{number:x}"))
    }

    pub(crate) fn trash(&self, number: u64) -> PathBuf {
        self.root.join("trash").join(format!("{number:x}"))
    }

    pub(crate) fn scratch_trash(&self, number: u64) -> PathBuf {
        self.scratch.join("trash").join(format!("{number:x}"))
    }

    /// A directory for temporary files of one container, named by a number that is not used twice.
    pub(crate) fn scratch(&self, number: u64) -> PathBuf {
        self.scratch.join(format!("{number:x}"))
    }

    /// Takes the directory of a pod that is new. What a deleted one of the same name left is removed.
    pub(crate) fn create_pod(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let path = self.pod(namespace, name);
        let created = match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(&path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir_all(&path).and_then(|()| fs::create_dir(&path))
            }
            other => other,
        };
        created.map_err(|error| Error::io("create", &path, error))
    }

    /// Stores the object in one step, so that a reader sees the old or the new one.
    pub(crate) fn write_pod(&self, namespace: &str, name: &str, object: &Object) -> Result<(), Error> {
        let path = self.pod(namespace, name).join("pod.json");
        let temporary = path.with_extension("json.new");
        let bytes = serde_json::to_vec(object).unwrap_or_default();
        fs::write(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|error| Error::io("write", &path, error))
    }

    /// Reads the object of a pod that was stored; `None` if there is none that can be read.
    pub(crate) fn read_pod(&self, namespace: &str, name: &str) -> Option<Object> {
        serde_json::from_slice(&fs::read(self.pod(namespace, name).join("pod.json")).ok()?).ok()
    }

    pub(crate) fn has_pod(&self, namespace: &str, name: &str) -> bool {
        self.pod(namespace, name).join("pod.json").exists()
    }

    /// Forgets the object, but keeps the logs for those who still want to read them. Renamed, not removed: see
    /// `places.rs` on what a steady stream of removals costs.
    pub(crate) fn forget_pod(&self, namespace: &str, name: &str) {
        let path = self.pod(namespace, name);
        let _ = fs::rename(path.join("pod.json"), path.join("deleted.json"));
    }

    /// Removes what was thrown away, and the directories with smaller numbers than `first`: those of earlier hosts.
    pub(crate) fn empty_trash(&self, first: u64) {
        let remove = |directory: PathBuf, all: bool| {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let number = entry.file_name().to_str().and_then(|name| u64::from_str_radix(name, 16).ok());
                if all || number.is_some_and(|number| number < first) {
                    let _ = fs::remove_dir_all(entry.path());
                }
            }
        };
        remove(self.root.join("trash"), true);
        remove(self.scratch.join("trash"), true);
        remove(self.root.join("pool"), false);
        remove(self.scratch.clone(), false);
    }

    /// Removes all temporary files of containers. Only when nothing runs any more.
    pub(crate) fn remove_scratch(&self) {
        self.empty_trash(u64::MAX);
        // Another host may wait already to work here, and have put something in.
        for path in [self.scratch.join("trash"), self.scratch.clone()] {
            let _ = fs::remove_dir(path);
        }
    }

    /// Removes pods that ended longer ago than `age` and are not `in_use`.
    pub(crate) fn collect_garbage(&self, age: Duration, in_use: impl Fn(&str, &str) -> bool) -> usize {
        let directories = |path: &Path| -> Vec<(String, fs::Metadata)> {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            let known = entries
                .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.metadata().ok()?)));
            known.filter(|(_, metadata)| metadata.is_dir()).collect()
        };
        let mut removed = 0;
        for (namespace, _) in directories(&self.root.join("pods")) {
            for (name, metadata) in directories(&self.root.join("pods").join(&namespace)) {
                let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                let old = SystemTime::now().duration_since(modified).is_ok_and(|since| since >= age);
                if old
                    && !in_use(&namespace, &name)
                    && fs::remove_dir_all(self.pod(&namespace, &name)).is_ok()
                {
                    removed += 1;
                }
            }
        }
        removed
    }

    /// Reads a piece of a log. A log that does not exist yet is empty.
    pub(crate) fn read_log(&self, path: &Path, from: u64) -> Result<Vec<u8>, Error> {
        use io::{Read, Seek};
        let read = || -> io::Result<Vec<u8>> {
            let mut file = fs::File::open(path)?;
            file.seek(io::SeekFrom::Start(from))?;
            let mut data = Vec::new();
            file.take(LOG_CHUNK as u64).read_to_end(&mut data)?;
            Ok(data)
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read.map_err(|error| Error::io("read", path, error)),
        }
    }

    /// The end of a log, from the start of a line where it is cut, at most `limit` bytes.
    pub(crate) fn log_tail(&self, path: &Path, limit: u64) -> String {
        let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
        let start = length.saturating_sub(limit);
        let data = self.read_log(path, start).unwrap_or_default();
        let text = String::from_utf8_lossy(&data);
        match text.split_once('\n') {
            Some((_, rest)) if start > 0 && !rest.is_empty() => rest.to_owned(),
            _ => text.into_owned(),
        }
    }
}

/// A private directory with a short name in the system's directory for temporary files, one per root.
fn scratch_dir(root: &Path) -> Option<PathBuf> {
    // FNV-1a: the name must be the same for every host on this root, whatever it was compiled with.
    let hash = root.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = std::env::temp_dir().join(format!("pinion-{:08x}", hash >> 32));
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
        _ => {}
    }
    // In a directory that all may write to, another user can be there first.
    let metadata = fs::symlink_metadata(&path).ok()?;
    (metadata.is_dir() && metadata.uid() == nix::unistd::Uid::effective().as_raw()).then_some(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_come_and_go() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::open(root.path()).unwrap();
        files.create_pod("n", "p").unwrap();
        files.write_pod("n", "p", &json!({"a": 1})).unwrap();
        assert_eq!(files.read_pod("n", "p"), Some(json!({"a": 1})));
        assert_eq!(files.collect_garbage(Duration::from_secs(60), |_, _| false), 0, "it is young");
        assert_eq!(files.collect_garbage(Duration::ZERO, |_, _| true), 0, "it is in use");
        assert_eq!(files.collect_garbage(Duration::ZERO, |_, _| false), 1);
        assert!(!files.has_pod("n", "p"));
    }

    #[test]
    fn a_log_is_read_in_pieces_and_its_tail_by_lines() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::open(root.path()).unwrap();
        let path = root.path().join("x.log");
        assert_eq!(files.read_log(&path, 0).unwrap(), b"");
        fs::write(&path, "first line\nsecond line\n").unwrap();
        assert_eq!(files.read_log(&path, 11).unwrap(), b"second line\n");
        assert_eq!(files.read_log(&path, 99).unwrap(), b"");
        assert_eq!(files.log_tail(&path, 14), "second line\n");
        assert_eq!(files.log_tail(&path, 99), "first line\nsecond line\n");
    }
}
