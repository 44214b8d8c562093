//! A killed host loses nothing, runs nothing twice at once and leaves nothing behind.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tests::{Options, Server, eventually, finish, python, server, text};

/// Starts the workflow and returns its execution name.
fn start(server: &Server, python: &Path, trace: &Path, seconds: &str) -> String {
    let mut command = server.client(python);
    let output = finish(command.arg("crash_start.py").arg(trace).arg(seconds), Duration::from_secs(120));
    let printed = text(&output);
    let name = printed.lines().find_map(|line| line.strip_prefix("EXECUTION ")).map(str::to_owned);
    name.unwrap_or_else(|| panic!("no execution was started:\n{printed}\n{}", server.log()))
}

/// Spans of each step as the tasks themselves wrote them down: (attempt, start, end).
fn spans(trace: &str) -> BTreeMap<String, Vec<(f64, Option<f64>)>> {
    let mut out: BTreeMap<String, Vec<(f64, Option<f64>)>> = BTreeMap::new();
    let mut open: BTreeMap<(String, String), (String, usize)> = BTreeMap::new();
    for line in trace.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, step, _attempt, pid, time] = words[..] else { continue };
        let time: f64 = time.parse().unwrap_or(0.0);
        let key = (step.to_owned(), pid.to_owned());
        let list = out.entry(step.to_owned()).or_default();
        if kind == "start" {
            list.push((time, None));
            open.insert(key, (step.to_owned(), list.len() - 1));
        } else if let Some((_, i)) = open.remove(&key) {
            list[i].1 = Some(time);
        }
    }
    out
}

#[test]
fn kill_nine_at_any_moment_is_survived() {
    let Some(python) = python("kill_nine_at_any_moment_is_survived") else { return };
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let data = dir.path().join("data");
    std::fs::write(&trace, "").unwrap();
    let options = || Options { data: Some(data.clone()), ..Options::default() };
    let mut host = Server::start(options());
    let name = start(&host, &python, &trace, "0.4");
    // Kill at moments spread over the run, each time with another step in flight.
    for wait_ms in [150, 700, 1_300] {
        std::thread::sleep(Duration::from_millis(wait_ms));
        host.kill();
        server::wait_no_process("crash_wf");
        host = Server::start(options());
    }
    let output = finish(host.client(&python).args(["crash_finish.py", &name]), Duration::from_secs(240));
    let printed = text(&output);
    // b = 2, c = 2, d = 3
    assert!(
        printed.contains("PHASE SUCCEEDED") && printed.contains("OUTPUT 7"),
        "{printed}\n{}",
        server::tail(&host.log(), 150)
    );
    let traced = std::fs::read_to_string(&trace).unwrap();
    // Steps 1 and 1 (b and c share their input) run at the same time; each runs at most once at a time, so a step's
    // own attempts never overlap. Steps 0 and 2 are unique.
    for (step, spans) in spans(&traced) {
        if step == "1" {
            continue;
        }
        let ended: Vec<_> = spans.iter().filter(|(_, end)| end.is_some()).collect();
        assert!(ended.len() <= 1, "step {step} ran to its end {} times:\n{traced}", ended.len());
    }
    drop(host);
    server::wait_no_process("crash_wf");
}

#[test]
fn a_killed_host_leaves_no_process_behind() {
    let Some(python) = python("a_killed_host_leaves_no_process_behind") else { return };
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    std::fs::write(&trace, "").unwrap();
    let host = Server::start(Options { data: Some(dir.path().join("data")), ..Options::default() });
    start(&host, &python, &trace, "300");
    eventually("the first step", Duration::from_secs(60), || {
        std::fs::read_to_string(&trace).unwrap_or_default().contains("start 0")
    });
    let traced = std::fs::read_to_string(&trace).unwrap();
    let pid: i32 = traced.split(' ').nth(3).and_then(|pid| pid.parse().ok()).unwrap();
    host.kill();
    eventually("the end of the task's process", Duration::from_secs(10), || {
        !Path::new(&format!("/proc/{pid}")).exists()
    });
}

#[test]
fn sigterm_drains_and_state_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { data: Some(dir.path().join("data")), ..Options::default() };
    let host = Server::start(options());
    let (code, _) = host.stop();
    assert_eq!(code, Some(0), "a drained host ends well");
    let again = Server::start(options());
    let projects = text(&again.pinion(&["get", "projects"]));
    assert!(projects.contains("flytesnacks"), "{projects}");
}

#[test]
fn a_busy_port_is_said_clearly() {
    let host = Server::start(Options::default());
    let mut command = host.client(&tests::bin_dir().join("pinion"));
    let dir = tempfile::tempdir().unwrap();
    let port = host.port.to_string();
    command.args(["dev", "--port", &port, "--s3-port", "0", "--data-dir"]).arg(dir.path());
    let output = finish(&mut command, Duration::from_secs(20));
    let printed = text(&output);
    assert!(!output.status.success() && printed.contains(&port) && printed.contains("in use"), "{printed}");
}
