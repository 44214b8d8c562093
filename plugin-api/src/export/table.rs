//! Offers a plugin as a C table, and reaches the host through its C table.
#![allow(unsafe_code, reason = "this is the C boundary")]

use std::ffi::c_void;
use std::mem::{offset_of, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::channel::oneshot;
use plugin_abi::c;
use prost::Message;

use super::Entry;
use super::task::{Tasks, start};
use crate::error::PluginError;
use crate::host::{BoxFuture, Host, HostChannel};
use crate::shim::{Dispatch, Shim, panicked, remember_panics};
use crate::wire::LogLevel;

/// The C table of the library.
pub const fn c_table<E: Entry>() -> c::Plugin {
    #[allow(clippy::cast_possible_truncation, reason = "the table is about a hundred bytes")]
    let size = size_of::<c::Plugin>() as u32;
    c::Plugin {
        magic: c::MAGIC,
        size,
        abi_major: c::ABI_MAJOR,
        abi_minor: c::ABI_MINOR,
        flags: E::FLAGS,
        metadata_json: c::Slice::of(E::METADATA),
        create: create::<E>,
        destroy,
        call,
        cancel,
    }
}

struct Instance {
    dispatch: Box<dyn Dispatch>,
    tasks: Arc<Tasks>,
}

unsafe extern "C" fn create<E: Entry>(
    host: *const c::Host,
    _reserved: c::Slice,
    instance: *mut *mut c_void,
    error: *mut c::Buf,
) -> i32 {
    let created = catch_unwind(AssertUnwindSafe(|| {
        remember_panics();
        // SAFETY: the host keeps its table alive for as long as the process lives.
        let channel = unsafe { Channel::new(host) }?;
        let host = Host::new(Arc::new(channel), E::ID);
        Ok(Box::new(Instance {
            dispatch: Box::new(Shim::<E::Plugin, E::Driver>::new(host)),
            tasks: Arc::default(),
        }))
    }));
    match created.unwrap_or_else(|payload| Err(panicked(payload.as_ref()))) {
        Ok(created) => {
            // SAFETY: the host passes a place for the instance.
            unsafe { instance.write(Box::into_raw(created).cast()) };
            0
        }
        Err(found) => {
            let status = found.to_status();
            // SAFETY: the host passes a place for the error.
            unsafe { error.write(c::Buf::from_vec(status.encode_to_vec())) };
            i32::try_from(status.code).unwrap_or(i32::MAX)
        }
    }
}

unsafe extern "C" fn destroy(instance: *mut c_void) {
    // SAFETY: made by `create`, given back once.
    let instance = unsafe { Box::from_raw(instance.cast::<Instance>()) };
    let _ = catch_unwind(AssertUnwindSafe(|| drop(instance)));
}

unsafe extern "C" fn call(
    instance: *mut c_void,
    method: u32,
    call_id: u64,
    request: c::Slice,
    token: *mut c_void,
    done: c::Done,
) {
    // SAFETY: made by `create`; the host destroys it only when no call is pending.
    let instance = unsafe { &*instance.cast::<Instance>() };
    // SAFETY: the host lends the request until this function returns.
    let request = unsafe { request.as_bytes() }.to_vec();
    let completion = Completion { token, done };
    let started = catch_unwind(AssertUnwindSafe(|| {
        let answer = instance.dispatch.call(method, request);
        start(&instance.tasks, call_id, answer, move |reply| completion.finish(reply));
    }));
    // The dispatch future catches the plugin's panics; one that gets here is a bug of this shim, after which no
    // completion is owed twice: `start` owns it.
    let _ = started;
}

unsafe extern "C" fn cancel(instance: *mut c_void, call_id: u64) {
    // SAFETY: made by `create`; the host destroys it only when no call is pending.
    let instance = unsafe { &*instance.cast::<Instance>() };
    let _ = catch_unwind(AssertUnwindSafe(|| instance.tasks.cancel(call_id)));
}

/// The host's completion of one call.
struct Completion {
    token: *mut c_void,
    done: c::Done,
}

// SAFETY: the contract lets `done` be called from any thread.
unsafe impl Send for Completion {}

impl Completion {
    fn finish(self, reply: Result<Vec<u8>, Vec<u8>>) {
        let (status, out) = match reply {
            Ok(response) => (0, response),
            Err(status) => {
                (crate::wire::Status::decode(status.as_slice()).map_or(13, |status| status.code), status)
            }
        };
        // SAFETY: called once, since this takes `self`.
        unsafe { (self.done)(self.token, status, c::Buf::from_vec(out)) };
    }
}

/// The host behind its C table.
struct Channel(&'static c::Host);

impl Channel {
    /// # Safety
    /// `host` is null or points to a table that lives for ever.
    unsafe fn new(host: *const c::Host) -> Result<Self, PluginError> {
        // SAFETY: by the contract of this function.
        let Some(host) = (unsafe { host.as_ref() }) else {
            return Err(PluginError::bug("the host passed no table"));
        };
        let needed = offset_of!(c::Host, call) + size_of::<usize>();
        if host.abi_major != c::ABI_MAJOR || (host.size as usize) < needed {
            return Err(PluginError::bug(format!(
                "the host table has major version {} and {} bytes; needed are {} and {needed}",
                host.abi_major,
                host.size,
                c::ABI_MAJOR
            )));
        }
        Ok(Self(host))
    }
}

impl HostChannel for Channel {
    fn enabled(&self, level: LogLevel) -> bool {
        // SAFETY: the table is valid and its functions may be called from any thread.
        (unsafe { (self.0.enabled)(self.0.ctx, level as u32) }) != 0
    }

    fn emit(&self, kind: u32, payload: &[u8]) {
        // SAFETY: as above; the payload is borrowed for the call.
        unsafe { (self.0.emit)(self.0.ctx, kind, c::Slice::of(payload)) };
    }

    fn call(&self, method: u32, request: Vec<u8>) -> BoxFuture<Result<Vec<u8>, Vec<u8>>> {
        let (sender, receiver) = oneshot::channel::<Result<Vec<u8>, Vec<u8>>>();
        let token = Box::into_raw(Box::new(sender)).cast();
        // SAFETY: as above; `answered` gets the token back exactly once.
        unsafe { (self.0.call)(self.0.ctx, method, c::Slice::of(&request), token, answered) };
        Box::pin(async move {
            receiver.await.unwrap_or_else(|_| {
                Err(PluginError::system("HostGone", "the host dropped the call").to_status().encode_to_vec())
            })
        })
    }
}

unsafe extern "C" fn answered(token: *mut c_void, status: u32, out: c::Buf) {
    // SAFETY: the token is the box made in `call`, given back once.
    let sender = unsafe { Box::from_raw(token.cast::<oneshot::Sender<Result<Vec<u8>, Vec<u8>>>>()) };
    // SAFETY: the host hands the buffer over.
    let bytes = unsafe { out.into_vec() };
    // Waking may poll the plugin's future, right here.
    let _ = catch_unwind(AssertUnwindSafe(|| sender.send(if status == 0 { Ok(bytes) } else { Err(bytes) })));
}
