//! Measures whole executions of the largest sizes: nodes, depth, live executions, literals; time, and what the server has
//! in memory before, at the most, and after.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use proto::flyteidl::admin::SignalSetRequest;
use proto::flyteidl::core::{
    Identifier, Literal, Primitive, Scalar, SignalIdentifier, WorkflowExecutionIdentifier, literal,
    primitive, scalar,
};
use proto::flyteidl::service::signal_service_client::SignalServiceClient;
use tests::Server;

use super::api::Api;
use super::flow::{self, Flow, Work};
use super::metrics::{PLUGIN_CALLS, Page};
use super::report::{Report, Sample, Target, Unit};
use super::{Scope, big, latency, machine};

/// Longer than the section takes.
const SLEEP_MS: u32 = 3_600_000;
/// Calls of one kind under way.
const CALLS_AT_ONCE: usize = 64;

/// Runs the section.
pub async fn run(scope: &Scope, report: &mut Report) -> Result<()> {
    shapes(scope, report).await?;
    live_nodes(scope, report).await?;
    gates(scope, report).await?;
    nests(scope, report).await?;
    literals(scope, report).await?;
    recovered_map(scope, report).await
}

/// What the server has in memory around some work.
struct Memory {
    pid: i32,
    before: f64,
}

impl Memory {
    fn watch(server: &Server) -> Self {
        machine::reset_peak(server.pid());
        Self { pid: server.pid(), before: machine::rss(server.pid()) }
    }

    async fn tell(self, report: &mut Report, what: &str) {
        let peak = machine::peak(self.pid);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let moments = [("before", self.before), ("at the most", peak), ("after", machine::rss(self.pid))];
        for (moment, bytes) in moments {
            report.figure("", format!("{what}: memory {moment}"), Sample::of(Unit::Bytes, [bytes]), None);
        }
    }
}

fn seconds(time: Duration) -> Sample {
    Sample::of(Unit::Seconds, [time.as_secs_f64()])
}

/// Builds a workflow of so many nodes.
type Build = fn(&str, Work, usize) -> Flow;

/// Time per node against the number of nodes, from 100 on.
async fn shapes(scope: &Scope, report: &mut Report) -> Result<()> {
    let (most, deepest) = if scope.full { (50_000, 5_000) } else { (5_000, 2_000) };
    let shapes: [(&str, Build, usize); 2] =
        [("lanes of 50", big::lanes, most), ("chain", flow::chain, deepest)];
    for (shape, build, most) in shapes {
        let server = scope.server(&format!("shape-{}", shape.len()), &[]);
        let mut api = Api::connect(&server).await?;
        api.run_all(build("bench.warm", Work::Echo, 50)).await?;
        let mut first: Option<(Sample, String)> = None;
        for n in [100, 1_000, 5_000, 10_000, 50_000].into_iter().filter(|n| *n <= most) {
            report.progress(&format!("{shape}: {n} nodes"));
            let (memory, start) = (Memory::watch(&server), Instant::now());
            let plan = api.register(build(&format!("bench.shape-{n}"), Work::Echo, n)).await?;
            let registered = start.elapsed();
            let cpu = machine::cpu_seconds(server.pid());
            let id = api.launch(&plan).await?;
            let start = Instant::now();
            api.wait(&id).await?;
            let per_node = Sample::of(Unit::Seconds, [start.elapsed().as_secs_f64() / n as f64]);
            let cpu = (machine::cpu_seconds(server.pid()) - cpu) / n as f64;
            report.figure("", format!("{shape}, {n} nodes: registration"), seconds(registered), None);
            report.figure(
                "",
                format!("{shape}, {n} nodes: processor time per node"),
                Sample::of(Unit::Seconds, [cpu]),
                None,
            );
            match &first {
                None => first = Some((per_node, format!("{n} nodes"))),
                Some((reference, name)) => {
                    let what = format!("{shape}, {n} nodes: time per node");
                    report.ratio("P9", what, &per_node, (name, reference), Some(Target::AtMost(1.25)));
                }
            }
            if n == most {
                memory.tell(report, &format!("{shape}, {n} nodes")).await;
                reads(report, &mut api, &id, &format!("{shape}, {n} nodes")).await?;
            }
        }
    }
    Ok(())
}

