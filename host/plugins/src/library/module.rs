//! Speaks to a plugin through its abi_stable root module.

use std::path::Path;
use std::sync::Arc;

use abi_stable::erased_types::TD_Opaque;
use abi_stable::library::{LibraryError, lib_header_from_path};
use abi_stable::std_types::{RArc, RErr, ROk, RSlice, RVec};
use async_ffi::{FfiFuture, FutureExt};
use futures::future::BoxFuture;
use plugin_abi::{HostV1, HostV1_TO, PluginModuleV1_Ref, PluginObject, Reply};
use plugin_api::metadata::PluginMetadata;
use prost::Message;
use proto::pinion::plugin::v1::Status;

use super::{Library, failed, other_metadata};
use crate::refusal::{Refusal, RefusalKind};
use crate::services::Upstream;

pub(super) struct Module(PluginObject);

impl Module {
    pub(super) fn open(
        path: &Path,
        metadata: &PluginMetadata,
        upstream: Arc<dyn Upstream>,
    ) -> Result<Self, Refusal> {
        // Not `load_from_file`: that caches per type and would hand back the first plugin for every later one.
        let header = lib_header_from_path(path).map_err(|error| incompatible(&error))?;
        let module = header.init_root_module::<PluginModuleV1_Ref>().map_err(|error| incompatible(&error))?;
        other_metadata(metadata, module.metadata_json().as_str())?;
        let host = HostV1_TO::from_ptr(RArc::new(HostObject(upstream)), TD_Opaque);
        match module.create()(host, RSlice::EMPTY) {
            ROk(plugin) => Ok(Self(plugin)),
            RErr(status) => {
                let status = Status::decode(status.as_slice()).unwrap_or_default();
                Err(failed(format!("a plugin that can not be created: {}", status.message)))
            }
        }
    }
}

impl Library for Module {
    fn call(&self, method: u32, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, Vec<u8>>> {
        let answer = self.0.call(method, 0, request.into());
        Box::pin(async move {
            match answer.await {
                ROk(response) => Ok(response.into_vec()),
                RErr(status) => Err(status.into_vec()),
            }
        })
    }
}

/// The host as its plugins see it.
struct HostObject(Arc<dyn Upstream>);

impl HostV1 for HostObject {
    fn enabled(&self, level: u32) -> u32 {
        self.0.enabled(level).into()
    }

    fn emit(&self, kind: u32, payload: RSlice<'_, u8>) {
        self.0.emit(kind, payload.as_slice());
    }

    fn call(&self, method: u32, request: RVec<u8>) -> FfiFuture<Reply> {
        let answer = self.0.call(method, request.into_vec());
        async move {
            match answer.await {
                Ok(response) => ROk(response.into()),
                Err(status) => RErr(status.into()),
            }
        }
        .into_ffi()
    }
}

/// Keeps the few useful lines: a layout mismatch prints a thousand.
fn incompatible(error: &LibraryError) -> Refusal {
    let text = error.to_string();
    tracing::debug!(error = %text, "abi_stable refused a library");
    let found = match error {
        LibraryError::AbiInstability(_) => {
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            let at = lines.iter().position(|line| line.starts_with("Error:")).unwrap_or_default();
            lines.iter().skip(at).take(4).copied().collect::<Vec<_>>().join(" ")
        }
        _ => text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" "),
    };
    Refusal::new(
        RefusalKind::IncompatibleInterface,
        found,
        format!("the binary surface of plugin-abi {}", plugin_abi_version()),
        "rebuild the plugin with the plugin-api of this host's major version",
    )
}

fn plugin_abi_version() -> String {
    use abi_stable::library::RootModule;
    PluginModuleV1_Ref::VERSION_STRINGS.version.as_str().to_owned()
}
