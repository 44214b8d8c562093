//! Runs a throw-away Postgres server from the system's packages, on loopback, for as long as the tests need it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::tools::{cache, is_root, run_quietly, say, unprivileged};

/// A running server; stopped, and its data removed, when dropped.
pub struct Server {
    /// Where it listens, as a connection URL.
    pub url: String,
    child: Child,
    dir: PathBuf,
}

impl Server {
    /// Installs (once, into the cache) and starts a server on a free port.
    pub fn start() -> Result<Self> {
        let install = Install::find()?;
        let dir = std::env::temp_dir().join(format!("pinion-postgres-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        if is_root() {
            run_quietly(Command::new("chown").arg("nobody:nogroup").arg(&dir))?;
        }
        let data = dir.join("data");
        run_quietly(
            install
                .command("initdb")
                .arg("-D")
                .arg(&data)
                .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"])
                .arg("-L")
                .arg(&install.share),
        )?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        say(&format!("starting Postgres for the tests on 127.0.0.1:{port}"));
        let child = install
            .command("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k"])
            .arg(&dir)
            .args(["-c", "max_connections=200", "-c", "fsync=off"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(cache()?.join("postgres.log"))?)
            .spawn()
            .context("cannot start postgres")?;
        let mut server = Self { url: format!("postgres://postgres@127.0.0.1:{port}/postgres"), child, dir };
        server.wait_ready(port)?;
        Ok(server)
    }

    fn wait_ready(&mut self, port: u16) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                bail!("postgres ended at once ({status}); see postgres.log in the cache directory");
            }
            let socket = self.dir.join(format!(".s.PGSQL.{port}"));
            if socket.exists() && std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                std::thread::sleep(Duration::from_millis(300));
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("postgres was not ready within a minute")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Where a server's programs are.
struct Install {
    bin: PathBuf,
    share: PathBuf,
    lib: Option<PathBuf>,
}

impl Install {
    fn find() -> Result<Self> {
        if let Some(install) = Self::below(Path::new("/"), None) {
            return Ok(install);
        }
        // Postgres refuses root, and another user may not read root's home.
        let root =
            if is_root() { PathBuf::from("/var/cache/pinion/postgres") } else { cache()?.join("postgres") };
        let lib = root.join("lib");
        if let Some(install) = Self::below(&root, Some(lib.clone())) {
            return Ok(install);
        }
        say("unpacking a Postgres server from the system's packages into the cache");
        Self::unpack(&root, &lib)?;
        Self::below(&root, Some(lib)).context("the unpacked packages hold no Postgres server")
    }

    fn below(root: &Path, lib: Option<PathBuf>) -> Option<Self> {
        let mut versions: Vec<PathBuf> = std::fs::read_dir(root.join("usr/lib/postgresql"))
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|dir| dir.join("bin/initdb").exists() && dir.join("bin/postgres").exists())
            .collect();
        versions.sort();
        let dir = versions.pop()?;
        let version = dir.file_name()?.to_owned();
        Some(Self { bin: dir.join("bin"), share: root.join("usr/share/postgresql").join(version), lib })
    }

    /// Downloads the server and its libraries and unpacks them without installing anything.
    fn unpack(root: &Path, lib: &Path) -> Result<()> {
        std::fs::create_dir_all(lib)?;
        if is_root() {
            let _ = run_quietly(Command::new("apt-get").args(["update", "-q"]));
        }
        let depends = run_quietly(Command::new("apt-cache").args(["depends", "postgresql"]))?;
        let package = depends
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with("postgresql-") && name.ends_with(|c: char| c.is_ascii_digit()))
            .context("the package `postgresql` names no server package; run apt-get update")?
            .to_owned();
        let closure = run_quietly(Command::new("apt-cache").args([
            "depends",
            "--recurse",
            "--no-recommends",
            "--no-suggests",
            "--no-conflicts",
            "--no-breaks",
            "--no-replaces",
            "--no-enhances",
            &package,
        ]))?;
        let wanted: Vec<&str> = closure
            .lines()
            .filter(|line| !line.starts_with([' ', '<', '|']))
            .filter(|name| {
                *name == package
                    || [
                        "libpq5",
                        "libicu",
                        "libllvm",
                        "libxml2",
                        "libxslt",
                        "libldap",
                        "libsasl2-2",
                        "libz3",
                        "libedit",
                    ]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
            })
            .collect();
        let downloads = root.join("debs");
        std::fs::create_dir_all(&downloads)?;
        run_quietly(Command::new("apt-get").arg("download").args(&wanted).current_dir(&downloads))
            .context("cannot download Postgres; is the package index fresh (apt-get update)?")?;
        for entry in std::fs::read_dir(&downloads)? {
            run_quietly(Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(root))?;
        }
        for dir in ["usr/lib", "lib"] {
            link_libraries(&root.join(dir), lib, 2)?;
        }
        std::fs::remove_dir_all(&downloads)?;
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = unprivileged(&self.bin.join(program));
        command.env("LC_ALL", "C").current_dir(std::env::temp_dir());
        if let Some(lib) = &self.lib {
            command.env("LD_LIBRARY_PATH", lib);
        }
        command
    }
}

/// Links every shared library below `from` into one directory.
fn link_libraries(from: &Path, into: &Path, depth: u32) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(from) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if path.is_dir() && !path.is_symlink() {
            if depth > 0 && name != "postgresql" {
                link_libraries(&path, into, depth - 1)?;
            }
        } else if name.contains(".so") {
            let link = into.join(name);
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(&path, &link)?;
        }
    }
    Ok(())
}
