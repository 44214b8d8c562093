//! Measures the engine: chains and fan-outs of echo tasks, which start no process, against bare commits.

use std::time::{Duration, Instant};

use anyhow::Result;
use proto::flyteidl::core::Identifier;
use tests::Server;

use super::api::Api;
use super::floor::Floor;
use super::flow::{self, Flow, Work};
use super::metrics::{Page, STORE_COMMITS, STORE_ROWS, TRANSITIONS};
use super::report::{Report, Sample, Target, Unit};
use super::{Scope, machine};

/// Nodes of the chain that everybody is compared by.
const CHAIN: usize = 40;
/// Rows of one commit of a chain: the ended node and its attempt, the started node and its attempt.
const CHAIN_ROWS: usize = 4;

/// Rewrites of a 1 MB object per second that etcd managed on such a machine when it was quiet (performance.md).
const ETCD_REWRITES: f64 = 56.0;

/// What one execution took.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    wall: f64,
    /// Processor time of the server.
    cpu: f64,
    commits: f64,
    rows: f64,
    transitions: f64,
}

/// A shape of workflow, and its cost in each round.
struct Shape {
    name: String,
    n_nodes: usize,
    plan: Identifier,
    costs: Vec<Cost>,
}

impl Shape {
    fn sample(&self, unit: Unit, of: impl Fn(&Cost) -> f64) -> Sample {
        Sample::of(unit, self.costs.iter().map(of))
    }
}

/// Runs the section.
pub async fn run(scope: &Scope, report: &mut Report) -> Result<()> {
    let server = scope.server("engine", &[]);
    let mut api = Api::connect(&server).await?;
    let mut floor = Floor::open(scope.dir()).await?;
    let mut chains = Vec::new();
    for n in [CHAIN, 1_000, 10_000] {
        chains.push(register(&mut api, report, "chain", n, flow::chain).await?);
    }
    let mut fans = Vec::new();
    for n in [200, 1_000, 10_000, 50_000] {
        if n <= 10_000 || scope.full {
            fans.push(register(&mut api, report, "fan-out", n, flow::fan_out).await?);
        }
    }
    // The first execution of its kind compiles statements and fills caches.
    for shape in chains.iter().chain(&fans).filter(|shape| shape.n_nodes <= 1_000) {
        api.run(&shape.plan).await?;
    }
    let mut floors = Floors::default();
    for round in 0..scope.rounds {
        for shape in chains.iter_mut().chain(&mut fans) {
            report.progress(&format!("round {} of {}: {}", round + 1, scope.rounds, shape.name));
            let cost = measure(&server, &mut api, &shape.plan).await?;
            shape.costs.push(cost);
            floors.take(&mut floor, &mut api, shape, cost).await?;
        }
        floors.commit_rate.push(floor.commit_rate().await?);
        floors.document_rate.push(floor.document_rate().await?);
    }
    floor.close().await?;
    tell_chain(report, &chains, &floors);
    tell_fans(report, &fans, &floors);
    tell_flatness(report, &chains, &fans, &floors);
    Ok(())
}

async fn register(
    api: &mut Api,
    report: &Report,
    kind: &str,
    n: usize,
    build: impl Fn(&str, Work, usize) -> Flow,
) -> Result<Shape> {
    let name = format!("{kind} of {n}");
    let start = Instant::now();
    let plan = api.register(build(&format!("bench.{kind}-{n}"), Work::Echo, n)).await?;
    report.progress(&format!("registered a {name} in {:.2} s", start.elapsed().as_secs_f64()));
    let n_nodes = if kind == "chain" { n } else { n + 1 };
    Ok(Shape { name, n_nodes, plan, costs: Vec::new() })
}

async fn measure(server: &Server, api: &mut Api, plan: &Identifier) -> Result<Cost> {
    let (before, cpu) = (Page::scrape(server), machine::cpu_seconds(server.pid()));
    let wall = api.run(plan).await?.as_secs_f64();
    let (after, cpu) = (Page::scrape(server), machine::cpu_seconds(server.pid()) - cpu);
    // What trails the end (clean-ups of the last nodes) is none of the next execution's business.
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(Cost {
        wall,
        cpu,
        commits: after.count(STORE_COMMITS) - before.count(STORE_COMMITS),
        rows: after.value(STORE_ROWS) - before.value(STORE_ROWS),
        transitions: after.value(TRANSITIONS) - before.value(TRANSITIONS),
    })
}

/// The references, round by round.
#[derive(Debug)]
struct Floors {
    chain: Sample,
    round_trip: Sample,
    /// As many commits and rows as the server made, by place of the fan-out.
    same_commits: Vec<Sample>,
    /// The same rows, a hundred a commit.
    same_rows: Vec<Sample>,
    commit_rate: Sample,
    document_rate: Sample,
}

impl Default for Floors {
    fn default() -> Self {
        let seconds = || Sample::new(Unit::Seconds);
        Self {
            chain: seconds(),
            round_trip: seconds(),
            same_commits: vec![seconds(), seconds()],
            same_rows: vec![seconds(), seconds()],
            commit_rate: Sample::new(Unit::PerSecond),
            document_rate: Sample::new(Unit::PerSecond),
        }
    }
}

