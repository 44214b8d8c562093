//! Starts and stops `pinion dev` on free ports with a data directory of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{bin_dir, eventually, finish, scenarios, skip, text};

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Data directory to go on with; a new one when `None`.
    pub data: Option<PathBuf>,
    /// Further arguments of `pinion dev`.
    pub args: Vec<String>,
    /// Listen where an unconfigured client looks, instead of on free ports.
    pub standard_ports: bool,
}

impl Options {
    /// A server on a new Postgres database; `None` after writing down why the test is skipped.
    pub fn on_postgres(test: &str) -> Option<Self> {
        let Ok(url) = std::env::var("PINION_TEST_POSTGRES_URL") else {
            skip(test, "PINION_TEST_POSTGRES_URL is not set; run by `cargo xtask test`");
            return None;
        };
        let set = format!("store.url={}", crate::database::create(&url));
        Some(Self { args: vec!["--set".into(), set], ..Self::default() })
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Port of API and HTTP.
    pub port: u16,
    /// Port of the embedded S3 endpoint.
    pub s3_port: u16,
    /// Its data directory.
    pub data: PathBuf,
    standard_ports: bool,
    /// Removes the data directory at the end, unless it was given.
    _temp: Option<tempfile::TempDir>,
}

impl Server {
    /// Starts one and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready; its log is printed.
    pub fn start(options: Options) -> Self {
        let temp =
            options.data.is_none().then(|| tempfile::tempdir().expect("invariant: a temporary directory"));
        let data = options
            .data
            .clone()
            .unwrap_or_else(|| temp.as_ref().map(|dir| dir.path().join("data")).unwrap_or_default());
        std::fs::create_dir_all(&data).expect("invariant: the data directory can be made");
        let (port, s3_port) =
            if options.standard_ports { (30080, 30002) } else { (free_port(), free_port()) };
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(data.join("test-server.log"))
            .expect("invariant: the log can be written");
        let child = Command::new(bin_dir().join("pinion"))
            .arg("dev")
            .arg("--data-dir")
            .arg(&data)
            .args(["--port", &port.to_string(), "--s3-port", &s3_port.to_string()])
            .args(&options.args)
            .env("PATH", path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("invariant: a file handle can be copied"))
            .stderr(log)
            .spawn()
            .expect("pinion can be started; is it built? `cargo build --workspace`");
        let mut server =
            Self { child, port, s3_port, data, standard_ports: options.standard_ports, _temp: temp };
        let until = std::time::Instant::now() + Duration::from_secs(30);
        while !server.http("/readyz").starts_with("HTTP/1.1 200") {
            if let Ok(Some(status)) = server.child.try_wait() {
                panic!("pinion ended at once ({status}):\n{}", server.log());
            }
            assert!(std::time::Instant::now() < until, "pinion is not ready:\n{}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// The server's process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    /// What the server printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.join("test-server.log")).unwrap_or_default()
    }

    /// A plain HTTP GET; empty when nothing answers.
    pub fn http(&self, path: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return String::new() };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let mut answer = Vec::new();
        let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Kills it as the kernel does under memory pressure: no warning.
    pub fn kill(mut self) -> PathBuf {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.keep()
    }

    /// Asks it to end and waits. The answer is its exit code.
    pub fn stop(mut self) -> (Option<i32>, PathBuf) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let status = self.child.wait().ok().and_then(|status| status.code());
        (status, self.keep())
    }

    /// Keeps the data directory beyond the server's life.
    fn keep(&mut self) -> PathBuf {
        if let Some(temp) = self._temp.take() {
            let _ = temp.keep();
        }
        self.data.clone()
    }

    /// A command with the environment of a client of this server.
    pub fn client(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(scenarios()).env("PATH", path()).env("FLYTE_SDK_LOGGING_LEVEL", "40");
        for name in ["FLYTECTL_CONFIG", "FLYTE_PLATFORM_URL", "FLYTE_AWS_ENDPOINT"] {
            command.env_remove(name);
        }
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("FLYTE_SDK_RICH_TRACEBACKS", "0");
        if !self.standard_ports {
            command
                .env("FLYTE_PLATFORM_URL", format!("localhost:{}", self.port))
                .env("FLYTE_PLATFORM_INSECURE", "true")
                .env("FLYTE_AWS_ENDPOINT", format!("http://localhost:{}", self.s3_port))
                .env("FLYTE_AWS_ACCESS_KEY_ID", "minio")
                .env("FLYTE_AWS_SECRET_ACCESS_KEY", "miniostorage");
        }
        command
    }

    /// Runs a scenario script with the stock client.
    ///
    /// # Panics
    /// When it does not end with `SCENARIO OK`; both its output and the server's log are printed.
    pub fn scenario(&self, python: &Path, script: &str) {
        self.scenario_of(python, &[script]);
    }

    /// As [`Server::scenario`], for a script with arguments.
    ///
    /// # Panics
    /// As [`Server::scenario`].
    pub fn scenario_of(&self, python: &Path, args: &[&str]) {
        let output = finish(self.client(python).args(args), Duration::from_secs(420));
        let printed = text(&output);
        assert!(
            output.status.success() && printed.contains("SCENARIO OK"),
            "{args:?} failed ({}):\n{printed}\n--- server ---\n{}",
            output.status,
            tail(&self.log(), 120)
        );
    }

    /// A `pinion` command against this server.
    pub fn pinion(&self, args: &[&str]) -> std::process::Output {
        let mut command = self.client(&bin_dir().join("pinion"));
        command.args(args).env("PINION_ENDPOINT", format!("localhost:{}", self.port));
        finish(&mut command, Duration::from_secs(60))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
            let mut ended = false;
            for _ in 0..200 {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    ended = true;
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            if !ended {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

/// `PATH` with the interpreter's directory in front, so that tasks find their environment.
fn path() -> std::ffi::OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let Some(python) = std::env::var_os("PINION_TEST_PYTHON") else { return rest };
    let dir = PathBuf::from(python).parent().map(PathBuf::from).unwrap_or_default();
    let all = std::iter::once(dir).chain(std::env::split_paths(&rest));
    std::env::join_paths(all).unwrap_or(rest)
}

/// A port nobody listens on right now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .expect("invariant: loopback has free ports")
}

/// The last lines of a text.
pub fn tail(text: &str, n_lines: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(n_lines)..).unwrap_or_default().join("\n")
}

/// Waits until no process has the given text in its command line or environment-free arguments.
pub fn wait_no_process(needle: &str) {
    eventually(&format!("the end of every process with `{needle}`"), Duration::from_secs(20), || {
        processes(needle).is_empty()
    });
}

/// Ids of processes whose command line holds the text, this process apart.
pub fn processes(needle: &str) -> Vec<u32> {
    let me = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != me)
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(needle)
        })
        .collect()
}
