//! A host that is killed in the middle of every construct goes on where it stopped.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tests::{Options, Server, python, server};

/// Moments of kills.
enum After {
    /// This long after the start of the host.
    Running(Duration),
    /// Executions were answered, recovered, relaunched and terminated.
    Intervening,
}

// A fourth kill would be more failures by the system's fault than an attempt may have.
const KILLS: [After; 3] = [
    After::Running(Duration::from_millis(1_500)),
    After::Intervening,
    After::Running(Duration::from_secs(5)),
];

fn run(options: impl Fn() -> Options, python: &Path) {
    let traces = tempfile::tempdir().expect("invariant: a temporary directory");
    let mut host = Server::start(options());
    let at = traces.path().to_string_lossy().into_owned();
    host.scenario_of(python, &["constructs_kill.py", "start", &at]);
    let mut args = vec!["constructs_kill.py".to_owned(), "finish".to_owned(), at.clone()];
    for after in KILLS {
        match after {
            After::Running(time) => std::thread::sleep(time),
            // What it asks for last is hardly written when the host is gone.
            After::Intervening => host.scenario_of(python, &["constructs_kill.py", "intervene", &at]),
        }
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
