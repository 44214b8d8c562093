//! What flytectl does works by the same calls against the built binary.

use tests::{Options, Server, python, text};

#[test]
fn everything_flytectl_does_is_answered() {
    let Some(python) = python("everything_flytectl_does_is_answered") else { return };
    Server::start(Options::default()).scenario(&python, "flytectl_scenario.py");
}

#[test]
fn everything_flytectl_does_is_answered_on_postgres() {
    let name = "everything_flytectl_does_is_answered_on_postgres";
    let Some(python) = python(name) else { return };
    let Some(options) = Options::on_postgres(name) else { return };
    Server::start(options).scenario(&python, "flytectl_scenario.py");
}

#[test]
fn recovery_and_debts_have_their_commands() {
    let Some(python) = python("recovery_and_debts_have_their_commands") else { return };
    let server = Server::start(Options::default());
    server.scenario(&python, "recover_start.py");
    let shown = text(&server.pinion(&["recover", "broken", "--plan", "--all"]));
    for words in ["reused", "it succeeded", "runs", "it failed", "nodes: 1 reused, 0 gone through, 1 run"] {
        assert!(shown.contains(words), "`{words}` is not in:\n{shown}");
    }
    let refused = server.pinion(&["recover", "broken"]);
    assert!(!refused.status.success() && text(&refused).contains("--yes"), "{}", text(&refused));
    let done = text(&server.pinion(&["recover", "broken", "--name", "mended", "--yes"]));
    assert!(done.contains("mended recovers broken"), "{done}");
    let unknown = server.pinion(&["recover", "nobody", "--plan"]);
    assert!(!unknown.status.success() && text(&unknown).contains("does not exist"), "{}", text(&unknown));

    let forced = server.pinion(&["terminate", "sleeper", "--force", "--cause", "now"]);
    assert!(forced.status.success(), "{}", text(&forced));
    let shown = text(&server.pinion(&["get", "execution", "sleeper"]));
    assert!(shown.contains("abort"), "{shown}");
    let debts = server.pinion(&["get", "debts"]);
    assert!(debts.status.success() && text(&debts).contains("EXECUTION"), "{}", text(&debts));
}
