//! Builds a host with the built test plugins, and the requests to call them with.
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use plugins::{Config, Host, HostServices, Isolation, PluginConfig, PluginState, RefusalKind};
use prost::Message;
use proto::pinion::plugin::v1::{
    BlobGetRequest, BlobGetResponse, HandleRequest, HandleResponse, HostMethod, Phase, Status,
    TaskExecutionContext,
};

/// A built library of this workspace, beside the test executable.
pub fn built(name: &str) -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    let target = executable.parent().and_then(Path::parent).unwrap();
    let path = target.join(format!("lib{name}.so"));
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// A directory with plugins, and the configuration of a host that loads it.
pub struct World {
    pub dir: tempfile::TempDir,
    pub config: Config,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let plugins = dir.path().join("plugins");
        std::fs::create_dir(&plugins).unwrap();
        let mut config = Config {
            dirs: vec![plugins.clone()],
            trusted_dirs: vec![plugins],
            cache_dir: dir.path().join("cache"),
            ..Config::default()
        };
        config.runner.executable = Some(env!("CARGO_BIN_EXE_plugins-test-runner").into());
        config.runner.arguments = Vec::new();
        config.runner.cancel_grace = config::Duration::from_millis(200);
        config.runner.restart_pause = config::Duration::from_millis(1);
        Self { dir, config }
    }

    /// A world with one plugin that runs there.
    pub fn with(library: &Path, id: &str, isolation: Isolation) -> Self {
        let mut world = Self::new();
        world.install(library, "one.so");
        world.plugin(id).isolation = Some(isolation);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.config.dirs[0].join(name)
    }

    pub fn install(&self, library: &Path, name: &str) -> PathBuf {
        self.write(name, &std::fs::read(library).unwrap())
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn plugin(&mut self, id: &str) -> &mut PluginConfig {
        self.config.plugins.entry(id.to_owned()).or_default()
    }

    pub async fn load(&self) -> Host {
        Host::load(self.config.clone(), Arc::new(FakeServices::default())).await
    }

    pub async fn load_with(&self, services: &FakeServices) -> Host {
        Host::load(self.config.clone(), Arc::new(services.clone())).await
    }
}

/// Runs a test that loses threads of its runtime: dropping that would wait for them.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
    runtime.shutdown_background();
}

/// Host services of the tests: blobs are constant, calls are noted.
#[derive(Clone, Default)]
pub struct FakeServices {
    pub calls: Arc<Mutex<Vec<(String, u32)>>>,
}

#[async_trait]
impl HostServices for FakeServices {
    async fn call(&self, plugin_id: &str, method: u32, request: Bytes) -> Result<Vec<u8>, Status> {
        self.calls.lock().unwrap().push((plugin_id.to_owned(), method));
        if method != HostMethod::BlobGet as u32 {
            return Err(plugins::unimplemented(method));
        }
        // A real service waits too.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let request = BlobGetRequest::decode(request).unwrap();
        let data = format!("content of {}", request.uri).into_bytes();
        Ok(BlobGetResponse { size: data.len() as u64, data }.encode_to_vec())
    }
}

/// A request whose environment asks the hostile plugin for a trick.
pub fn trick(name: &str) -> HandleRequest {
    let env: BTreeMap<String, String> = [("HOSTILE".to_owned(), name.to_owned())].into();
    let context = TaskExecutionContext { env, input_uri: "s3://b/in".into(), ..Default::default() };
    HandleRequest { context: Some(context), ..Default::default() }
}

pub fn phase(response: &HandleResponse) -> Phase {
    response.phase.as_ref().unwrap().phase()
}

pub fn reason(response: &HandleResponse) -> &str {
    &response.phase.as_ref().unwrap().reason
}

/// The refusal of the file with this name.
pub fn refusal(host: &Host, name: &str) -> plugins::Refusal {
    let report = host.report().into_iter().find(|report| {
        report.file.as_ref().is_some_and(|file| file.file_name().unwrap().to_str() == Some(name))
    });
    match report.unwrap_or_else(|| panic!("no report on {name}: {:#?}", host.report())).state {
        PluginState::Quarantined(refusal) => refusal,
        state => panic!("{name} is {state:?}"),
    }
}

pub fn kind(host: &Host, name: &str) -> RefusalKind {
    refusal(host, name).kind
}

/// Compiles the plugin in C.
pub fn c_plugin(dir: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let library = dir.join("c_echo.so");
    let status = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-fvisibility=default"])
        .arg("-I")
        .arg(root.join("plugin-api"))
        .arg(root.join("tests/plugins/c_echo/plugin.c"))
        .arg("-o")
        .arg(&library)
        .arg("-lpthread")
        .status()
        .expect("a C compiler `cc` is needed for this test");
    assert!(status.success(), "the plugin in C does not compile");
    library
}
