//! What is left when containers, hosts and supervisors end: nothing.

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use cluster::Cluster;
use serde_json::json;

use crate::world::{World, gone, is_alive, pid_in, reference, shell, terminated};

/// Starts a process that leaves its session, its group and its parent, and writes its id into `<dir>/<name>`.
fn runaway(dir: &Path, name: &str) -> String {
    let dir = dir.display();
    format!(
        "(setsid sh -c 'echo $$ > {dir}/{name}; exec sleep 600' &) ; until [ -s {dir}/{name} ]; do sleep 0.01; done; "
    )
}

#[tokio::test]
async fn leftovers_end_with_their_container() {
    let mut world = World::new().await;
    let dir = world.root.path().to_owned();
    let script = runaway(&dir, "far") + &format!("sleep 600 & echo $! > {}/near; exit 0", dir.display());
    let object = world.run(shell("a", &script)).await;
    assert_eq!(object["status"]["phase"], "Succeeded");
    gone(pid_in(&dir.join("far")).await).await;
    gone(pid_in(&dir.join("near")).await).await;
    world.stop().await;
}

#[tokio::test]
async fn delete_reaches_everything_below() {
    let mut world = World::new().await;
    let dir = world.root.path().to_owned();
    world.cluster.apply(shell("a", &(runaway(&dir, "far") + "sleep 600"))).await.unwrap();
    let far = pid_in(&dir.join("far")).await;
    assert!(is_alive(far));
    world.cluster.delete(&reference("a")).await.unwrap();
    world.cluster.delete(&reference("a")).await.unwrap();
    let ended = world.end("a").await;
    assert_eq!(terminated(&ended)["exitCode"], 143);
    gone(far).await;
    while !world.events.recv().await.unwrap().deleted {}
    assert_eq!(world.cluster.get(&reference("a")).await.unwrap(), None);
    world.stop().await;
}

#[tokio::test]
async fn who_ignores_sigterm_is_killed() {
    let mut world = World::with(|config| config.termination_grace = 1).await;
    let script =
        format!("trap '' TERM; echo $$ > {}/pid; while :; do sleep 1; done", world.root.path().display());
    world.cluster.apply(shell("a", &script)).await.unwrap();
    let pid = pid_in(&world.root.path().join("pid")).await;
    world.cluster.delete(&reference("a")).await.unwrap();
    assert_eq!(terminated(&world.end("a").await)["exitCode"], 137);
    assert!(!is_alive(pid));
    world.stop().await;
}

#[tokio::test]
async fn shutdown_ends_what_runs_and_what_waits() {
    let world = World::with(|config| config.pods = Some(1)).await;
    let script = format!("echo $$ > {}/pid; exec sleep 600", world.root.path().display());
    world.cluster.apply(shell("a", &script)).await.unwrap();
    let pid = pid_in(&world.root.path().join("pid")).await;
    world.cluster.apply(shell("b", "true")).await.unwrap();
    let World { cluster, mut events, root } = world;
    cluster.shutdown(Duration::from_secs(5)).await;
    assert!(!is_alive(pid));
    let mut reasons = Vec::new();
    while let Ok(event) = events.try_recv() {
        if event.object["status"]["phase"] == "Failed" {
            reasons.push((event.object_ref.name.clone(), event.object["status"]["reason"].clone()));
        }
    }
    reasons.sort_by_key(|(name, _)| name.clone());
    assert_eq!(reasons, [("a".to_owned(), json!("Shutdown")), ("b".to_owned(), json!("Shutdown"))]);
    assert!(cluster.apply(shell("c", "true")).await.is_err());
    drop(root);
}

/// A host in a process of its own.
struct Host(Child);

impl Host {
    fn kill(&mut self) {
        self.0.kill().unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a host with one pod.
fn host(root: &Path, script: &str) -> Host {
    let mut host = Command::new(env!("CARGO_BIN_EXE_cluster-test-supervisor"))
        .args(["host".as_ref(), root.join("local").as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(host.stdin.as_mut().unwrap(), "{}\n", shell("a", script)).unwrap();
    Host(host)
}

fn supervisor_of(root: &Path) -> i32 {
    std::fs::read_to_string(root.join("local/supervisor.lock")).unwrap().parse().unwrap()
}

#[tokio::test]
async fn nothing_outlives_a_killed_host() {
    let root = tempfile::tempdir().unwrap();
    let script = runaway(root.path(), "far")
        + &format!(
            "echo $$ > {}/main; trap '' TERM HUP INT; while :; do sleep 1; done",
            root.path().display()
        );
    let mut host = host(root.path(), &script);
    let (main, far) = (pid_in(&root.path().join("main")).await, pid_in(&root.path().join("far")).await);
    let supervisor = supervisor_of(root.path());
    host.kill();
    drop(host);
    for pid in [main, far, supervisor] {
        gone(pid).await;
    }

    // The next host calls the pod failed, and keeps its name.
    let world = World::at(root, |_| {}).await;
    let object = world.cluster.get(&reference("a")).await.unwrap().unwrap();
    assert_eq!(
        (&object["status"]["phase"], &object["status"]["reason"]),
        (&json!("Failed"), &json!("Shutdown"))
    );
    world.stop().await;
}

#[tokio::test]
async fn nothing_outlives_host_and_supervisor_killed_together() {
    let root = tempfile::tempdir().unwrap();
    let script =
        runaway(root.path(), "far") + &format!("echo $$ > {}/main; sleep 600", root.path().display());
    let mut host = host(root.path(), &script);
    let (main, far) = (pid_in(&root.path().join("main")).await, pid_in(&root.path().join("far")).await);
    let supervisor = supervisor_of(root.path());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor), nix::sys::signal::Signal::SIGSTOP)
        .unwrap();
    host.kill();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    drop(host);
    gone(main).await;
    assert!(is_alive(far), "nothing ties it to anybody");
    let mut world = World::at(root, |_| {}).await;
    world.run(shell("b", "true")).await;
    assert!(!is_alive(far), "the new supervisor finds it before anything else starts");
    world.stop().await;
}

#[tokio::test]
async fn a_dead_supervisor_is_replaced() {
    let mut world = World::new().await;
    let dir = world.root.path().to_owned();
    world.cluster.apply(shell("a", &(runaway(&dir, "far") + "sleep 600"))).await.unwrap();
    let far = pid_in(&dir.join("far")).await;
    let supervisor = supervisor_of(&dir);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    let ended = world.end("a").await;
    assert_eq!(
        (&ended["status"]["phase"], &ended["status"]["reason"]),
        (&json!("Failed"), &json!("Shutdown"))
    );
    assert_eq!(world.run(shell("b", "true")).await["status"]["phase"], "Succeeded");
    gone(far).await;
    assert_ne!(supervisor_of(&dir), supervisor);
    world.stop().await;
}

#[tokio::test]
async fn the_terminal_does_not_reach_containers() {
    let mut world = World::new().await;
    let script = "sleep 0.2; echo done";
    world.cluster.apply(shell("a", script)).await.unwrap();
    world.until("a", |object| object["status"]["phase"] == "Running").await;
    let supervisor = supervisor_of(world.root.path());
    for signal in [nix::sys::signal::Signal::SIGINT, nix::sys::signal::Signal::SIGTERM] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor), signal).unwrap();
    }
    assert_eq!(world.end("a").await["status"]["phase"], "Succeeded");
    world.stop().await;
}
