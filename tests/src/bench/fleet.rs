//! Measures many small executions at once: single-task executions from 64 clients as fast as they go.

use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use proto::flyteidl::core::{Identifier, WorkflowExecutionIdentifier};
use tests::Server;

use super::Scope;
use super::api::{self, Api};
use super::floor::Floor;
use super::flow::{self, Work};
use super::metrics::{Page, STORE_COMMITS, STORE_ROWS};
use super::report::{Report, Sample, Target, Unit};

const N_CLIENTS: usize = 64;
/// Executions of one round.
const N: usize = 3_200;
/// Single-step runs per second of Restate with 64 clients, measured on such a machine (performance.md).
const RESTATE: f64 = 804.0;

/// Runs the section.
pub async fn run(scope: &Scope, report: &mut Report) -> Result<()> {
    let server = scope.server("load", &[]);
    let mut first = Api::connect(&server).await?;
    let plan = first.register(flow::chain("bench.single", Work::Echo, 1)).await?;
    let mut clients = Vec::new();
    for _ in 0..N_CLIENTS {
        clients.push(Api::connect(&server).await?);
    }
    let mut floor = Floor::open(scope.dir()).await?;
    let (mut rate, mut submit) = (Sample::new(Unit::PerSecond), Sample::new(Unit::PerSecond));
    let (mut rows, mut grouped) = (Sample::new(Unit::PerSecond), Sample::new(Unit::PerSecond));
    let (mut per_commit, mut per_execution) = (Sample::new(Unit::Count), Sample::new(Unit::Count));
    burst(&server, &clients, &plan, N / 10).await?;
    for round in 0..scope.rounds {
        report.progress(&format!("round {} of {}", round + 1, scope.rounds));
        let burst = burst(&server, &clients, &plan, N).await?;
        rate.push(N as f64 / burst.ended);
        submit.push(N as f64 / burst.submitted);
        rows.push(burst.rows / burst.ended);
        per_commit.push(burst.rows / burst.commits);
        per_execution.push(burst.rows / N as f64);
        grouped.push(floor.grouped_row_rate().await?);
    }
    floor.close().await?;
    let floor_name = "rows/s at 10 a commit";
    report.ratio("P8", "rows per second", &rows, (floor_name, &grouped), Some(Target::AtLeast(0.1)));
    report.ratio("P8", "executions ended per second", &rate, (floor_name, &grouped), None);
    let restate = rate.map(Unit::PerSecond, |_| RESTATE);
    report.ratio(
        "P8",
        "executions ended per second",
        &rate,
        ("Restate, on record", &restate),
        Some(Target::AtLeast(2.0)),
    );
    report.figure("P8", "executions accepted per second", submit, None);
    report.figure("P8", "rows per commit", per_commit, None);
    report.figure("P8", "rows per execution", per_execution, None);
    Ok(())
}

struct Burst {
    /// Seconds until the last execution was accepted.
    submitted: f64,
    /// Seconds until the last one ended.
    ended: f64,
    commits: f64,
    rows: f64,
}

async fn burst(server: &Server, clients: &[Api], plan: &Identifier, n: usize) -> Result<Burst> {
    let before = Page::scrape(server);
    let (start, clock) = (Instant::now(), SystemTime::now());
    let submitters = clients.iter().map(|client| {
        let (mut client, plan) = (client.clone(), plan.clone());
        tokio::spawn(async move {
            let mut ids: Vec<WorkflowExecutionIdentifier> = Vec::new();
            for _ in 0..n.div_ceil(N_CLIENTS) {
                ids.push(client.launch(&plan).await?);
            }
            anyhow::Ok(ids)
        })
    });
    let ids: Vec<_> = try_join_all(submitters).await.context("a client panicked")?;
    let submitted = start.elapsed().as_secs_f64();
    // The last of each client first, so that few are asked more than once.
    let mut ended: f64 = 0.0;
    for (client, ids) in clients.iter().zip(ids) {
        let mut client = client.clone();
        for id in ids?.iter().rev() {
            ended = ended.max(api::ended_after(&client.wait(id).await?, clock));
        }
    }
    let after = Page::scrape(server);
    Ok(Burst {
        submitted,
        ended: ended.max(submitted),
        commits: after.count(STORE_COMMITS) - before.count(STORE_COMMITS),
        rows: after.value(STORE_ROWS) - before.value(STORE_ROWS),
    })
}
