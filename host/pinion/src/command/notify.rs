//! `pinion notify`: the delivery log of a running server, and tries of its channels.

use anyhow::{Result, bail};
use clap::Subcommand;
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::client::Target;
use crate::command::get::Format;
use crate::json_client::{moment, part, text};

/// Most deliveries in one answer of the server.
const PAGE: usize = 1_000;

/// What to do with events and notifications.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// What was sent to whom, waits to be sent, or could not be; newest first.
    Log {
        /// Only what was given up.
        #[arg(long, conflicts_with = "pending")]
        failed: bool,
        /// Only what waits.
        #[arg(long)]
        pending: bool,
        /// Only what goes through this channel, or what this sink did not take.
        #[arg(long, default_value = "")]
        channel: String,
        /// Only what is about this execution.
        #[arg(long, default_value = "")]
        execution: String,
        /// Most to show.
        #[arg(short = 'n', long, default_value_t = 50)]
        limit: usize,
        /// How to print them.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Send something again, whatever became of it.
    Retry {
        /// The number that `pinion notify log` shows.
        id: i64,
    },
    /// Send a message that says it is a test, and say what came of it.
    Test {
        /// Name of the channel.
        channel: String,
        /// Whom to write to, for channels that have recipients.
        #[arg(long, default_value = "")]
        to: String,
    },
    /// Sinks and channels: how much waits, and what is in trouble.
    Status {
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
}

/// Does it.
pub(crate) async fn run(target: &Target, command: &Command) -> Result<()> {
    match command {
        Command::Log { failed, pending, channel, execution, limit, output } => {
            let state = if *failed { "failed" } else { ["", "pending"][usize::from(*pending)] };
            log(target, [("state", state), ("channel", channel), ("execution", execution)], *limit, *output)
                .await
        }
        Command::Retry { id } => {
            target.post_json(&format!("deliveries/{id}/retry"), &json!({})).await?;
            println!("delivery {id} is sent again; `pinion notify log` shows what comes of it");
            Ok(())
        }
        Command::Test { channel, to } => test(target, channel, to).await,
        Command::Status { output } => status(target, *output).await,
    }
}

async fn log(target: &Target, filters: [(&str, &str); 3], limit: usize, format: Format) -> Result<()> {
    let mut rows: Vec<Value> = Vec::new();
    let mut before = String::new();
    while rows.len() < limit {
        let page = (limit - rows.len()).min(PAGE).to_string();
        let mut query: Vec<(&str, &str)> =
            filters.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        query.push(("limit", &page));
        if !before.is_empty() {
            query.push(("before", &before));
        }
        let mut answer = target.get_json("deliveries", &query).await?;
        if let Some(found) = answer["deliveries"].as_array_mut() {
            rows.append(found);
        }
        match answer["next_before"].as_i64() {
            Some(next) => before = next.to_string(),
            None => break,
        }
    }
    if format == Format::Json {
        println!("{:#}", json!({ "deliveries": rows }));
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "ID",
        "STATE",
        "TRIES",
        "CHANNEL",
        "TO",
        "EXECUTION",
        "PHASE",
        "WHEN (UTC)",
        "LAST ERROR",
    ]);
    for row in &rows {
        let when = if row["ended_at"].is_null() { &row["created_at"] } else { &row["ended_at"] };
        let state = match (text(&row["state"]), text(&row["kind"])) {
            (state, "notification") => state.to_owned(),
            (state, kind) => format!("{state} ({kind})"),
        };
        table.add_row([
            row["id"].to_string(),
            state,
            row["attempts"].to_string(),
            text(&row["channel"]).to_owned(),
            text(&row["recipient"]).to_owned(),
            text(&row["execution"]).to_owned(),
            text(&row["phase"]).to_lowercase(),
            moment(when),
            text(&row["error"]).to_owned(),
        ]);
    }
    println!("{}", table.trim_fmt());
    Ok(())
}

async fn test(target: &Target, channel: &str, to: &str) -> Result<()> {
    let mut path = format!("notify/test/{}", part(channel));
    if !to.is_empty() {
        path = format!("{path}?to={}", part(to));
    }
    let answer = target.post_json(&path, &json!({})).await?;
    let mut n_failed = 0;
    for result in answer["results"].as_array().into_iter().flatten() {
        let recipient = text(&result["recipient"]);
        if result["sent"] == true {
            println!("sent to {recipient}");
        } else {
            n_failed += 1;
            println!("not sent to {recipient}: {}", text(&result["error"]));
        }
    }
    if n_failed > 0 {
        bail!("channel `{channel}` did not take the message");
    }
    Ok(())
}

async fn status(target: &Target, format: Format) -> Result<()> {
    let answer = target.get_json("notify", &[]).await?;
    if format == Format::Json {
        println!("{answer:#}");
        return Ok(());
    }
    if answer["enabled"] != true {
        println!("events and notifications are off (`notify.enabled`)");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NAME", "WHAT", "WAITING", "TROUBLE"]);
    for sink in answer["sinks"].as_array().into_iter().flatten() {
        let what = format!("sink {}", text(&sink["to"]));
        table.add_row([text(&sink["name"]), &what, &sink["waiting"].to_string(), text(&sink["trouble"])]);
    }
    for channel in answer["channels"].as_array().into_iter().flatten() {
        let what = format!("channel {}", text(&channel["type"]));
        table.add_row([text(&channel["name"]), &what, "", text(&channel["trouble"])]);
    }
    println!("{}", table.trim_fmt());
    Ok(())
}
