//! `pinion cache`: lists cached outputs, evicts them, and explains why a node found its outputs there or not.

use anyhow::{Context, Result, bail};
use catalog::{Entries, Entry, Evicted, NodeReport, Selection, Verdict};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::json;

use crate::client::Target;
use crate::command::get::Format;
use crate::json_client::part;

/// What to do with the cache.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Cached outputs, newest first.
    List {
        #[command(flatten)]
        which: Which,
        /// Most to show.
        #[arg(long, default_value_t = 25)]
        limit: u32,
        /// How to print them.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Forget cached outputs: the next call of their task computes again.
    Evict {
        #[command(flatten)]
        which: Which,
        /// All of the project and domain.
        #[arg(long)]
        all: bool,
        /// Only say what would be evicted.
        #[arg(long)]
        dry_run: bool,
        /// How to print them.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Why a node found its outputs in the cache or not, field by field.
    Explain {
        /// `EXECUTION/NODE`, or `PROJECT/DOMAIN/EXECUTION/NODE`.
        node: String,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
}

/// Which entries; what is left out means all of the project and domain.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Which {
    /// Of this task.
    #[arg(long)]
    task: Option<String>,
    /// Of this dataset, as engines outside name it.
    #[arg(long, conflicts_with = "task")]
    dataset: Option<String>,
    /// Of this version of the dataset: cache version and interface hashes.
    #[arg(long)]
    version: Option<String>,
    /// With this tag.
    #[arg(long)]
    tag: Option<String>,
    /// With this id; of any project and domain.
    #[arg(long)]
    artifact: Option<String>,
    /// With this key of the cache service; of any project and domain.
    #[arg(long)]
    key: Option<String>,
    /// Made by this execution.
    #[arg(long)]
    execution: Option<String>,
    /// Made by this node of the execution.
    #[arg(long, requires = "execution")]
    node: Option<String>,
    /// Made longer ago than this, such as `12h` or `7d`.
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<u64>,
    /// Neither made nor used for this long.
    #[arg(long, value_name = "AGE", value_parser = age)]
    unused_for: Option<u64>,
    /// Of all projects and domains.
    #[arg(long)]
    all_projects: bool,
}

/// Seconds of `90s`, `12h` or `7d`.
fn age(text: &str) -> Result<u64, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    if let Some(days) = days {
        return Ok(days.saturating_mul(86_400));
    }
    let duration: config::Duration =
        text.parse().map_err(|_| format!("`{text}` is no duration such as `90s`, `12h` or `7d`"))?;
    Ok(duration.get().as_secs())
}

impl Which {
    fn is_all(&self) -> bool {
        let texts =
            [&self.task, &self.dataset, &self.version, &self.tag, &self.artifact, &self.key, &self.execution];
        texts.iter().all(|text| text.is_none()) && self.older_than.is_none() && self.unused_for.is_none()
    }

    fn selection(&self, target: &Target) -> Selection {
        let anywhere = self.all_projects || self.artifact.is_some() || self.key.is_some();
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        Selection {
            project: if anywhere { String::new() } else { target.project.clone() },
            domain: if anywhere { String::new() } else { target.domain.clone() },
            task: of(&self.task),
            dataset: of(&self.dataset),
            version: of(&self.version),
            tag: of(&self.tag),
            artifact: of(&self.artifact),
            key: of(&self.key),
            execution: of(&self.execution),
            node: of(&self.node),
            older_than: self.older_than,
            unused_for: self.unused_for,
        }
    }
}

/// Does it.
pub(crate) async fn run(target: &Target, command: &Command) -> Result<()> {
    match command {
        Command::List { which, limit, output } => list(target, which, *limit, *output).await,
        Command::Evict { which, all, dry_run, output } => evict(target, which, *all, *dry_run, *output).await,
        Command::Explain { node, output } => explain(target, node, *output).await,
    }
}

async fn list(target: &Target, which: &Which, limit: u32, output: Format) -> Result<()> {
    let request = json!({ "select": which.selection(target), "limit": limit });
    let answer = target.post_json("cache/list", &request).await?;
    if output == Format::Json {
        println!("{answer:#}");
        return Ok(());
    }
    let page: Entries =
        serde_json::from_value(answer).context("the server's answer is of another version")?;
    print_entries(&page.entries);
    if !page.token.is_empty() {
        println!("... and more; ask for more with --limit");
    }
    Ok(())
}

