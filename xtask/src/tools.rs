//! Finds or installs what chores need: the build, a Python environment, a Postgres server.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where downloads and environments are kept between runs, outside the clone.
pub fn cache() -> Result<PathBuf> {
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(dir), _) if !dir.is_empty() => PathBuf::from(dir),
        (_, Some(home)) => PathBuf::from(home).join(".cache"),
        _ => bail!("neither XDG_CACHE_HOME nor HOME is set: there is no place for downloads"),
    };
    let dir = base.join("pinion");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

/// Says what happens now, on standard error.
pub fn say(text: &str) {
    eprintln!("\x1b[1;36m==>\x1b[0m {text}");
}

/// Runs a command to its end; a failure names the command.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// Runs a command quietly; what it printed is shown only when it fails.
pub fn run_quietly(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("{command:?} failed: {}\n{text}", output.status);
    }
    Ok(text)
}

/// The cargo that runs us.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Builds host, plugins and tests, and returns the directory of the results.
pub fn build(profile: Profile) -> Result<PathBuf> {
    say(&format!("building Pinion and its plugins ({})", profile.name()));
    let mut command = cargo();
    command.args(["build", "--workspace", "--locked"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    run(&mut command)?;
    let bin = target_dir()?.join(profile.dir());
    stage_plugins(&bin, profile)?;
    Ok(bin)
}

/// Puts the plugins of this workspace into `plugins` beside the binary, where the host looks for them. Those of a
/// release go without debug information: the host reads and hashes every byte at each start.
fn stage_plugins(bin: &Path, profile: Profile) -> Result<()> {
    let dir = bin.join("plugins");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let rooms = root().join("plugins");
    for entry in std::fs::read_dir(&rooms).with_context(|| format!("cannot list {}", rooms.display()))? {
        let name = entry?.file_name().to_string_lossy().replace('-', "_");
        let file = format!("libplugin_{name}.so");
        let built = bin.join(&file);
        if !built.exists() {
            continue;
        }
        // Another name first, then a rename: a running host may have the old file open.
        let fresh = dir.join(format!(".{file}.new"));
        let _ = std::fs::remove_file(&fresh);
        std::fs::copy(&built, &fresh).with_context(|| format!("cannot copy {}", built.display()))?;
        if profile == Profile::Release
            && let Err(error) = run_quietly(Command::new("strip").arg("--strip-debug").arg(&fresh))
        {
            say(&format!("{file} keeps its debug information, the host starts slower for it: {error:#}"));
        }
        std::fs::rename(&fresh, dir.join(&file)).with_context(|| format!("cannot place {file}"))?;
    }
    Ok(())
}

/// Which cargo profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Unoptimised: fast to build.
    Dev,
    /// Optimised: for measuring.
    Release,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev profile",
            Self::Release => "release profile",
        }
    }

    fn dir(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

fn target_dir() -> Result<PathBuf> {
    let text = run_quietly(cargo().args(["metadata", "--no-deps", "--format-version", "1", "--locked"]))?;
    let start = text.find("\"target_directory\":\"").context("cargo metadata names no target directory")?;
    let rest = &text[start + "\"target_directory\":\"".len()..];
    let end = rest.find('"').context("cargo metadata is cut short")?;
    Ok(PathBuf::from(&rest[..end]))
}

/// A virtual environment with the stock client and the packages of the examples; made once, kept in the cache.
pub fn python() -> Result<PathBuf> {
    let requirements = root().join("tests/python/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let venv = cache()?.join("venv");
    let stamp = venv.join("requirements.stamp");
    let python = venv.join("bin/python");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) && python.exists() {
        return Ok(python);
    }
    say(&format!(
        "making a Python environment with flytekit, pandas and scikit-learn from PyPI in {}",
        venv.display()
    ));
    if venv.exists() {
        std::fs::remove_dir_all(&venv).with_context(|| format!("cannot remove {}", venv.display()))?;
    }
    if run_quietly(Command::new("python3").args(["-m", "venv"]).arg(&venv)).is_err() {
        say("this Python has no venv module: installing Debian's python3-venv");
        apt_install(&["python3-venv"])?;
        let _ = std::fs::remove_dir_all(&venv);
        run_quietly(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    }
    run_quietly(
        Command::new(&python)
            .args(["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "-r"])
            .arg(&requirements),
    )?;
    // Without compiled modules a cold start takes twice as long.
    let _ =
        run_quietly(Command::new(&python).args(["-m", "compileall", "-q", "-j", "2"]).arg(venv.join("lib")));
    std::fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(python)
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let hint = format!("install them yourself: apt-get install {}", packages.join(" "));
    if !uid_is_zero() {
        bail!("this needs root: {hint}");
    }
    run_quietly(Command::new("apt-get").args(["update", "-q"])).context(hint.clone())?;
    run_quietly(
        Command::new("apt-get")
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
    .context(hint)?;
    Ok(())
}

fn uid_is_zero() -> bool {
    run_quietly(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0")
}

/// `PATH` with a directory put in front.
pub fn path_with(dir: &Path) -> Result<std::ffi::OsString> {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(dir.to_path_buf()).chain(std::env::split_paths(&rest));
    std::env::join_paths(all).context("a directory of PATH holds a colon")
}

/// Runs a command quietly as a user that is not root, for servers that refuse root.
pub fn unprivileged(program: &Path) -> Command {
    if uid_is_zero() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Whether this process is root.
pub fn is_root() -> bool {
    uid_is_zero()
}
