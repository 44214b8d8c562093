//! `pinion logs`: prints what the tasks of a node wrote, following the log links the server shows to every client.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use proto::flyteidl::admin::{TaskExecution, TaskExecutionListRequest};
use proto::flyteidl::core::task_execution;
use proto::flyteidl::service::admin_service_client::AdminServiceClient;
use tonic::transport::Channel;

use crate::client::{Target, explain};

const INTERVAL: Duration = Duration::from_millis(300);

/// Which log.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Execution name.
    execution: String,
    /// Node id, as `pinion watch` shows it.
    node: String,
    /// Attempt, from 0; the last one by default.
    #[arg(long)]
    attempt: Option<u32>,
    /// Go on until the attempt ends.
    #[arg(short, long)]
    follow: bool,
}

/// Prints the log.
pub(crate) async fn run(target: &Target, args: &Args) -> Result<()> {
    let mut client = target.connect().await?;
    let mut printed = 0usize;
    loop {
        let tasks = attempts(&mut client, target, args).await?;
        let wanted = |task: &&TaskExecution| {
            let attempt = task.id.as_ref().map_or(0, |id| id.retry_attempt);
            args.attempt.is_none_or(|wanted| wanted == attempt)
        };
        let task = tasks
            .iter()
            .filter(wanted)
            .max_by_key(|task| task.id.as_ref().map_or(0, |id| id.retry_attempt))
            .with_context(|| format!("node {} of {} has no such attempt", args.node, args.execution))?;
        let closure = task.closure.clone().unwrap_or_default();
        if closure.logs.is_empty() && !args.follow {
            bail!(
                "node {} has written no log yet (its task is {})",
                args.node,
                closure.phase().as_str_name().to_lowercase()
            );
        }
        if let Some(link) = closure.logs.first() {
            let text = fetch(&link.uri).await?;
            let new = text.get(printed..).unwrap_or_default();
            let mut out = std::io::stdout().lock();
            out.write_all(new)?;
            out.flush()?;
            printed = text.len();
        }
        use task_execution::Phase;
        let ended = matches!(closure.phase(), Phase::Succeeded | Phase::Failed | Phase::Aborted);
        if !args.follow || ended {
            return Ok(());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn attempts(
    client: &mut AdminServiceClient<Channel>,
    target: &Target,
    args: &Args,
) -> Result<Vec<TaskExecution>> {
    let request = TaskExecutionListRequest {
        node_execution_id: Some(target.node(&args.execution, &args.node)),
        limit: 1000,
        ..Default::default()
    };
    let answer = client.list_task_executions(request).await.map_err(|status| explain(&status))?;
    Ok(answer.into_inner().task_executions)
}

async fn fetch(uri: &str) -> Result<Vec<u8>> {
    let answer = reqwest::get(uri).await.with_context(|| format!("cannot read the log at {uri}"))?;
    if !answer.status().is_success() {
        bail!("the log at {uri} answers {}", answer.status());
    }
    Ok(answer.bytes().await.with_context(|| format!("cannot read the log at {uri}"))?.to_vec())
}
