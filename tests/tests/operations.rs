//! What operators see: configuration, plugins, health, metrics, logs of refusal.

use std::process::{Command, Output};
use std::time::Duration;

use tests::{Options, Server, bin_dir, finish, text};

fn pinion(args: &[&str]) -> Output {
    finish(Command::new(bin_dir().join("pinion")).args(args), Duration::from_secs(60))
}

#[test]
fn a_server_is_ready_and_shows_what_it_does() {
    let server = Server::start(Options::default());
    for path in ["/healthcheck", "/livez", "/readyz", "/metrics"] {
        assert!(server.http(path).starts_with("HTTP/1.1 200"), "{path}: {}", server.http(path));
    }
    let ready = server.http("/readyz");
    for part in ["api", "store", "plugins", "worker.committer", "local-cluster"] {
        assert!(ready.contains(&format!("\"{part}\"")), "{ready}");
    }
    let banner = server.log();
    for word in ["API", "Objects", "Data", "Plugins", "pod", "echo", "FLYTE_PLATFORM_URL"] {
        assert!(banner.contains(word), "the banner does not say {word}:\n{banner}");
    }
}

#[test]
fn a_broken_plugin_degrades_and_never_stops_the_server() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("libbad.so"), "this is no library").unwrap();
    let path = dir.path().display().to_string();
    let server =
        Server::start(Options { args: vec!["--plugin-dir".into(), path.clone()], ..Options::default() });
    let ready = server.http("/readyz");
    assert!(
        ready.starts_with("HTTP/1.1 200") && ready.contains("degraded") && ready.contains("libbad.so"),
        "{ready}"
    );
    let listed = pinion(&["plugin", "list", "--data-dir", &path, "--plugin-dir", &path]);
    let shown = text(&listed);
    assert!(!listed.status.success() && shown.contains("quarantined"), "{shown}");
    for word in ["found", "needed", "libbad.so"] {
        assert!(shown.contains(word), "{word} is not in:\n{shown}");
    }
}

#[test]
fn plugins_are_inspected_and_verified_without_a_server() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().display().to_string();
    let pod = bin_dir().join("plugins/libplugin_pod.so").display().to_string();
    let shown = text(&pinion(&["plugin", "inspect", &pod]));
    assert!(shown.contains("python-task") && shown.contains("config_schema"), "{shown}");
    let verified = pinion(&["plugin", "verify", &pod, "--data-dir", &data]);
    assert!(verified.status.success(), "{}", text(&verified));
    let listed = pinion(&["plugin", "list", "--data-dir", &data]);
    let shown = text(&listed);
    assert!(listed.status.success() && shown.contains("loaded") && shown.contains("in-process"), "{shown}");
}

#[test]
fn unknown_settings_are_named_with_file_line_and_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.yaml");
    std::fs::write(&file, "worker:\n  lease-tll: 15s\nplugins:\n  pod:\n    config:\n      log-linkz: []\n")
        .unwrap();
    let file = file.display().to_string();
    let data = dir.path().display().to_string();
    let checked = pinion(&["config", "check", "-c", &file, "--data-dir", &data]);
    let shown = text(&checked);
    assert!(!checked.status.success(), "{shown}");
    assert!(
        shown.contains("worker.lease-tll") && shown.contains("line 2") && shown.contains("lease-ttl"),
        "{shown}"
    );
    std::fs::write(&file, "plugins:\n  pod:\n    config:\n      log-linkz: []\n").unwrap();
    let shown = text(&pinion(&["config", "check", "-c", &file, "--data-dir", &data]));
    assert!(
        shown.contains("plugins.pod") && shown.contains("log-linkz") && shown.contains("log-links"),
        "{shown}"
    );
}

#[test]
fn the_settings_show_their_origin_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().display().to_string();
    let mut command = Command::new(bin_dir().join("pinion"));
    command
        .args(["config", "show", "--data-dir", &data, "--set", "worker.step-concurrency=7"])
        .env("PINION__STORE__URL", "postgres://me:canary-password@localhost/x");
    let shown = text(&finish(&mut command, Duration::from_secs(20)));
    assert!(shown.contains("step-concurrency: 7  # flag"), "{shown}");
    assert!(!shown.contains("canary-password"), "a secret is shown");
}

#[test]
fn the_documented_settings_are_all_settings_there_are() {
    let documented =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/pinion.yaml")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().display().to_string();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/pinion.yaml");
    let checked = pinion(&["config", "check", "--serve", "-c", file, "--data-dir", &data]);
    assert!(checked.status.success(), "config/pinion.yaml is refused: {}", text(&checked));
    let pods = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/plugins/pod.yaml");
    let checked = pinion(&["config", "check", "-c", pods, "--data-dir", &data]);
    assert!(checked.status.success(), "config/plugins/pod.yaml is refused: {}", text(&checked));
    let shown = text(&pinion(&["config", "show", "--serve", "--data-dir", &data]));
    for line in shown.lines() {
        let Some((key, _)) = line.trim().split_once(':') else { continue };
        // Keys of open maps are names, not settings.
        let is_setting = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if is_setting && key != "my-s3-bucket" {
            assert!(documented.contains(&format!("{key}:")), "config/pinion.yaml does not name `{key}`");
        }
    }
}

#[test]
fn a_bad_flag_or_address_is_an_error_that_says_what_to_do() {
    for (args, word) in [
        (&["dev", "--set", "nonsense"][..], "section.key=value"),
        (&["dev", "--port", "99999"][..], "99999"),
        (&["watch", "nothing", "--endpoint", "localhost:1"][..], "pinion dev"),
        (&["plugin", "inspect", "/nowhere.so"][..], "/nowhere.so"),
    ] {
        let output = pinion(args);
        let shown = text(&output);
        assert!(!output.status.success() && shown.contains(word), "{args:?}: {shown}");
    }
    for args in [&["--help"][..], &["dev", "--help"], &["completion", "bash"], &["--version"]] {
        assert!(pinion(args).status.success(), "{args:?}");
    }
}
