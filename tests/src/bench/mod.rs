//! Holds the sections of `pinion-bench` and what they share.
//!
//! What comes in: the release binary and its plugins, a Python interpreter with the stock client. What goes out: one
//! table per section. A section starts its own server, does each of its measurements once per round with the reference
//! beside it, and adds a line per thing measured; `report` turns the rounds into medians, spreads and verdicts.
//!
//! # Design notes
//! - No benchmark framework: what is measured are whole executions of tens of milliseconds to minutes against a server
//!   in another process, and what is wanted is a ratio of two alternating things, which the usual ones can't do.
//! - Wall times end when the client sees the terminal phase, so they include the poll: at most 3 % too much.

pub mod api;
pub mod big;
pub mod engine;
pub mod fleet;
pub mod floor;
pub mod flow;
pub mod flytekit;
pub mod latency;
pub mod lists;
pub mod machine;
pub mod memory;
pub mod metrics;
pub mod plugin;
pub mod process;
pub mod report;
pub mod scale;
pub mod sizes;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tests::{Options, Server};

use self::report::Report;

/// A section by name.
pub struct Section {
    /// What selects it on the command line.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
}

/// All sections, in the order in which they run.
pub const SECTIONS: [Section; 9] = [
    Section {
        name: "engine",
        about: "chains and fan-outs of echo tasks against the floor of commits (P1, P5, P9)",
    },
    Section { name: "latency", about: "CreateExecution to first plugin call, idle and under load (P6)" },
    Section { name: "load", about: "single-task executions from 64 clients (P8)" },
    Section { name: "process", about: "chain and fan-out of /bin/true against bare spawns (P2, P5)" },
    Section {
        name: "flytekit",
        about: "real flytekit tasks, warm against cold and a bare fork loop (P3, P16)",
    },
    Section { name: "memory", about: "start and idle memory, memory per live node (P7)" },
    Section {
        name: "sizes",
        about: "large maps, chains, nesting, literals, many live executions, recovery; memory (P9, P10)",
    },
    Section { name: "lists", about: "list calls with a million executions stored (P14)" },
    Section { name: "plugin", about: "one plugin call, in-process and isolated (P13)" },
];

impl Section {
    /// Runs it.
    pub async fn run(&self, scope: &Scope, report: &mut Report) -> Result<()> {
        match self.name {
            "engine" => Box::pin(engine::run(scope, report)).await,
            "latency" => Box::pin(latency::run(scope, report)).await,
            "load" => Box::pin(fleet::run(scope, report)).await,
            "process" => Box::pin(process::run(scope, report)).await,
            "flytekit" => Box::pin(flytekit::run(scope, report)).await,
            "memory" => Box::pin(memory::run(scope, report)).await,
            "sizes" => Box::pin(sizes::run(scope, report)).await,
            "lists" => Box::pin(lists::run(scope, report)).await,
            "plugin" => Box::pin(plugin::run(scope, report)).await,
            other => anyhow::bail!("there is no section `{other}`"),
        }
    }
}

/// What a section may use: how often to measure, and a directory that goes away with it.
pub struct Scope {
    /// How often each thing is measured.
    pub rounds: usize,
    /// Whether the largest sizes are wanted.
    pub full: bool,
    dir: tempfile::TempDir,
}

impl Scope {
    /// A fresh directory, on the filesystem where both servers and floors keep their files.
    pub fn new(rounds: usize, full: bool) -> Result<Self> {
        let dir = tempfile::tempdir().context("cannot make a directory for the measurement")?;
        Ok(Self { rounds, full, dir })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a server with its data under this name in the directory; the same name goes on with the same data.
    pub fn server(&self, name: &str, args: &[&str]) -> Server {
        Server::start(self.options(name, args))
    }

    /// The options of such a server.
    pub fn options(&self, name: &str, args: &[&str]) -> Options {
        Options {
            data: Some(self.dir().join(name)),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            standard_ports: false,
        }
    }
}

/// Where the Python files of the bench are.
pub fn python_dir() -> PathBuf {
    tests::scenarios()
}
