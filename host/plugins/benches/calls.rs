//! Measures what a plugin call costs: in process by both interfaces, and in a process of its own.
//!
//! `ping` does no work, so it is the bare crossing with deadline and hang protection; `handle` is a whole task.
//! Build the plugins first: `cargo build --release -p plugin-echo`, then `cargo bench -p plugins`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use plugins::{Config, Host, HostServices, Interface, Isolation, Plugin, PluginConfig, unimplemented};
use prost::Message;
use proto::flyteidl::core::TaskTemplate;
use proto::pinion::plugin::v1::{HandleRequest, Status, TaskExecutionContext};

const ROUNDS: usize = 5;
const CALLS: usize = 20_000;

struct NoServices;

#[async_trait]
impl HostServices for NoServices {
    async fn call(&self, _: &str, method: u32, _: Bytes) -> Result<Vec<u8>, Status> {
        Err(unimplemented(method))
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // On a worker, as the callers of the host are.
    runtime.block_on(async { tokio::spawn(run()).await.unwrap() });
}

async fn run() {
    let dir = tempfile::tempdir().unwrap();
    println!("p50 / p99 per call in us, best of {ROUNDS} rounds of {CALLS}");
    for (isolation, interface) in [
        (Isolation::InProcess, Interface::AbiStable),
        (Isolation::InProcess, Interface::C),
        (Isolation::Process, Interface::AbiStable),
    ] {
        // The second time, as after every start but the first.
        Host::load(config(dir.path(), isolation, interface), Arc::new(NoServices)).await.drain().await;
        let begun = Instant::now();
        let host = Host::load(config(dir.path(), isolation, interface), Arc::new(NoServices)).await;
        let load = begun.elapsed();
        let plugin = host.plugins().next().unwrap();
        println!("{isolation} {interface:?}: loaded in {:.1} ms", load.as_secs_f64() * 1e3);
        ping(plugin).await;
        for bytes in [64, 2 << 10, 20 << 10] {
            handle(plugin, bytes).await;
        }
        pipelined(plugin).await;
        host.drain().await;
    }
}

fn config(dir: &std::path::Path, isolation: Isolation, interface: Interface) -> Config {
    let executable = std::env::current_exe().unwrap();
    let target = executable.parent().unwrap().parent().unwrap();
    let library = std::env::var_os("PLUGIN").map(PathBuf::from);
    let library = library.unwrap_or_else(|| target.join("libplugin_echo.so"));
    let id = plugins::inspect(&library).expect("a built plugin").metadata.id;
    let plugin = PluginConfig {
        path: Some(library),
        isolation: Some(isolation),
        interface: Some(interface),
        ..PluginConfig::default()
    };
    let mut config = Config {
        dirs: Vec::new(),
        cache_dir: dir.join("cache"),
        plugins: [(id, plugin)].into(),
        ..Config::default()
    };
    config.runner.executable = Some(PathBuf::from(env!("CARGO_BIN_EXE_plugins-test-runner")));
    config.runner.arguments = Vec::new();
    config
}

async fn ping(plugin: &Plugin) {
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let begun = Instant::now();
            plugin.ping().await.unwrap();
            times.push(begun.elapsed());
        }
        best = better(best, times);
    }
    println!("  ping                {:8.2} {:8.2}", best.0, best.1);
}

async fn handle(plugin: &Plugin, bytes: usize) {
    let template = TaskTemplate { r#type: "x".repeat(bytes), ..Default::default() }.encode_to_vec();
    let context = TaskExecutionContext { task_template: template, ..Default::default() };
    let request = HandleRequest { context: Some(context), ..Default::default() };
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let request = request.clone();
            let begun = Instant::now();
            plugin.handle(request).await.unwrap();
            times.push(begun.elapsed());
        }
        best = better(best, times);
    }
    println!("  handle {bytes:6} bytes {:8.2} {:8.2}", best.0, best.1);
}

async fn pipelined(plugin: &Plugin) {
    let begun = Instant::now();
    for _ in 0..CALLS / 64 {
        let calls = (0..64).map(|_| plugin.handle(HandleRequest::default()));
        for answer in futures::future::join_all(calls).await {
            answer.unwrap();
        }
    }
    let each = begun.elapsed() / u32::try_from(CALLS).unwrap();
    println!("  64 at a time        {:8.2} each", micros(each));
}

fn better(best: (f64, f64), mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |share: usize| micros(times[times.len() * share / 100]);
    (best.0.min(at(50)), best.1.min(at(99)))
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
