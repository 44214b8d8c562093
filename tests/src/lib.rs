//! Drives the built binary as its users do: starts it, runs stock clients against it, kills it.
//!
//! The test command (`cargo xtask test`) says through the environment where binary and interpreter are.

pub mod client;
pub mod database;
pub mod server;

pub use server::{Options, Server};

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Where the Python scenarios are.
pub fn scenarios() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/python"))
}

/// The interpreter with the stock client, or `None` after writing down why the test is skipped.
pub fn python(test: &str) -> Option<PathBuf> {
    if let Some(python) = std::env::var_os("PINION_TEST_PYTHON") {
        return Some(python.into());
    }
    skip(test, "PINION_TEST_PYTHON is not set; run by `cargo xtask test`");
    None
}

/// Notes that a test was skipped, where the test command counts it.
pub fn skip(test: &str, why: &str) {
    use std::io::Write;
    eprintln!("skipped: {test}: {why}");
    if let Some(path) = std::env::var_os("PINION_TEST_SKIPS")
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(path)
    {
        let _ = writeln!(file, "{test}: {why}");
    }
}

/// The directory of the built binary and plugins.
pub fn bin_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("PINION_TEST_BIN") {
        return dir.into();
    }
    // target/debug/deps/<test> -> target/debug
    let exe = std::env::current_exe().unwrap_or_default();
    exe.parent().and_then(|deps| deps.parent()).map(PathBuf::from).unwrap_or_default()
}

/// Polls until the condition holds.
///
/// # Panics
/// After the given time, naming what was waited for.
pub fn eventually(what: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + within;
    while !condition() {
        assert!(Instant::now() < until, "{what} did not happen within {within:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a command to its end, with a limit, and returns what it printed.
///
/// # Panics
/// When it can't be started or takes too long.
pub fn finish(command: &mut Command, within: Duration) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let pid = child.id();
    let (done, watch) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        if watch.recv_timeout(within).is_err() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
    });
    let output =
        child.wait_with_output().unwrap_or_else(|error| panic!("cannot wait for {command:?}: {error}"));
    let _ = done.send(());
    let _ = guard.join();
    output
}

/// Both outputs of a command as text.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
