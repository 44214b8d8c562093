//! Is the `pinion-bench` program: measures the release binary against floors taken in the same run.
//!
//! `cargo xtask bench` builds everything and runs it. Rounds alternate between Pinion and its reference, so that the
//! load of the machine falls on both; what is judged is the median of the rounds' ratios.

#[path = "../bench/mod.rs"]
mod bench;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::bench::report::Report;
use crate::bench::{SECTIONS, Scope, machine};

/// Measures Pinion and prints ratios against references taken in the same run.
#[derive(Parser)]
#[command(name = "pinion-bench", max_term_width = 110)]
struct Cli {
    /// Sections to run; all when none is named.
    sections: Vec<String>,
    /// List the sections and end.
    #[arg(long)]
    list: bool,
    /// How often each thing is measured; the table shows medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Also run the largest sizes (50,000 nodes).
    #[arg(long)]
    full: bool,
    /// End with an error when a target is missed.
    #[arg(long)]
    strict: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<bool> {
    if cli.list {
        for section in SECTIONS {
            println!("{:<10} {}", section.name, section.about);
        }
        return Ok(true);
    }
    let known = |name: &String| SECTIONS.iter().any(|section| section.name == name);
    if let Some(unknown) = cli.sections.iter().find(|name| !known(name)) {
        bail!("there is no section `{unknown}`; --list shows them");
    }
    let pinion = tests::bin_dir().join("pinion");
    if !pinion.exists() {
        bail!("{} does not exist; run `cargo xtask bench`", pinion.display());
    }
    if cfg!(debug_assertions) {
        println!("warning: this is no release build; the figures say nothing");
    }
    println!("{}, {} rounds, SQLite in WAL mode with synchronous=FULL", machine::describe(), cli.rounds);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut none_missed = true;
    for section in SECTIONS {
        if !cli.sections.is_empty() && !cli.sections.iter().any(|name| name == section.name) {
            continue;
        }
        let scope = Scope::new(cli.rounds.max(1), cli.full)?;
        let mut report = Report::new(section.name);
        let before = machine::load();
        let measured = runtime.block_on(section.run(&scope, &mut report));
        println!("\n{} - {} (load {before} before, {} after)", section.name, section.about, machine::load());
        println!("{report}");
        measured.with_context(|| format!("section {}", section.name))?;
        none_missed &= !report.has_miss();
    }
    Ok(none_missed || !cli.strict)
}
