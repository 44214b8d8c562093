//! Runs random workflows of all node kinds, nested in each other, through random histories and checks what must hold
//! in every one of them.
//!
//! A fake shell answers the core's steps with reports drawn from a seed: late, twice, about earlier attempts, or not
//! at all; it commits rows in groups, crashes before or after a commit, and restores the core from the rows. A
//! failing history prints its seed; `SIMULATE_SEED=<seed>` runs that one alone, with `SIMULATE_COUNT=<n>` that and the
//! n - 1 after it. `SIMULATE_TRACE=1` prints what happens.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod closure;
mod fate;
mod oracle;
mod rng;
mod rows;
mod scenario;
mod shell;
mod variety;
mod world;

use std::sync::Arc;

use engine::{Outcome as Before, Recalled};

use scenario::{Chaos, Scenario};
use shell::{CrashPoint, Outcome, Shell};
use variety::Variety;

/// Runs the seeds on both cores; a panic names its seed.
fn each_seed(range: std::ops::Range<u64>, run: impl Fn(u64) + Send + Sync) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let range = match number("SIMULATE_SEED") {
        Some(first) => first..first + number("SIMULATE_COUNT").unwrap_or(1),
        None => range.start..range.start + number("SIMULATE_COUNT").unwrap_or(range.end - range.start),
    };
    println!("seeds {} to {}", range.start, range.end - 1);
    let next = std::sync::atomic::AtomicU64::new(range.start);
    let work = || {
        loop {
            let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if seed >= range.end {
                return;
            }
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
            if let Err(panic) = outcome {
                next.store(range.end, std::sync::atomic::Ordering::Relaxed);
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

fn run(scenario: &Scenario, crash: CrashPoint) -> Outcome {
    let graphs = closure::graphs(&scenario.flow);
    Shell::new(scenario, &graphs, crash).run()
}

#[test]
fn every_history_keeps_the_invariants() {
    let seen = Variety::default();
    each_seed(0..10_000, |seed| {
        let scenario = Scenario::random(seed, Chaos::Everything);
        let outcome = run(&scenario, CrashPoint::Random);
        oracle::check(&scenario, None, &outcome);
        seen.count(&scenario, &outcome);
    });
    seen.check();
}

#[test]
fn deterministic_answers_end_as_foretold() {
    each_seed(1_000_000..1_005_000, |seed| {
        let scenario = Scenario::random(seed, Chaos::Deterministic);
        let outcome = run(&scenario, CrashPoint::Random);
        oracle::check(&scenario, None, &outcome);
    });
}

#[test]
fn crash_at_any_commit_ends_the_same() {
    each_seed(2_000_000..2_000_100, |seed| {
        let scenario = Scenario::sized(seed, Chaos::Deterministic, 8);
        let calm = run(&scenario, CrashPoint::Never);
        oracle::check(&scenario, None, &calm);
        for commit in 0..calm.commits.min(100) {
            for point in [CrashPoint::Before(commit), CrashPoint::After(commit)] {
                let crashed = run(&scenario, point);
                oracle::check(&scenario, None, &crashed);
                oracle::check_same_end(&calm, &crashed);
            }
        }
    });
}

#[test]
fn abort_at_any_commit_converges() {
    each_seed(3_000_000..3_000_060, |seed| {
        let scenario = Scenario::sized(seed, Chaos::Everything, 8);
        let scenario = Scenario { abort_at: None, force_at: None, ..scenario };
        let calm = run(&scenario, CrashPoint::Never);
        let graphs = closure::graphs(&scenario.flow);
        for commit in 0..calm.commits.min(60) {
            for crash in [CrashPoint::Never, CrashPoint::Before(commit + 1), CrashPoint::After(commit + 1)] {
                let shell = Shell::new(&scenario, &graphs, crash);
                let outcome = shell.abort_at_commit(commit, (seed + commit) % 3 == 0).run();
                oracle::check(&scenario, None, &outcome);
            }
        }
    });
}

/// An execution ends somehow; another recovers it in a world where other attempts fail.
#[test]
fn recovery_runs_exactly_what_had_not_succeeded() {
    each_seed(4_000_000..4_001_500, |seed| {
        for chaos in [Chaos::Everything, Chaos::Deterministic] {
            let first = Scenario::random(seed, chaos);
            let before = run(&first, CrashPoint::Random);
            let recalled = Arc::new(recalled(&before));
            let second = Scenario { salt: 1, ..first };
            let graphs = closure::graphs(&second.flow);
            let shell = Shell::new(&second, &graphs, CrashPoint::Random);
            let outcome = shell.recovering(Arc::clone(&recalled)).run();
            oracle::check(&second, Some(&recalled), &outcome);
        }
    });
}

/// What the rows of an execution tell one that recovers it.
fn recalled(before: &Outcome) -> Recalled {
    let row = |row: &engine::NodeSnapshot| Before {
        phase: row.phase,
        attempt: row.attempt,
        input_uri: row.input_uri.as_str().into(),
        output_uri: row.output_uri.as_str().into(),
        deck_uri: row.deck_uri.as_str().into(),
        spec_uri: row.spec_uri.as_deref().map(Into::into),
        checkpoint_uri: Box::default(),
    };
    Recalled { by_id: before.nodes.iter().map(|(id, own)| ((&**id).into(), row(own))).collect() }
}
