//! Launch plans run by the clock, through the stock client, and a killed host neither loses nor doubles a tick.

#![allow(clippy::unwrap_used, reason = "a test ends where it can not go on")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{Options, Server, eventually, finish, python, server, text};

fn scenario(server: &Server, python: &Path, part: &str) {
    let output = finish(server.client(python).args(["schedule_scenario.py", part]), Duration::from_secs(240));
    let printed = text(&output);
    assert!(
        output.status.success() && printed.contains("SCENARIO OK"),
        "{part}:\n{printed}\n--- server ---\n{}",
        server::tail(&server.log(), 120)
    );
}

/// What a `pinion` command prints, which must succeed.
fn pinion(server: &Server, args: &[&str]) -> String {
    let output = server.pinion(args);
    let printed = text(&output);
    assert!(output.status.success(), "pinion {args:?}:\n{printed}\n{}", server::tail(&server.log(), 60));
    printed
}

fn json(server: &Server, args: &[&str]) -> Value {
    let printed = pinion(server, args);
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("pinion {args:?}: {error}:\n{printed}"))
}

fn schedule(server: &Server, name: &str) -> Value {
    let list = json(server, &["schedule", "list", "-o", "json"]);
    let rows = list["schedules"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} is not in {list}")).clone()
}

fn fired(server: &Server, name: &str) -> i64 {
    schedule(server, name)["fired"].as_i64().unwrap()
}

#[test]
fn schedules_of_the_stock_client_fire_once_though_the_host_is_killed() {
    let Some(python) = python("schedules_of_the_stock_client_fire_once_though_the_host_is_killed") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { data: Some(dir.path().join("data")), ..Options::default() };
    let mut host = Server::start(options());
    scenario(&host, &python, "register");
    let start = Instant::now();
    // Killed between ticks, in the middle of one for all we know, and away for two of them.
    for (up, down) in [(8_000, 11_000), (5_100, 0)] {
        std::thread::sleep(Duration::from_millis(up));
        host.kill();
        std::thread::sleep(Duration::from_millis(down));
        host = Server::start(options());
    }
    // Every cron and rate of a minute has had its first tick by then.
    std::thread::sleep(Duration::from_secs(66).saturating_sub(start.elapsed()));
    scenario(&host, &python, "check");

    let berlin = schedule(&host, "schedule_wf.berlin");
    assert_eq!((&berlin["timezone"], &berlin["catch_up"]), (&"Europe/Berlin".into(), &"latest".into()));
    let next = pinion(&host, &["schedule", "next", "schedule_wf.berlin", "-n", "3"]);
    assert!(next.matches("08:00:00 CE").count() == 3 && !next.contains("Sat"), "{next}");

    pauses(&host);
    let metrics = host.http("/metrics");
    assert!(metrics.contains("pinion_scheduler_ticks_total{outcome=\"fired\"}"), "{metrics}");
    let host = backfills(host, options);
    scenario(&host, &python, "deactivate");
    assert_eq!(json(&host, &["schedule", "list", "-o", "json"])["schedules"], Value::Array(Vec::new()));
    let health = host.http("/readyz");
    assert!(health.contains("\"scheduler\""), "{health}");
}

fn pauses(host: &Server) {
    let quick = "schedule_wf.quick";
    pinion(host, &["schedule", "pause", quick]);
    assert_eq!(schedule(host, quick)["paused"], true);
    let before = fired(host, quick);
    std::thread::sleep(Duration::from_millis(6_500));
    assert_eq!(fired(host, quick), before);
    assert!(pinion(host, &["schedule", "list"]).contains("paused"));
    pinion(host, &["schedule", "resume", quick]);
    eventually("a tick after the pause", Duration::from_secs(15), || fired(host, quick) > before);
    pinion(host, &["schedule", "pause", "--all"]);
    assert_eq!(json(host, &["schedule", "list", "-o", "json"])["paused"], true);
    pinion(host, &["schedule", "resume", "--all"]);
    pinion(host, &["schedule", "pause", quick]);
}

/// Gives the host that took over from the one that is killed with a backfill in flight.
fn backfills(host: Server, options: impl Fn() -> Options) -> Server {
    let plan = ["backfill", "start", "schedule_wf.minutely", "--schedule", "0 * * * *"];
    let range = ["--from", "2024-05-01", "--to", "2024-05-01T04:00:00Z", "--parallelism", "2"];
    let dry: Vec<&str> = plan.iter().chain(&range).copied().chain(["--dry-run"]).collect();
    assert!(pinion(&host, &dry).contains("4 ticks, 0 of them left out"));
    let start: Vec<&str> = plan.iter().chain(&range).copied().chain(["-o", "json"]).collect();
    let id = json(&host, &start)["id"].as_str().unwrap().to_owned();
    host.kill();
    let host = Server::start(options());
    let show = || json(&host, &["backfill", "show", &id, "-o", "json"]);
    eventually("the end of the backfill", Duration::from_secs(60), || show()["state"] == "succeeded");
    let ticks = show()["rows"].as_array().unwrap().clone();
    let names: BTreeSet<&str> = ticks.iter().map(|tick| tick["execution"].as_str().unwrap()).collect();
    assert_eq!((ticks.len(), names.len()), (4, 4), "{ticks:?}");
    for name in names {
        let shown = pinion(&host, &["get", "execution", name, "--inputs"]);
        // The literal is shown as it is stored, in UTC.
        assert!(shown.contains("2024-05-01T0") && shown.contains("succeeded"), "{shown}");
    }
    // Once more, and there is nothing left to do.
    let again = json(&host, &start)["id"].as_str().unwrap().to_owned();
    eventually("the end of the second backfill", Duration::from_secs(20), || {
        let shown = json(&host, &["backfill", "show", &again, "-o", "json"]);
        shown["state"] == "succeeded" && shown["ticks"]["skipped"] == 4
    });
    assert!(pinion(&host, &["backfill", "list"]).contains(&again));
    let long: Vec<&str> = [&plan[..], &["--from", "2023-01-01", "--to", "2024-01-01", "-o", "json"]].concat();
    let long = json(&host, &long)["id"].as_str().unwrap().to_owned();
    pinion(&host, &["backfill", "cancel", &long, "--abort"]);
    eventually("the end of the cancelled backfill", Duration::from_secs(60), || {
        json(&host, &["backfill", "show", &long, "-o", "json"])["state"] == "cancelled"
    });
    host
}
