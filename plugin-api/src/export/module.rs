//! Offers a plugin as an abi_stable root module, and reaches the host through its abi_stable object.
#![allow(unsafe_code, reason = "abi_stable's prefix types are made with unsafe code")]

use std::sync::Arc;

use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RErr, ROk, RResult, RSlice, RStr, RVec};
use async_ffi::{FfiFuture, FutureExt};
use plugin_abi::{HostObject, PluginModuleV1, PluginModuleV1_Ref, PluginObject, PluginV1, Reply};
use prost::Message;

use super::Entry;
use crate::host::{BoxFuture, Host, HostChannel};
use crate::shim::{Dispatch, Shim, panicked, remember_panics};
use crate::wire::{DrainRequest, LogLevel, PluginMethod};

/// The root module of the library.
pub fn root_module<E: Entry>() -> PluginModuleV1_Ref {
    let metadata_json = RStr::from_str(std::str::from_utf8(E::METADATA).unwrap_or_default());
    PluginModuleV1 { flags: E::FLAGS.into(), metadata_json, create: create::<E> }.leak_into_prefix()
}

extern "C" fn create<E: Entry>(host: HostObject, _: RSlice<'_, u8>) -> RResult<PluginObject, RVec<u8>> {
    let create = || {
        remember_panics();
        let host = Host::new(Arc::new(Channel(host)), E::ID);
        let instance = Instance(Shim::<E::Plugin, E::Driver>::new(host));
        plugin_abi::PluginV1_TO::from_value(instance, abi_stable::erased_types::TD_Opaque)
    };
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(create)) {
        Ok(instance) => ROk(instance),
        Err(payload) => RErr(panicked(payload.as_ref()).to_status().encode_to_vec().into()),
    }
}

struct Instance<D>(D);

impl<D: Dispatch> PluginV1 for Instance<D> {
    fn call(&self, method: u32, _call_id: u64, request: RVec<u8>) -> FfiFuture<Reply> {
        let answer = self.0.call(method, request.into_vec());
        async move {
            match answer.await {
                Ok(response) => ROk(response.into()),
                Err(status) => RErr(status.into()),
            }
        }
        .into_ffi()
    }

    fn shutdown(&self, deadline_ms: u64) -> FfiFuture<Reply> {
        let request = DrainRequest { deadline_ms }.encode_to_vec();
        self.call(PluginMethod::Drain as u32, 0, request.into())
    }
}

/// The host behind its abi_stable object.
struct Channel(HostObject);

impl HostChannel for Channel {
    fn enabled(&self, level: LogLevel) -> bool {
        self.0.enabled(level as u32) != 0
    }

    fn emit(&self, kind: u32, payload: &[u8]) {
        self.0.emit(kind, RSlice::from_slice(payload));
    }

    fn call(&self, method: u32, request: Vec<u8>) -> BoxFuture<Result<Vec<u8>, Vec<u8>>> {
        let answer = self.0.call(method, request.into());
        Box::pin(async move {
            match answer.await {
                ROk(response) => Ok(response.into_vec()),
                RErr(status) => Err(status.into_vec()),
            }
        })
    }
}
