//! Every workflow construct of the stock flytekit ends as Flyte ends it, and reads as clients expect it.

use std::path::Path;

use tests::{Options, Server, python};

/// The modules of `tests/python`; each line is a process of its own, whose cases run side by side.
const MODULES: [&[&str]; 3] = [
    &["constructs_branch", "constructs_nested", "constructs_map", "constructs_gate", "constructs_cli"],
    &[
        "constructs_failure",
        "constructs_eager",
        "constructs_cache",
        "constructs_recover",
        "constructs_settings",
    ],
    &["constructs_same", "constructs_launch"],
];

fn run(options: Options, python: &Path) {
    let server = Server::start(options);
    std::thread::scope(|scope| {
        for modules in MODULES {
            let args: Vec<&str> =
                std::iter::once("constructs_run.py").chain(modules.iter().copied()).collect();
            let server = &server;
            scope.spawn(move || server.scenario_of(python, &args));
        }
    });
}

#[test]
fn every_construct_works_on_sqlite() {
    let Some(python) = python("every_construct_works_on_sqlite") else { return };
    // Here large values are kept beside the outputs, on Postgres within them.
    let set = ["worker.literal-offloading.enabled=true", "worker.literal-offloading.min-size=1Mi"];
    let args = set.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]).collect();
    run(Options { args, ..Options::default() }, &python);
}

#[test]
fn every_construct_works_on_postgres() {
    let name = "every_construct_works_on_postgres";
    let Some(python) = python(name) else { return };
    let Some(options) = Options::on_postgres(name) else { return };
    run(options, &python);
}
