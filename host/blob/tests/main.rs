//! Tests of the blob room through its public face: handle, signed URLs, embedded S3 endpoint.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod blob {
    pub mod local;
    pub mod python;
    pub mod remote;
    pub mod s3_wire;
    pub mod signed_urls;
    pub mod world;
}
