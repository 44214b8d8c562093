//! `pinion get`: lists what is registered and what runs.

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};
use comfy_table::Table;
use comfy_table::presets;
use proto::flyteidl::admin::{
    NamedEntityIdentifier, ProjectListRequest, ResourceListRequest, Sort, WorkflowExecutionGetDataRequest,
    WorkflowExecutionGetRequest, sort,
};
use proto::flyteidl::core::Identifier;
use serde_json::{Value, json};

use crate::client::{Target, explain};
use crate::json_client::{moment, part, text};
use crate::literal;
use crate::phase::{self, Word};

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// What to get.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum What {
    /// Executions, newest first.
    Executions {
        /// Most to show.
        #[arg(long, default_value_t = 25)]
        limit: u32,
        /// Filter expression, for example `eq(phase,FAILED)`.
        #[arg(long, default_value = "")]
        filter: String,
    },
    /// One execution.
    Execution {
        /// Its name.
        name: String,
        /// Print inputs too.
        #[arg(long)]
        inputs: bool,
        /// Print outputs too.
        #[arg(long)]
        outputs: bool,
        /// Print what attributes and configuration settled about it too: queue, cluster, resources, plugins.
        #[arg(long)]
        settings: bool,
    },
    /// Nodes of an execution.
    Nodes {
        /// Execution name.
        name: String,
    },
    /// Registered tasks, newest first.
    Tasks,
    /// Registered workflows, newest first.
    Workflows,
    /// Registered launch plans, newest first.
    Launchplans,
    /// Projects and their domains.
    Projects,
    /// Executions of all projects that ended and still have something to clean up, oldest first.
    Debts,
}

/// Prints what was asked for.
pub(crate) async fn run(target: &Target, what: &What, format: Format) -> Result<()> {
    match what {
        What::Executions { limit, filter } => executions(target, *limit, filter, format).await,
        What::Execution { name, inputs, outputs, settings } => {
            execution(target, name, (*inputs, *outputs, *settings), format).await
        }
        What::Nodes { name } => nodes(target, name, format).await,
        What::Tasks | What::Workflows | What::Launchplans => entities(target, what, format).await,
        What::Projects => projects(target, format).await,
        What::Debts => debts(target, format).await,
    }
}

fn newest_first() -> Option<Sort> {
    Some(Sort { key: "created_at".into(), direction: sort::Direction::Descending.into() })
}

fn scope(target: &Target) -> Option<NamedEntityIdentifier> {
    Some(NamedEntityIdentifier {
        project: target.project.clone(),
        domain: target.domain.clone(),
        ..Default::default()
    })
}

async fn executions(target: &Target, limit: u32, filter: &str, format: Format) -> Result<()> {
    let request = ResourceListRequest {
        id: scope(target),
        limit: limit.max(1),
        filters: filter.to_owned(),
        sort_by: newest_first(),
        ..Default::default()
    };
    let list = target.connect().await?.list_executions(request).await.map_err(|status| explain(&status))?;
    let mut rows = Rows::new(&["NAME", "WORKFLOW", "PHASE", "STARTED", "DURATION"]);
    for execution in list.into_inner().executions {
        let closure = execution.closure.unwrap_or_default();
        rows.add([
            execution.id.map(|id| id.name).unwrap_or_default(),
            closure.workflow_id.as_ref().map(|id| id.name.clone()).unwrap_or_default(),
            closure.phase().word(),
            phase::moment(closure.started_at.as_ref()),
            closure.duration.as_ref().map(phase::duration).unwrap_or_default(),
        ]);
    }
    rows.print(format)
}

async fn execution(
    target: &Target,
    name: &str,
    (inputs, outputs, settings): (bool, bool, bool),
    format: Format,
) -> Result<()> {
    let mut client = target.connect().await?;
    let id = Some(target.execution(name));
    let request = WorkflowExecutionGetRequest { id: id.clone() };
    let execution = client.get_execution(request).await.map_err(|status| explain(&status))?.into_inner();
    let closure = execution.closure.unwrap_or_default();
    let mut value = json!({
        "name": name,
        "workflow": closure.workflow_id.as_ref().map(|id| format!("{}@{}", id.name, id.version)),
        "phase": closure.phase().word(),
        "started": phase::moment(closure.started_at.as_ref()),
        "duration": closure.duration.as_ref().map(phase::duration),
    });
    if inputs || outputs {
        let request = WorkflowExecutionGetDataRequest { id };
        let data = client.get_execution_data(request).await.map_err(|status| explain(&status))?.into_inner();
        if inputs {
            value["inputs"] = literal::map_to_json(&data.full_inputs.unwrap_or_default());
        }
        if outputs {
            value["outputs"] = literal::map_to_json(&data.full_outputs.unwrap_or_default());
        }
    }
    if settings {
        let path = format!("settings/{}/{}/{}", part(&target.project), part(&target.domain), part(name));
        let mut found = target.get_json(&path, &[]).await?;
        if let (Format::Table, Some(settings)) = (format, found.as_object_mut()) {
            settings.retain(|_, value| !says_nothing(value));
        }
        value["settings"] = found;
    }
    if format == Format::Json {
        println!("{value:#}");
        return Ok(());
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::String(text) => println!("{key:<10} {text}"),
            Value::Object(map) => {
                println!("{key}:");
                for (name, value) in map {
                    println!("  {name:<10} {value}");
                }
            }
            other => println!("{key:<10} {other}"),
        }
    }
    Ok(())
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

