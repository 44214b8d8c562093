//! `pinion plugin`: looks at plugin files without trusting them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use clap::Subcommand;
use comfy_table::Table;
use comfy_table::presets;
use plugins::{HostServices, PluginReport, PluginState};
use proto::pinion::plugin::v1::Status;

use crate::settings::{self, Options, Settings};

/// What to do with plugins.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Load the configured plugins as the server would, and say what becomes of each file.
    List {
        #[command(flatten)]
        options: Options,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what a plugin file says about itself. Nothing of it runs.
    Inspect {
        /// Plugin file.
        file: PathBuf,
    },
    /// Check a plugin file: format, interface, settings, and its manners in a process of its own.
    Verify {
        /// Plugin file.
        file: PathBuf,
        #[command(flatten)]
        options: Options,
    },
}

/// Runs a command. A bad plugin makes the exit code 1.
pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::List { options, json } => list(options, *json),
        Command::Inspect { file } => Ok(inspect(file)),
        Command::Verify { file, options } => verify(file, options),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn config(options: &Options) -> Result<plugins::Config> {
    let mut loaded = settings::load(options, true)?;
    settings::plugin_dirs(&mut loaded.value, options);
    settings::make_data_dir(&loaded.value.data_dir)?;
    Ok(loaded.value.plugin_host)
}

fn list(options: &Options, json: bool) -> Result<ExitCode> {
    let config = config(options)?;
    let dirs = config.dirs.clone();
    let (reports, problems) = runtime()?.block_on(async {
        let host = plugins::Host::load(config, Arc::new(NoServices)).await;
        let found = (host.report(), host.problems());
        host.drain().await;
        found
    });
    let good = problems.is_empty()
        && reports.iter().all(|report| !matches!(report.state, PluginState::Quarantined(_)));
    if json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else if reports.is_empty() {
        let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        println!("no plugin files in {}", dirs.join(", "));
    } else {
        print_table(&reports);
        for problem in problems {
            println!("problem: {problem}");
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Loads the plugins with these settings and says what is wrong with them.
pub(crate) fn check(mut settings: Settings, options: &Options) -> Result<ExitCode> {
    settings::plugin_dirs(&mut settings, options);
    settings::make_data_dir(&settings.data_dir)?;
    let host = runtime()?.block_on(plugins::Host::load(settings.plugin_host, Arc::new(NoServices)));
    let mut problems: Vec<String> = host.problems().iter().map(ToString::to_string).collect();
    for report in host.report() {
        if let PluginState::Quarantined(refusal) = report.state {
            problems.push(format!("plugins.{}: {refusal}", report.id.unwrap_or_else(|| "?".to_owned())));
        }
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    if problems.is_empty() {
        println!("the configuration is good");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

fn print_table(reports: &[PluginReport]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "ID",
        "VERSION",
        "TASK TYPES",
        "ISOLATION",
        "STATE",
        "FILE",
    ]);
    for report in reports {
        let state = match &report.state {
            PluginState::Loaded => "loaded",
            PluginState::Disabled => "disabled",
            PluginState::Quarantined(_) => "quarantined",
        };
        table.add_row([
            report.id.clone().unwrap_or_else(|| "?".to_owned()),
            report.version.clone().unwrap_or_default(),
            report.task_types.join(", "),
            report.isolation.map(|isolation| isolation.to_string()).unwrap_or_default(),
            state.to_owned(),
            report.file.as_deref().map(|file| file.display().to_string()).unwrap_or_default(),
        ]);
    }
    println!("{table}");
    for report in reports {
        if let PluginState::Quarantined(refusal) = &report.state {
            let file = report.file.as_deref().map(|file| file.display().to_string()).unwrap_or_default();
            println!("quarantined: {file}\n  {refusal}");
        }
    }
}

fn inspect(file: &Path) -> ExitCode {
    match plugins::inspect(file) {
        Ok(inspection) => {
            println!("{}", serde_json::to_string_pretty(&inspection).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            eprintln!("{}: {refusal}", file.display());
            ExitCode::FAILURE
        }
    }
}

fn verify(file: &Path, options: &Options) -> Result<ExitCode> {
    let report = runtime()?.block_on(plugins::verify(file, config(options)?, None));
    if let Some(sha256) = &report.sha256 {
        println!("sha256 {sha256}");
    }
    for check in &report.checks {
        match &check.problem {
            None => println!("✔ {}", check.name),
            Some(problem) => println!("✘ {}: {problem}", check.name),
        }
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Host services of a command that only looks: there are none.
struct NoServices;

#[async_trait]
impl HostServices for NoServices {
    async fn call(&self, _plugin_id: &str, method: u32, _request: Bytes) -> Result<Vec<u8>, Status> {
        Err(plugins::unimplemented(method))
    }
}
