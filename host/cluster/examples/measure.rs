//! Measures chains and fan-outs of pods against bare loops, side by side: `measure <supervisor binary> [chain|fan]`.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use cluster::{
    Cluster,
    local::{Config, LocalCluster},
};
use serde_json::{Value, json};

const ROUNDS: usize = 9;

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n"},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i", "command": ["/bin/true"],
            "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}}]}})
}

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    let supervisor = PathBuf::from(words.next().expect("the path of a binary that can be the supervisor"));
    let root = tempfile::tempdir().expect("a directory");
    let config =
        Config { root: root.path().join("local"), supervisor: Some(supervisor), ..Config::default() };
    let cluster = LocalCluster::new(config).expect("a valid configuration");
    let mut events = cluster.watch();
    cluster.start().await.expect("a local cluster");
    let mut serial = 0;
    let lock = root.path().join("local/supervisor.lock");
    let supervisor = loop {
        match std::fs::read_to_string(&lock) {
            Ok(pid) if !pid.is_empty() => break pid,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    for (label, width, depth) in [("chain of 40", 1, 40), ("fan-out of 200", 200, 1)] {
        let (mut bare, mut pods, mut spent) = (Vec::new(), Vec::new(), [0, 0]);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            if width == 1 {
                (0..depth).for_each(|_| assert!(Command::new("/bin/true").status().is_ok()));
            } else {
                let halves = [0, 1].map(|_| {
                    std::thread::spawn(move || {
                        (0..width / 2).for_each(|_| assert!(Command::new("/bin/true").status().is_ok()));
                    })
                });
                halves.into_iter().for_each(|half| assert!(half.join().is_ok()));
            }
            bare.push(start.elapsed());
            let (start, cpu) = (Instant::now(), [processor_ms("self"), processor_ms(&supervisor)]);
            for _ in 0..depth {
                for _ in 0..width {
                    serial += 1;
                    cluster.apply(pod(&format!("p{serial}"))).await.expect("applied");
                }
                let mut open = width;
                while open > 0 {
                    let event = events.recv().await.expect("an event");
                    open -= usize::from(event.object["status"]["phase"] == "Succeeded");
                }
            }
            pods.push(start.elapsed());
            spent[0] += processor_ms("self") - cpu[0];
            spent[1] += processor_ms(&supervisor) - cpu[1];
        }
        let (bare, pods) = (median(bare), median(pods));
        let each = spent.map(|ms| ms as f64 / (ROUNDS * width * depth) as f64);
        println!("{label}: processor ms per pod: host {:.2}, supervisor {:.2}", each[0], each[1]);
        println!(
            "{label}: bare {bare:?}, pods {pods:?}, ratio {:.2}",
            pods.as_secs_f64() / bare.as_secs_f64()
        );
    }
    cluster.shutdown(Duration::from_secs(1)).await;
}

/// Processor time of a process so far, without its children.
fn processor_ms(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks = |at: usize| stat.rsplit(") ").next()?.split(' ').nth(at)?.parse::<u64>().ok();
    (ticks(11).unwrap_or_default() + ticks(12).unwrap_or_default()) * 10
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
