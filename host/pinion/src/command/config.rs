//! `pinion config`: shows and checks the configuration.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::settings::{self, Options};

/// What to do with the configuration.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print every setting with where it comes from; secrets are masked.
    Show {
        #[command(flatten)]
        options: Options,
        /// Print the settings of `pinion serve` instead of those of `pinion dev`.
        #[arg(long)]
        serve: bool,
    },
    /// Say everything that is wrong with the configuration, the plugins' own settings included.
    Check {
        #[command(flatten)]
        options: Options,
        /// Check the settings of `pinion serve` instead of those of `pinion dev`.
        #[arg(long)]
        serve: bool,
    },
}

/// Runs a command.
pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Show { options, serve } => {
            print!("{}", settings::load(options, !serve)?.show());
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { options, serve } => {
            let loaded = settings::load(options, !serve)?;
            super::plugin::check(loaded.value, options)
        }
    }
}
