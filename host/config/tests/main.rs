//! Loads settings as the wiring does, for types of every shape that rooms use.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod settings;

use std::fs;

use config::{Duration, Errors, Loaded, Origin, Secret, Size, Sources, load};
use expect_test::expect;
use settings::{Level, Remote, Root, Storage, Tls};

/// A directory of files, merged in the order of their names.
struct Case {
    dir: tempfile::TempDir,
    sources: Sources,
}

fn case(files: &[(&str, &str)]) -> Case {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let sources = Sources { files: vec![dir.path().join("*.yaml")], ..Sources::default() };
    Case { dir, sources }
}

impl Case {
    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.sources.flags.push((key.into(), value.into()));
        self
    }

    fn load(&self) -> Result<Loaded<Root>, Errors> {
        load(&self.sources)
    }

    fn value(&self) -> Root {
        self.load().unwrap_or_else(|errors| panic!("{errors}")).value
    }

    /// The problems, without the name of the directory.
    fn problems(&self) -> String {
        let text = self.load().map(|loaded| loaded.value).unwrap_err().to_string();
        text.replace(&format!("{}/", self.dir.path().display()), "")
    }
}

#[test]
fn nothing_given_leaves_the_defaults() {
    let value = case(&[("a.yaml", ""), ("b.yaml", "# only a comment\n")]).value();
    assert_eq!(value.server.http_port, 30080);
    assert_eq!(value.server.admin_password.expose(), "default-canary");
    assert_eq!(value.storage, Storage::Local { base_dir: "data".into(), sync: false });
    assert_eq!(value.tls, None);
}

#[test]
fn stronger_layers_win_key_by_key() {
    let value = case(&[
        ("10.yaml", "server: {http-port: 1, ratio: 1, version: a}\nhosts: [x]\n"),
        ("20.yaml", "server: {http-port: 2, version: b}\nhosts: [y, z]\n"),
    ])
    .env("PINION__SERVER__VERSION", "c")
    .env("PINION__SERVER__VERBOSE", "true")
    .env("PINION_OTHER", "ignored")
    .flag("server.verbose", "false")
    .value();
    assert_eq!((value.server.http_port, value.server.ratio), (2, 1.0));
    assert_eq!(value.server.version, "c");
    assert!(!value.server.verbose);
    assert_eq!(value.hosts, ["y", "z"]);
    assert_eq!(value.server.read_timeout, Duration::from_secs(30));
}

#[test]
fn every_spelling_of_a_key_is_the_same_key() {
    for spelling in ["http-port", "httpPort", "http_port", "HTTP_PORT", "HttpPort"] {
        let yaml = format!("Server: {{{spelling}: 5}}\n");
        assert_eq!(case(&[("a.yaml", &yaml)]).value().server.http_port, 5, "{spelling}");
        let key = format!("server.{spelling}");
        assert_eq!(case(&[]).flag(&key, "6").value().server.http_port, 6, "{spelling}");
    }
    assert_eq!(case(&[("a.yaml", "server: {level: veryVerbose}")]).value().server.level, Level::VeryVerbose);
}

#[test]
fn go_durations_and_quantities_are_read() {
    let value = case(&[("a.yaml", "server: {readTimeout: 1h30m, maxBody: 512Mi}")])
        .env("PINION__SERVER__READ_TIMEOUT", "500ms")
        .value();
    assert_eq!(value.server.read_timeout, Duration::from_millis(500));
    assert_eq!(value.server.max_body, Size::from_mib(512));
    assert_eq!(case(&[]).flag("server.max-body", "1000").value().server.max_body, Size::from_bytes(1000));
}

#[test]
fn unquoted_numbers_may_be_strings() {
    let value = case(&[("a.yaml", "server: {version: 1.10}\nhosts: [1, true]\nlabels: {a: 0x1f}\n")]).value();
    assert_eq!(value.server.version, "1.10");
    assert_eq!(value.hosts, ["1", "true"]);
    assert_eq!(value.labels["a"], "0x1f");
    assert_eq!(case(&[]).env("PINION__SERVER__VERSION", "007").value().server.version, "007");
}

#[test]
fn maps_take_any_key_as_it_is() {
    let value = case(&[
        (
            "1.yaml",
            "labels: {MY_Key: a}\nplugins: {python_task: {path: x, config: {camelCase: {snake_case: 1}}}}\n",
        ),
        ("2.yaml", "plugins: {python_task: {enabled: true, config: {camelCase: {more: [1, {a: b}]}}}}\n"),
    ])
    .env("PINION__PLUGINS__PYTHON_TASK__PATH", "y")
    .env("PINION__LABELS__NEW_KEY", "n")
    .flag(r"labels.a\.b", "dotted")
    .value();
    let labels: Vec<_> = value.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["MY_Key=a", "a.b=dotted", "new-key=n", "team=none"]);
    let plugin = &value.plugins["python_task"];
    assert_eq!((value.plugins.len(), plugin.path.as_str(), plugin.enabled), (1, "y", true));
    assert_eq!(plugin.config.to_string(), r#"{"camelCase":{"more":[1,{"a":"b"}],"snake_case":1}}"#);
}

