//! Calls plugins in this process: what works, and what a plugin can not do to the host.
#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use std::time::{Duration, Instant};

use plugins::{Fault, Interface, Isolation, RefusalKind};
use proto::pinion::plugin::v1::{AbortRequest, Phase};
use world::{FakeServices, World, built, kind, phase, reason, refusal, run, trick};

fn hostile() -> World {
    World::with(&built("plugin_hostile"), "hostile", Isolation::InProcess)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_interfaces_answer() {
    for interface in [Interface::AbiStable, Interface::C] {
        let mut world = hostile();
        world.plugin("hostile").interface = Some(interface);
        let host = world.load().await;
        let plugin = host.resolve("hostile").unwrap();
        assert_eq!(phase(&plugin.handle(trick("")).await.unwrap()), Phase::Succeeded);
        plugin.ping().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_services_are_reached_by_both_interfaces() {
    for interface in [Interface::AbiStable, Interface::C] {
        let mut world = hostile();
        world.plugin("hostile").interface = Some(interface);
        let services = FakeServices::default();
        let host = world.load_with(&services).await;
        let plugin = host.resolve("hostile").unwrap();
        let response = plugin.handle(trick("host-call")).await.unwrap();
        assert_eq!(reason(&response), "content of s3://b/in");
        assert_eq!(*services.calls.lock().unwrap(), [("hostile".to_owned(), 1)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_fails_one_call() {
    for interface in [Interface::AbiStable, Interface::C] {
        let mut world = hostile();
        world.plugin("hostile").interface = Some(interface);
        let host = world.load().await;
        let plugin = host.resolve("hostile").unwrap();
        let Err(Fault::Panicked(text)) = plugin.handle(trick("panic")).await else { panic!("no panic") };
        assert!(text.contains("boom in handle") && text.contains("lib.rs:"), "{text}");
        let abort = AbortRequest { reason: "panic".into(), ..Default::default() };
        assert!(matches!(plugin.abort(abort).await, Err(Fault::Panicked(_))));
        // Its own Tokio does not run here; that is a panic of the plugin, not of the host.
        assert!(matches!(plugin.handle(trick("tokio")).await, Err(Fault::Panicked(_))));
        assert_eq!(phase(&plugin.handle(trick("")).await.unwrap()), Phase::Succeeded);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_wait_is_cut_at_its_deadline() {
    for interface in [Interface::AbiStable, Interface::C] {
        let mut world = hostile();
        world.plugin("hostile").interface = Some(interface);
        world.config.deadlines.handle = config::Duration::from_millis(100);
        let host = world.load().await;
        let plugin = host.resolve("hostile").unwrap();
        assert!(matches!(plugin.handle(trick("hang")).await, Err(Fault::Timeout(_))));
        assert_eq!(phase(&plugin.handle(trick("")).await.unwrap()), Phase::Succeeded);
    }
}

#[test]
fn blocking_plugin_is_cut_then_quarantined() {
    run(async {
        let mut world = hostile();
        world.config.deadlines.handle = config::Duration::from_millis(100);
        world.config.limits.lost_threads = 2;
        let host = world.load().await;
        let plugin = host.resolve("hostile").unwrap();
        let start = Instant::now();
        assert!(matches!(plugin.handle(trick("block")).await, Err(Fault::Timeout(_))));
        assert!(start.elapsed() < Duration::from_secs(5));
        // One thread is lost; the plugin still serves, and the host's workers are alive.
        assert_eq!(phase(&plugin.handle(trick("")).await.unwrap()), Phase::Succeeded);
        assert!(matches!(plugin.handle(trick("block")).await, Err(Fault::Timeout(_))));
        assert!(matches!(plugin.handle(trick("")).await, Err(Fault::Quarantined(_))));
        assert_eq!(kind(&host, "one.so"), RefusalKind::Unstable);
    });
}

#[test]
fn concurrent_hangs_leave_the_host_alive() {
    run(async {
        let mut world = hostile();
        world.config.deadlines.handle = config::Duration::from_millis(200);
        world.config.limits.lost_threads = 99;
        let host = world.load().await;
        let plugin = host.resolve("hostile").unwrap();
        let hung: Vec<_> = (0..6)
            .map(|_| {
                let plugin = plugin.clone();
                tokio::spawn(async move { plugin.handle(trick("block")).await })
            })
            .collect();
        for hung in hung {
            assert!(matches!(hung.await.unwrap(), Err(Fault::Timeout(_))));
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusable_answers_are_faults() {
    let host = hostile().load().await;
    let plugin = host.resolve("hostile").unwrap();
    for (name, text) in [
        ("oversized-state", "a state of 66560 bytes is over the limit of 65536"),
        ("no-phase", "an answer without a phase"),
        ("unknown-phase", "phase number 77 is unknown"),
    ] {
        let Err(Fault::Incompatible(found)) = plugin.handle(trick(name)).await else { panic!("{name}") };
        assert!(found.contains(text), "{found}");
    }
    let Err(Fault::Status(status)) = plugin.handle(trick("user-error")).await else { panic!() };
    assert_eq!((status.error_code.as_str(), status.retryable), ("Nope", false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_start_is_quarantined_with_its_reason() {
    for (init, needle) in [
        ("error", "the vault said no"),
        ("panic", "init panics"),
        ("hang", "did not answer within"),
        ("block", "did not answer within"),
    ] {
        let mut world = hostile();
        world.config.deadlines.init = config::Duration::from_millis(500);
        world.plugin("hostile").config = serde_json::json!({ "init": init });
        let host = world.load().await;
        let refusal = refusal(&host, "one.so");
        assert_eq!(refusal.kind, RefusalKind::InitFailed, "{init}");
        assert!(refusal.found.contains(needle), "{init}: {refusal}");
        let error = host.resolve("hostile").unwrap_err().to_string();
        assert!(error.contains("quarantined") && error.contains(needle), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_are_named_by_pointer() {
    let mut world = hostile();
    world.plugin("hostile").config = serde_json::json!({ "levle": 3 });
    let refusal = refusal(&world.load().await, "one.so");
    assert_eq!(refusal.kind, RefusalKind::BadConfig);
    assert!(refusal.found.contains("/levle: unknown key; did you mean `level`?"), "{refusal}");
    let mut world = hostile();
    // The schema allows any integer, the type of the plugin does not.
    world.plugin("hostile").config = serde_json::json!({ "level": -3 });
    assert_eq!(kind(&world.load().await, "one.so"), RefusalKind::BadConfig);
}

#[tokio::test]
async fn single_threaded_host_survives_a_block() {
    let mut world = hostile();
    world.config.deadlines.handle = config::Duration::from_millis(100);
    let host = world.load().await;
    let plugin = host.resolve("hostile").unwrap();
    assert!(matches!(plugin.handle(trick("block")).await, Err(Fault::Timeout(_))));
    assert_eq!(phase(&plugin.handle(trick("")).await.unwrap()), Phase::Succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_a_time() {
    for interface in [Interface::AbiStable, Interface::C] {
        let mut world = hostile();
        world.plugin("hostile").interface = Some(interface);
        let host = world.load().await;
        let plugin = host.resolve("hostile").unwrap();
        let calls = (0..1000).map(|n| plugin.handle(trick(if n % 2 == 0 { "log" } else { "host-call" })));
        for answer in futures::future::join_all(calls).await {
            let answer = answer.unwrap();
            assert!(matches!(phase(&answer), Phase::Succeeded | Phase::Running), "{answer:?}");
        }
    }
}
