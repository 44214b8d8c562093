//! debug
mod world;
use plugins::*;
use world::*;
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dbg() {
    for iso in [Isolation::InProcess, Isolation::Process] {
    for trust in [false, true] {
        let mut world = World::with(&built("plugin_hostile"), "hostile", iso);
        world.config.deadlines.handle = config::Duration::from_secs(5);
        if trust { world.plugin("hostile").interface = Some(Interface::C); }
        let services = FakeServices::default();
        let host = world.load_with(&services).await;
        let plugin = host.resolve("hostile").unwrap();
        let calls = (0..1000).map(|n| plugin.handle(trick(if n % 2 == 0 { "" } else { "host-call" })));
        let answers = futures::future::join_all(calls).await;
        let bad: Vec<_> = answers.iter().enumerate().filter(|(_, a)| a.is_err()).map(|(n, _)| n).collect();
        eprintln!("{iso} c={trust} bad {} {:?} services {}", bad.len(), answers.iter().filter_map(|a| a.as_ref().err()).map(|e| e.to_string().chars().take(60).collect::<String>()).collect::<std::collections::BTreeSet<_>>(), services.calls.lock().unwrap().len());
    }}
}
