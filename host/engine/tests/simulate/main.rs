//! Runs random workflows through random histories and checks what must hold in every one of them.
//!
//! A fake shell answers the core's steps with reports drawn from a seed: late, twice, about earlier attempts, or not
//! at all; it commits rows in groups, crashes before or after a commit, and restores the core from the rows. A
//! failing history prints its seed; `SIMULATE_SEED=<seed>` runs that one alone.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod oracle;
mod rng;
mod rows;
mod scenario;
mod shell;
mod world;

use scenario::{Chaos, Scenario};
use shell::{CrashPoint, Shell};

const HISTORIES: u64 = 24_000;

/// Runs the seeds on both cores; a panic names its seed.
fn each_seed(range: std::ops::Range<u64>, run: impl Fn(u64) + Send + Sync) {
    if let Some(seed) = std::env::var("SIMULATE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed);
    }
    let next = std::sync::atomic::AtomicU64::new(range.start);
    let work = || {
        loop {
            let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if seed >= range.end {
                return;
            }
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
            if let Err(panic) = outcome {
                eprintln!("seed {seed} failed");
                std::panic::resume_unwind(panic);
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn every_history_keeps_the_invariants() {
    let seen = Variety::default();
    each_seed(0..HISTORIES, |seed| {
        let scenario = Scenario::random(seed, Chaos::Everything);
        let outcome = Shell::new(&scenario, CrashPoint::Random).run();
        oracle::check_legal(&scenario, &outcome);
        seen.count(&outcome);
    });
    seen.check();
}

/// Counts how histories end, so that a change of the generator cannot make them tame unnoticed.
#[derive(Default)]
struct Variety {
    ends: std::sync::Mutex<std::collections::BTreeMap<String, u64>>,
}

impl Variety {
    fn count(&self, outcome: &shell::Outcome) {
        let mut ends = self.ends.lock().unwrap();
        let mut add = |name: String| *ends.entry(name).or_default() += 1;
        add(format!("execution {:?}", outcome.phase));
        let phases: std::collections::HashSet<_> = outcome.nodes.values().map(|row| row.phase).collect();
        phases.into_iter().for_each(|phase| add(format!("node {phase:?}")));
        if outcome.crashes > 0 {
            add("crashed".to_owned());
        }
        if outcome.nodes.values().any(|row| row.attempt > 2) {
            add("many attempts".to_owned());
        }
    }

    fn check(&self) {
        let ends = self.ends.lock().unwrap();
        let total: u64 = ends.iter().filter(|(name, _)| name.starts_with("execution")).map(|(_, n)| n).sum();
        let rare: Vec<_> = ends.iter().filter(|(_, n)| **n < total / 50).collect();
        let expected = 3 + 5 + 2;
        assert!(total < 1_000 || (rare.is_empty() && ends.len() == expected), "{ends:?}");
    }
}

#[test]
fn deterministic_answers_end_as_foretold() {
    each_seed(1_000_000..1_004_000, |seed| {
        let scenario = Scenario::random(seed, Chaos::Deterministic);
        let outcome = Shell::new(&scenario, CrashPoint::Random).run();
        oracle::check_exact(&scenario, &outcome);
    });
}

#[test]
fn crash_at_any_commit_ends_the_same() {
    each_seed(2_000_000..2_000_150, |seed| {
        let mut scenario = Scenario::random(seed, Chaos::Deterministic);
        scenario.shrink_to(8);
        let calm = Shell::new(&scenario, CrashPoint::Never).run();
        oracle::check_exact(&scenario, &calm);
        for commit in 0..calm.commits {
            for point in [CrashPoint::Before(commit), CrashPoint::After(commit)] {
                let crashed = Shell::new(&scenario, point).run();
                oracle::check_exact(&scenario, &crashed);
                oracle::check_same_end(&scenario, &calm, &crashed);
            }
        }
    });
}

#[test]
fn abort_at_any_commit_converges() {
    each_seed(3_000_000..3_000_150, |seed| {
        let mut scenario = Scenario::random(seed, Chaos::Deterministic);
        scenario.shrink_to(8);
        let calm = Shell::new(&scenario, CrashPoint::Never).run();
        for commit in 0..calm.commits {
            for crash in [CrashPoint::Never, CrashPoint::Before(commit + 1), CrashPoint::After(commit + 1)] {
                let outcome = Shell::new(&scenario, crash).abort_at_commit(commit).run();
                oracle::check_legal(&scenario, &outcome);
            }
        }
    });
}
