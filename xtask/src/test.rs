//! Runs every test of the workspace and ends with one line: `N passed, N failed, N skipped`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::postgres::Server;
use crate::tools::{self, Profile, cache, cargo, say};

/// Counts of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Summary {
    /// Adds what a line of the test runner says; other lines add nothing.
    fn read(&mut self, line: &str) {
        let Some(rest) = line.trim_start().strip_prefix("test result: ") else {
            return;
        };
        for part in rest.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(n)), Some(word)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match word {
                "passed" => self.passed += n,
                "failed" => self.failed += n,
                "ignored" => self.skipped += n,
                _ => {}
            }
        }
    }
}

/// Runs the tests; an error means that some failed or could not be run.
pub fn run(filter: Option<&str>) -> Result<()> {
    let bin = tools::build(Profile::Dev)?;
    let python = tools::python()?;
    let postgres = Server::start()?;
    let skips = cache()?.join(format!("skips-{}", std::process::id()));
    std::fs::write(&skips, "").with_context(|| format!("cannot write {}", skips.display()))?;

    say("checking that the generated protocol code is fresh");
    let mut summary = Summary::default();
    match crate::proto::check() {
        Ok(()) => summary.passed += 1,
        Err(error) => {
            eprintln!("{error:#}");
            summary.failed += 1;
        }
    }

    say("running the tests");
    let mut command = cargo();
    command
        .args(["test", "--workspace", "--locked", "--no-fail-fast"])
        .args(filter)
        .env("PINION_TEST_PYTHON", &python)
        .env("PINION_TEST_BIN", &bin)
        .env("PINION_TEST_SKIPS", &skips)
        .env("PINION_TEST_POSTGRES_URL", &postgres.url)
        .env("PATH", tools::path_with(python.parent().context("the interpreter has no directory")?)?)
        .stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read the output of cargo test")?;
        println!("{line}");
        summary.read(&line);
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    drop(postgres);

    let skipped = std::fs::read_to_string(&skips).unwrap_or_default();
    let _ = std::fs::remove_file(&skips);
    for line in skipped.lines() {
        println!("skipped: {line}");
        summary.skipped += 1;
        summary.passed = summary.passed.saturating_sub(1);
    }
    if !status.success() && summary.failed == 0 {
        // A test binary that did not build or was killed prints no result line.
        summary.failed += 1;
    }
    println!();
    println!("{} passed, {} failed, {} skipped", summary.passed, summary.failed, summary.skipped);
    if summary.failed > 0 {
        bail!("some tests failed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_add_up_and_others_do_not() {
        let mut summary = Summary::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "test some::name ... ok",
        ] {
            summary.read(line);
        }
        assert_eq!(summary, Summary { passed: 4, failed: 2, skipped: 1 });
    }
}
