//! Measures tasks that are one process each, against starting the same processes with nothing around them.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use super::Scope;
use super::api::Api;
use super::floor::Floor;
use super::flow::{self, Work};
use super::report::{Report, Sample, Target, Unit};

const CHAIN: usize = 40;
const FAN: usize = 200;

/// Runs the section.
pub async fn run(scope: &Scope, report: &mut Report) -> Result<()> {
    let server = scope.server("process", &["--set", "local-cluster.default-cpu=10m"]);
    let mut api = Api::connect(&server).await?;
    let mut floor = Floor::open(scope.dir()).await?;
    let chain = api.register(flow::chain("bench.process-chain", Work::Process, CHAIN)).await?;
    let fan = api.register(flow::fan_out("bench.process-fan", Work::Process, FAN)).await?;
    api.run(&chain).await?;
    let seconds = || Sample::new(Unit::Seconds);
    let (mut chains, mut fans, mut spawn_commits, mut spawns) = (seconds(), seconds(), seconds(), seconds());
    for round in 0..scope.rounds {
        report.progress(&format!("round {} of {}", round + 1, scope.rounds));
        chains.push(api.run(&chain).await?.as_secs_f64());
        let start = Instant::now();
        for _ in 0..CHAIN {
            spawn()?;
            floor.commits(1, 4).await?;
        }
        spawn_commits.push(start.elapsed().as_secs_f64());
        fans.push(api.run(&fan).await?.as_secs_f64());
        spawns.push(spawn_many(FAN + 1)?);
    }
    floor.close().await?;
    let name = "bare spawn + commit loop";
    report.ratio("P2", "chain of 40 /bin/true", &chains, (name, &spawn_commits), Some(Target::AtMost(1.5)));
    let name = "bare spawns, a thread per processor";
    report.ratio("P5", "fan-out of 200 /bin/true", &fans, (name, &spawns), Some(Target::AtMost(2.0)));
    Ok(())
}

fn spawn() -> Result<()> {
    let null = Stdio::null;
    Command::new("/bin/true").stdin(null()).stdout(null()).stderr(null()).status().context("/bin/true")?;
    Ok(())
}

/// Seconds for so many, on all processors.
fn spawn_many(n: usize) -> Result<f64> {
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads)
            .map(|_| scope.spawn(move || (0..n.div_ceil(n_threads)).try_for_each(|_| spawn())))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("a thread panicked")))
    })?;
    Ok(start.elapsed().as_secs_f64())
}