async fn evict(target: &Target, which: &Which, all: bool, dry_run: bool, output: Format) -> Result<()> {
    if which.is_all() && !all {
        bail!("say which entries to evict, or --all for those of the whole project and domain");
    }
    let request = json!({ "select": which.selection(target), "all": all, "dry_run": dry_run });
    let answer = target.post_json("cache/evict", &request).await?;
    if output == Format::Json {
        println!("{answer:#}");
        return Ok(());
    }
    let evicted: Evicted =
        serde_json::from_value(answer).context("the server's answer is of another version")?;
    print_entries(&evicted.entries);
    let would = if dry_run { "would be evicted" } else { "evicted" };
    println!("{} {would}", evicted.count);
    Ok(())
}

fn print_entries(entries: &[Entry]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["DATASET", "CACHE VERSION", "MADE BY", "CREATED", "SIZE", "USES", "ARTIFACT"]);
    for entry in entries {
        table.add_row([
            entry.dataset.strip_prefix("flyte_task-").unwrap_or(&entry.dataset).to_owned(),
            entry.version.clone(),
            entry.made_by.clone(),
            crate::json_client::moment(&entry.updated_at.clone().into()),
            entry.size.to_string(),
            entry.uses.to_string(),
            entry.artifact_id.clone(),
        ]);
    }
    println!("{table}");
}

async fn explain(target: &Target, node: &str, output: Format) -> Result<()> {
    let parts: Vec<&str> = node.split('/').collect();
    let (project, domain, execution, node) = match parts.as_slice() {
        [execution, node] => (target.project.as_str(), target.domain.as_str(), *execution, *node),
        [project, domain, execution, node] => (*project, *domain, *execution, *node),
        _ => bail!("`{node}` is neither EXECUTION/NODE nor PROJECT/DOMAIN/EXECUTION/NODE"),
    };
    let path = format!("cache/explain/{}/{}/{}/{}", part(project), part(domain), part(execution), part(node));
    let answer = target.get_json(&path, &[]).await?;
    if output == Format::Json {
        println!("{answer:#}");
        return Ok(());
    }
    let report: NodeReport =
        serde_json::from_value(answer).context("the server's answer is of another version")?;
    print!("{}", shown(&report));
    Ok(())
}

fn shown(report: &NodeReport) -> String {
    let mut out = format!("{}  task {}\n", report.node, report.task);
    let is_cached = if report.is_cached { "on" } else { "off" };
    let recorded = report.recorded.strip_prefix("CACHE_").unwrap_or(&report.recorded).to_lowercase();
    out += &format!("caching   {is_cached}; the engine noted: {recorded}\n");
    out += &format!("then      {}\n", report.then.text);
    out += &format!("now       {}\n", report.now.text);
    out += &format!("dataset   {}@{}\n", report.dataset, report.version);
    out += &format!("tag       {}\n", report.tag);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["FIELD", "VERDICT", "VALUE", "NEAREST ENTRY", "HASH"]);
    let fields = &report.then.explanation.fields;
    let word = |verdict| match verdict {
        Verdict::Same => "same",
        Verdict::Differs => "differs",
        Verdict::New => "new",
        Verdict::Gone => "gone",
        Verdict::Unknown => "unknown",
    };
    for field in fields.iter().filter(|it| !matches!(it.field, catalog::Field::Input(_))) {
        let (task, entry) = (field.task.clone(), field.entry.clone());
        table.add_row([field.field.to_string(), word(field.verdict).to_owned(), task, entry, String::new()]);
    }
    for input in &report.inputs {
        let is_it = |field: &catalog::Field| *field == catalog::Field::Input(input.name.clone());
        let verdict = fields.iter().find(|it| is_it(&it.field)).map(|it| word(it.verdict));
        let verdict = if input.counts { verdict.unwrap_or_default() } else { "ignored" };
        let hash = if input.own_hash.is_empty() {
            input.hash.clone()
        } else {
            format!("{} (of its own hash `{}`)", input.hash, input.own_hash)
        };
        table.add_row([
            format!("input `{}`", input.name),
            verdict.to_owned(),
            input.value.clone(),
            input.nearest.clone(),
            hash,
        ]);
    }
    out + &format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read() {
        for (text, seconds) in [("90s", 90), ("12h", 43_200), ("7d", 604_800), ("1h30m", 5_400)] {
            assert_eq!(age(text), Ok(seconds));
        }
        for text in ["", "d", "7", "-1h", "week"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
