//! Is a plugin process of the tests, as `pinion plugin-runner` is one of the product; or a host that a test can kill.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use plugins::{Config, Host, HostServices, unimplemented};
use proto::pinion::plugin::v1::{HandleRequest, Status, TaskExecutionContext};

fn main() {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == "host").is_some() {
        let dir = arguments.next().unwrap();
        host(Path::new(&dir));
    }
    plugins::runner::main(arguments)
}

struct NoServices;

#[async_trait]
impl HostServices for NoServices {
    async fn call(&self, _: &str, method: u32, _: Bytes) -> Result<Vec<u8>, Status> {
        Err(unimplemented(method))
    }
}

/// Loads the hostile plugin of a directory into a process, prints the id of that process, and waits to be killed.
fn host(dir: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut config =
            Config { dirs: vec![dir.join("plugins")], cache_dir: dir.join("cache"), ..Config::default() };
        config.runner.arguments = Vec::new();
        let host = Host::load(config, Arc::new(NoServices)).await;
        let env = [("HOSTILE".to_owned(), "pid".to_owned())].into();
        let context = TaskExecutionContext { env, ..Default::default() };
        let request = HandleRequest { context: Some(context), ..Default::default() };
        let answer = host.resolve("hostile").unwrap().handle(request).await.unwrap();
        println!("{}", answer.phase.unwrap().reason);
        tokio::time::sleep(Duration::from_secs(3600)).await;
    });
}
