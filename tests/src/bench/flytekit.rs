//! Measures tasks of the stock flytekit: from warm parents, cold, and against a bare loop that forks a warm parent.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use proto::flyteidl::core::{Identifier, ResourceType};
use tests::Server;

use super::api::Api;
use super::report::{Report, Sample, Target, Unit};
use super::{Scope, flow, python_dir};

const CHAIN: usize = 40;
/// Tasks of the cold chain, which is too slow for forty.
const COLD_CHAIN: usize = 4;

/// Runs the section.
pub async fn run(scope: &Scope, report: &mut Report) -> Result<()> {
    let python: PathBuf =
        std::env::var_os("PINION_TEST_PYTHON").context("PINION_TEST_PYTHON is not set")?.into();
    let warm = scope.server("warm", &[]);
    let learned = scope.server("learned", &[]);
    let cold = scope.server("cold", &["--set", "local-cluster.warm.enabled=false"]);
    let mut warm = Side::prepare(&warm, &python).await?;
    let mut learned = Side::prepare(&learned, &python).await?;
    let mut cold = Side::prepare(&cold, &python).await?;
    let mut bare = ForkLoop::start(&python)?;
    report.progress("warming up");
    bare.run(2)?;
    warm.run("chain4").await?;
    learned.run("chain4").await?;
    let first = Sample::of(Unit::Seconds, [learned.run("wine").await?]);
    // A parent that learned what the task imports takes its time to import it.
    tokio::time::sleep(Duration::from_secs(10)).await;
    learned.run("wine").await?;
    let seconds = || Sample::new(Unit::Seconds);
    let (mut chain, mut forks, mut cold_chain) = (seconds(), seconds(), seconds());
    let (mut heavy_chain, mut wine, mut cold_wine) = (seconds(), seconds(), seconds());
    for round in 0..scope.rounds {
        report.progress(&format!("round {} of {}", round + 1, scope.rounds));
        chain.push(warm.run("chain40").await?);
        forks.push(bare.run(CHAIN)?);
        heavy_chain.push(learned.run("chain40").await?);
        cold_chain.push(cold.run("chain4").await?);
        wine.push(learned.run("wine").await?);
        cold_wine.push(cold.run("wine").await?);
    }
    let scaled = cold_chain.map(Unit::Seconds, |time| time * CHAIN as f64 / COLD_CHAIN as f64);
    report.ratio("P3", "chain of 40, warm", &chain, ("bare fork loop", &forks), Some(Target::AtMost(1.25)));
    let name = "this, cold (chain of 4, scaled)";
    report.ratio("P3", name, &scaled, ("warm", &chain), Some(Target::AtLeast(30.0)));
    let name = "chain of 40, warm, parent learned pandas + sklearn";
    report.ratio("P3", name, &heavy_chain, ("without", &chain), None);
    let per_task = chain.map(Unit::Seconds, |time| time / CHAIN as f64);
    report.figure("P3", "one warm task", per_task, None);
    report.ratio("P16", "pandas + sklearn, cold", &cold_wine, ("warm", &wine), Some(Target::AtLeast(10.0)));
    report.figure("P16", "pandas + sklearn, warm, first of its kind", first, None);
    Ok(())
}

/// A server with the workflows on it.
struct Side {
    api: Api,
}

impl Side {
    async fn prepare(server: &Server, python: &Path) -> Result<Self> {
        let pyflyte = python.with_file_name("pyflyte");
        let mut command = server.client(&pyflyte);
        command.args(["register", "--project", flow::PROJECT, "--domain", flow::DOMAIN]);
        command.args(["--version", flow::VERSION, "bench_wf.py"]);
        let output = tests::finish(&mut command, Duration::from_secs(300));
        if !output.status.success() {
            bail!("pyflyte register failed:\n{}", tests::text(&output));
        }
        Ok(Self { api: Api::connect(server).await? })
    }

    /// Seconds from submission to success.
    async fn run(&mut self, workflow: &str) -> Result<f64> {
        let plan: Identifier = flow::id(ResourceType::LaunchPlan, &format!("bench_wf.{workflow}"));
        Ok(self.api.run(&plan).await?.as_secs_f64())
    }
}

/// The Python process that imported flytekit and forks.
struct ForkLoop {
    child: Child,
    wanted: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl ForkLoop {
    fn start(python: &Path) -> Result<Self> {
        let mut child = Command::new(python)
            .arg("bench_fork.py")
            .current_dir(python_dir())
            .env("FLYTE_SDK_LOGGING_LEVEL", "40")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the fork loop")?;
        let wanted = child.stdin.take().context("the fork loop has no input")?;
        let answers = BufReader::new(child.stdout.take().context("the fork loop has no output")?);
        Ok(Self { child, wanted, answers })
    }

    /// Seconds for so many tasks.
    fn run(&mut self, n: usize) -> Result<f64> {
        writeln!(self.wanted, "{n}")?;
        // Tasks may print; the answer is the line that is a number.
        loop {
            let mut line = String::new();
            ensure!(self.answers.read_line(&mut line)? > 0, "the fork loop ended");
            if let Ok(seconds) = line.trim().parse() {
                return Ok(seconds);
            }
        }
    }
}

impl Drop for ForkLoop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
