//! Measures, in release mode, and prints ratios against references taken in the same run.

use anyhow::Result;

use crate::tools::{self, Profile};

/// Runs the bench program of the `tests` package.
pub fn run(sections: &[String], list: bool) -> Result<()> {
    let bin = tools::build(Profile::Release)?;
    let python = tools::python()?;
    let mut command = std::process::Command::new(bin.join("pinion-bench"));
    if list {
        command.arg("--list");
    }
    tools::run(
        command
            .args(sections)
            .env("PINION_TEST_BIN", &bin)
            .env("PINION_TEST_PYTHON", &python)
            .env("PATH", tools::path_with(python.parent().unwrap_or(&bin))?),
    )
}
