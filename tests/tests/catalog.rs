//! The cache of the built binary: engines outside share it by stock stubs, people look into it, a crash frees it.

use tests::{Options, Server, python, text};

/// The words after a marker in what a scenario printed.
fn after<'a>(printed: &'a str, marker: &str) -> Vec<&'a str> {
    let line = printed.lines().find_map(|line| line.strip_prefix(marker)).unwrap_or_default();
    line.split_whitespace().collect()
}

#[test]
fn engines_outside_and_our_own_share_the_cache_and_it_is_explained() {
    let Some(python) = python("engines_outside_and_our_own_share_the_cache_and_it_is_explained") else {
        return;
    };
    let server = Server::start(Options::default());
    let mut scenario = server.client(&python);
    let output = tests::finish(scenario.arg("catalog_scenario.py"), std::time::Duration::from_secs(180));
    let printed = text(&output);
    assert!(printed.contains("SCENARIO OK"), "{printed}\n{}", server.log());
    let words = after(&printed, "HIT ");
    let [hit, "OF", miss] = words[..] else { panic!("{printed}") };
    let explain = |execution: &str| text(&server.pinion(&["cache", "explain", &format!("{execution}/n0")]));
    let contains = |shown: &str, words: &[&str]| {
        words.iter().for_each(|word| assert!(shown.contains(word), "`{word}` is not in:\n{shown}"));
    };
    contains(
        &explain(hit),
        &["the engine noted: hit", "then      hit", miss, "cache version", "input `salt`", "same"],
    );
    contains(
        &explain(miss),
        &["the engine noted: populated", "then      miss: nothing is cached", "now       hit"],
    );
    contains(&text(&server.pinion(&["get", "nodes", hit])), &["CACHE", "hit"]);
    contains(&text(&server.pinion(&["get", "nodes", miss])), &["populated"]);
    contains(&text(&server.pinion(&["cache", "list", "--execution", miss])), &["catalog_wf.cached"]);
    contains(&text(&server.pinion(&["cache", "evict", "--execution", miss])), &["1 evicted"]);
    contains(&explain(hit), &["then      hit", "now       miss", "was evicted"]);
    contains(&text(&server.pinion(&["lineage", &format!("{hit}/n0")])), &["taken from the cache", miss]);
}

#[test]
fn reservations_of_who_is_gone_end_after_a_crash_of_the_host() {
    let Some(python) = python("reservations_of_who_is_gone_end_after_a_crash_of_the_host") else { return };
    let server = Server::start(Options::default());
    server.scenario_of(&python, &["catalog_scenario.py", "reserve"]);
    let data = server.kill();
    let server = Server::start(Options { data: Some(data), ..Options::default() });
    server.scenario_of(&python, &["catalog_scenario.py", "crashed"]);
}
