//! Measures warm starts against a bare loop of forks: `warm <supervisor binary> <python> <case>...`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use cluster::{
    Cluster, Event,
    local::{Config, Environment, ImageRule, LocalCluster},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;

const ROUNDS: usize = 7;
const TIMES: usize = 15;
const FAN: u32 = 100;

#[derive(Deserialize)]
struct Case {
    name: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
}

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    let supervisor = PathBuf::from(words.next().expect("the path of a binary that can be the supervisor"));
    let python = PathBuf::from(words.next().expect("the path of a Python interpreter with flytekit"));
    let root = tempfile::tempdir().expect("a directory").keep();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/warm");
    let made = Command::new(&python).arg(scripts.join("make.py")).arg(&root).output().expect("cases");
    let text = String::from_utf8_lossy(&made.stdout).lines().last().map(str::to_owned).expect("cases");
    std::fs::write(root.join("cases.json"), &text).expect("written");
    let cases: Vec<Case> = serde_json::from_str(&text).expect("cases");

    let env = Environment { python: Some(python.clone()), ..Environment::default() };
    let bucket = root.join("data/s3/b");
    std::fs::create_dir_all(&bucket).expect("a bucket");
    let mut config = Config {
        root: root.join("local"),
        supervisor: Some(supervisor),
        images: vec![ImageRule { pattern: "*".to_owned(), env }],
        ..Config::default()
    };
    config.s3.endpoint = "http://127.0.0.1:1".to_owned();
    config.s3.bucket_dirs.insert("b".to_owned(), bucket);
    let cluster = LocalCluster::new(config).expect("a valid configuration");
    let mut events = cluster.watch();
    cluster.start().await.expect("a local cluster");
    let mut serial = 0u32;
    for name in words {
        let case = cases.iter().find(|case| case.name == name).expect("a case of make.py");
        // Until the parent is warm and has learned what there is to learn.
        for _ in 0..3 {
            let first =
                one(&cluster, &mut events, case, &root.join("out").display().to_string(), &mut serial).await;
            println!("{name}: first {first:?}");
            tokio::time::sleep(Duration::from_secs(8)).await;
        }
        let (mut bare, mut fork, mut plain, mut s3) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let output = Command::new(&python)
                .arg(scripts.join("bare.py"))
                .args([root.as_os_str(), name.as_ref(), TIMES.to_string().as_ref()])
                .output()
                .expect("a bare loop");
            let numbers = String::from_utf8_lossy(&output.stdout).into_owned();
            let mut numbers = numbers.split_whitespace().filter_map(|number| number.parse::<f64>().ok());
            bare.push(Duration::from_secs_f64(numbers.next().expect("seconds")));
            fork.push(Duration::from_secs_f64(numbers.next().expect("seconds")));
            for (out, times) in
                [(root.join("out").display().to_string(), &mut plain), ("s3://b".to_owned(), &mut s3)]
            {
                let mut each = Vec::new();
                for _ in 0..TIMES {
                    each.push(one(&cluster, &mut events, case, &out, &mut serial).await);
                }
                times.push(median(each));
            }
        }
        let (bare, fork, plain, s3) = (median(bare), median(fork), median(plain), median(s3));
        let ratio = |time: Duration| time.as_secs_f64() / bare.as_secs_f64();
        println!(
            "{name}: fork {fork:?}, bare {bare:?}, pod {plain:?} ({:.2}), s3 {s3:?} ({:.2})",
            ratio(plain),
            ratio(s3)
        );
        let start = Instant::now();
        for _ in 0..FAN {
            serial += 1;
            cluster.apply(pod(case, &format!("s3://b/{serial}"), serial)).await.expect("applied");
        }
        for _ in 0..FAN {
            end(&mut events).await;
        }
        println!("{name}: fan-out of {FAN}: {:?} each", start.elapsed() / FAN);
    }
    cluster.shutdown(Duration::from_secs(1)).await;
}

/// Runs a case as a pod and returns how long that took.
async fn one(
    cluster: &LocalCluster,
    events: &mut Receiver<std::sync::Arc<Event>>,
    case: &Case,
    out: &str,
    serial: &mut u32,
) -> Duration {
    *serial += 1;
    let pod = pod(case, &format!("{out}/{serial}"), *serial);
    let start = Instant::now();
    cluster.apply(pod).await.expect("applied");
    end(events).await;
    start.elapsed()
}

fn pod(case: &Case, out: &str, serial: u32) -> Value {
    let args: Vec<String> = case.args.iter().map(|arg| arg.replace("@OUT@", out)).collect();
    let env: Vec<Value> =
        case.env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{serial}"), "namespace": "n"},
        "spec": {"containers": [{"name": "c", "image": "i", "args": args, "env": env}]}})
}

/// Waits until some pod has succeeded.
async fn end(events: &mut Receiver<std::sync::Arc<Event>>) {
    loop {
        let event = events.recv().await.expect("an event");
        match event.object["status"]["phase"].as_str() {
            Some("Succeeded") => return,
            Some("Failed") => panic!("{}", event.object["status"]),
            _ => {}
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