/// What a client reads of a large execution.
async fn reads(
    report: &mut Report,
    api: &mut Api,
    id: &WorkflowExecutionIdentifier,
    what: &str,
) -> Result<()> {
    let start = Instant::now();
    api.data(id).await?;
    report.figure("", format!("{what}: GetExecutionData"), seconds(start.elapsed()), None);
    let start = Instant::now();
    let (n_nodes, slowest) = api.read_nodes(id).await?;
    let each = Sample::of(Unit::Seconds, [start.elapsed().as_secs_f64() / n_nodes as f64]);
    report.figure("", format!("{what}: listing, per node"), each, None);
    report.figure("", format!("{what}: slowest page of 1,000"), seconds(slowest), None);
    Ok(())
}

/// Nodes that run: memory, another life of the host, the end.
async fn live_nodes(scope: &Scope, report: &mut Report) -> Result<()> {
    let n = if scope.full { 50_000 } else { 5_000 };
    let what = format!("{n} live nodes of one execution");
    report.progress(&what);
    let server = scope.server("live-nodes", &[]);
    let mut api = Api::connect(&server).await?;
    let plan = api.register(flow::fan_out("bench.live", Work::Sleep(SLEEP_MS), n)).await?;
    let memory = Memory::watch(&server);
    let before = memory.before;
    let start = Instant::now();
    let id = api.launch(&plan).await?;
    latency::wait_calls(&server, n as f64).await?;
    report.figure("", format!("{what}: until all run"), seconds(start.elapsed()), None);
    memory.tell(report, &what).await;
    let each = (machine::rss(server.pid()) - before) / n as f64;
    report.figure("", format!("{what}: memory of each"), Sample::of(Unit::Bytes, [each]), None);
    drop(api);
    server.kill();
    let start = Instant::now();
    let server = scope.server("live-nodes", &[]);
    let mut api = Api::connect(&server).await?;
    report.figure("", format!("{what}: host killed, ready again"), seconds(start.elapsed()), None);
    latency::wait_calls(&server, n as f64).await?;
    report.figure("", format!("{what}: host killed, all taken up"), seconds(start.elapsed()), None);
    let aborted = api.abort(&id).await?;
    report.figure("", format!("{what}: abort to ABORTED"), seconds(aborted), None);
    Ok(())
}

/// Executions that wait at a gate, and are let through.
async fn gates(scope: &Scope, report: &mut Report) -> Result<()> {
    let n = if scope.full { 10_000 } else { 1_000 };
    let what = format!("{n} live executions at a gate");
    report.progress(&what);
    let server = scope.server("gates", &[]);
    let mut api = Api::connect(&server).await?;
    let plan = api.register(big::gate("bench.gate")).await?;
    let memory = Memory::watch(&server);
    let before = memory.before;
    let start = Instant::now();
    let launches = (0..n).map(|_| launch(api.clone(), plan.clone()));
    let ids: Vec<_> = futures::stream::iter(launches).buffer_unordered(CALLS_AT_ONCE).try_collect().await?;
    report.figure("", format!("{what}: launched"), seconds(start.elapsed()), None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = (machine::rss(server.pid()) - before) / f64::from(n);
    report.figure("", format!("{what}: memory of each"), Sample::of(Unit::Bytes, [each]), None);
    let start = Instant::now();
    let channel = tonic::transport::Channel::from_shared(format!("http://127.0.0.1:{}", server.port))?
        .connect()
        .await?;
    let signals = SignalServiceClient::new(channel);
    let releases = ids.iter().map(|id| release(signals.clone(), id.clone()));
    futures::stream::iter(releases).buffer_unordered(CALLS_AT_ONCE).try_collect::<Vec<()>>().await?;
    report.figure("", format!("{what}: signalled"), seconds(start.elapsed()), None);
    for id in &ids {
        api.wait(id).await?;
    }
    report.figure("", format!("{what}: all let through and ended"), seconds(start.elapsed()), None);
    memory.tell(report, &what).await;
    Ok(())
}

async fn launch(mut api: Api, plan: Identifier) -> Result<WorkflowExecutionIdentifier> {
    api.launch(&plan).await
}

async fn release(
    mut signals: SignalServiceClient<tonic::transport::Channel>,
    id: WorkflowExecutionIdentifier,
) -> Result<()> {
    let primitive = Primitive { value: Some(primitive::Value::Boolean(true)) };
    let scalar = Scalar { value: Some(scalar::Value::Primitive(primitive)) };
    let value = Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() };
    let signal = SignalIdentifier { signal_id: big::SIGNAL.to_owned(), execution_id: Some(id) };
    // The gate may not have been reached yet.
    for _ in 0..100 {
        let request = SignalSetRequest { id: Some(signal.clone()), value: Some(value.clone()) };
        match signals.set_signal(request).await {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == tonic::Code::NotFound => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(status) => return Err(status).context("SetSignal"),
        }
    }
    anyhow::bail!("the gate is not reached")
}

