//! The stock flytekit from PyPI works against the built binary.

use std::time::Duration;

use tests::{Options, Server, finish, python, text};

#[test]
fn every_type_crosses_the_platform() {
    let Some(python) = python("every_type_crosses_the_platform") else { return };
    Server::start(Options::default()).scenario(&python, "types_scenario.py");
}

#[test]
fn a_remote_registers_lists_runs_and_terminates() {
    let Some(python) = python("a_remote_registers_lists_runs_and_terminates") else { return };
    let server = Server::start(Options::default());
    server.scenario(&python, "remote_scenario.py");
    tests::server::wait_no_process("remote_wf.sleep");
}

#[test]
fn failures_end_as_flyte_ends_them() {
    let Some(python) = python("failures_end_as_flyte_ends_them") else { return };
    Server::start(Options::default()).scenario(&python, "failures_scenario.py");
}

#[test]
fn an_unconfigured_pyflyte_finds_the_server() {
    let Some(python) = python("an_unconfigured_pyflyte_finds_the_server") else { return };
    for port in [30080, 30002] {
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_err() {
            tests::skip(
                "an_unconfigured_pyflyte_finds_the_server",
                &format!("port {port} is taken on this machine"),
            );
            return;
        }
    }
    let server = Server::start(Options { standard_ports: true, ..Options::default() });
    let pyflyte = python.with_file_name("pyflyte");
    let run = |args: &[&str]| {
        let output = finish(server.client(&pyflyte).args(args), Duration::from_secs(180));
        let printed = text(&output);
        assert!(output.status.success(), "pyflyte {args:?}:\n{printed}\n{}", server.log());
        printed
    };
    let printed = run(&["run", "--remote", "cli_wf.py", "wf", "--x", "3"]);
    assert!(printed.contains("/executions/"), "{printed}");
    run(&["run", "--remote", "--wait", "--poll-interval", "1", "cli_wf.py", "wf", "--x", "3"]);
    run(&["run", "--remote", "--wait", "--poll-interval", "1", "cli_wf.py", "square", "--x", "4"]);
    run(&["register", "--version", "one", "cli_wf.py"]);
    run(&["register", "--version", "one", "cli_wf.py"]);
    let name = printed.split("/executions/").nth(1).unwrap_or_default();
    let name: String = name.chars().take_while(char::is_ascii_alphanumeric).collect();
    let watched = server.pinion(&["watch", &name]);
    assert!(watched.status.success(), "{}", text(&watched));
    let shown = text(&server.pinion(&["get", "execution", &name, "--outputs"]));
    assert!(shown.contains("81") && shown.contains("succeeded"), "{shown}");
}

#[test]
fn a_host_on_postgres_serves_the_same_client() {
    let name = "a_host_on_postgres_serves_the_same_client";
    let Some(python) = python(name) else { return };
    let Ok(url) = std::env::var("PINION_TEST_POSTGRES_URL") else {
        tests::skip(name, "PINION_TEST_POSTGRES_URL is not set; run by `cargo xtask test`");
        return;
    };
    let database = tests::database::create(&url);
    let set = format!("store.url={database}");
    let server = Server::start(Options { args: vec!["--set".into(), set], ..Options::default() });
    server.scenario(&python, "remote_scenario.py");
    assert!(!server.log().contains(&database), "the log shows the database's URL");
}
