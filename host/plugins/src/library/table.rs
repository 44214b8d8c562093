//! Speaks to a plugin through its C table.
//!
//! Tokens that cross are numbers in a table of this file, never pointers: a plugin that completes a call twice, or after
//! it was given up, meets an empty place.

use std::collections::HashMap;
use std::ffi::c_void;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use plugin_abi::c;
use plugin_api::metadata::PluginMetadata;
use prost::Message;
use proto::pinion::plugin::v1::Status;
use tokio::sync::oneshot;

use super::{Library, failed, other_metadata};
use crate::refusal::{Refusal, RefusalKind};
use crate::services::{Upstream, status};

type Reply = Result<Vec<u8>, Vec<u8>>;

pub(super) struct Table {
    table: &'static c::Plugin,
    instance: Instance,
}

#[derive(Clone, Copy)]
struct Instance(*mut c_void);

// SAFETY: the contract lets every function of the table be called from any thread.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

impl Table {
    pub(super) fn open(
        path: &Path,
        metadata: &PluginMetadata,
        upstream: Arc<dyn Upstream>,
    ) -> Result<Self, Refusal> {
        let table = find(path)?;
        // SAFETY: a static of the library, which is never closed.
        let json = unsafe { table.metadata_json.as_bytes() };
        let json = json.split(|byte| *byte == 0).next().unwrap_or_default();
        other_metadata(metadata, std::str::from_utf8(json).unwrap_or_default())?;
        let mut instance = std::ptr::null_mut();
        let mut error = c::Buf::empty();
        // SAFETY: the table was checked; both places outlive the call; the host table lives for ever.
        let code = unsafe {
            (table.create)(host_table(upstream), c::Slice::of(&[]), &raw mut instance, &raw mut error)
        };
        if code != 0 {
            // SAFETY: the plugin filled the buffer, or left it empty.
            let status = Status::decode(unsafe { error.into_vec() }.as_slice()).unwrap_or_default();
            return Err(failed(format!("a plugin that can not be created: code {code}, {}", status.message)));
        }
        Ok(Self { table, instance: Instance(instance) })
    }
}

/// Finds the table and checks that it is one, and long enough.
fn find(path: &Path) -> Result<&'static c::Plugin, Refusal> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    // SAFETY: the library is open already; this only counts one more handle.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|error| failed(format!("{error:?}")))?;
    // SAFETY: only the address is taken here.
    let symbol = unsafe { library.get::<*const c::Plugin>(c::SYMBOL.as_bytes()) };
    let address = symbol.map(|symbol| symbol.into_raw().cast::<c::Plugin>());
    std::mem::forget(library);
    let address = address.map_err(|error| failed(format!("no symbol {} ({error})", c::SYMBOL)))?;
    // SAFETY: the symbol is a static table of a library that promises this interface; the fields that are read first
    // (magic, size) exist in every version.
    let (magic, size, major) = unsafe { ((*address).magic, (*address).size, (*address).abi_major) };
    let needed = offset_of!(c::Plugin, cancel) + size_of::<usize>();
    if magic != c::MAGIC || major != c::ABI_MAJOR || (size as usize) < needed {
        return Err(Refusal::new(
            RefusalKind::IncompatibleInterface,
            format!("a table with magic {magic:#x}, major version {major} and {size} bytes"),
            format!("magic {:#x}, major version {} and at least {needed} bytes", c::MAGIC, c::ABI_MAJOR),
            "rebuild the plugin with the pinion_plugin.h of this host's major version",
        ));
    }
    // SAFETY: as above, and now known to be complete.
    Ok(unsafe { &*address })
}

impl Library for Table {
    fn call(&self, method: u32, request: Vec<u8>) -> BoxFuture<'static, Reply> {
        let (table, instance) = (self.table, self.instance);
        let (token, answer) = PENDING.add();
        let mut pending = Pending { table, instance, token, ended: false };
        // SAFETY: the table was checked; the request is borrowed for this call; the token is a number.
        unsafe {
            (table.call)(instance.0, method, token, c::Slice::of(&request), token as *mut c_void, done)
        };
        Box::pin(async move {
            let reply = answer.await;
            pending.end();
            reply.unwrap_or_else(|_| Err(status(13, "PluginBug", "the call was dropped").encode_to_vec()))
        })
    }
}