impl Floors {
    /// Takes the reference of a shape right after it ran.
    async fn take(&mut self, floor: &mut Floor, api: &mut Api, shape: &Shape, cost: Cost) -> Result<()> {
        if shape.name == format!("chain of {CHAIN}") {
            // The creation, a commit per node, the end.
            self.chain.push(floor.commits(CHAIN + 2, CHAIN_ROWS).await?.as_secs_f64());
            self.round_trip.push(api.round_trip().await?.as_secs_f64());
        }
        let place = ["fan-out of 200", "fan-out of 1000"].iter().position(|name| *name == shape.name);
        if let Some(place) = place {
            let (commits, rows) = (whole(cost.commits), whole(cost.rows));
            let time = floor.commits(commits, rows / commits.max(1)).await?;
            push(&mut self.same_commits, place, time);
            let time = floor.commits(shape.n_nodes * 3 / 100 + 1, 100).await?;
            push(&mut self.same_rows, place, time);
        }
        Ok(())
    }
}

fn push(samples: &mut [Sample], place: usize, time: Duration) {
    if let Some(sample) = samples.get_mut(place) {
        sample.push(time.as_secs_f64());
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
fn whole(count: f64) -> usize {
    count.max(1.0) as usize
}

fn tell_chain(report: &mut Report, chains: &[Shape], floors: &Floors) {
    let Some(chain) = chains.first() else { return };
    let wall = chain.sample(Unit::Seconds, |cost| cost.wall);
    let name = format!("commits of {CHAIN_ROWS} rows ({}) + a round trip", CHAIN + 2);
    let reference = Sample::of(
        Unit::Seconds,
        (0..chain.costs.len()).map(|round| floors.chain.at(round) + floors.round_trip.at(round)),
    );
    report.ratio("P1", "chain of 40, submit to end", &wall, (&name, &reference), Some(Target::AtMost(2.0)));
    let commits = chain.sample(Unit::Count, |cost| cost.commits);
    report.figure("P1", "chain of 40, commits", commits, None);
    report.figure("P1", "chain of 40, rows", chain.sample(Unit::Count, |cost| cost.rows), None);
    tell_rates(report, chain, floors);
}

/// Transitions per second against raw commits per second, and per commit.
fn tell_rates(report: &mut Report, shape: &Shape, floors: &Floors) {
    let rate = shape.sample(Unit::PerSecond, |cost| cost.transitions / cost.wall);
    let what = format!("{}, transitions per second", shape.name);
    report.ratio("", what, &rate, ("raw commits of 1 row", &floors.commit_rate), None);
    let per_commit = shape.sample(Unit::Count, |cost| cost.transitions / cost.commits);
    report.figure("", format!("{}, transitions per commit", shape.name), per_commit, None);
}

fn tell_fans(report: &mut Report, fans: &[Shape], floors: &Floors) {
    for (place, fan) in fans.iter().take(2).enumerate() {
        let wall = fan.sample(Unit::Seconds, |cost| cost.wall);
        let commits = fan.sample(Unit::Count, |cost| cost.commits).median();
        let rows = fan.sample(Unit::Count, |cost| cost.rows).median();
        let what = format!("{} + join, submit to end", fan.name);
        if let (Some(same_commits), Some(same_rows)) =
            (floors.same_commits.get(place), floors.same_rows.get(place))
        {
            let name = format!("same commits ({commits:.0}) and rows ({rows:.0})");
            report.ratio("P5", &what, &wall, (&name, same_commits), Some(Target::AtMost(2.0)));
            let name = "3 rows a node, 100 a commit";
            report.ratio("P5", &what, &wall, (name, same_rows), None);
        }
    }
    if let Some(fan) = fans.iter().find(|fan| fan.name == "fan-out of 1000") {
        tell_rates(report, fan, floors);
    }
}

fn tell_flatness(report: &mut Report, chains: &[Shape], fans: &[Shape], floors: &Floors) {
    for shapes in [chains, fans.get(1..).unwrap_or_default()] {
        let Some((first, others)) = shapes.split_first() else { continue };
        for shape in others {
            let name = format!("in a {}", first.name);
            let n = shape.n_nodes as f64;
            let n_first = first.n_nodes as f64;
            let what = format!("time per node in a {}", shape.name);
            let ours = shape.sample(Unit::Seconds, |cost| cost.wall / n);
            let reference = first.sample(Unit::Seconds, |cost| cost.wall / n_first);
            report.ratio("P9", what, &ours, (&name, &reference), Some(Target::AtMost(1.25)));
            let what = format!("processor time per node in a {}", shape.name);
            let ours = shape.sample(Unit::Seconds, |cost| cost.cpu / n);
            let reference = first.sample(Unit::Seconds, |cost| cost.cpu / n_first);
            report.ratio("P9", what, &ours, (&name, &reference), None);
        }
    }
    if let Some(largest) = fans.last() {
        let rate = largest.sample(Unit::PerSecond, |cost| cost.transitions / cost.wall);
        let what = format!("{}, transitions per second", largest.name);
        let name = "rewrites of a 1 MB row";
        report.ratio("P9", &what, &rate, (name, &floors.document_rate), None);
        let etcd = rate.map(Unit::PerSecond, |_| ETCD_REWRITES);
        report.ratio("P9", &what, &rate, ("etcd 1 MB puts, on record", &etcd), Some(Target::AtLeast(50.0)));
    }
}
