//! debug
mod world;
use plugins::*;
use world::*;
use std::sync::atomic::*;
use std::sync::Arc;
use bytes::Bytes;
use prost::Message;
static DONE: AtomicUsize = AtomicUsize::new(0);
static MODE: AtomicUsize = AtomicUsize::new(0);
struct S;
#[async_trait::async_trait]
impl HostServices for S {
    async fn call(&self, _: &str, _: u32, _: Bytes) -> Result<Vec<u8>, proto::pinion::plugin::v1::Status> {
        match MODE.load(Ordering::Relaxed) { 0 => tokio::time::sleep(std::time::Duration::from_millis(1)).await, 1 => tokio::task::yield_now().await, _ => {} }
        DONE.fetch_add(1, Ordering::Relaxed);
        Ok(proto::pinion::plugin::v1::BlobGetResponse { size: 1, data: vec![65] }.encode_to_vec())
    }
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dbg() {
    for mode in [0, 1, 2] {
    for c in [false, true] {
        MODE.store(mode, Ordering::Relaxed);
        DONE.store(0, Ordering::Relaxed);
        let mut world = World::with(&built("plugin_hostile"), "hostile", Isolation::InProcess);
        world.config.deadlines.handle = config::Duration::from_secs(20);
        if c { world.plugin("hostile").interface = Some(Interface::C); }
        let host = Host::load(world.config.clone(), Arc::new(S)).await;
        let plugin = host.resolve("hostile").unwrap();
        let calls = (0..1000).map(|n| plugin.handle(trick(if n % 2 == 0 { "" } else { "host-call" })));
        let answers = futures::future::join_all(calls).await;
        let bad: Vec<_> = answers.iter().enumerate().filter(|(_, a)| a.is_err()).map(|(n, _)| n).collect();
        eprintln!("mode {mode} c={c} bad {} services {}", bad.len(), DONE.load(Ordering::Relaxed));
    }}
}
