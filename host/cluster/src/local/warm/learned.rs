//! Remembers, per environment, which installed modules its tasks import, and which must not be imported ahead.
//!
//! Children of warm parents append what they imported to `<key>.learned`, one JSON list a line; this room appends
//! what it found unfit to `<key>.denied`. Both are read again at the next start.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::command::Interpreter;

/// More modules than this are not learned: it is a list of what is used often, not of what is installed.
const MOST: usize = 5000;

/// What is known of the tasks of one environment.
pub(crate) struct Learned {
    path: PathBuf,
    denied_path: PathBuf,
    read_to: u64,
    /// In the order of their import.
    modules: Vec<String>,
    known: HashSet<String>,
    denied: HashSet<String>,
}

impl Learned {
    pub(crate) fn open(directory: &Path, interpreter: &Interpreter, denied: &[String]) -> Learned {
        let name: String = interpreter
            .program
            .to_string_lossy()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' })
            .collect();
        let denied_path = directory.join(format!("{name}.denied"));
        let earlier = fs::read_to_string(&denied_path).unwrap_or_default();
        let mut learned = Learned {
            path: directory.join(format!("{name}.learned")),
            denied_path,
            read_to: 0,
            modules: Vec::new(),
            known: HashSet::new(),
            denied: denied.iter().cloned().chain(earlier.lines().map(str::to_owned)).collect(),
        };
        learned.refresh();
        learned
    }

    /// The file for children to append to.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What to import ahead.
    pub(crate) fn modules(&self) -> &[String] {
        &self.modules
    }

    /// Reads what children have appended. True if there was anything new in it.
    pub(crate) fn refresh(&mut self) -> bool {
        let Ok(mut file) = fs::File::open(&self.path) else { return false };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if length <= self.read_to {
            return false;
        }
        let mut text = Vec::new();
        if file.seek(SeekFrom::Start(self.read_to)).and_then(|_| file.read_to_end(&mut text)).is_err() {
            return false;
        }
        // A line that is still being written is read next time.
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        self.read_to += whole as u64;
        let before = self.modules.len();
        for line in text[..whole].split(|&byte| byte == b'\n') {
            let names: Vec<String> = serde_json::from_slice(line).unwrap_or_default();
            for name in names {
                if self.modules.len() < MOST && !self.is_denied(&name) && self.known.insert(name.clone()) {
                    self.modules.push(name);
                }
            }
        }
        self.modules.len() > before
    }

    /// Never imports a package ahead again.
    pub(crate) fn deny(&mut self, package: &str) {
        if !self.denied.insert(package.to_owned()) {
            return;
        }
        let denied = &self.denied;
        self.modules.retain(|name| !denied.contains(package_of(name)));
        let noted = OpenOptions::new().append(true).create(true).open(&self.denied_path);
        if let Err(error) = noted.and_then(|mut file| writeln!(file, "{package}")) {
            tracing::warn!(error = %error, package, "cannot note a package that must not be imported ahead");
        }
    }

    fn is_denied(&self, name: &str) -> bool {
        self.denied.contains(package_of(name))
    }
}

fn package_of(module: &str) -> &str {
    module.split('.').next().unwrap_or(module)
}

/// The learned modules of all environments.
pub(crate) type ByInterpreter = HashMap<Interpreter, Learned>;

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreter() -> Interpreter {
        Interpreter { program: "/v/bin/python".into(), flags: Vec::new(), scripts: "/v/bin".into() }
    }

    #[test]
    fn what_children_append_is_learned_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut learned = Learned::open(dir.path(), &interpreter(), &["ray".to_owned()]);
        assert!(!learned.refresh());
        fs::write(learned.path(), "[\"pandas\",\"pandas.core\",\"ray.x\"]\n[\"pandas\"]\n[\"half").unwrap();
        assert!(learned.refresh());
        assert_eq!(learned.modules(), ["pandas", "pandas.core"]);
        assert!(!learned.refresh());
        learned.deny("pandas");
        assert!(learned.modules().is_empty());
        assert!(Learned::open(dir.path(), &interpreter(), &[]).modules().iter().all(|name| name == "ray.x"));
    }
}
