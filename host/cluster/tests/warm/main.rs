//! Runs the same flytekit tasks cold and warm, and compares all that they leave behind.
//!
//! Needs an interpreter with flytekit, pandas and scikit-learn, named by `PINION_TEST_PYTHON`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "the other tests use more of it")]
#[path = "../local/world.rs"]
mod world;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use cluster::{
    Cluster,
    local::{Config, Environment, ImageRule},
};
use serde::Deserialize;
use serde_json::{Value, json};

use world::World;

#[derive(Deserialize)]
struct Case {
    name: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    code: i64,
}

fn python() -> Option<PathBuf> {
    let python = std::env::var_os("PINION_TEST_PYTHON").map(PathBuf::from);
    if python.is_none() {
        eprintln!("skipped: PINION_TEST_PYTHON names no interpreter with flytekit");
    }
    python
}

/// Runs a script of this directory and returns what it printed.
fn script(python: &Path, name: &str, args: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/warm").join(name);
    let output = Command::new(python).arg(path).args(args).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {printed}\n{}", String::from_utf8_lossy(&output.stderr));
    printed
}

fn cases(python: &Path, root: &Path) -> Vec<Case> {
    let printed = script(python, "make.py", &[root.to_str().unwrap()]);
    serde_json::from_str(printed.lines().last().unwrap()).unwrap()
}

fn with_python(config: &mut Config, python: &Path) {
    let env = Environment { python: Some(python.to_owned()), ..Environment::default() };
    config.images = vec![ImageRule { pattern: "*".to_owned(), env }];
}

/// The pod of a case, in a namespace that is named like the run.
fn pod(case: &Case, run: &str, out: &Path) -> Value {
    let args: Vec<String> = case.args.iter().map(|arg| arg.replace("@OUT@", out.to_str().unwrap())).collect();
    let env: Vec<Value> = case
        .env
        .iter()
        .chain([(&"MINE".to_owned(), &"mine".to_owned())])
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let mut pod = world::pod(&case.name, json!([{"name": "c", "image": "img", "args": args, "env": env}]));
    pod["metadata"]["namespace"] = json!(run);
    pod
}

/// Runs all cases in a world, checks their exit codes and keeps their logs beside their outputs.
async fn run_all(world: &mut World, cases: &[Case], root: &Path, run: &str) {
    // Those that end only when told to are for other tests.
    let cases: Vec<&Case> = cases.iter().filter(|case| case.name != "stays").collect();
    for case in &cases {
        let out = root.join(run).join(&case.name);
        std::fs::create_dir_all(&out).unwrap();
        world.cluster.apply(pod(case, run, &out)).await.unwrap();
    }
    let mut wrong = Vec::new();
    let mut open = cases.len();
    while open > 0 {
        let event =
            tokio::time::timeout(Duration::from_secs(300), world.events.recv()).await.unwrap().unwrap();
        let status = &event.object["status"];
        if !matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")) {
            continue;
        }
        open -= 1;
        let name = &event.object_ref.name;
        let case = cases.iter().find(|case| case.name == *name).unwrap();
        let log = world.cluster.logs(&event.object_ref, "c", 0).await.unwrap().data;
        let log = String::from_utf8_lossy(&log);
        std::fs::write(root.join(run).join(name).join("stdout.txt"), words(&log)).unwrap();
        let code = world::terminated(&event.object)["exitCode"].as_i64();
        if code != Some(case.code) {
            wrong.push(format!("{name}: exit code {code:?}, expected {}\n{log}", case.code));
        }
    }
    assert!(wrong.is_empty(), "{run}:\n{}", wrong.join("\n"));
}

/// What the task itself said: the log without warnings and the timings of flytekit.
fn words(log: &str) -> String {
    let own = ["to std", "bytes", "last words", "late thread", "logged"];
    let mut lines: Vec<&str> =
        log.lines().filter(|line| own.iter().any(|word| line.contains(word))).collect();
    // Two streams in one file: their order depends on buffers being filled at the same moment.
    lines.sort_unstable();
    lines.join("\n")
}

/// A pod that stays until `<root>/pids.go` exists, and the ids of its task, of a runaway of that, and of its parent.
async fn staying(world: &World, cases: &[Case], root: &Path, run: &str) -> [i32; 3] {
    let case = cases.iter().find(|case| case.name == "stays").unwrap();
    world.cluster.apply(pod(case, run, &root.join("out"))).await.unwrap();
    pids(&root.join("pids")).await
}

async fn pids(path: &Path) -> [i32; 3] {
    let wait = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the task runs");
    let text = std::fs::read_to_string(path).unwrap();
    let pids: Vec<i32> = text.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    pids.try_into().unwrap()
}

fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

