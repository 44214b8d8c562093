//! Calls a plugin that brings a Tokio runtime of its own.
#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use plugins::{Fault, Interface, Isolation};
use world::{World, built, reason, run, trick};

fn worlds() -> impl Iterator<Item = World> {
    let places = [Isolation::InProcess, Isolation::Process];
    let all = places.into_iter().flat_map(|place| [(place, Interface::AbiStable), (place, Interface::C)]);
    all.map(|(place, interface)| {
        let mut world = World::with(&built("plugin_sleeper"), "sleeper", place);
        world.plugin("sleeper").interface = Some(interface);
        world
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_and_host_services_work_on_its_threads() {
    for world in worlds() {
        let host = world.load().await;
        let plugin = host.resolve("sleeper").unwrap();
        let calls = (0..50).map(|_| plugin.handle(trick("")));
        for answer in futures::future::join_all(calls).await {
            assert_eq!(reason(&answer.unwrap()), "content of s3://b/in on plugin");
        }
        let Err(Fault::Panicked(text)) = plugin.handle(trick("panic")).await else { panic!("no panic") };
        assert!(text.contains("boom on the own runtime"), "{text}");
    }
}

#[test]
fn blocking_costs_its_own_threads_only() {
    run(async {
        for mut world in worlds() {
            world.config.deadlines.handle = config::Duration::from_secs(1);
            let host = world.load().await;
            let plugin = host.resolve("sleeper").unwrap();
            assert!(plugin.handle(trick("")).await.is_ok());
            assert!(matches!(plugin.handle(trick("block")).await, Err(Fault::Timeout(_))));
            assert_eq!(plugin.quarantined(), None);
            assert!(plugin.handle(trick("")).await.is_ok(), "it has a second thread");
        }
    });
}
