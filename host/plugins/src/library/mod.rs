//! Opens a verified plugin library in this process, by either of its binary interfaces.
//!
//! Invariant: what is opened is a private copy whose digest was checked, and it is never closed: code of a library may
//! be referenced by threads, thread-locals and futures that outlive every handle.
#![allow(unsafe_code, reason = "this is the loader")]

mod module;
mod table;

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use plugin_api::metadata::PluginMetadata;

use crate::config::Interface;
use crate::refusal::{Refusal, RefusalKind};
use crate::services::Upstream;

/// A library with one instance of its plugin.
pub(crate) trait Library: Send + Sync + 'static {
    /// Calls a `PluginMethod`. Both the call and the future run code of the plugin; dropping the future cancels.
    fn call(&self, method: u32, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, Vec<u8>>>;
}

/// Opens a library and creates its plugin. Runs code of the library.
pub(crate) fn open(
    path: &Path,
    metadata: &PluginMetadata,
    interface: Option<Interface>,
    upstream: Arc<dyn Upstream>,
) -> Result<Arc<dyn Library>, Refusal> {
    keep_open(path)?;
    match interface.unwrap_or_else(|| preferred(metadata)) {
        Interface::AbiStable => Ok(Arc::new(module::Module::open(path, metadata, upstream)?)),
        Interface::C => Ok(Arc::new(table::Table::open(path, metadata, upstream)?)),
    }
}

fn preferred(metadata: &PluginMetadata) -> Interface {
    if metadata.abi.iter().any(|abi| abi.kind == "abi_stable") { Interface::AbiStable } else { Interface::C }
}

/// Holds one handle for ever, so that no later error path can unload the library.
fn keep_open(path: &Path) -> Result<(), Refusal> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    // SAFETY: the digest of the file was checked; running its initialisers is what loading a plugin means.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    match library {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => Err(failed(format!("{error:?}"))),
    }
}

fn failed(found: impl Into<String>) -> Refusal {
    Refusal::new(
        RefusalKind::LoadFailed,
        found,
        "a library that this system can load",
        "install what the library links against (`ldd`), or rebuild the plugin for this system",
    )
}

fn other_metadata(metadata: &PluginMetadata, found: &str) -> Result<(), Refusal> {
    let found: Result<PluginMetadata, _> = serde_json::from_str(found);
    if found.as_ref().is_ok_and(|found| found == metadata) {
        return Ok(());
    }
    Err(failed("a library whose code and metadata section disagree"))
}