/// Asks a task how it was started.
async fn how(world: &mut World, cases: &[Case], name: &str) -> String {
    let case = cases.iter().find(|case| case.name == "how").unwrap();
    let out = world.root.path().join("how").join(name);
    world.run(pod(case, name, &out)).await;
    let reference = cluster::ObjectRef { namespace: name.to_owned(), ..world::reference("how") };
    let log = world.cluster.logs(&reference, "c", 0).await.unwrap().data;
    let log = String::from_utf8_lossy(&log);
    log.lines().find(|line| line.starts_with("warm") || line.starts_with("cold")).unwrap_or(&log).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_and_cold_leave_the_same_behind() {
    let Some(python) = python() else { return };
    let made = tempfile::tempdir().unwrap();
    let root = made.path().canonicalize().unwrap();
    let cases = cases(&python, &root);

    let mut world = World::with(|config| {
        with_python(config, &python);
        config.warm.enabled = false;
    })
    .await;
    run_all(&mut world, &cases, &root, "cold").await;
    assert_eq!(how(&mut world, &cases, "h").await, "cold plain");
    world.stop().await;

    let mut world = World::with(|config| with_python(config, &python)).await;
    assert_eq!(how(&mut world, &cases, "h").await, "warm plain");
    run_all(&mut world, &cases, &root, "warm").await;

    // What the tasks have imported is imported ahead by and by.
    let start = Instant::now();
    let mut tries = 0;
    loop {
        tries += 1;
        match how(&mut world, &cases, &format!("h{tries}")).await.as_str() {
            "warm ahead" => break,
            other => assert!(start.elapsed() < Duration::from_secs(120), "{other}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    run_all(&mut world, &cases, &root, "more").await;
    let parents = std::fs::read_to_string(world.root.path().join("local/warm/parents.log")).unwrap();
    world.stop().await;

    let root = root.to_str().unwrap();
    let printed = Command::new(&python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/warm/compare.py"))
        .args([root, "cold", "warm", "more"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&printed.stdout);
    assert!(
        printed.status.success(),
        "{text}{}\nparents: {parents}",
        String::from_utf8_lossy(&printed.stderr)
    );
    assert!(std::fs::read_dir(Path::new(root).join("cold")).unwrap().count() > 20);
    for case in &cases {
        let outputs =
            |run: &str| std::fs::read(Path::new(root).join(run).join(&case.name).join("meta/outputs.pb"));
        if case.name == "chance" {
            assert_ne!(outputs("warm").unwrap(), outputs("more").unwrap(), "children share their chance");
        }
    }
}

#[test]
fn the_scripts_pass_their_own_tests() {
    let Some(python) = python() else { return };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/local/warm");
    script(&python, "parent_test.py", &[scripts.to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_survive_their_parent_and_not_an_abort() {
    let Some(python) = python() else { return };
    let made = tempfile::tempdir().unwrap();
    let cases = cases(&python, made.path());
    let mut world = World::with(|config| with_python(config, &python)).await;
    let [task, runaway, parent] = staying(&world, &cases, made.path(), "one").await;
    signal(parent, nix::sys::signal::Signal::SIGKILL);
    world::gone(parent).await;
    assert_eq!(how(&mut world, &cases, "how-one").await, "warm plain", "another parent takes its place");
    assert!(world::is_alive(task) && world::is_alive(runaway));
    std::fs::write(made.path().join("pids.go"), "").unwrap();
    assert_eq!(world.end("stays").await["status"]["phase"], "Succeeded");
    world::gone(runaway).await;

    for name in ["pids", "pids.go"] {
        std::fs::remove_file(made.path().join(name)).unwrap();
    }
    let [task, runaway, parent] = staying(&world, &cases, made.path(), "two").await;
    let reference = cluster::ObjectRef { namespace: "two".to_owned(), ..world::reference("stays") };
    world.cluster.delete(&reference).await.unwrap();
    let ended = world.end("stays").await;
    assert_eq!(world::terminated(&ended)["exitCode"], 143);
    world::gone(task).await;
    world::gone(runaway).await;
    assert!(world::is_alive(parent));
    world.stop().await;
    assert!(!world::is_alive(parent));
}

#[tokio::test(flavor = "multi_thread")]
async fn parents_serve_one_environment_each_and_leave_when_idle() {
    let Some(python) = python() else { return };
    let made = tempfile::tempdir().unwrap();
    let mut cases = cases(&python, made.path());
    let mut world = World::with(|config| {
        with_python(config, &python);
        config.warm.idle_retire = 1;
        config.warm.max_parents = 1;
        config.warm.learn = false;
    })
    .await;
    let [_, _, parent] = staying(&world, &cases, made.path(), "one").await;
    let other = cases.iter_mut().find(|case| case.name == "how").unwrap();
    other.env.insert("PYTHONHASHSEED".to_owned(), "0".to_owned());
    assert_eq!(
        how(&mut world, &cases, "busy").await,
        "cold plain",
        "the only parent allowed serves somebody else"
    );
    std::fs::write(made.path().join("pids.go"), "").unwrap();
    world.end("stays").await;
    assert_eq!(how(&mut world, &cases, "idle").await, "warm plain", "an idle parent makes room");
    world::gone(parent).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_tasks_do_not_outlive_a_killed_host() {
    let Some(python) = python() else { return };
    let made = tempfile::tempdir().unwrap();
    let cases = cases(&python, made.path());
    let case = cases.iter().find(|case| case.name == "stays").unwrap();
    let path = format!("{}:{}", python.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut host = Command::new(env!("CARGO_BIN_EXE_cluster-test-supervisor"))
        .args(["host".as_ref(), made.path().join("local").as_os_str()])
        .env("PATH", path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pod = pod(case, "n", &made.path().join("out"));
    std::io::Write::write_all(host.stdin.as_mut().unwrap(), format!("{pod}\n\n").as_bytes()).unwrap();
    let pids = pids(&made.path().join("pids")).await;
    host.kill().unwrap();
    host.wait().unwrap();
    for pid in pids {
        world::gone(pid).await;
    }
}
