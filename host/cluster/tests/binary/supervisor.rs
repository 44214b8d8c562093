//! Plays the `pinion` binary in this room's tests: re-executed with `local-supervisor` it becomes the supervisor, and
//! with `host <root>` it is a host that can be killed: it applies the pods it reads from standard input, one a line.

use std::{io::BufRead, path::PathBuf};

use cluster::{
    Cluster,
    local::{Config, LocalCluster, SUPERVISOR_COMMAND, supervisor_main},
};

fn main() {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some(SUPERVISOR_COMMAND) => supervisor_main(),
        Some("host") => host(words.next().map(PathBuf::from).expect("a root directory")),
        _ => eprintln!("this binary is only for the tests of the cluster room"),
    }
}

#[tokio::main]
async fn host(root: PathBuf) {
    let cluster = LocalCluster::new(Config { root, ..Config::default() }).expect("a valid configuration");
    let mut events = cluster.watch();
    cluster.start().await.expect("a local cluster");
    for line in std::io::stdin().lock().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let object = serde_json::from_str(&line).expect("a pod");
        cluster.apply(object).await.expect("an applied pod");
    }
    while let Ok(event) = events.recv().await {
        println!("{}", event.object);
    }
}
