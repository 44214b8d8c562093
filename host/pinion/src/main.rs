//! Is the `pinion` program: parses the command line and hands over to the command.

mod app;
mod banner;
mod client;
mod command;
mod json_client;
mod links;
mod literal;
mod logs;
mod phase;
mod pipe;
mod settings;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::client::Target;
use crate::command::get::{Format, What};
use crate::settings::Options;

/// A Flyte-compatible workflow platform in one binary.
#[derive(Parser)]
#[command(name = "pinion", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    target: Target,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine: API, engine, storage, local processes. Nothing to configure.
    Dev(Options),
    /// Run the server with an explicit configuration.
    Serve(Options),
    /// Look at plugin files.
    #[command(subcommand)]
    Plugin(command::plugin::Command),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(command::config::Command),
    /// List what is registered and what runs.
    Get {
        #[command(subcommand)]
        what: What,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t, global = true)]
        output: Format,
    },
    /// Follow an execution as a live tree of its nodes.
    Watch {
        /// Execution name.
        execution: String,
    },
    /// Print what a task wrote.
    Logs(command::logs::Args),
    /// Ask for the abort of an execution.
    Terminate(command::terminate::Args),
    /// Run an execution again without what succeeded in it; the plan is shown first.
    Recover(command::recover::Args),
    /// When launch plans fire by the clock; pause and resume them.
    #[command(subcommand)]
    Schedule(command::schedule::Command),
    /// Run a launch plan over the ticks of a range of time.
    #[command(subcommand)]
    Backfill(command::backfill::Command),
    /// What was sent to whom when executions ended, and events that were not taken.
    #[command(subcommand)]
    Notify(command::notify::Command),
    /// Cached outputs: list, evict, and why a node found its outputs there or not.
    #[command(subcommand)]
    Cache(command::cache::Command),
    /// Where an output is from, and who used it.
    Lineage(command::lineage::Args),
    /// Print a completion script for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Process that owns the task processes of this machine; started by the server.
    #[command(hide = true, name = "local-supervisor")]
    LocalSupervisor(Passed),
    /// Process that runs an isolated plugin; started by the server.
    #[command(hide = true, name = "plugin-runner")]
    PluginRunner(Passed),
}

impl Command {
    /// Whether it is a server or a process of one, for which standard output is no answer.
    fn stays(&self) -> bool {
        matches!(self, Self::Dev(_) | Self::Serve(_) | Self::LocalSupervisor(_) | Self::PluginRunner(_))
    }
}

/// Arguments that are none of this command line's business.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<std::ffi::OsString>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if !cli.command.stays() {
        pipe::end_quietly();
    }
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let target = cli.target;
    match cli.command {
        Command::Dev(options) => app::run(&options, true)?,
        Command::Serve(options) => app::run(&options, false)?,
        Command::Plugin(command) => return command::plugin::run(&command),
        Command::Config(command) => return command::config::run(&command),
        Command::Get { what, output } => client_run(command::get::run(&target, &what, output))?,
        Command::Watch { execution } => {
            let succeeded = client_run(command::watch::run(&target, &execution))?;
            return Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Logs(args) => client_run(command::logs::run(&target, &args))?,
        Command::Terminate(args) => client_run(command::terminate::run(&target, &args))?,
        Command::Recover(args) => client_run(command::recover::run(&target, &args))?,
        Command::Schedule(command) => client_run(command::schedule::run(&target, &command))?,
        Command::Backfill(command) => client_run(command::backfill::run(&target, &command))?,
        Command::Notify(command) => client_run(command::notify::run(&target, &command))?,
        Command::Cache(command) => client_run(command::cache::run(&target, &command))?,
        Command::Lineage(args) => client_run(command::lineage::run(&target, &args))?,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pinion", &mut script);
            print!("{}", String::from_utf8_lossy(&script));
        }
        Command::LocalSupervisor(passed) => app::local_supervisor(&passed.rest),
        Command::PluginRunner(passed) => app::plugin_runner(&passed.rest),
    }
    Ok(ExitCode::SUCCESS)
}

fn client_run<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
