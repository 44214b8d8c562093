//! Runs the futures of a plugin on a Tokio runtime of its own, for plugins that bring a vendor SDK.
//!
//! The runtime is built at the first call, never shut down, and never seen by the host: only a join handle crosses, so a
//! future that blocks costs a thread of the plugin, not one of the host.

use std::sync::OnceLock;

use futures::FutureExt;
use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::error::PluginError;
use crate::host::BoxFuture;
use crate::shim::{Driver, Reply, panicked};

const WORKERS: usize = 2;

/// Spawns each call onto the plugin's own runtime.
#[derive(Debug)]
pub struct Spawned;

impl Driver for Spawned {
    fn drive(future: BoxFuture<Reply>) -> BoxFuture<Reply> {
        let mut task = match runtime() {
            Ok(runtime) => AbortOnDrop(runtime.spawn(future)),
            Err(message) => {
                let error =
                    PluginError::system("PluginRuntime", format!("cannot start a runtime: {message}"));
                return Box::pin(std::future::ready(Err(error.to_status().encode_to_vec())));
            }
        };
        Box::pin(async move {
            (&mut task.0).map(|joined| joined.unwrap_or_else(|error| Err(status_of(error)))).await
        })
    }
}

/// The runtime of this plugin, for work beside the calls. It must end with `drain`.
pub fn handle() -> Result<tokio::runtime::Handle, PluginError> {
    runtime()
        .map(|runtime| runtime.handle().clone())
        .map_err(|message| PluginError::system("PluginRuntime", message))
}

fn runtime() -> Result<&'static Runtime, String> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let build = || {
        Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("plugin")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    };
    RUNTIME.get_or_init(build).as_ref().map_err(Clone::clone)
}

fn status_of(error: tokio::task::JoinError) -> Vec<u8> {
    let error = match error.try_into_panic() {
        Ok(payload) => panicked(payload.as_ref()),
        Err(error) => PluginError::system("Cancelled", error.to_string()),
    };
    error.to_status().encode_to_vec()
}

/// Dropping a join handle detaches the task; dropping this one ends it.
struct AbortOnDrop(JoinHandle<Reply>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
