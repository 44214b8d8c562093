//! Shows Pinion at work: builds it, starts `pinion dev`, runs a real workflow with the stock client.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::tools::{self, Profile, root, say};

const API_PORT: u16 = 30080;

/// Builds, starts, runs, shows; see the README.
pub fn run(keep: bool) -> Result<()> {
    let bin = tools::build(Profile::Dev)?;
    let python = tools::python()?;
    let venv_bin = python.parent().context("the interpreter has no directory")?.to_path_buf();
    let pinion = bin.join("pinion");
    let data = root().join(".pinion/demo");

    say("starting `pinion dev`");
    let mut server = Server::start(&pinion, &data, &venv_bin)?;

    say("the plugins it loaded");
    tools::run(Command::new(&pinion).args(["plugin", "list", "--data-dir"]).arg(&data))?;

    say("running tests/examples/wine.py with the stock flytekit: `pyflyte run --remote wine.py training`");
    let output = Command::new(venv_bin.join("pyflyte"))
        .args(["run", "--remote", "wine.py", "training"])
        .current_dir(root().join("tests/examples"))
        .env_remove("FLYTE_PLATFORM_URL")
        .env_remove("FLYTECTL_CONFIG")
        .env("PATH", tools::path_with(&venv_bin)?)
        .stdin(Stdio::null())
        .output()
        .context("cannot start pyflyte")?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("pyflyte failed: {}\n{text}", output.status);
    }
    let name =
        execution_name(&text).with_context(|| format!("pyflyte printed no execution name:\n{text}"))?;

    tools::run(Command::new(&pinion).args(["watch", &name]))?;

    say("the outputs, as any client reads them");
    tools::run(Command::new(&pinion).args(["get", "execution", &name, "--outputs"]))?;

    let (pinion, venv) = (pinion.display(), venv_bin.display());
    println!();
    println!("Everything this run left is in {}", data.display());
    println!();
    println!("Try next:");
    println!("  export PATH={venv}:$PATH");
    println!("  {pinion} dev --data-dir {}   # go on with this data", data.display());
    println!("  {pinion} get executions                    # what ran");
    println!("  {pinion} logs {name} n14     # what a task printed");
    println!("  pyflyte run --remote --wait tests/examples/wine.py training --test_share 0.5");
    if keep {
        say("`pinion dev` goes on; Ctrl-C ends it");
        server.child.wait()?;
    } else {
        server.stop()?;
    }
    Ok(())
}

/// The execution's name in what pyflyte printed (a console link).
fn execution_name(text: &str) -> Option<String> {
    let rest = text.split("/executions/").nth(1)?;
    let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
    (!name.is_empty()).then_some(name)
}

struct Server {
    child: Child,
}

impl Server {
    fn start(pinion: &Path, data: &Path, venv_bin: &Path) -> Result<Self> {
        let mut child = Command::new(pinion)
            .args(["dev", "--set", "log.level=warn", "--data-dir"])
            .arg(data)
            .env("PATH", tools::path_with(venv_bin)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start pinion")?;
        let stdout = child.stdout.take().context("pinion has no output")?;
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                println!("{line}");
            }
        });
        let mut server = Self { child };
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = server.child.try_wait()? {
                bail!("`pinion dev` ended at once: {status}");
            }
            if ready() {
                return Ok(server);
            }
            if Instant::now() > until {
                server.stop()?;
                bail!("`pinion dev` was not ready within 20 seconds");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) -> Result<()> {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        self.child.wait().context("cannot wait for pinion")?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.stop();
        }
    }
}

/// Whether the server answers that it is ready.
fn ready() -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", API_PORT)) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let request = "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_execution_name_is_found_in_a_console_link() {
        let text = "Go to http://localhost:30080/console/projects/p/domains/d/executions/abc123 to see";
        assert_eq!(execution_name(text).as_deref(), Some("abc123"));
        assert_eq!(execution_name("nothing here"), None);
    }
}
