//! Holds the C form of the frozen surface; `plugin-api/pinion_plugin.h` is the same in C.
//!
//! Each struct starts with its size, so that a reader can tell which fields are there. Fields are only ever appended.

use std::ffi::c_void;

/// `"PINIONV1"` read as a big-endian number.
pub const MAGIC: u64 = 0x5049_4E49_4F4E_5631;
/// Major version of the C table; both sides must agree.
pub const ABI_MAJOR: u32 = 1;
/// Minor version of the C table; informative.
pub const ABI_MINOR: u32 = 0;
/// Name of the exported static.
pub const SYMBOL: &str = "pinion_plugin_v1";

/// Borrowed bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    pub ptr: *const u8,
    pub len: usize,
}

/// Owned bytes; whoever holds them last calls `release`.
#[repr(C)]
#[derive(Debug)]
pub struct Buf {
    pub ptr: *mut u8,
    pub len: usize,
    pub cap: usize,
    /// Null when nothing needs to be freed.
    pub release: Option<unsafe extern "C" fn(ptr: *mut u8, len: usize, cap: usize)>,
}

/// Completion of a call: `status` 0 and the response, or a gRPC code and an encoded `Status`. The receiver owns `out`.
pub type Done = unsafe extern "C" fn(token: *mut c_void, status: u32, out: Buf);

/// The host as a C plugin sees it. It outlives every plugin.
#[repr(C)]
#[derive(Debug)]
pub struct Host {
    pub size: u32,
    pub abi_major: u32,
    pub ctx: *mut c_void,
    pub enabled: unsafe extern "C" fn(ctx: *mut c_void, level: u32) -> u32,
    pub emit: unsafe extern "C" fn(ctx: *mut c_void, kind: u32, payload: Slice),
    /// `done` is called exactly once, on any thread, perhaps before this returns. `request` is copied.
    pub call:
        unsafe extern "C" fn(ctx: *mut c_void, method: u32, request: Slice, token: *mut c_void, done: Done),
}

/// A plugin as the host sees it.
#[repr(C)]
#[derive(Debug)]
pub struct Plugin {
    pub magic: u64,
    pub size: u32,
    pub abi_major: u32,
    pub abi_minor: u32,
    /// Bit 0: built with `panic=abort`.
    pub flags: u32,
    pub metadata_json: Slice,
    /// Creates an instance; 0 is success, anything else is a gRPC code and `error` holds an encoded `Status`.
    pub create: unsafe extern "C" fn(
        host: *const Host,
        reserved: Slice,
        instance: *mut *mut c_void,
        error: *mut Buf,
    ) -> i32,
    /// Ends an instance; no call follows and none is pending.
    pub destroy: unsafe extern "C" fn(instance: *mut c_void),
    /// `request` is borrowed until this returns. `done` is called exactly once, on any thread, perhaps before this returns.
    pub call: unsafe extern "C" fn(
        instance: *mut c_void,
        method: u32,
        call_id: u64,
        request: Slice,
        token: *mut c_void,
        done: Done,
    ),
    /// The host no longer waits; `done` must still be called, with any status.
    pub cancel: unsafe extern "C" fn(instance: *mut c_void, call_id: u64),
}

// SAFETY: the table is constant data; the host calls its functions from any thread, as the contract says.
unsafe impl Sync for Plugin {}
// SAFETY: as above: a pointer to constant data and functions that may be called from any thread.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

impl Slice {
    /// Borrows Rust bytes; the caller keeps them alive.
    pub const fn of(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// Reads the bytes.
    ///
    /// # Safety
    /// `ptr` points to `len` bytes that live and do not change for `'a`, or `len` is 0.
    pub unsafe fn as_bytes<'a>(self) -> &'a [u8] {
        if self.len == 0 || self.ptr.is_null() {
            return &[];
        }
        // SAFETY: by the contract of this function.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

impl Buf {
    /// Nothing.
    pub const fn empty() -> Self {
        Self { ptr: std::ptr::null_mut(), len: 0, cap: 0, release: None }
    }

    /// Hands Rust bytes over; they come back through the release function.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        Self { ptr: bytes.as_mut_ptr(), len: bytes.len(), cap: bytes.capacity(), release: Some(release_vec) }
    }

    /// Copies the bytes and gives the memory back to its maker.
    ///
    /// # Safety
    /// The buffer came whole from the other side and is not used again.
    pub unsafe fn into_vec(self) -> Vec<u8> {
        // SAFETY: by the contract of this function the fields describe live bytes.
        let bytes = unsafe { Slice { ptr: self.ptr, len: self.len }.as_bytes() }.to_vec();
        if let Some(release) = self.release {
            // SAFETY: called once, with the values it came with.
            unsafe { release(self.ptr, self.len, self.cap) };
        }
        bytes
    }
}

unsafe extern "C" fn release_vec(ptr: *mut u8, len: usize, cap: usize) {
    // SAFETY: the three values are those of the `Vec` that `Buf::from_vec` took apart in this same library.
    drop(unsafe { Vec::from_raw_parts(ptr, len, cap) });
}

/// The numbers that `pinion_plugin.h` asserts, asserted here too.
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<Slice>() == 16 && size_of::<Buf>() == 32);
    assert!(offset_of!(Host, ctx) == 8 && offset_of!(Host, call) == 32 && size_of::<Host>() == 40);
    assert!(offset_of!(Plugin, metadata_json) == 24 && offset_of!(Plugin, create) == 40);
    assert!(offset_of!(Plugin, cancel) == 64 && size_of::<Plugin>() == 72);
};
