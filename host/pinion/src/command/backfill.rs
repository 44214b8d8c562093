//! `pinion backfill`: runs a launch plan over the ticks of a range.

use anyhow::Result;
use clap::Subcommand;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::client::Target;
use crate::command::get::Format;
use crate::json_client::{moment, part, text, user};

/// What to do with backfills.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a launch plan for each tick of its schedule within a range of time. Ticks that have succeeded are left out.
    Start(Box<Start>),
    /// Backfills, newest first.
    List {
        /// Most to show.
        #[arg(long, default_value_t = 25)]
        limit: u32,
        /// How to print them.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// One backfill and its ticks.
    Show {
        /// Its id.
        id: String,
        /// Only ticks in this state: pending, running, succeeded, failed, skipped, cancelled.
        #[arg(long, default_value = "")]
        state: String,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Launch nothing more until it is resumed.
    Pause {
        /// Its id.
        id: String,
    },
    /// Go on.
    Resume {
        /// Its id.
        id: String,
    },
    /// Launch nothing more, ever.
    Cancel {
        /// Its id.
        id: String,
        /// Abort what runs, too.
        #[arg(long)]
        abort: bool,
    },
}

/// A new backfill.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Start {
    /// Launch plan name.
    launch_plan: String,
    /// First time of the range: a date, or a time such as 2024-05-01T12:00:00Z.
    #[arg(long)]
    from: String,
    /// End of the range, which is no part of it.
    #[arg(long)]
    to: String,
    /// Launch plan version [default: the active one].
    #[arg(long)]
    version: Option<String>,
    /// Schedule whose ticks are run, such as '0 0 * * *' or 'rate(6 hours)' [default: the launch plan's].
    #[arg(long)]
    schedule: Option<String>,
    /// Time zone of the schedule, such as Europe/Berlin [default: the launch plan's].
    #[arg(long)]
    timezone: Option<String>,
    /// Input that is given the time of the tick [default: the one that the launch plan's schedule names].
    #[arg(long)]
    kickoff_input: Option<String>,
    /// Ticks that run at once [default: what the server's configuration says].
    #[arg(long)]
    parallelism: Option<u32>,
    /// The latest tick first.
    #[arg(long)]
    backward: bool,
    /// Go on after a tick that failed.
    #[arg(long)]
    keep_going: bool,
    /// Run ticks that have succeeded before, too.
    #[arg(long)]
    force: bool,
    /// Only say what would be run.
    #[arg(long)]
    dry_run: bool,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Does it.
pub(crate) async fn run(target: &Target, command: &Command) -> Result<()> {
    match command {
        Command::Start(args) => start(target, args).await,
        Command::List { limit, output } => list(target, *limit, *output).await,
        Command::Show { id, state, output } => show(target, id, state, *output).await,
        Command::Pause { id } => change(target, id, "pause", &json!({})).await,
        Command::Resume { id } => change(target, id, "resume", &json!({})).await,
        Command::Cancel { id, abort } => {
            change(target, id, "cancel", &json!({ "abort": abort, "by": user() })).await
        }
    }
}

async fn start(target: &Target, args: &Start) -> Result<()> {
    let body = json!({
        "project": target.project,
        "domain": target.domain,
        "launch_plan": args.launch_plan,
        "version": args.version,
        "from": args.from,
        "to": args.to,
        "schedule": args.schedule,
        "timezone": args.timezone,
        "kickoff_input": args.kickoff_input,
        "parallelism": args.parallelism,
        "order": if args.backward { "backward" } else { "forward" },
        "keep_going": args.keep_going,
        "force": args.force,
        "dry_run": args.dry_run,
        "by": user(),
    });
    let found = target.post_json("backfills", &body).await?;
    if args.output == Format::Json {
        println!("{found:#}");
        return Ok(());
    }
    if !args.dry_run {
        println!(
            "backfill {} runs {} ticks, {} at once; `pinion backfill show {}` says how far it is",
            text(&found["id"]),
            found["ticks"]["total"],
            found["parallelism"],
            text(&found["id"])
        );
        return Ok(());
    }
    let backfill = &found["backfill"];
    println!("{} of {}:", text(&backfill["schedule"]), text(&backfill["launch_plan"]));
    let plan = found["plan"].as_array().cloned().unwrap_or_default();
    for tick in &plan {
        match text(&tick["done_by"]) {
            "" => println!("  {}", moment(&tick["tick"])),
            done_by => println!("  {}  left out: {done_by} has succeeded", moment(&tick["tick"])),
        }
    }
    let total = backfill["ticks"]["total"].as_u64().unwrap_or(0);
    let more = total.saturating_sub(plan.len() as u64);
    if more > 0 {
        println!("  and {more} more");
    }
    println!("{total} ticks, {} of them left out; nothing was started", backfill["ticks"]["skipped"]);
    Ok(())
}

async fn list(target: &Target, limit: u32, format: Format) -> Result<()> {
    let limit = limit.to_string();
    let query = [("project", target.project.as_str()), ("domain", &target.domain), ("limit", &limit)];
    let found = target.get_json("backfills", &query).await?;
    if format == Format::Json {
        println!("{found:#}");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ID", "LAUNCH PLAN", "FROM (UTC)", "TO (UTC)", "STATE", "TICKS"]);
    for row in found["backfills"].as_array().into_iter().flatten() {
        table.add_row([
            text(&row["id"]).to_owned(),
            text(&row["launch_plan"]).to_owned(),
            moment(&row["from"]),
            moment(&row["to"]),
            text(&row["state"]).to_owned(),
            counts(&row["ticks"]),
        ]);
    }
    println!("{table}");
    Ok(())
}

/// `7 of 30 done`, and what is worth a word besides.
fn counts(ticks: &Value) -> String {
    let n = |key: &str| ticks[key].as_u64().unwrap_or(0);
    let ended = n("succeeded") + n("failed") + n("skipped") + n("cancelled");
    let mut out = format!("{ended} of {} done", n("total"));
    for key in ["running", "failed", "skipped", "cancelled"] {
        if n(key) > 0 {
            out.push_str(&format!(", {} {key}", n(key)));
        }
    }
    out
}

async fn show(target: &Target, id: &str, state: &str, format: Format) -> Result<()> {
    let mut backfill = target.get_json(&format!("backfills/{}", part(id)), &[]).await?;
    let mut ticks: Vec<Value> = Vec::new();
    let mut from_seq = 0;
    loop {
        let at = from_seq.to_string();
        let query = [("from_seq", at.as_str()), ("limit", "1000"), ("state", state)];
        let mut page = target.get_json(&format!("backfills/{}/ticks", part(id)), &query).await?;
        if let Some(found) = page["ticks"].as_array_mut() {
            ticks.append(found);
        }
        match page["next_seq"].as_u64() {
            Some(next) if next > from_seq => from_seq = next,
            _ => break,
        }
    }
    if format == Format::Json {
        backfill["rows"] = Value::from(ticks);
        println!("{backfill:#}");
        return Ok(());
    }
    println!("{}  {}  {}", text(&backfill["id"]), text(&backfill["state"]), counts(&backfill["ticks"]));
    println!(
        "{}@{}  {}  {} to {}",
        text(&backfill["launch_plan"]),
        text(&backfill["version"]),
        text(&backfill["schedule"]),
        moment(&backfill["from"]),
        moment(&backfill["to"])
    );
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["TICK (UTC)", "STATE", "EXECUTION", "ERROR"]);
    for tick in &ticks {
        table.add_row([
            moment(&tick["tick"]),
            text(&tick["state"]).to_owned(),
            text(&tick["execution"]).to_owned(),
            text(&tick["error"]).to_owned(),
        ]);
    }
    println!("{table}");
    Ok(())
}

async fn change(target: &Target, id: &str, verb: &str, body: &Value) -> Result<()> {
    let found = target.post_json(&format!("backfills/{}/{verb}", part(id)), body).await?;
    println!("backfill {id} is {}: {}", text(&found["state"]), counts(&found["ticks"]));
    Ok(())
}
