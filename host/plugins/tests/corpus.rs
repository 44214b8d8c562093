//! Feeds the loader with bad files: the host always starts, good plugins serve, and each report helps.
#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use std::os::unix::fs::{PermissionsExt, symlink};

use object::{Object, ObjectSection};
use plugins::{Isolation, PluginState, RefusalKind, inspect};
use world::{World, built, c_plugin, kind, refusal};

/// The echo library under another id of four letters, so that files do not clash.
fn echo(id: &str) -> Vec<u8> {
    let bytes = std::fs::read(built("plugin_echo")).unwrap();
    let bytes = replace(&bytes, br#"{"id":"echo""#, format!(r#"{{"id":"{id}""#).as_bytes());
    let types = format!(r#""task_types":["{id}"]"#);
    replace(&bytes, br#""task_types":["echo"]"#, types.as_bytes())
}

/// Replaces every occurrence by text of the same length, in the sections that hold metadata and names.
fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let library = object::File::parse(bytes).unwrap();
    let sections = [".pinion_plugin", ".onionn_plugin", ".dynstr", ".shstrtab"];
    let ranges = library.sections().filter(|section| sections.contains(&section.name().unwrap()));
    let mut patched = bytes.to_vec();
    let mut found = false;
    for (start, size) in ranges.filter_map(|section| section.file_range()) {
        for at in start as usize..(start + size) as usize - from.len() {
            if patched[at..].starts_with(from) {
                patched[at..at + from.len()].copy_from_slice(to);
                found = true;
            }
        }
    }
    assert!(found, "{} is not in the library", String::from_utf8_lossy(from));
    patched
}

fn patched(id: &str, from: &str, to: &str) -> Vec<u8> {
    replace(&echo(id), from.as_bytes(), to.as_bytes())
}

/// Overwrites 4 KiB in the middle of the code.
fn with_garbage(mut bytes: Vec<u8>) -> Vec<u8> {
    let middle = bytes.len() / 4;
    for (n, byte) in bytes[middle..middle + 4096].iter_mut().enumerate() {
        *byte = (n * 7919 % 251) as u8;
    }
    bytes
}

fn truncated(mut bytes: Vec<u8>, parts_of_ten: usize) -> Vec<u8> {
    bytes.truncate(bytes.len() / 10 * parts_of_ten);
    bytes
}

/// A library whose header promises more than the file holds.
fn segment_beyond_the_end(mut bytes: Vec<u8>) -> Vec<u8> {
    const ENTRY: usize = 56;
    const LOAD: [u8; 4] = [1, 0, 0, 0];
    let mut entry = usize::try_from(u64::from_le_bytes(bytes[32..40].try_into().unwrap())).unwrap();
    while bytes[entry..entry + 4] != LOAD {
        entry += ENTRY;
    }
    bytes[entry + 32..entry + 40].copy_from_slice(&(1u64 << 40).to_le_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_files_never_stop_the_host() {
    use RefusalKind::{
        IncompatibleInterface, IncompatibleIsolation, NotALibrary, NotAPlugin, Unreadable, UnsafePermissions,
        WrongArchitecture, WrongDigest,
    };
    let mut world = World::new();
    let machine = |id: &str, number: u8| {
        let mut bytes = echo(id);
        bytes[18] = number;
        bytes
    };
    let class = |id: &str| {
        let mut bytes = echo(id);
        bytes[4] = 1;
        bytes
    };
    let not_shared = |id: &str| {
        let mut bytes = echo(id);
        bytes[16] = 1;
        bytes
    };
    let c = |text: &str| format!(r#""kind":"c","major":{text}"#);
    let rust = |text: &str| format!(r#""kind":"abi_stable","major":{text}"#);
    let newer = replace(&patched("e001", &c("1"), &c("2")), rust("1").as_bytes(), rust("2").as_bytes());
    let older = replace(&patched("e002", &c("1"), &c("0")), rust("1").as_bytes(), rust("0").as_bytes());
    let files: Vec<(&str, Vec<u8>, RefusalKind, &str)> = vec![
        ("empty.so", Vec::new(), NotALibrary, "an empty file"),
        ("text.so", b"#!/bin/sh\necho hi\n".to_vec(), NotALibrary, "#!/bin/s"),
        ("magic-only.so", b"\x7fELF".to_vec(), WrongArchitecture, "64-bit"),
        ("half-header.so", echo("e003")[..40].to_vec(), NotALibrary, "damaged or truncated"),
        ("truncated-1.so", truncated(echo("e004"), 1), NotALibrary, "truncated"),
        ("truncated-9.so", truncated(echo("e005"), 9), NotALibrary, "truncated"),
        ("long-segment.so", segment_beyond_the_end(echo("e006")), NotALibrary, "truncated"),
        ("aarch64.so", machine("e007", 183), WrongArchitecture, "aarch64"),
        ("riscv.so", machine("e008", 243), WrongArchitecture, "riscv"),
        ("32-bit.so", class("e009"), WrongArchitecture, "64-bit"),
        ("object-file.so", not_shared("e010"), NotALibrary, "no shared library"),
        ("newer-abi.so", newer, IncompatibleInterface, "abi_stable 2, c 2"),
        ("older-abi.so", older, IncompatibleInterface, "abi_stable 0, c 0"),
        (
            "other-target.so",
            patched("e011", "x86_64-unknown-linux-gnu\"", "x86_64-unknown-linux-mus\""),
            WrongArchitecture,
            "linux-mus",
        ),
        (
            "no-symbol.so",
            patched("e012", "pinion_plugin_v1", "pinion_plugin_v9"),
            IncompatibleInterface,
            "no symbol",
        ),
        ("no-section.so", patched("e013", ".pinion_plugin", ".onionn_plugin"), NotAPlugin, "without section"),
        (
            "bad-json.so",
            patched("e014", r#"{"id":"e014","#, r#"["id":"e014","#),
            NotAPlugin,
            "can not be read",
        ),
        ("bad-id.so", echo("E%15"), NotAPlugin, "plugin id `E%15`"),
        (
            "bad-version.so",
            patched("e016", r#""version":"0.1.0""#, r#""version":"latst""#),
            NotAPlugin,
            "latst",
        ),
        ("no-types.so", patched("e017", r#"["e017"]"#, r#"[      ]"#), NotAPlugin, "no task type"),
        ("stray-claim.so", patched("e018", r#""default_for":[]"#, r#""default_foo":[]"#), NotAPlugin, ""),
    ];
    // A key that is not known is ignored, so the last file is a good plugin; it is here to show that.
    let (good, bad) = files.split_last().unwrap();
    world.write(good.0, &good.1);
    for (name, bytes, ..) in bad {
        world.write(name, bytes);
    }
    // Files that are wrong as files, or by configuration.
    std::fs::create_dir(world.path("directory.so")).unwrap();
    symlink("/does/not/exist", world.path("dangling.so")).unwrap();
    symlink("loop.so", world.path("loop.so")).unwrap();
    symlink("/dev/zero", world.path("device.so")).unwrap();
    let writable = world.write("writable.so", &echo("e019"));
    std::fs::set_permissions(&writable, std::fs::Permissions::from_mode(0o666)).unwrap();
    let original = echo("e020");
    let pinned = world.write("garbage.so", &with_garbage(original.clone()));
    world.plugin("e020").path = Some(pinned);
    world.plugin("e020").sha256 = Some(sha256(&original));
    world.write("aborts.so", &patched("e021", r#""panic":"unwind""#, r#""panic":"abort" "#));
    world.plugin("e021").isolation = Some(Isolation::InProcess);
    world.write("ignored.txt", b"not looked at");
    world.install(&built("plugin_echo"), "echo.so");

    let host = world.load().await;

    assert_eq!(host.resolve("echo").unwrap().meta().metadata.id, "echo");
    assert_eq!(host.resolve("e018").unwrap().meta().metadata.id, "e018");
    for (name, _, expected, found) in bad {
        let refusal = refusal(&host, name);
        assert_eq!(refusal.kind, *expected, "{name}: {refusal}");
        assert!(refusal.found.contains(found), "{name}: {refusal}");
    }
    for (name, expected) in [
        ("directory.so", Unreadable),
        ("dangling.so", Unreadable),
        ("loop.so", Unreadable),
        ("device.so", UnsafePermissions),
        ("writable.so", UnsafePermissions),
        ("garbage.so", WrongDigest),
        ("aborts.so", IncompatibleIsolation),
    ] {
        assert_eq!(kind(&host, name), expected, "{name}: {}", refusal(&host, name));
    }
    let reports = host.report();
    assert_eq!(reports.len(), files.len() + 8, "each file has one report");
    for report in &reports {
        if let PluginState::Quarantined(refusal) = &report.state {
            let parts = [&refusal.found, &refusal.needed, &refusal.remedy];
            assert!(parts.iter().all(|part| part.len() > 3), "{report:?}");
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.so");
    std::fs::write(&path, bytes).unwrap();
    inspect(&path).unwrap().sha256
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn same_library_twice_is_one_plugin() {
    let world = World::new();
    let first = world.install(&built("plugin_echo"), "a.so");
    world.install(&built("plugin_echo"), "b-copy.so");
    symlink(&first, world.path("c-link.so")).unwrap();
    std::fs::hard_link(&first, world.path("d-hard.so")).unwrap();
    let host = world.load().await;
    assert!(host.resolve("echo").is_ok());
    for name in ["b-copy.so", "c-link.so", "d-hard.so"] {
        assert_eq!(kind(&host, name), RefusalKind::Duplicate);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_files_for_one_version_are_both_refused() {
    let world = World::new();
    world.install(&built("plugin_echo"), "a.so");
    let mut other = std::fs::read(built("plugin_echo")).unwrap();
    other.push(0);
    world.write("b.so", &other);
    let host = world.load().await;
    for name in ["a.so", "b.so"] {
        let refusal = refusal(&host, name);
        assert!(refusal.found.contains("a.so") && refusal.found.contains("b.so"), "{refusal}");
    }
    let error = host.resolve("echo").unwrap_err().to_string();
    assert!(error.contains("quarantined"), "{error}");

    let mut world = world;
    world.plugin("echo").path = Some(world.path("b.so"));
    let host = world.load().await;
    assert!(host.resolve("echo").unwrap().meta().file.ends_with("b.so"));
    assert_eq!(kind(&host, "a.so"), RefusalKind::Duplicate);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_live_side_by_side() {
    let world = World::new();
    world.write("old.so", &patched("e100", r#""version":"0.1.0""#, r#""version":"0.0.9""#));
    world.write("new.so", &echo("e100"));
    let host = world.load().await;
    assert_eq!(host.resolve("e100").unwrap().meta().metadata.version, "0.1.0");
    assert_eq!(host.plugin("e100", "0.0.9").unwrap().meta().metadata.version, "0.0.9");
    assert_eq!(host.plugin("e100", "7.0.0").unwrap().meta().metadata.version, "0.1.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_claimants_are_refused_unless_one_is_chosen() {
    let mut world = World::new();
    world.install(&built("plugin_echo"), "echo.so");
    world.write("rival.so", &patched("e200", r#""task_types":["e200"]"#, r#""task_types":["echo"]"#));
    let error = world.load().await.resolve("echo").unwrap_err().to_string();
    assert!(error.contains("e200 and echo"), "{error}");
    world.config.task_types.insert("echo".into(), "e200".into());
    assert_eq!(world.load().await.resolve("echo").unwrap().meta().metadata.id, "e200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_run_in_processes_or_not_at_all() {
    let mut world = World::new();
    world.install(&built("plugin_echo"), "echo.so");
    assert_eq!(world.load().await.resolve("echo").unwrap().meta().isolation, Isolation::InProcess);
    world.config.trusted_dirs.clear();
    assert_eq!(world.load().await.resolve("echo").unwrap().meta().isolation, Isolation::Process);
    world.config.allow_unpinned = false;
    let host = world.load().await;
    assert_eq!(kind(&host, "echo.so"), RefusalKind::NotPinned);
    let digest = host.report()[0].sha256.clone();
    world.plugin("echo").sha256 = digest;
    assert_eq!(world.load().await.resolve("echo").unwrap().meta().isolation, Isolation::InProcess);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aborting_library_runs_in_a_process_by_default() {
    let world = World::new();
    world.write("aborts.so", &patched("e300", r#""panic":"unwind""#, r#""panic":"abort" "#));
    assert_eq!(world.load().await.resolve("e300").unwrap().meta().isolation, Isolation::Process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_plugins_without_a_file_are_reported() {
    let mut world = World::new();
    world.install(&built("plugin_echo"), "echo.so");
    world.plugin("ehco");
    world.plugin("gone").path = Some("/does/not/exist.so".into());
    world.plugin("echo").enabled = false;
    let host = world.load().await;
    let states: Vec<_> = host.report().into_iter().map(|report| (report.id, report.state)).collect();
    assert!(states.contains(&(Some("echo".into()), PluginState::Disabled)));
    let text = format!("{states:?}");
    assert!(text.contains("did you mean `echo`?") && text.contains("No such file"), "{text}");
    assert!(host.resolve("echo").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspection_runs_nothing_and_reads_all() {
    let dir = tempfile::tempdir().unwrap();
    let c = inspect(&c_plugin(dir.path())).unwrap();
    assert_eq!((c.metadata.id.as_str(), c.metadata.version.as_str()), ("c-echo", "1.2.3"));
    let echo = inspect(&built("plugin_echo")).unwrap();
    assert_eq!(echo.metadata.task_types, ["echo"]);
    assert_eq!(echo.metadata.config_schema["properties"]["sleep-ms"]["type"], "integer");
}
