//! Measures how fast the server is ready, and what it holds in memory: idle, and per live node.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::server::free_port;

use super::api::Api;
use super::flow::{self, Work};
use super::metrics::{PLUGIN_CALLS, Page};
use super::report::{Report, Sample, Target, Unit};
use super::{Scope, latency, machine};

/// Live nodes of the measurement.
const N: usize = 10_000;
/// Longer than the section takes.
const SLEEP_MS: u32 = 3_600_000;
const MIB: f64 = 1_048_576.0;

/// Runs the section.
pub async fn run(scope: &Scope, report: &mut Report) -> Result<()> {
    starts(scope, report)?;
    let (mut one_execution, mut many) = (Sample::new(Unit::Bytes), Sample::new(Unit::Bytes));
    for round in 0..scope.rounds {
        report.progress(&format!("round {} of {}: {N} live nodes", round + 1, scope.rounds));
        one_execution.push(grown(scope, &format!("wide-{round}"), flow::fan_out, N, 1).await?);
        many.push(grown(scope, &format!("many-{round}"), flow::chain, 1, N / 10).await? * 10.0);
    }
    report.figure("", "memory per 10,000 live nodes of one execution", one_execution, None);
    report.figure("", "memory per 10,000 live executions of one node (from 1,000)", many, None);
    Ok(())
}

fn starts(scope: &Scope, report: &mut Report) -> Result<()> {
    let seconds = || Sample::new(Unit::Seconds);
    let (mut fresh, mut again, mut cpu, mut bare) = (seconds(), seconds(), seconds(), seconds());
    let (mut rss, mut tree) = (Sample::new(Unit::Bytes), Sample::new(Unit::Bytes));
    for round in 0..scope.rounds {
        report.progress(&format!("round {} of {}: starts", round + 1, scope.rounds));
        let start = Instant::now();
        Command::new(tests::bin_dir().join("pinion")).arg("--version").stdout(Stdio::null()).status()?;
        bare.push(start.elapsed().as_secs_f64());
        let name = format!("start-{round}");
        let started = Started::start(scope, &name)?;
        fresh.push(started.ready_after);
        started.stop()?;
        let started = Started::start(scope, &name)?;
        again.push(started.ready_after);
        cpu.push(machine::cpu_seconds(started.pid()));
        std::thread::sleep(Duration::from_secs(2));
        rss.push(machine::rss(started.pid()));
        tree.push(machine::tree_pss(started.pid()));
        started.stop()?;
    }
    let limit = Some(Target::AtMost(0.1));
    report.ratio("", "exec to ready, data directory in use", &again, ("pinion --version", &bare), None);
    report.figure("P7", "exec to ready, data directory in use", again, limit);
    report.figure("P7", "exec to ready, new data directory", fresh, limit);
    report.figure("P7", "processor time until ready", cpu, None);
    report.figure("P7", "idle: resident memory of the server", rss, Some(Target::AtMost(30.0 * MIB)));
    report.figure("P7", "idle: the server and its helpers (PSS)", tree, None);
    Ok(())
}

/// Bytes the server grew by until all sleeping nodes were running.
async fn grown(
    scope: &Scope,
    name: &str,
    build: impl Fn(&str, Work, usize) -> flow::Flow,
    n_nodes: usize,
    n_executions: usize,
) -> Result<f64> {
    let server = scope.server(name, &[]);
    let mut api = Api::connect(&server).await?;
    let plan = api.register(build("bench.sleepers", Work::Sleep(SLEEP_MS), n_nodes)).await?;
    let calls = Page::scrape(&server).count(PLUGIN_CALLS);
    let before = machine::rss(server.pid());
    for _ in 0..n_executions {
        api.launch(&plan).await?;
    }
    latency::wait_calls(&server, calls + (n_nodes * n_executions) as f64).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(machine::rss(server.pid()) - before)
}

/// A server started by hand, because the harness looks only every few milliseconds.
struct Started {
    child: Child,
    ready_after: f64,
}

impl Started {
    fn start(scope: &Scope, name: &str) -> Result<Self> {
        let (port, s3_port) = (free_port(), free_port());
        let start = Instant::now();
        let mut child = Command::new(tests::bin_dir().join("pinion"))
            .args(["dev", "--port", &port.to_string(), "--s3-port", &s3_port.to_string(), "--data-dir"])
            .arg(scope.dir().join(name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("pinion does not start")?;
        while !is_ready(port) {
            ensure!(child.try_wait()?.is_none(), "pinion ended at once");
            ensure!(start.elapsed() < Duration::from_secs(30), "pinion is not ready");
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(Self { child, ready_after: start.elapsed().as_secs_f64() })
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    fn stop(mut self) -> Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        self.child.wait()?;
        Ok(())
    }
}

fn is_ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}
