//! `pinion schedule`: lists schedules, says when they fire next, pauses and resumes them.

use anyhow::{Result, bail};
use clap::Subcommand;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::client::Target;
use crate::command::get::Format;
use crate::json_client::{moment, part, text, user};

/// What to do with schedules.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Schedules of the active launch plans: when they fire next, fired last, and what went wrong.
    List {
        /// Of all projects and domains.
        #[arg(long)]
        all: bool,
        /// How to print them.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// The next ticks of a launch plan's schedule.
    Next {
        /// Launch plan name.
        name: String,
        /// How many.
        #[arg(short = 'n', long, default_value_t = 10)]
        count: u32,
    },
    /// Fire no more ticks until it is resumed. Ticks in between are left out.
    Pause {
        /// Launch plan name.
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// All schedules of the server.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Go on with the ticks from now on.
    Resume {
        /// Launch plan name.
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// All schedules of the server; those that were paused one by one stay so.
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
}

/// Does it.
pub(crate) async fn run(target: &Target, command: &Command) -> Result<()> {
    match command {
        Command::List { all, output } => list(target, *all, *output).await,
        Command::Next { name, count } => next(target, name, *count).await,
        Command::Pause { name, .. } => set_paused(target, name.as_deref(), true).await,
        Command::Resume { name, .. } => set_paused(target, name.as_deref(), false).await,
    }
}

fn path(target: &Target, name: &str, tail: &str) -> String {
    format!("schedules/{}/{}/{}{tail}", part(&target.project), part(&target.domain), part(name))
}

/// All pages of the list; what stands beside the rows is that of the last page.
async fn pages(target: &Target, all: bool) -> Result<Value> {
    let mut rows = Vec::new();
    let mut offset = 0;
    loop {
        let at = offset.to_string();
        let mut query = vec![("offset", at.as_str()), ("limit", "1000")];
        if !all {
            query.extend([("project", target.project.as_str()), ("domain", target.domain.as_str())]);
        }
        let mut page = target.get_json("schedules", &query).await?;
        if let Some(found) = page["schedules"].as_array_mut() {
            rows.append(found);
        }
        match page["next_offset"].as_u64() {
            Some(next) if next > offset => offset = next,
            _ => {
                page["schedules"] = Value::from(rows);
                return Ok(page);
            }
        }
    }
}

async fn list(target: &Target, all: bool, format: Format) -> Result<()> {
    let found = pages(target, all).await?;
    if format == Format::Json {
        println!("{found:#}");
        return Ok(());
    }
    if found["paused"] == true {
        println!(
            "All schedules are paused since {}{}; `pinion schedule resume --all` lets them go on",
            moment(&found["paused_at"]),
            by(&found["paused_by"])
        );
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NAME", "VERSION", "SCHEDULE", "NEXT (UTC)", "LAST (UTC)", "FIRED", "LAST ERROR"]);
    let rows = found["schedules"].as_array().cloned().unwrap_or_default();
    for row in &rows {
        let name = if all {
            format!("{}/{}/{}", text(&row["project"]), text(&row["domain"]), text(&row["name"]))
        } else {
            text(&row["name"]).to_owned()
        };
        table.add_row([
            name,
            text(&row["version"]).to_owned(),
            schedule(row),
            next_of(row, found["paused"] == true),
            moment(&row["last"]),
            row["fired"].to_string(),
            error(row),
        ]);
    }
    println!("{table}");
    Ok(())
}

fn schedule(row: &Value) -> String {
    let expression = text(&row["expression"]);
    match text(&row["timezone"]) {
        "" | "UTC" => expression.to_owned(),
        zone if expression.contains("TZ=") || zone.is_empty() => expression.to_owned(),
        zone => format!("{expression} ({zone})"),
    }
}

fn next_of(row: &Value, all_paused: bool) -> String {
    if row["paused"] == true {
        return format!("paused{}", by(&row["paused_by"]));
    }
    if all_paused {
        return "paused".to_owned();
    }
    match (moment(&row["next"]), moment(&row["retry"])) {
        (next, _) if next.is_empty() => "never".to_owned(),
        (next, retry) if !retry.is_empty() => format!("{next}, retried {retry}"),
        (next, _) => next,
    }
}

fn error(row: &Value) -> String {
    match (text(&row["error"]), moment(&row["error_tick"])) {
        ("", _) => String::new(),
        (error, tick) if tick.is_empty() => error.to_owned(),
        (error, tick) => format!("{tick}: {error}"),
    }
}

fn by(who: &Value) -> String {
    match text(who) {
        "" => String::new(),
        who => format!(" by {who}"),
    }
}

async fn next(target: &Target, name: &str, count: u32) -> Result<()> {
    let n = count.to_string();
    let found = target.get_json(&path(target, name, "/next"), &[("n", n.as_str())]).await?;
    println!("{}", schedule(&found));
    if found["paused"] == true {
        println!("paused; if it were not:");
    }
    let zone = text(&found["timezone"]);
    let ticks = found["ticks"].as_array().cloned().unwrap_or_default();
    if ticks.is_empty() {
        bail!("`{}` never fires again", text(&found["expression"]));
    }
    for tick in &ticks {
        let local = text(tick).parse::<jiff::Timestamp>().ok().and_then(|tick| tick.in_tz(zone).ok());
        match local.filter(|_| !matches!(zone, "" | "UTC")) {
            Some(local) => println!("  {} UTC  {}", moment(tick), local.strftime("%a %Y-%m-%d %H:%M:%S %Z")),
            None => println!("  {} UTC", moment(tick)),
        }
    }
    Ok(())
}

async fn set_paused(target: &Target, name: Option<&str>, paused: bool) -> Result<()> {
    let verb = if paused { "/pause" } else { "/resume" };
    let path = name.map_or_else(|| format!("schedules{verb}"), |name| path(target, name, verb));
    let found = target.post_json(&path, &json!({ "by": user() })).await?;
    match (name, paused) {
        (None, true) => println!("all schedules are paused"),
        (None, false) => println!("schedules go on, except those that were paused one by one"),
        (Some(name), true) => println!("the schedule of {name} is paused"),
        (Some(name), false) => println!("the schedule of {name} goes on; next {}", next_of(&found, false)),
    }
    Ok(())
}
