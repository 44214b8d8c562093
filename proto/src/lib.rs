//! Holds the wire types and services: Flyte's, and those that plugins and the host share.
//!
//! Everything below is written by `cargo xtask proto` from the `.proto` files beside this crate's
//! manifest; nothing is edited by hand.
#![allow(
    clippy::all,
    missing_docs,
    rustdoc::all,
    reason = "generated code; its documentation is the `.proto` files"
)]

/// Every message and service of this crate and their imports, as an encoded `FileDescriptorSet`.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!("../pinion.binpb");

/// The packages `flyteidl.*`.
pub mod flyteidl {
    pub mod admin {
        include!("generated/flyteidl.admin.rs");
    }
    pub mod cacheservice {
        include!("generated/flyteidl.cacheservice.rs");
    }
    pub mod core {
        include!("generated/flyteidl.core.rs");
    }
    pub mod event {
        include!("generated/flyteidl.event.rs");
    }
    pub mod plugins {
        include!("generated/flyteidl.plugins.rs");

        pub mod kubeflow {
            include!("generated/flyteidl.plugins.kubeflow.rs");
        }
    }
    pub mod service {
        include!("generated/flyteidl.service.rs");
    }
}

/// The package `datacatalog`.
pub mod datacatalog {
    include!("generated/datacatalog.rs");
}

/// The packages `pinion.*`.
pub mod pinion {
    pub mod plugin {
        pub mod v1 {
            include!("generated/pinion.plugin.v1.rs");
        }
    }
}
