//! Helps to test plugins: a host in memory, and the conformance suite that every plugin passes.

mod conformance;
mod fake_host;
mod schema;

pub use conformance::{Direct, Sample, Transport, Violation, conformance, handshake};
pub use fake_host::FakeHost;
pub use schema::assert_schema;
