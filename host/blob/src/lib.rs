//! Stores objects: in an S3-compatible store, or as files that an embedded S3 endpoint serves.
//!
//! In: references (`s3://bucket/key`) and bytes, from every room that keeps more than a row. Out: bytes, signed URLs
//! for clients, and two routers for the wiring to mount (`/data/...` and the S3 endpoint). Objects live where
//! [`Config`] says; the URI of an object is the same either way.
//!
//! Design notes. Local objects are plain files, read and written without `object_store`: that costs a tenth for the
//! small files that the engine touches on its hot path, and lets other processes use the files directly. The
//! embedded endpoint speaks the part of S3 that fsspec, pandas, pyarrow and boto use, and checks signatures as a
//! real store does.

mod config;
mod digest;
mod encode;
mod error;
mod local;
pub mod metric;
mod receive;
mod reference;
mod remote;
mod s3;
mod serve;
mod sign;
mod signed;
mod store;
mod sweep;
mod upload;

pub use config::{Config, LocalConfig, S3Config};
pub use error::Error;
pub use reference::DataReference;
pub use sign::SignedUrl;
pub use store::{Blob, ObjectMeta};
pub use upload::{UploadRoot, upload_key};

/// The scheme of every reference that this host hands out.
pub const SCHEME: &str = "s3";
