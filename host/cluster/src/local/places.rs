//! Lends directories to containers and takes them back.
//!
//! Nothing is deleted while pods run: an empty directory is lent again, a full one goes to the trash. Deleting is
//! cheap, but ext4 steps over each inode that was freed in the last five seconds whenever it creates one, so that a
//! steady stream of short tasks would slow itself down several times over.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::files::Files;

/// Pods are at rest when none has ended for this long.
const AT_REST: Duration = Duration::from_secs(6);

/// So much trash is removed even if the pods never rest.
const TOO_MUCH: usize = 2000;

/// The directories of one container.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Where it works.
    pub work: PathBuf,
    /// For its temporary files. Short, because tasks put sockets there, whose paths are limited to 107 bytes.
    pub scratch: PathBuf,
}

/// Keeps the directories that are not lent.
pub(crate) struct Yard {
    files: Files,
    /// Numbers of empty directories, each with an empty `work` in it.
    empty: Mutex<Vec<u64>>,
    empty_scratch: Mutex<Vec<PathBuf>>,
    /// Smaller numbers are of earlier hosts.
    first: u64,
    next: AtomicU64,
    trash: AtomicUsize,
    last_return: Mutex<Instant>,
}

impl Yard {
    pub(crate) fn new(files: Files, first: u64) -> Yard {
        Yard {
            files,
            empty: Mutex::default(),
            empty_scratch: Mutex::default(),
            first,
            next: AtomicU64::new(first),
            // What earlier hosts left counts as one heap.
            trash: AtomicUsize::new(1),
            last_return: Mutex::new(Instant::now()),
        }
    }

    /// Directories for a container whose pod has its own already.
    pub(crate) fn lend(&self, namespace: &str, pod: &str, container: &str) -> io::Result<Places> {
        let home = self.files.pod(namespace, pod).join(container);
        let work = home.join("work");
        let empty = pop(&self.empty);
        if empty.is_none_or(|number| fs::rename(self.files.pool(number), &home).is_err()) {
            fs::create_dir_all(&work)?;
        }
        let scratch = match pop(&self.empty_scratch) {
            Some(scratch) => scratch,
            None => {
                let scratch = self.files.scratch(self.number());
                fs::create_dir_all(&scratch)?;
                scratch
            }
        };
        Ok(Places { work, scratch })
    }

    /// Takes back the directory for temporary files. All processes that used it must be gone.
    pub(crate) fn return_scratch(&self, scratch: PathBuf) {
        if is_empty(&scratch) {
            push(&self.empty_scratch, scratch);
        } else {
            self.discard(&scratch, &self.files.scratch_trash(self.number()));
        }
    }

    /// Takes back the working directory of a container.
    pub(crate) fn return_work(&self, namespace: &str, pod: &str, container: &str) {
        let home = self.files.pod(namespace, pod).join(container);
        let number = self.number();
        if is_empty(&home.join("work")) && fs::rename(&home, self.files.pool(number)).is_ok() {
            push(&self.empty, number);
        } else {
            self.discard(&home, &self.files.trash(number));
        }
        *self.last_return.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Removes what was thrown away, if the pods are at rest or it is too much. Takes as long as it takes.
    pub(crate) fn empty_trash(&self) {
        let heap = self.trash.load(Ordering::Relaxed);
        let rested = self.last_return.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > AT_REST;
        if heap > TOO_MUCH || (heap > 0 && rested) {
            self.trash.fetch_sub(heap, Ordering::Relaxed);
            self.files.empty_trash(self.first);
        }
    }

    fn discard(&self, from: &Path, to: &Path) {
        if fs::rename(from, to).is_ok() {
            self.trash.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

fn pop<T>(stack: &Mutex<Vec<T>>) -> Option<T> {
    stack.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn push<T>(stack: &Mutex<Vec<T>>, value: T) {
    stack.lock().unwrap_or_else(PoisonError::into_inner).push(value);
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_directories_are_lent_again_and_full_ones_are_not() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::open(root.path()).unwrap();
        let yard = Yard::new(files.clone(), 1000);
        files.create_pod("n", "a").unwrap();
        let first = yard.lend("n", "a", "c").unwrap();
        fs::write(first.scratch.join("x"), "").unwrap();
        yard.return_scratch(first.scratch.clone());
        yard.return_work("n", "a", "c");
        assert!(!first.work.exists() && !first.scratch.exists());
        assert_eq!(yard.empty.lock().unwrap().len(), 1);

        files.create_pod("n", "b").unwrap();
        let second = yard.lend("n", "b", "d").unwrap();
        assert!(second.work.is_dir() && yard.empty.lock().unwrap().is_empty());
        fs::write(second.work.join("x"), "").unwrap();
        yard.return_work("n", "b", "d");
        assert!(yard.empty.lock().unwrap().is_empty());
        let trash = root.path().join("trash");
        assert_eq!(fs::read_dir(&trash).unwrap().count(), 1);
        files.empty_trash(1000);
        assert_eq!(fs::read_dir(&trash).unwrap().count(), 0);
        assert!(second.scratch.is_dir(), "it is still lent");
    }
}
