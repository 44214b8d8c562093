//! Runs the conformance suite on whole libraries, and a plugin in C through its paces.
#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use std::time::Duration;

use plugins::{Fault, Interface, Isolation, verify};
use proto::pinion::plugin::v1::{HandleRequest, Outputs, Phase, TaskExecutionContext, outputs};
use world::{FakeServices, World, built, c_plugin, phase, trick};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libraries_conform() {
    let dir = tempfile::tempdir().unwrap();
    let c = c_plugin(dir.path());
    for (library, id, interface) in [
        (built("plugin_echo"), "echo", Interface::AbiStable),
        (built("plugin_echo"), "echo", Interface::C),
        (built("plugin_hostile"), "hostile", Interface::AbiStable),
        (c, "c-echo", Interface::C),
    ] {
        let mut world = World::new();
        let library = world.install(&library, "one.so");
        world.plugin(id).interface = Some(interface);
        let start = HandleRequest { context: Some(TaskExecutionContext::default()), ..Default::default() };
        let report = verify(&library, world.config.clone(), Some(start)).await;
        assert!(report.is_good(), "{id} {interface:?}: {report:#?}");
        assert!(verify(&library, world.config, None).await.is_good());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verification_names_the_first_problem() {
    let world = World::new();
    let path = world.write("bad.so", b"nonsense");
    let report = verify(&path, world.config.clone(), None).await;
    let problem = report.checks.last().unwrap();
    assert_eq!(problem.name, "the library is a plugin for this host");
    assert!(!report.is_good() && report.sha256.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_in_c_serves() {
    let dir = tempfile::tempdir().unwrap();
    let library = c_plugin(dir.path());
    for isolation in [Isolation::InProcess, Isolation::Process] {
        let mut world = World::with(&library, "c-echo", isolation);
        world.config.deadlines.handle = config::Duration::from_millis(500);
        let services = FakeServices::default();
        let host = world.load_with(&services).await;
        let plugin = host.resolve("c-echo").unwrap();
        let inputs = vec![7; 100_000];
        let request = HandleRequest { inputs: Some(inputs.clone()), ..Default::default() };
        let response = plugin.handle(request).await.unwrap();
        assert_eq!(phase(&response), Phase::Succeeded);
        assert_eq!(response.outputs, Some(Outputs { value: Some(outputs::Value::Inline(inputs)) }));
        for name in ["late-done", "double-done", "host-call", ""] {
            let answer = plugin.handle(trick(name)).await;
            assert_eq!(phase(&answer.unwrap()), Phase::Succeeded, "{isolation} {name}");
        }
        assert_eq!(services.calls.lock().unwrap().len(), 1);
        assert!(matches!(plugin.handle(trick("wrong-bytes")).await, Err(Fault::Incompatible(_))));
        assert!(matches!(plugin.handle(trick("never-done")).await, Err(Fault::Timeout(_))));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(phase(&plugin.handle(trick("")).await.unwrap()), Phase::Succeeded);
    }
}