/// A call that has not ended; dropping it cancels.
struct Pending {
    table: &'static c::Plugin,
    instance: Instance,
    token: u64,
    ended: bool,
}

impl Pending {
    fn end(&mut self) {
        self.ended = true;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.ended {
            PENDING.remove(self.token);
            // SAFETY: the table was checked; cancelling an unknown or ended call is allowed.
            unsafe { (self.table.cancel)(self.instance.0, self.token) };
        }
    }
}

static PENDING: Waiting = Waiting { next: AtomicU64::new(1), calls: Mutex::new(None) };

/// Calls that wait for their completion, by token.
struct Waiting {
    next: AtomicU64,
    calls: Mutex<Option<HashMap<u64, oneshot::Sender<Reply>>>>,
}

impl Waiting {
    fn add(&self) -> (u64, oneshot::Receiver<Reply>) {
        let (sender, receiver) = oneshot::channel();
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().get_or_insert_default().insert(token, sender);
        (token, receiver)
    }

    fn remove(&self, token: u64) -> Option<oneshot::Sender<Reply>> {
        self.lock().as_mut()?.remove(&token)
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Reply>>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

unsafe extern "C" fn done(token: *mut c_void, status: u32, out: c::Buf) {
    // SAFETY: the plugin hands the buffer over.
    let bytes = unsafe { out.into_vec() };
    if let Some(sender) = PENDING.remove(token as u64) {
        let _ = sender.send(if status == 0 { Ok(bytes) } else { Err(with_code(bytes, status)) });
    }
}

/// A plugin in C may give a code and no `Status`.
fn with_code(bytes: Vec<u8>, code: u32) -> Vec<u8> {
    match Status::decode(bytes.as_slice()) {
        Ok(status) if status.code != 0 => bytes,
        _ => status(code, "PluginError", "the plugin gave no message").encode_to_vec(),
    }
}

/// The host table of one plugin; it lives for ever, as the library does.
fn host_table(upstream: Arc<dyn Upstream>) -> *const c::Host {
    let ctx: *mut Arc<dyn Upstream> = Box::into_raw(Box::new(upstream));
    #[allow(clippy::cast_possible_truncation, reason = "the table is about fifty bytes")]
    let size = size_of::<c::Host>() as u32;
    let table = c::Host { size, abi_major: c::ABI_MAJOR, ctx: ctx.cast(), enabled, emit, call };
    Box::leak(Box::new(table))
}

/// # Safety
/// `ctx` is the one of [`host_table`].
unsafe fn upstream<'a>(ctx: *mut c_void) -> &'a Arc<dyn Upstream> {
    // SAFETY: by the contract of this function; it is never freed.
    unsafe { &*ctx.cast::<Arc<dyn Upstream>>() }
}

unsafe extern "C" fn enabled(ctx: *mut c_void, level: u32) -> u32 {
    // SAFETY: the plugin passes the context of its host table.
    unsafe { upstream(ctx) }.enabled(level).into()
}

unsafe extern "C" fn emit(ctx: *mut c_void, kind: u32, payload: c::Slice) {
    // SAFETY: the plugin passes the context of its host table and lends the payload.
    let (upstream, payload) = unsafe { (upstream(ctx), payload.as_bytes()) };
    upstream.emit(kind, payload);
}

unsafe extern "C" fn call(
    ctx: *mut c_void,
    method: u32,
    request: c::Slice,
    token: *mut c_void,
    done: c::Done,
) {
    // SAFETY: the plugin passes the context of its host table and lends the request.
    let (upstream, request) = unsafe { (upstream(ctx), request.as_bytes().to_vec()) };
    let answer = upstream.call(method, request);
    let completion = Completion { token, done };
    upstream.spawn(Box::pin(async move { completion.finish(answer.await) }));
}

/// The plugin's completion of a call to the host.
struct Completion {
    token: *mut c_void,
    done: c::Done,
}

// SAFETY: the contract lets `done` be called from any thread.
unsafe impl Send for Completion {}

impl Completion {
    fn finish(self, reply: Reply) {
        let (status, out) = match reply {
            Ok(response) => (0, response),
            Err(status) => (Status::decode(status.as_slice()).map_or(13, |status| status.code), status),
        };
        // SAFETY: called once, since this takes `self`.
        unsafe { (self.done)(self.token, status, c::Buf::from_vec(out)) };
    }
}
