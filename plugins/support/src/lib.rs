//! Holds what Kubernetes-shaped task plugins share: command templates, pod specs, pod phases, log links.
//!
//! Everything here is pure: a task template and settings go in, JSON or a phase comes out.

pub mod command_template;
pub mod log_links;
pub mod pod_config;
pub mod pod_phase;
pub mod pod_spec;
pub mod resources;
