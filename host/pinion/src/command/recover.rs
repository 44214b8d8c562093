//! `pinion recover`: runs an execution again without what succeeded in it, after showing what that means.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use comfy_table::{Table, presets};
use proto::flyteidl::admin::ExecutionRecoverRequest;
use serde_json::Value;

use crate::client::{Target, explain};
use crate::json_client::{part, text};

/// What to recover, and how.
#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct Args {
    /// Execution name.
    execution: String,
    /// Name of the new execution; generated if not given.
    #[arg(long, default_value = "")]
    name: String,
    /// Only show what would be reused and what would run.
    #[arg(long)]
    plan: bool,
    /// Show every node of the plan, also those that are reused.
    #[arg(long)]
    all: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

/// Shows the plan, asks, and recovers.
pub(crate) async fn run(target: &Target, args: &Args) -> Result<()> {
    let path =
        format!("recover-plan/{}/{}/{}", part(&target.project), part(&target.domain), part(&args.execution));
    let changes_only = if args.all { "false" } else { "true" };
    let plan = target.get_json(&path, &[("changes_only", changes_only)]).await?;
    print!("{}", shown(&plan, args.all));
    if args.plan {
        return Ok(());
    }
    if !args.yes && !confirmed(&args.execution)? {
        bail!("nothing was started");
    }
    let request = ExecutionRecoverRequest {
        id: Some(target.execution(&args.execution)),
        name: args.name.clone(),
        ..ExecutionRecoverRequest::default()
    };
    let reply = target.connect().await?.recover_execution(request).await;
    let id = reply.map_err(|status| explain(&status))?.into_inner().id.unwrap_or_default();
    println!("{} recovers {}; `pinion watch {}` follows it", id.name, args.execution, id.name);
    Ok(())
}

/// The plan as a table, and its sum.
fn shown(plan: &Value, all: bool) -> String {
    let mut out = String::new();
    let nodes = plan["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !nodes.is_empty() {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["NODE", "BELOW", "IS", "BECAUSE"]);
        for node in nodes {
            table.add_row([&node["node"], &node["parent"], &node["decision"], &node["because"]].map(text));
        }
        out = format!("{table}\n");
    }
    if plan["truncated"].as_bool().unwrap_or_default() {
        out.push_str("... and more\n");
    }
    let count = |decision: &str| plan["counts"][decision].as_u64().unwrap_or_default();
    let hint = if all || count("reused") == 0 { "" } else { " (--all lists them)" };
    out.push_str(&format!(
        "nodes: {} reused{hint}, {} gone through, {} run\n",
        count("reused"),
        count("continues"),
        count("runs")
    ));
    if plan["running"].as_bool().unwrap_or_default() {
        out.push_str(
            "the execution has not ended: what else it achieves is decided when the new one starts\n",
        );
    }
    out
}

fn confirmed(execution: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("this would recover {execution}; say --yes to do it without being asked");
    }
    print!("recover {execution}? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_shows_what_runs_and_why() {
        let plan = json!({
            "nodes": [{"node": "n1", "decision": "runs", "because": "it failed with E7"}],
            "counts": {"reused": 2, "runs": 1},
            "truncated": false,
            "running": true,
        });
        let found = shown(&plan, false);
        assert!(found.contains("n1") && found.contains("it failed with E7"), "{found}");
        assert!(found.contains("nodes: 2 reused (--all lists them), 0 gone through, 1 run"), "{found}");
        assert!(found.contains("has not ended"), "{found}");
        assert!(!shown(&plan, true).contains("--all"));
    }
}
