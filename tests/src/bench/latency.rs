//! Measures how soon work starts: from CreateExecution to the first plugin call, and from node to node.

use std::time::{Duration, Instant};

use anyhow::Result;
use proto::flyteidl::core::Identifier;
use tests::Server;

use super::Scope;
use super::api::Api;
use super::floor::Floor;
use super::flow::{self, Work};
use super::metrics::{FIRST_CALL, NODE_GAP, PLUGIN_CALLS, Page};
use super::report::{Report, Sample, Target, Unit};

/// Executions of one situation, over all rounds.
const N: usize = 200;
/// Executions that sleep while others are measured.
const LIVE: usize = 1_000;
/// Longer than the section takes.
const SLEEP_MS: u32 = 3_600_000;

/// Latencies of one situation.
struct Situation {
    /// The server's: created to first call.
    first_call: Sample,
    /// The server's: end of a node to the call for the next one; one per execution of two nodes.
    gap: Sample,
    /// The client's: request to terminal phase of a single node.
    whole: Sample,
}

/// Runs the section.
pub async fn run(scope: &Scope, report: &mut Report) -> Result<()> {
    let idle = scope.server("idle", &[]);
    let busy = scope.server("busy", &[]);
    let mut idle = Subject::prepare(&idle).await?;
    let mut busy = Subject::prepare(&busy).await?;
    report.progress(&format!("launching {LIVE} executions that sleep"));
    busy.fill().await?;
    let mut floor = Floor::open(scope.dir()).await?;
    let mut commit = Sample::new(Unit::Seconds);
    for round in 0..scope.rounds {
        report.progress(&format!("round {} of {}", round + 1, scope.rounds));
        for _ in 0..N.div_ceil(scope.rounds) {
            idle.once().await?;
            busy.once().await?;
            commit.push(floor.commits(1, 4).await?.as_secs_f64());
        }
    }
    floor.close().await?;
    tell(report, "idle", &idle.seen, (Some(0.005), None, None));
    tell(report, &format!("{LIVE} live"), &busy.seen, (None, Some(0.050), Some(0.010)));
    let p50 = Sample::of(Unit::Seconds, [idle.seen.first_call.median()]);
    let commit = Sample::of(Unit::Seconds, [commit.median()]);
    report.ratio("P6", "idle, to first plugin call, p50", &p50, ("a commit of 4 rows, p50", &commit), None);
    Ok(())
}

fn tell(report: &mut Report, name: &str, seen: &Situation, targets: (Option<f64>, Option<f64>, Option<f64>)) {
    let (p50, p99, gap) = targets;
    let mut line = |what: String, sample: &Sample, rank: f64, target: Option<f64>| {
        let value = Sample::of(Unit::Seconds, [sample.quantile(rank)]);
        report.figure("P6", what, value, target.map(Target::AtMost));
    };
    line(format!("{name}, CreateExecution to first plugin call, p50"), &seen.first_call, 0.5, p50);
    line(format!("{name}, CreateExecution to first plugin call, p99"), &seen.first_call, 0.99, p99);
    line(format!("{name}, node end to next node's call, p50"), &seen.gap, 0.5, p50);
    line(format!("{name}, node end to next node's call, p99"), &seen.gap, 0.99, gap);
    line(format!("{name}, one node, submit to end seen, p50"), &seen.whole, 0.5, None);
    line(format!("{name}, one node, submit to end seen, p99"), &seen.whole, 0.99, None);
}

/// A server and what was seen of it.
struct Subject<'a> {
    server: &'a Server,
    api: Api,
    single: Identifier,
    pair: Identifier,
    seen: Situation,
}

impl<'a> Subject<'a> {
    async fn prepare(server: &'a Server) -> Result<Self> {
        let mut api = Api::connect(server).await?;
        let single = api.register(flow::chain("bench.single", Work::Echo, 1)).await?;
        let pair = api.register(flow::chain("bench.pair", Work::Echo, 2)).await?;
        for plan in [&single, &pair, &single, &pair] {
            api.run(plan).await?;
        }
        let page = Page::scrape(server);
        [FIRST_CALL, NODE_GAP, PLUGIN_CALLS].into_iter().try_for_each(|name| page.require(name))?;
        let seen = Situation {
            first_call: Sample::new(Unit::Seconds),
            gap: Sample::new(Unit::Seconds),
            whole: Sample::new(Unit::Seconds),
        };
        Ok(Self { server, api, single, pair, seen })
    }

    /// Leaves executions running, each with a task that sleeps.
    async fn fill(&mut self) -> Result<()> {
        let sleeper = self.api.register(flow::chain("bench.sleeper", Work::Sleep(SLEEP_MS), 1)).await?;
        let before = Page::scrape(self.server).count(PLUGIN_CALLS);
        for _ in 0..LIVE {
            self.api.launch(&sleeper).await?;
        }
        wait_calls(self.server, before + LIVE as f64).await
    }

    /// One execution of a node and one of two. A summary of one value is that value.
    async fn once(&mut self) -> Result<()> {
        let before = Page::scrape(self.server);
        self.seen.whole.push(self.api.run(&self.single).await?.as_secs_f64());
        let after = Page::scrape(self.server);
        if (after.count(FIRST_CALL) - before.count(FIRST_CALL) - 1.0).abs() < 0.5 {
            self.seen.first_call.push(after.sum(FIRST_CALL) - before.sum(FIRST_CALL));
        }
        self.api.run(&self.pair).await?;
        let later = Page::scrape(self.server);
        if (later.count(NODE_GAP) - after.count(NODE_GAP) - 1.0).abs() < 0.5 {
            self.seen.gap.push(later.sum(NODE_GAP) - after.sum(NODE_GAP));
        }
        Ok(())
    }
}

/// Waits until the server has called plugins so often.
pub async fn wait_calls(server: &Server, n: f64) -> Result<()> {
    let start = Instant::now();
    while Page::scrape(server).count(PLUGIN_CALLS) < n {
        anyhow::ensure!(start.elapsed() < Duration::from_secs(300), "tasks do not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