async fn nodes(target: &Target, name: &str, format: Format) -> Result<()> {
    let mut client = target.connect().await?;
    let mut rows = Rows::new(&["NODE", "PHASE", "STARTED", "DURATION", "CACHE", "ERROR"]);
    for node in super::watch::list(&mut client, target, name).await? {
        let closure = node.closure.unwrap_or_default();
        let error = match &closure.output_result {
            Some(proto::flyteidl::admin::node_execution_closure::OutputResult::Error(error)) => {
                error.code.clone()
            }
            _ => String::new(),
        };
        rows.add([
            node.id.map(|id| id.node_id).unwrap_or_default(),
            closure.phase().word(),
            phase::moment(closure.started_at.as_ref()),
            closure.duration.as_ref().map(phase::duration).unwrap_or_default(),
            phase::cache(&closure).unwrap_or_default(),
            error,
        ]);
    }
    rows.print(format)
}

async fn entities(target: &Target, what: &What, format: Format) -> Result<()> {
    let mut client = target.connect().await?;
    let request =
        ResourceListRequest { id: scope(target), limit: 100, sort_by: newest_first(), ..Default::default() };
    type Found = (Option<Identifier>, Option<prost_types::Timestamp>);
    let found: Vec<Found> = match what {
        What::Tasks => {
            let list = client.list_tasks(request).await.map_err(|status| explain(&status))?.into_inner();
            list.tasks.into_iter().map(|it| (it.id, it.closure.and_then(|c| c.created_at))).collect()
        }
        What::Workflows => {
            let list = client.list_workflows(request).await.map_err(|status| explain(&status))?.into_inner();
            list.workflows.into_iter().map(|it| (it.id, it.closure.and_then(|c| c.created_at))).collect()
        }
        What::Launchplans => {
            let list =
                client.list_launch_plans(request).await.map_err(|status| explain(&status))?.into_inner();
            list.launch_plans.into_iter().map(|it| (it.id, it.closure.and_then(|c| c.created_at))).collect()
        }
        What::Executions { .. }
        | What::Execution { .. }
        | What::Nodes { .. }
        | What::Projects
        | What::Debts => bail!("not a registered entity"),
    };
    let mut rows = Rows::new(&["NAME", "VERSION", "CREATED"]);
    for (id, created_at) in found {
        let id = id.unwrap_or_default();
        rows.add([id.name, id.version, phase::moment(created_at.as_ref())]);
    }
    rows.print(format)
}

async fn projects(target: &Target, format: Format) -> Result<()> {
    let list = target.connect().await?.list_projects(ProjectListRequest::default()).await;
    let mut rows = Rows::new(&["ID", "NAME", "DOMAINS"]);
    for project in list.map_err(|status| explain(&status))?.into_inner().projects {
        let domains: Vec<String> = project.domains.into_iter().map(|domain| domain.id).collect();
        rows.add([project.id, project.name, domains.join(", ")]);
    }
    rows.print(format)
}

async fn debts(target: &Target, format: Format) -> Result<()> {
    let found = target.get_json("debts", &[]).await?;
    let mut rows = Rows::new(&["EXECUTION", "PROJECT", "DOMAIN", "PHASE", "ENDED", "FORCED", "CAUSE"]);
    for debt in found["debts"].as_array().into_iter().flatten() {
        rows.add([
            text(&debt["name"]).to_owned(),
            text(&debt["project"]).to_owned(),
            text(&debt["domain"]).to_owned(),
            text(&debt["phase"]).to_lowercase(),
            moment(&debt["ended_at"]),
            if debt["forced"].as_bool().unwrap_or_default() { "yes" } else { "no" }.to_owned(),
            text(&debt["cause"]).to_owned(),
        ]);
    }
    rows.print(format)
}

/// A table on its way out.
struct Rows {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Rows {
    fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    fn add<const N: usize>(&mut self, row: [String; N]) {
        self.rows.push(row.into());
    }

    fn print(self, format: Format) -> Result<()> {
        if format == Format::Json {
            let rows: Vec<Value> = self
                .rows
                .into_iter()
                .map(|row| {
                    let pairs = self.header.iter().zip(row);
                    pairs.map(|(key, value)| (key.to_lowercase(), Value::from(value))).collect()
                })
                .collect();
            println!("{:#}", Value::from(rows));
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(self.header);
        table.add_rows(self.rows);
        println!("{table}");
        Ok(())
    }
}
