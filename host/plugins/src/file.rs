//! Reads plugin files, checks who can change them, and keeps private copies that nobody can.

use std::fs::{self, DirBuilder, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::refusal::{Refusal, RefusalKind};

/// Larger files are not read.
const LARGEST: u64 = 1 << 30;
const WORLD_WRITABLE: u32 = 0o002;
const GROUP_OR_WORLD_WRITABLE: u32 = 0o022;

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Follows symbolic links.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// SHA-256 as hexadecimal text.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Reads a regular file whole, once: everything later works on these bytes.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    let refuse = |found: String| {
        Refusal::new(
            RefusalKind::Unreadable,
            found,
            "a regular file that this user can read",
            format!("check {} and its permissions", path.display()),
        )
    };
    let metadata = fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
    if !metadata.is_file() {
        return Err(refuse(if metadata.is_dir() { "a directory".into() } else { "a special file".into() }));
    }
    if metadata.len() > LARGEST {
        return Err(refuse(format!("a file of {} bytes", metadata.len())));
    }
    fs::read(path).map_err(|error| refuse(error.to_string()))
}

/// Refuses a file that everybody can replace or change.
pub(crate) fn check_permissions(path: &Path) -> Result<(), Refusal> {
    let resolved = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let places = [Some(path), path.parent(), Some(&resolved), resolved.parent()];
    for place in places.into_iter().flatten() {
        let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
        let Ok(metadata) = fs::metadata(place) else { continue };
        if metadata.mode() & WORLD_WRITABLE != 0 {
            return Err(Refusal::new(
                RefusalKind::UnsafePermissions,
                format!("{} is writable by everybody (mode {:o})", place.display(), metadata.mode() & 0o7777),
                "a file and directory that only their owner can change",
                format!("run `chmod o-w {}`, or set `allow-world-writable`", place.display()),
            ));
        }
    }
    Ok(())
}

/// Writes the bytes to `<dir>/<digest>.so` unless they are there, and returns that path.
///
/// The copy is what gets mapped: replacing or truncating the original while the host runs harms nothing.
pub(crate) fn private_copy(dir: &Path, digest: &str, bytes: &[u8]) -> Result<PathBuf, Refusal> {
    let refuse = |found: String| {
        Refusal::new(
            RefusalKind::Unreadable,
            found,
            "a directory for private copies that only this user can write to",
            format!("set `cache-dir`, or correct {}", dir.display()),
        )
    };
    let owned = prepare(dir).map_err(|error| refuse(format!("{}: {error}", dir.display())))?;
    if !is_private(&owned) {
        return Err(refuse(format!(
            "{} with owner {} and mode {:o}",
            dir.display(),
            owned.uid(),
            owned.mode() & 0o7777
        )));
    }
    let path = dir.join(format!("{digest}.so"));
    // Only this user can write there, and a copy gets its name once it is on the disk: its size is proof enough.
    if fs::symlink_metadata(&path).is_ok_and(|found| found.is_file() && found.len() == bytes.len() as u64) {
        return Ok(path);
    }
    write(dir, &path, bytes).map_err(|error| refuse(format!("{}: {error}", path.display())))?;
    Ok(path)
}

fn prepare(dir: &Path) -> io::Result<Metadata> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::symlink_metadata(dir)
}

fn is_private(metadata: &Metadata) -> bool {
    let own = metadata.uid() == nix::unistd::geteuid().as_raw();
    metadata.is_dir() && own && metadata.mode() & GROUP_OR_WORLD_WRITABLE == 0
}

fn write(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.{}", std::process::id()));
    // Left over from a process with this id that died here.
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o500).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
