//! The rules of the house, as far as a machine can see them.

#![allow(clippy::unwrap_used, reason = "a test ends where it can not go on")]

use std::path::{Path, PathBuf};

/// Most lines of a source file, its tests apart.
const MAX_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file of the workspace that people wrote.
fn sources() -> Vec<(String, String)> {
    let mut out = Vec::new();
    for room in ["host", "plugin-api", "plugins", "proto/src", "tests", "xtask"] {
        collect(&root().join(room), &mut out);
    }
    out.retain(|(path, _)| !path.contains("/generated/"));
    assert!(out.len() > 100, "the sources were not found");
    out
}

fn collect(dir: &Path, out: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let shown = path.strip_prefix(root()).unwrap().display().to_string();
            out.push((shown, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

fn offenders(what: &str, is_bad: impl Fn(&str, &str) -> bool) {
    let found: Vec<String> =
        sources().into_iter().filter(|(path, text)| is_bad(path, text)).map(|(path, _)| path).collect();
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    offenders("files that do not begin with a `//!` sentence", |_, text| {
        !text.trim_start_matches("#![no_main]\n").starts_with("//!")
    });
}

#[test]
fn no_file_is_too_long_to_read() {
    offenders("files without a seam", |path, text| {
        let production = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        !path.contains("/tests/") && production.lines().count() > MAX_LINES
    });
}

#[test]
fn the_host_names_no_task_type() {
    let types =
        ["\"python-task\"", "\"sidecar\"", "\"echo\"", "\"spark\"", "\"pytorch\"", "\"presto\"", "\"hive\""];
    offenders("host files that name a task type", |path, text| {
        let production = text.split("#[cfg(test)]").next().unwrap_or_default();
        path.starts_with("host/")
            && !path.contains("/tests")
            && types.iter().any(|name| production.contains(name))
    });
}

#[test]
fn only_the_store_speaks_sql() {
    let manifests =
        ["api", "worker", "launch", "plugins", "blob", "cluster", "engine", "compiler", "model", "pinion"];
    for room in manifests {
        let text = std::fs::read_to_string(root().join("host").join(room).join("Cargo.toml")).unwrap();
        assert!(!text.contains("sqlx"), "host/{room} depends on sqlx");
    }
}

#[test]
fn rooms_import_only_what_they_may() {
    for (room, forbidden) in [
        ("api", &["engine", "worker", "plugins", "cluster"][..]),
        ("worker", &["api", "scheduler", "notify"]),
        ("catalog", &["engine", "worker", "api", "launch"]),
        ("scheduler", &["engine", "worker", "api", "catalog"]),
        ("notify", &["engine", "worker", "api", "launch", "blob"]),
        ("engine", &["store", "blob", "tokio", "worker", "plugins"]),
        ("compiler", &["store", "blob", "tokio"]),
        ("model", &["store", "blob", "tokio", "engine"]),
        ("store", &["engine", "worker", "api", "blob"]),
    ] {
        let text = std::fs::read_to_string(root().join("host").join(room).join("Cargo.toml")).unwrap();
        let dependencies = text.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("[dev-dependencies]").next().unwrap_or_default();
        for name in forbidden {
            let has = dependencies
                .lines()
                .any(|line| line.starts_with(&format!("{name}.")) || line.starts_with(&format!("{name} ")));
            assert!(!has, "host/{room} must not depend on {name}");
        }
    }
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    // Split, so that this file does not find itself.
    let marks = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[", "ignore"),
        concat!("#[", "should_panic"),
    ];
    offenders("files with an unfinished or switched-off part", |_, text| {
        marks.iter().any(|mark| text.contains(mark))
    });
}
