//! Holds the frozen binary surface between the host and its plugins: numbered methods and bytes.
//!
//! Invariant: nothing here is ever added, removed, renamed or retyped. abi_stable's checker refuses an old plugin as
//! soon as the host's copy of a type has one field or method more, even a defaulted one, so every evolution is a
//! protobuf message in `proto/pinion/plugin/v1`. No enums, no `Option`, no generics cross. An incompatible redesign is a
//! new crate beside this one.
//!
//! The same surface stands twice: as abi_stable types below, and as a plain C table in [`c`] for other languages.
#![allow(non_local_definitions, reason = "#[sabi_trait] of abi_stable 0.11 expands to such impls")]
#![allow(unsafe_code, reason = "this crate is the binary surface")]
#![allow(missing_docs, non_camel_case_types, reason = "abi_stable generates such items")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "the unsafe blocks are those of #[sabi_trait]")]

use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_trait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RArc, RBox, RResult, RSlice, RStr, RVec};
use abi_stable::{StableAbi, declare_root_module_statics};
use async_ffi::FfiFuture;

pub mod c;

/// What a call ends with: the encoded response, or an encoded `pinion.plugin.v1.Status`.
pub type Reply = RResult<RVec<u8>, RVec<u8>>;

/// The host as a plugin sees it.
#[sabi_trait]
pub trait HostV1: Send + Sync + 'static {
    /// Whether records of this `LogLevel` are wanted: 0 or 1.
    fn enabled(&self, level: u32) -> u32;
    /// Hands over a record of an `EmitKind`; never blocks.
    fn emit(&self, kind: u32, payload: RSlice<'_, u8>);
    /// Calls a `HostMethod`.
    #[sabi(last_prefix_field)]
    fn call(&self, method: u32, request: RVec<u8>) -> FfiFuture<Reply>;
}

/// A shared host object.
pub type HostObject = HostV1_TO<RArc<()>>;

/// A plugin as the host sees it.
#[sabi_trait]
pub trait PluginV1: Send + Sync + 'static {
    /// Calls a `PluginMethod`. Dropping the future cancels the call.
    fn call(&self, method: u32, call_id: u64, request: RVec<u8>) -> FfiFuture<Reply>;
    /// Ends the plugin; no call follows.
    #[sabi(last_prefix_field)]
    fn shutdown(&self, deadline_ms: u64) -> FfiFuture<Reply>;
}

/// An owned plugin object.
pub type PluginObject = PluginV1_TO<RBox<()>>;

/// The root module: the one thing that a plugin library exports for abi_stable.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleV1_Ref)))]
pub struct PluginModuleV1 {
    /// Bit 0: built with `panic=abort`.
    pub flags: u64,
    /// The metadata of the `.pinion_plugin` section, once more.
    pub metadata_json: RStr<'static>,
    /// Creates an instance. The bytes are reserved and empty today. An error is an encoded `Status`.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(HostObject, RSlice<'_, u8>) -> RResult<PluginObject, RVec<u8>>,
}

impl RootModule for PluginModuleV1_Ref {
    declare_root_module_statics! {PluginModuleV1_Ref}
    const BASE_NAME: &'static str = "pinion_plugin";
    const NAME: &'static str = "pinion_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// Flag: the library was built with `panic=abort`, so a panic ends the process it lives in.
pub const FLAG_PANIC_ABORT: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_frozen() {
        assert_eq!(PluginModuleV1_Ref::VERSION_STRINGS.version.as_str(), "1.0.0");
    }
}