#[test]
fn enums_are_not_mixed_from_two_layers() {
    let remote = |url: &str, retries| {
        Storage::Remote(Remote { url: url.into(), retries, access_key: Secret::default() })
    };
    let files = [
        ("1.yaml", "storage: {remote: {url: u, retries: 3}}"),
        ("2.yaml", "storage: {Remote: {retries: 4}}"),
    ];
    assert_eq!(case(&files).value().storage, remote("u", 4));
    assert_eq!(case(&files).flag("storage", "memory").value().storage, Storage::Memory);
    assert_eq!(
        case(&files).flag("storage.local.sync", "true").value().storage,
        Storage::Local { base_dir: "".into(), sync: true }
    );
    let partial = case(&[("1.yaml", "storage: {local: {sync: true}}")]).value().storage;
    assert_eq!(partial, Storage::Local { base_dir: "data".into(), sync: true });
    assert_eq!(case(&[]).flag("storage", "remote").value().storage, remote("", 0));
}

#[test]
fn key_without_value_says_nothing() {
    let value = case(&[("1.yaml", "server:\n  # http-port: 1\nhosts:\ntls:\n")]).value();
    assert_eq!((value.server.http_port, value.hosts.len(), value.tls), (30080, 1, None));
    let value = case(&[("1.yaml", "tls: {min-version: 3}"), ("2.yaml", "tls:\n")]).value();
    assert_eq!(value.tls, None, "an optional section is taken away");
    let value = case(&[("1.yaml", "tls: {min-version: 3}"), ("2.yaml", "tls: {certFile: c}\n")]).value();
    assert_eq!(value.tls, Some(Tls { cert_file: "c".into(), min_version: 3 }));
}

