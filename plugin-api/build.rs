//! Bakes the compiler version and the target into the SDK, for the metadata of plugins.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let number = version.split_whitespace().nth(1).unwrap_or("unknown");
    println!("cargo::rustc-env=PINION_RUSTC={number}");
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=PINION_TARGET={target}");
}
