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
    for (label, width, depth) in [("chain of 40", 1, 40), ("fan-out of 200", 200, 1)] {
        let (mut bare, mut pods) = (Vec::new(), Vec::new());
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
            let start = Instant::now();
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
        }
        let (bare, pods) = (median(bare), median(pods));
        println!(
            "{label}: bare {bare:?}, pods {pods:?}, ratio {:.2}",
            pods.as_secs_f64() / bare.as_secs_f64()
        );
    }
    cluster.shutdown(Duration::from_secs(1)).await;
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
