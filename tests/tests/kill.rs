//! A host that is killed in the middle of every construct goes on where it stopped.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tests::{Options, Server, finish, python, server, text};

/// Moments of the kills, counted from the start of the host before.
const KILLS: [Duration; 3] = [Duration::from_millis(1_500), Duration::from_secs(4), Duration::from_secs(6)];

fn run(options: impl Fn() -> Options, python: &Path) {
    let traces = tempfile::tempdir().expect("invariant: a temporary directory");
    let mut host = Server::start(options());
    let output = finish(
        host.client(python).args(["constructs_kill.py", "start"]).arg(traces.path()),
        Duration::from_secs(120),
    );
    assert!(text(&output).contains("STARTED"), "{}\n{}", text(&output), server::tail(&host.log(), 100));
    let at = traces.path().to_string_lossy().into_owned();
    let mut args = vec!["constructs_kill.py".to_owned(), "finish".to_owned(), at];
    for after in KILLS {
        std::thread::sleep(after);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        args.push(now.as_secs_f64().to_string());
        host.kill();
        server::wait_no_process("constructs_kill_wf");
        host = Server::start(options());
    }
    host.scenario_of(python, &args.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn every_construct_survives_kill_nine_on_sqlite() {
    let Some(python) = python("every_construct_survives_kill_nine_on_sqlite") else { return };
    let data = tempfile::tempdir().expect("invariant: a temporary directory");
    run(|| Options { data: Some(data.path().join("data")), ..Options::default() }, &python);
}

#[test]
fn every_construct_survives_kill_nine_on_postgres() {
    let name = "every_construct_survives_kill_nine_on_postgres";
    let Some(python) = python(name) else { return };
    let Some(made) = Options::on_postgres(name) else { return };
    let data = tempfile::tempdir().expect("invariant: a temporary directory");
    run(|| Options { data: Some(data.path().join("data")), ..made.clone() }, &python);
}
