//! What flytectl does works against the built binary: by the same calls, and by the real one where it is at hand.

use tests::{Options, Server, python, skip, text};

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

/// The binary itself, where there is one: the module proxy has no release that builds from it alone.
#[test]
fn every_command_of_the_real_flytectl_works() {
    let name = "every_command_of_the_real_flytectl_works";
    if std::env::var_os("PINION_TEST_FLYTECTL").is_none() {
        return skip(name, "PINION_TEST_FLYTECTL does not name a flytectl binary");
    }
    let Some(python) = python(name) else { return };
    Server::start(Options::default()).scenario(&python, "flytectl_binary.py");
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
