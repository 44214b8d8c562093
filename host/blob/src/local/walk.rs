//! Walks a bucket in the order of keys.
//!
//! S3 orders keys by their bytes, a directory tree orders `a/b` after `a`: so a directory is sorted as its name
//! with a slash, which makes a depth-first walk yield exactly the order of whole keys.

use std::{fs, io, ops::ControlFlow, path::Path};

use super::meta_of;
use crate::ObjectMeta;

/// One thing that a walk comes by.
#[derive(Debug)]
pub(crate) enum Found {
    /// An object.
    Object {
        /// Its whole key.
        key: String,
        /// What its file says.
        meta: ObjectMeta,
    },
    /// Some objects whose keys share this prefix, which ends with a slash.
    Prefix(String),
}

/// What to visit.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    root: &'a Path,
    prefix: &'a str,
    after: &'a str,
    skip: &'a str,
    shallow: bool,
}

/// Called with each find; `Break` ends the walk.
pub(crate) type Visit<'v> = dyn FnMut(Found) -> ControlFlow<()> + 'v;

impl<'a> Walk<'a> {
    /// Visits all objects of the bucket at `root` whose key starts with `prefix`.
    pub(crate) fn new(root: &'a Path, prefix: &'a str) -> Self {
        Self { root, prefix, after: "", skip: "", shallow: false }
    }

    /// Leaves out the keys up to and including this one.
    pub(crate) fn after(self, after: &'a str) -> Self {
        Self { after, ..self }
    }

    /// Leaves out the keys before this prefix and all that start with it.
    pub(crate) fn after_prefix(self, skip: &'a str) -> Self {
        Self { skip, ..self }
    }

    /// Reports a directory as one [`Found::Prefix`] instead of entering it.
    pub(crate) fn shallow(self, shallow: bool) -> Self {
        Self { shallow, ..self }
    }

    /// Runs the walk. A bucket or prefix that does not exist has no objects.
    pub(crate) fn run(&self, visit: &mut Visit<'_>) -> io::Result<()> {
        // Starting at the deepest directory of the prefix spares reading its neighbours.
        let at = self.prefix.rfind('/').map_or("", |end| &self.prefix[..=end]);
        let traversal = at.split('/').any(|part| part == "." || part == "..");
        if traversal || at.starts_with('/') || at.contains("//") || at.contains('\0') {
            return Ok(());
        }
        let mut key = at.to_owned();
        self.directory(&self.root.join(at), &mut key, visit).map(|_| ())
    }

    fn directory(&self, dir: &Path, key: &mut String, visit: &mut Visit<'_>) -> io::Result<ControlFlow<()>> {
        let base = key.len();
        for (name, is_dir) in self.entries(dir, key)? {
            key.truncate(base);
            key.push_str(&name);
            let path = dir.join(name.trim_end_matches('/'));
            let flow = if !is_dir {
                match fs::symlink_metadata(&path) {
                    Ok(meta) => visit(Found::Object { key: key.clone(), meta: meta_of(&meta) }),
                    // Deleted meanwhile.
                    Err(error) if super::is_absent(&error) => ControlFlow::Continue(()),
                    Err(error) => return Err(error),
                }
            } else if self.shallow && key.len() > self.prefix.len() {
                match self.has_later_object(&path, key)? {
                    true => visit(Found::Prefix(key.clone())),
                    false => ControlFlow::Continue(()),
                }
            } else {
                self.directory(&path, key, visit)?
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        key.truncate(base);
        Ok(ControlFlow::Continue(()))
    }

    /// The names to visit in a directory, in key order; those of directories end with a slash.
    fn entries(&self, dir: &Path, base: &str) -> io::Result<Vec<(String, bool)>> {
        let listing = match fs::read_dir(dir) {
            Ok(listing) => listing,
            Err(error) if super::is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry?;
            let kind = entry.file_type()?;
            // A link or a socket is no object; a name that is not UTF-8 can't be a key.
            let Ok(mut name) = entry.file_name().into_string() else { continue };
            if !kind.is_dir() && !kind.is_file() {
                continue;
            }
            if kind.is_dir() {
                name.push('/');
            }
            if self.wanted(base, &name, kind.is_dir()) {
                names.push((name, kind.is_dir()));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn wanted(&self, base: &str, name: &str, is_dir: bool) -> bool {
        // `base` is a prefix of `self.prefix` or the other way round; compare what is left of it.
        let rest = self.prefix.get(base.len()..).unwrap_or("");
        if !name.starts_with(rest) {
            return false;
        }
        if self.after.is_empty() && self.skip.is_empty() {
            return true;
        }
        let key = format!("{base}{name}");
        let late = |bound: &str| key.as_str() > bound || (is_dir && bound.starts_with(&key));
        let after = self.after.is_empty() || late(self.after);
        let skip = self.skip.is_empty() || (late(self.skip) && !key.starts_with(self.skip));
        after && skip
    }

    /// Whether an object lies below a directory, after the bound.
    fn has_later_object(&self, dir: &Path, key: &str) -> io::Result<bool> {
        let mut key = key.to_owned();
        let deep = Walk { shallow: false, ..*self };
        let flow = deep.directory(dir, &mut key, &mut |_| ControlFlow::Break(()))?;
        Ok(flow.is_break())
    }
}
