//! Measures what size costs: maps of up to 100,000 elements, and the recovery of a large execution.

use anyhow::{Result, ensure};
use proto::flyteidl::core::Identifier;
use tests::Server;

use super::api::Api;
use super::flow::{self, Work};
use super::report::{Report, Sample, Target, Unit};
use super::{Scope, machine};

/// Elements of the maps.
const MAPS: [usize; 3] = [1_000, 10_000, 100_000];
/// The largest map that runs in every round; a larger one runs once without `--full`.
const EVERY_ROUND: usize = 10_000;
/// Nodes of the execution that is recovered, besides the one that fails.
const RECOVERED: usize = 10_000;

struct Map {
    n: usize,
    plan: Identifier,
    per_element: Sample,
    cpu: Sample,
    memory: Sample,
}

/// Runs the section.
pub async fn run(scope: &Scope, report: &mut Report) -> Result<()> {
    super::scale::run(scope, report).await?;
    maps(scope, report).await?;
    recovery(scope, report).await
}

async fn maps(scope: &Scope, report: &mut Report) -> Result<()> {
    let server = scope.server("maps", &[]);
    let mut api = Api::connect(&server).await?;
    let mut maps = Vec::new();
    for n in MAPS {
        let plan = api.register(flow::map(&format!("bench.map-{n}"), Work::Echo, n)).await?;
        let seconds = || Sample::new(Unit::Seconds);
        maps.push(Map { n, plan, per_element: seconds(), cpu: seconds(), memory: Sample::new(Unit::Bytes) });
    }
    if let Some(first) = maps.first() {
        api.run(&first.plan).await?;
    }
    for round in 0..scope.rounds {
        for map in &mut maps {
            if map.n <= EVERY_ROUND || scope.full || round == 0 {
                report.progress(&format!("round {} of {}: map of {}", round + 1, scope.rounds, map.n));
                map.measure(&server, &mut api).await?;
            }
        }
    }
    let Some((first, others)) = maps.split_first() else { return Ok(()) };
    let of_first = format!("in a map of {}", first.n);
    let rate = |sample: &Sample| sample.map(Unit::PerSecond, |seconds| 1.0 / seconds);
    for map in others {
        let what = format!("elements per second in a map of {}", map.n);
        let reference = rate(&first.per_element);
        report.ratio(
            "P10",
            what,
            &rate(&map.per_element),
            (&of_first, &reference),
            Some(Target::AtLeast(0.5)),
        );
        let what = format!("processor time per element in a map of {}", map.n);
        report.ratio("P10", what, &map.cpu, (&of_first, &first.cpu), None);
        let what = format!("memory the server grew by, map of {}", map.n);
        report.figure("P10", what, map.memory.clone(), None);
    }
    Ok(())
}

impl Map {
    async fn measure(&mut self, server: &Server, api: &mut Api) -> Result<()> {
        let n = self.n as f64;
        let (cpu, rss) = (machine::cpu_seconds(server.pid()), machine::rss(server.pid()));
        self.per_element.push(api.run(&self.plan).await?.as_secs_f64() / n);
        self.cpu.push((machine::cpu_seconds(server.pid()) - cpu) / n);
        self.memory.push((machine::rss(server.pid()) - rss).max(0.0));
        Ok(())
    }
}

async fn recovery(scope: &Scope, report: &mut Report) -> Result<()> {
    let server = scope.server("recovery", &[]);
    let mut api = Api::connect(&server).await?;
    let plan = api.register(flow::failing("bench.failing", Work::Echo, RECOVERED)).await?;
    let (mut first, mut again) = (Sample::new(Unit::Seconds), Sample::new(Unit::Seconds));
    for round in 0..scope.rounds {
        report.progress(&format!("round {} of {}: recovery of {RECOVERED} nodes", round + 1, scope.rounds));
        let start = std::time::Instant::now();
        let original = api.launch(&plan).await?;
        api.wait_failed(&original).await?;
        first.push(start.elapsed().as_secs_f64());
        let start = std::time::Instant::now();
        let recovered = api.recover(&original).await?;
        api.wait_failed(&recovered).await?;
        again.push(start.elapsed().as_secs_f64());
        if round == 0 {
            let n_nodes = api.count_nodes(&recovered, "RECOVERED").await?;
            // The join may have been cut short by the failure beside it.
            ensure!(n_nodes >= RECOVERED, "only {n_nodes} of {RECOVERED} nodes were recovered");
        }
    }
    let what = format!("recovery of an execution with {RECOVERED} nodes that succeeded");
    report.ratio("", what, &again, ("its first run", &first), None);
    Ok(())
}