#[test]
fn lists_are_read_from_the_environment() {
    for (text, hosts) in [("a,b", vec!["a", "b"]), ("[a, b]", vec!["a", "b"]), ("a", vec!["a"]), ("", vec![])]
    {
        assert_eq!(case(&[]).env("PINION__HOSTS", text).value().hosts, hosts, "{text}");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let problems = case(&[
        ("1.yaml", "server:\n  http-prot: 1\n  read-timeout: 30\n  max-body: ten\nstorge: x\n"),
        (
            "2.yaml",
            "plugins:\n  pod:\n    pth: x\n    enabled: maybe\ntls:\n  min-version: 300\nstorage: cloud\nhosts: 5\n\
             server: {level: loud, verbose: [1], ratio: 0.1, Ratio: 0.2}\n",
        ),
        ("3.yaml", "server: off\nlabels: [a]\n"),
    ])
    .env("PINION__SERVER__HTTP_PORT", "http")
    .env("PINION__NOTHING__HERE", "1")
    .env("PINION____X", "1")
    .flag("server.ratio", "half")
    .flag("server..x", "1")
    .problems();
    expect![[r#"
        invalid configuration, 19 problems:
          environment variable PINION____X names no key: write it as PINION__SECTION__KEY
          flag for server..x names no key: write it as section.key=value
          `hosts` must be a list, found an integer, in file 2.yaml line 8
          `labels` must be a section, found a list, in file 3.yaml line 2
          `plugins.pod.enabled` must be a boolean, found string "maybe", in file 2.yaml line 4
          `server` must be a section, found a string, in file 3.yaml line 1
          `server.http-port` must be an integer from 0 to 65535, found string "http", in environment variable PINION__SERVER__HTTP_PORT
          `server.level` must be one of `info`, `very-verbose`, found `loud`, in file 2.yaml line 9
          `server.max-body`: `ten` is not a size (write it as `512Mi`, `10G` or a number of bytes), in file 1.yaml line 4
          `server.ratio` must be a number, found string "half", in flag for server.ratio
          `server.read-timeout`: `30` is not a duration: a unit is missing (write it as `30s`, `1h30m` or `500ms`), in file 1.yaml line 3
          `server.verbose` must be a boolean, found a list, in file 2.yaml line 9
          `storage` must be one of `memory`, `local`, `remote`, found `cloud`, in file 2.yaml line 7
          `tls.min-version` must be an integer from 0 to 255, found integer `300`, in file 2.yaml line 6
          `storge` is unknown, in file 1.yaml line 5; did you mean `storage`?
          `nothing` is unknown, in environment variable PINION__NOTHING__HERE
          `plugins.pod.pth` is unknown, in file 2.yaml line 3; did you mean `plugins.pod.path`?
          `server.http-prot` is unknown, in file 1.yaml line 2; did you mean `server.http-port`?
          `server.ratio` is given twice: in file 2.yaml line 9 and in file 2.yaml line 9"#]]
    .assert_eq(&problems);
}

#[test]
fn wrong_secret_is_not_repeated() {
    let problems = case(&[("a.yaml", "server: {admin-password: [canary]}")]).problems();
    assert!(problems.contains("server.admin-password") && !problems.contains("canary"), "{problems}");
}

#[test]
fn missing_files_are_errors_and_empty_patterns_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let named = Sources { files: vec![dir.path().join("none.yaml")], ..Sources::default() };
    assert!(load::<Root>(&named).unwrap_err().to_string().contains("none.yaml"));
    let pattern = Sources { files: vec![dir.path().join("*.yaml")], ..Sources::default() };
    assert!(load::<Root>(&pattern).is_ok());
}

#[test]
fn directory_stands_for_its_files() {
    let case = case(&[
        ("2.yml", "server: {http-port: 2}"),
        ("1.yaml", "server: {http-port: 1}"),
        (".3.yaml", "bad: 1"),
    ]);
    let sources = Sources { files: vec![case.dir.path().to_owned()], ..Sources::default() };
    assert_eq!(load::<Root>(&sources).unwrap().value.server.http_port, 2);
}

#[test]
fn broken_file_does_not_hide_other_problems() {
    let problems = case(&[("1.yaml", "a: [1\n"), ("2.yaml", "hots: [a]\n")]).problems();
    assert!(
        problems.contains("file 1.yaml line") && problems.contains("did you mean `hosts`?"),
        "{problems}"
    );
}

#[test]
fn origin_of_each_key_is_known() {
    let case = case(&[("1.yaml", "server:\n  httpPort: 1\nplugins:\n  pod:\n    config:\n      image: x\n")])
        .env("PINION__HOSTS", "a")
        .flag("server.ratio", "1");
    let loaded = case.load().unwrap();
    let origin = |key| loaded.origin(key).to_string().replace(&format!("{}/", case.dir.path().display()), "");
    assert_eq!(origin("server.http-port"), "file 1.yaml line 2");
    assert_eq!(origin("plugins.pod.config.image"), "file 1.yaml line 6");
    assert_eq!(origin("hosts"), "environment variable PINION__HOSTS");
    assert_eq!(origin("server.ratio"), "flag for server.ratio");
    assert_eq!(loaded.origin("server.version"), Origin::Default);
    assert!(loaded.changed().any(|(key, _)| key == "hosts"));
}

#[test]
fn shown_settings_carry_origins_and_no_secret() {
    let case = case(&[(
        "1.yaml",
        "server: {admin-password: canary}\nstorage: {remote: {url: 'http://a b', access-key: canary}}\n\
         database: {url: 'postgres://u:canary@h/d'}\nplugins: {x: {config: {apiToken: canary, n: [1, a]}}}\n",
    )]);
    let loaded = case.load().unwrap();
    let shown = loaded.show().replace(&format!("{}/", case.dir.path().display()), "");
    assert!(!shown.contains("canary"), "{shown}");
    assert!(!format!("{loaded:?}").contains("default-canary"));
    expect![[r#"
        database:
          url: "postgres://u:********@h/d"  # file 1.yaml line 3
        hosts: [localhost]  # default
        labels:
          team: none  # default
        plugins:
          x:
            config:
              apiToken: "********"  # file 1.yaml line 4
              "n": [1, a]  # file 1.yaml line 4
            enabled: false  # default
            path: ""  # default
        server:
          admin-password: "********"  # file 1.yaml line 1
          http-port: 30080  # default
          level: info  # default
          max-body: 4Mi  # default
          ratio: 0.5  # default
          read-timeout: 30s  # default
          verbose: false  # default
          version: "1"  # default
        storage:
          remote:
            access-key: "********"  # file 1.yaml line 2
            retries: 0  # default
            url: "http://a b"  # file 1.yaml line 2
        tls: null  # default
    "#]]
    .assert_eq(&shown);
}

#[test]
fn shown_settings_can_be_loaded_again() {
    let first = case(&[("1.yaml", "server: {version: '1.10', readTimeout: 90s}\nlabels: {'a: b': 'yes'}\n")]);
    let shown = first.load().unwrap().show().replace("********", "");
    let again = case(&[("1.yaml", &shown)]).value();
    assert_eq!((again.server.version.as_str(), again.labels["a: b"].as_str()), ("1.10", "yes"));
    assert_eq!(again.server.read_timeout, Duration::from_secs(90));
}

#[test]
fn built_in_layer_lies_below_files() {
    let mut case = case(&[("1.yaml", "server: {http-port: 1}")]);
    case.sources.base.push(("dev mode".into(), "\nserver: {http-port: 2, ratio: 3}\n".into()));
    let loaded = case.load().unwrap();
    assert_eq!((loaded.value.server.http_port, loaded.value.server.ratio), (1, 3.0));
    assert_eq!(loaded.origin("server.ratio").to_string(), "file dev mode line 2");
}

#[test]
fn figment_providers_are_a_layer() {
    let mut case = case(&[("1.yaml", "server: {http-port: 1, ratio: 3}")]).flag("server.ratio", "4");
    case.sources.providers.push(Box::new(("server.http-port", 7)));
    let value = case.value();
    assert_eq!((value.server.http_port, value.server.ratio), (7, 4.0));
}
