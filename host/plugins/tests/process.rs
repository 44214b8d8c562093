//! Calls plugins in processes of their own: whatever they do, the host goes on.
#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use plugins::{Fault, Interface, Isolation, RefusalKind};
use proto::pinion::plugin::v1::Phase;
use world::{FakeServices, World, built, kind, phase, reason, refusal, trick};

fn hostile() -> World {
    World::with(&built("plugin_hostile"), "hostile", Isolation::Process)
}

fn is_alive(pid: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

async fn until_dead(pid: &str) {
    let start = Instant::now();
    while is_alive(pid) {
        assert!(start.elapsed() < Duration::from_secs(10), "process {pid} is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_interfaces_answer() {
    for interface in [Interface::AbiStable, Interface::C] {
        let mut world = hostile();
        world.plugin("hostile").interface = Some(interface);
        let services = FakeServices::default();
        let host = world.load_with(&services).await;
        let plugin = host.resolve("hostile").unwrap();
        let response = plugin.handle(trick("host-call")).await.unwrap();
        assert_eq!(reason(&response), "content of s3://b/in");
        let pid = plugin.handle(trick("pid")).await.unwrap();
        assert_ne!(reason(&pid), std::process::id().to_string());
        plugin.ping().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_fails_its_calls_and_nothing_else() {
    let mut world = hostile();
    world.config.runner.max_crashes = 99;
    let host = world.load().await;
    let plugin = host.resolve("hostile").unwrap();
    for (name, expected) in
        [("segfault", "signal 11 (SIGSEGV)"), ("abort", "signal 6 (SIGABRT)"), ("exit", "code 3")]
    {
        let pending = tokio::spawn({
            let plugin = plugin.clone();
            async move { plugin.handle(trick("hang")).await }
        });
        // The other call is under way once a later one was answered.
        assert_eq!(phase(&plugin.handle(trick("")).await.unwrap()), Phase::Succeeded);
        let fault = plugin.handle(trick(name)).await.unwrap_err();
        assert!(matches!(&fault, Fault::Crashed { .. }) && fault.to_string().contains(expected), "{fault}");
        assert!(fault.is_transient());
        assert!(matches!(pending.await.unwrap(), Err(Fault::Crashed { .. })));
        assert_eq!(phase(&plugin.handle(trick("")).await.unwrap()), Phase::Succeeded, "a new process serves");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_leaves_the_process_running() {
    let host = hostile().load().await;
    let plugin = host.resolve("hostile").unwrap();
    let before = plugin.handle(trick("pid")).await.unwrap();
    assert!(matches!(plugin.handle(trick("panic")).await, Err(Fault::Panicked(_))));
    assert_eq!(reason(&plugin.handle(trick("pid")).await.unwrap()), reason(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_wait_is_cancelled_and_the_process_stays() {
    let mut world = hostile();
    world.config.deadlines.handle = config::Duration::from_millis(100);
    let host = world.load().await;
    let plugin = host.resolve("hostile").unwrap();
    let before = plugin.handle(trick("pid")).await.unwrap();
    assert!(matches!(plugin.handle(trick("hang")).await, Err(Fault::Timeout(_))));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(reason(&plugin.handle(trick("pid")).await.unwrap()), reason(&before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_process_is_replaced() {
    let mut world = hostile();
    world.config.deadlines.handle = config::Duration::from_secs(3);
    let host = world.load().await;
    let plugin = host.resolve("hostile").unwrap();
    let before = plugin.handle(trick("pid")).await.unwrap();
    assert!(matches!(plugin.handle(trick("block")).await, Err(Fault::Timeout(_))));
    until_dead(reason(&before)).await;
    let after = plugin.handle(trick("pid")).await.unwrap();
    assert_ne!(reason(&before), reason(&after));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_loop_is_quarantined() {
    let mut world = hostile();
    world.config.runner.max_crashes = 3;
    let host = world.load().await;
    let plugin = host.resolve("hostile").unwrap();
    for _ in 0..3 {
        assert!(matches!(plugin.handle(trick("abort")).await, Err(Fault::Crashed { .. })));
    }
    let Err(Fault::Quarantined(text)) = plugin.handle(trick("")).await else { panic!("still called") };
    assert!(text.contains("crashed 3 times") && text.contains("SIGABRT"), "{text}");
    assert_eq!(kind(&host, "one.so"), RefusalKind::Unstable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_at_the_start_is_quarantined() {
    let mut world = hostile();
    world.plugin("hostile").config = serde_json::json!({"init": "abort"});
    let refusal = refusal(&world.load().await, "one.so");
    assert_eq!(refusal.kind, RefusalKind::InitFailed);
    assert!(refusal.found.contains("SIGABRT"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_executable_is_a_reason() {
    let mut world = hostile();
    world.config.runner.executable = Some("/does/not/exist".into());
    let refusal = refusal(&world.load().await, "one.so");
    assert!(refusal.found.contains("/does/not/exist"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_die_with_the_host() {
    let host = hostile().load().await;
    let plugin = host.resolve("hostile").unwrap();
    let runner = plugin.handle(trick("pid")).await.unwrap();
    let child = plugin.handle(trick("spawn-child")).await.unwrap();
    assert!(is_alive(reason(&runner)) && is_alive(reason(&child)));
    host.drain().await;
    drop((plugin, host));
    until_dead(reason(&runner)).await;
    until_dead(reason(&child)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_host_leaves_no_process_behind() {
    let world = hostile();
    let mut host = Command::new(env!("CARGO_BIN_EXE_plugins-test-runner"))
        .arg("host")
        .arg(world.dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let runner = line.trim();
    assert!(is_alive(runner));
    host.kill().unwrap();
    host.wait().unwrap();
    until_dead(runner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn environment_of_the_host_stays_there() {
    let host = hostile().load().await;
    let plugin = host.resolve("hostile").unwrap();
    let pid = plugin.handle(trick("pid")).await.unwrap();
    let environment = std::fs::read(format!("/proc/{}/environ", reason(&pid))).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("PATH=") && !environment.contains("CARGO_"), "{environment}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn megabytes_cross_the_socket() {
    let host = hostile().load().await;
    let plugin = host.resolve("hostile").unwrap();
    let mut request = trick("");
    request.context.as_mut().unwrap().annotations.insert("big".into(), "x".repeat(20 << 20));
    let calls = (0..4).map(|_| plugin.handle(request.clone()));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(phase(&answer.unwrap()), Phase::Succeeded);
    }
    request.context.as_mut().unwrap().annotations.insert("big".into(), "x".repeat(65 << 20));
    assert!(matches!(plugin.handle(request).await, Err(Fault::Incompatible(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_a_time() {
    let host = hostile().load().await;
    let plugin = host.resolve("hostile").unwrap();
    let calls = (0..1000).map(|n| plugin.handle(trick(if n % 2 == 0 { "log" } else { "host-call" })));
    for answer in futures::future::join_all(calls).await {
        let answer = answer.unwrap();
        assert!(matches!(phase(&answer), Phase::Succeeded | Phase::Running), "{answer:?}");
    }
}
