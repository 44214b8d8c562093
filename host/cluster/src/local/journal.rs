//! Notes which pods were applied and deleted, so that the next host knows which ones went down with this one.
//!
//! One line is appended for each, with one write. That is why there is no record per pod while it runs: creating a
//! file costs ten times as much, and deleting it makes every later creation slower (ext4 steps over inodes that were
//! freed in the last seconds, one by one).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{Error, Object};

/// Above this size the journal is rewritten with what is still of interest.
const COMPACT_AT: u64 = 32 << 20;

/// What happened to a pod.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Entry<O> {
    Applied(O),
    Deleted { namespace: String, name: String },
}

/// The file and its size.
pub(crate) struct Journal {
    path: PathBuf,
    file: Mutex<(File, u64)>,
}

impl Journal {
    /// Opens the journal and returns the pods that were applied and not deleted, as they were applied. What is no
    /// entry is skipped: it was being written when the host was killed.
    pub(crate) fn open(path: PathBuf) -> Result<(Journal, Vec<Object>), Error> {
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|error| Error::io("read", &path, error))?,
        };
        let mut pods: Vec<Object> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for line in text.split(|&byte| byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Entry::Applied(object)) => {
                    places.insert(key(&object), pods.len());
                    pods.push(object);
                }
                Ok(Entry::Deleted { namespace, name }) => {
                    if let Some(place) = places.remove(&(namespace, name)) {
                        pods[place] = Object::Null;
                    }
                }
                Err(_) => {}
            }
        }
        pods.retain(|object| !object.is_null());
        let file = append_to(&path)?;
        let journal = Journal { path, file: Mutex::new((file, text.len() as u64)) };
        Ok((journal, pods))
    }

    fn file(&self) -> MutexGuard<'_, (File, u64)> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a pod was applied.
    pub(crate) fn applied(&self, object: &Object) -> Result<(), Error> {
        self.append(&Entry::Applied(object))
    }

    /// Notes that a pod was deleted.
    pub(crate) fn deleted(&self, namespace: &str, name: &str) -> Result<(), Error> {
        self.append(&Entry::<&Object>::Deleted { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// Whether it is time to [`Journal::compact`].
    pub(crate) fn is_long(&self) -> bool {
        self.file().1 > COMPACT_AT
    }

    /// Rewrites the journal with nothing but the pods that `live` finds.
    pub(crate) fn compact(&self, live: impl FnOnce() -> Vec<std::sync::Arc<Object>>) -> Result<(), Error> {
        // Locked before `live` looks, or a pod applied in between would be lost.
        let mut file = self.file();
        let temporary = self.path.with_extension("new");
        let mut text = Vec::new();
        for object in live() {
            text.extend(line(&Entry::Applied(&*object)));
        }
        fs::write(&temporary, &text)
            .and_then(|()| fs::rename(&temporary, &self.path))
            .map_err(|error| Error::io("write", &self.path, error))?;
        *file = (append_to(&self.path)?, text.len() as u64);
        Ok(())
    }

    fn append(&self, entry: &Entry<&Object>) -> Result<(), Error> {
        let line = line(entry);
        let mut file = self.file();
        file.1 += line.len() as u64;
        file.0.write_all(&line).map_err(|error| Error::io("write", &self.path, error))
    }
}

fn append_to(path: &PathBuf) -> Result<File, Error> {
    OpenOptions::new().append(true).create(true).open(path).map_err(|error| Error::io("open", path, error))
}

/// An entry between line ends: what a killed host left half-written must not spoil it.
fn line(entry: &Entry<&Object>) -> Vec<u8> {
    let mut line = vec![b'\n'];
    serde_json::to_writer(&mut line, entry).expect("invariant: an object is plain JSON and a Vec takes all");
    line.push(b'\n');
    line
}

fn key(object: &Object) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn pod(name: &str) -> Object {
        json!({"metadata": {"namespace": "n", "name": name}})
    }

    #[test]
    fn what_was_applied_and_not_deleted_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (journal, found) = Journal::open(path.clone()).unwrap();
        assert!(found.is_empty());
        for name in ["a", "b"] {
            journal.applied(&pod(name)).unwrap();
        }
        journal.deleted("n", "a").unwrap();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"applied\": {\"meta").unwrap();
        let (journal, found) = Journal::open(path.clone()).unwrap();
        assert_eq!(found, [pod("b")]);
        journal.applied(&pod("a")).unwrap();
        assert_eq!(Journal::open(path.clone()).unwrap().1, [pod("b"), pod("a")]);
        journal.compact(|| vec![Arc::new(pod("a"))]).unwrap();
        journal.applied(&pod("c")).unwrap();
        assert_eq!(Journal::open(path).unwrap().1, [pod("a"), pod("c")]);
    }
}
