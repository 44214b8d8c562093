//! Measures what size costs: time for each element and node, memory for each one that is live.
//!
//! `PINION_SIZE` multiplies the numbers; 50 gives a map of 100,000 elements.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that panics has failed; figures are printed"
)]
#![allow(dead_code, reason = "shares the world of the other tests and uses a part of it")]

#[path = "../worker/clock.rs"]
mod clock;
#[path = "../worker/cluster.rs"]
mod cluster;
#[path = "../worker/flow.rs"]
mod flow;
#[path = "../worker/nodes.rs"]
mod nodes;
#[path = "../worker/plugins.rs"]
mod plugins;
#[path = "../worker/world.rs"]
mod world;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use flow::Flow;
use model::ExecutionId;
use nodes::Mapping;
use proto::flyteidl::core::workflow_execution::Phase;
use tokio::sync::Mutex;
use world::World;

/// One measurement at a time.
static TURN: Mutex<()> = Mutex::const_new(());

fn factor() -> usize {
    std::env::var("PINION_SIZE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// The most there ever were.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

async fn over(world: &World, id: &ExecutionId) -> Phase {
    loop {
        let row = world.store.execution_get(id).await.unwrap().unwrap();
        if !row.live {
            return Phase::try_from(row.phase).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn timed(world: &World, flow: &Flow) -> Duration {
    let begun = Instant::now();
    let id = world.launch(flow).await;
    assert_eq!(over(world, &id).await, Phase::Succeeded);
    begun.elapsed()
}

async fn quiet() -> World {
    let world = World::new().await;
    world.plugins.journal.quiet.store(true, Ordering::SeqCst);
    world
}

fn values(n: usize) -> Vec<i64> {
    (0..n as i64).collect()
}

/// Each size in turn; the cost of one must not grow with their number.
async fn flat(what: &str, sizes: [usize; 2], flow: impl Fn(usize) -> Flow) {
    let _turn = TURN.lock().await;
    let mut each = Vec::new();
    for n in sizes {
        let world = quiet().await;
        let life = world.start();
        let took = timed(&world, &flow(n)).await;
        life.drain().await.unwrap();
        each.push(took.as_secs_f64() * 1e6 / n as f64);
        let peak = peak() >> 20;
        println!("{what} of {n}: {took:?}, {:.0} us each, peak {peak} MiB", each.last().unwrap());
    }
    let ratio = each[1] / each[0];
    assert!(ratio < 2.5, "{what}: one of many costs {ratio:.1} times one of few");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_element_costs_the_same_among_many() {
    let n = 2_000 * factor();
    flat("map", [n / 10, n], |n| Flow::new().array("m", "echo", &values(n), Mapping::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_chain_costs_the_same_among_many() {
    let n = 500 * factor();
    flat("chain", [n / 10, n], |n| Flow::chain(n, "echo")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_fan_out_costs_the_same_among_many() {
    let n = 1_500 * factor();
    flat("fan-out", [n / 10, n], |n| Flow::fan(n, "echo")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_executions_are_small() {
    let _turn = TURN.lock().await;
    let world = quiet().await;
    let life = world.start();
    let n = 500 * factor();
    let flow = Flow::new().node("n", "forever", &[]);
    let workflow = world.register("shared", &flow).await;
    let launch = async |name: String| {
        let id = ExecutionId::new("p", "d", &name);
        world.start_execution(id.clone(), workflow.clone(), Default::default(), None).await;
        id
    };
    launch("first".to_owned()).await;
    asked(&world, 1).await;
    let before = resident();
    for i in 0..n {
        launch(format!("x{i}")).await;
    }
    asked(&world, n + 1).await;
    let each = resident().saturating_sub(before) / n;
    println!("{n} live executions: {each} bytes each");
    assert!(each < 64 << 10, "{each} bytes for each live execution");
    life.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_nodes_are_small() {
    let _turn = TURN.lock().await;
    let world = quiet().await;
    let life = world.start();
    let n = 2_000 * factor();
    let ids: Vec<_> = (0..n).map(|i| format!("n{i}")).collect();
    let flow = ids.iter().fold(Flow::new(), |flow, id| flow.node(id, "forever", &[]));
    let workflow = world.register("shared", &flow).await;
    drop(flow);
    let mut before = 0;
    // The first one brings the workflow itself into memory; the second one is what counts.
    for (i, name) in ["first", "second"].into_iter().enumerate() {
        before = resident();
        let id = ExecutionId::new("p", "d", name);
        world.start_execution(id, workflow.clone(), Default::default(), None).await;
        asked(&world, n * (i + 1)).await;
    }
    let each = resident().saturating_sub(before) / n;
    println!("{n} live nodes: {each} bytes each");
    assert!(each < 16 << 10, "{each} bytes for each live node");
    life.kill().await;
}

/// Waits until plugins were asked this often, and what follows is written.
async fn asked(world: &World, n: usize) {
    while world.plugins.journal.n_handled.load(Ordering::SeqCst) < n {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
}