/// Workflows in workflows, and executions that start executions.
async fn nests(scope: &Scope, report: &mut Report) -> Result<()> {
    let server = scope.server("nests", &[]);
    let mut api = Api::connect(&server).await?;
    for depth in if scope.full { [10, 900] } else { [10, 100] } {
        report.progress(&format!("sub-workflows {depth} deep"));
        let plan = api.register(big::nest(&format!("bench.nest-{depth}"), depth)).await?;
        let per_level = api.run(&plan).await?.as_secs_f64() / depth as f64;
        let sample = Sample::of(Unit::Seconds, [per_level]);
        report.figure("", format!("sub-workflows {depth} deep, per level"), sample, None);
    }
    let (depth, mut plan) = (30, api.register(flow::chain("bench.leaf", Work::Echo, 1)).await?);
    for level in 0..depth {
        plan = api.register(big::child(&format!("bench.child-{level}"), &plan)).await?;
    }
    report.progress(&format!("launch plans {depth} deep"));
    let per_level = api.run(&plan).await?.as_secs_f64() / f64::from(depth);
    let sample = Sample::of(Unit::Seconds, [per_level]);
    report.figure("", format!("launch plans {depth} deep, per level"), sample, None);
    Ok(())
}

/// Values of many megabytes.
async fn literals(scope: &Scope, report: &mut Report) -> Result<()> {
    let (n, mib) = (4, 13);
    let what = format!("a list of {n} texts of {mib} MiB");
    report.progress(&what);
    let server = scope.server("literals", &[]);
    let mut api = Api::connect(&server).await?;
    let plan = api.register(big::texts("bench.texts", n, mib << 20)).await?;
    let memory = Memory::watch(&server);
    let start = Instant::now();
    let id = api.launch(&plan).await?;
    api.wait(&id).await?;
    report.figure("", format!("{what}, through {} tasks", n + 1), seconds(start.elapsed()), None);
    let start = Instant::now();
    let data = api.data(&id).await?;
    ensure!(data.full_outputs.unwrap_or_default().literals.is_empty(), "so much is not told inline");
    report.figure("", format!("{what}: GetExecutionData"), seconds(start.elapsed()), None);
    memory.tell(report, &what).await;
    Ok(())
}

/// A map that had succeeded in the execution that is recovered: its elements are shown.
async fn recovered_map(scope: &Scope, report: &mut Report) -> Result<()> {
    let n = if scope.full { 100_000 } else { 5_000 };
    let what = format!("recovery of a map of {n} elements");
    report.progress(&what);
    let server = scope.server("recovered-map", &[]);
    let mut api = Api::connect(&server).await?;
    let plan = api.register(flow::failing_map("bench.failing-map", Work::Echo, n)).await?;
    let original = api.launch(&plan).await?;
    api.wait_failed(&original).await?;
    let calls = Page::scrape(&server).count(PLUGIN_CALLS);
    let memory = Memory::watch(&server);
    let start = Instant::now();
    let recovered = api.recover(&original).await?;
    api.wait_failed(&recovered).await?;
    report.figure("", format!("{what}: ended"), seconds(start.elapsed()), None);
    let ran = Page::scrape(&server).count(PLUGIN_CALLS) - calls;
    ensure!(ran < 100.0, "{ran} calls of plugins");
    memory.tell(report, &what).await;
    let shown = api.elements(&recovered, "map").await?;
    ensure!(shown == n, "{shown} of {n} elements are shown");
    Ok(())
}
