//! Runs the chores of this workspace: `cargo xtask <chore>`.

mod bench;
mod demo;
mod postgres;
mod proto;
mod test;
mod tools;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the Pinion workspace")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build Pinion, start `pinion dev`, run a real machine-learning workflow with the stock flytekit.
    Demo {
        /// Leave the server running when the workflow has ended.
        #[arg(long)]
        keep: bool,
    },
    /// Build host and plugins, and put the plugins where the host finds them.
    Build {
        /// Optimise.
        #[arg(long)]
        release: bool,
    },
    /// Install what the tests need, run every test, end with one summary line.
    Test {
        /// Run only tests whose name contains this.
        filter: Option<String>,
    },
    /// Measure against references in the same run and print ratios.
    Bench {
        /// Run only these sections (see `--list`).
        sections: Vec<String>,
        /// List the sections.
        #[arg(long)]
        list: bool,
    },
    /// Regenerate the descriptor set and the Rust code of the `proto` crate.
    Proto {
        /// Change nothing; fail when the checked-in output is stale.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().chore {
        Chore::Demo { keep } => demo::run(keep),
        Chore::Build { release } => {
            let bin = tools::build(if release { tools::Profile::Release } else { tools::Profile::Dev })?;
            tools::say(&format!("built {}", bin.join("pinion").display()));
            Ok(())
        }
        Chore::Test { filter } => test::run(filter.as_deref()),
        Chore::Bench { sections, list } => bench::run(&sections, list),
        Chore::Proto { check: true } => proto::check(),
        Chore::Proto { check: false } => proto::generate(),
    }
}
