//! Keys against vectors, and the catalog on a real store and a real object directory.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by panicking")]

mod catalog {
    pub(crate) mod build;
    pub(crate) mod world;

    mod entries;
    mod keys;
    mod reflection;
    mod reservations;
}
