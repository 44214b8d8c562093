//! Removes abandoned temporary files and multipart uploads.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::Error;

/// A write that takes longer than this is taken for dead.
const MAX_AGE_OF_FILE: Duration = Duration::from_secs(24 * 3600);
/// A multipart upload without news for this long is taken for dead.
const MAX_AGE_OF_UPLOAD: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where the parts of multipart uploads wait.
pub(crate) fn uploads_dir(tmp: &Path) -> PathBuf {
    tmp.join("multipart")
}

/// Removes what is too old to be in use.
pub(crate) fn run(tmp: &Path, now: SystemTime) -> Result<(), Error> {
    let fault = |source| Error::Io { action: "sweep", path: tmp.to_owned(), source };
    let mut n_removed = 0;
    for (path, is_dir) in entries(tmp).map_err(fault)? {
        if !is_dir && is_older(&path, MAX_AGE_OF_FILE, now) {
            fs::remove_file(&path).map_err(fault)?;
            n_removed += 1;
        }
    }
    for (path, is_dir) in entries(&uploads_dir(tmp)).map_err(fault)? {
        if is_dir && is_older(&path, MAX_AGE_OF_UPLOAD, now) {
            fs::remove_dir_all(&path).map_err(fault)?;
            n_removed += 1;
        }
    }
    if n_removed > 0 {
        tracing::info!(n_removed, dir = %tmp.display(), "removed abandoned temporary files");
    }
    Ok(())
}

fn entries(dir: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
    match fs::read_dir(dir) {
        Ok(listing) => {
            listing.map(|entry| entry.and_then(|it| Ok((it.path(), it.file_type()?.is_dir())))).collect()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Whether a file or directory was last changed before the limit; not when another sweep removed it.
fn is_older(path: &Path, limit: Duration, now: SystemTime) -> bool {
    let modified = fs::metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|modified| now.duration_since(modified).is_ok_and(|age| age > limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_leftovers_go() {
        let dir = tempfile::tempdir().unwrap();
        let (file, upload) = (dir.path().join("a"), uploads_dir(dir.path()).join("u"));
        fs::write(&file, "x").unwrap();
        fs::create_dir_all(&upload).unwrap();
        let day = Duration::from_secs(24 * 3600);
        run(dir.path(), SystemTime::now()).unwrap();
        assert!(file.exists() && upload.exists());
        run(dir.path(), SystemTime::now() + day * 2).unwrap();
        assert!(!file.exists() && upload.exists());
        run(dir.path(), SystemTime::now() + day * 8).unwrap();
        assert!(!upload.exists());
        run(&dir.path().join("missing"), SystemTime::now()).unwrap();
    }
}
