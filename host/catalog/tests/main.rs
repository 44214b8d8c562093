//! Keys against vectors, and the catalog on a real store and a real object directory.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by panicking")]

mod catalog {
    pub(crate) mod build;
    pub(crate) mod flow;
    pub(crate) mod world;

    mod entries;
    mod evict;
    mod explain;
    mod keys;
    mod lineage;
    mod reflection;
    mod reservations;
    mod routes;
}
