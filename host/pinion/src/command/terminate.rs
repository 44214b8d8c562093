//! `pinion terminate`: asks for the abort of an execution.

use anyhow::Result;
use clap::Args as ClapArgs;
use proto::flyteidl::admin::ExecutionTerminateRequest;
use tonic::metadata::MetadataValue;

use crate::client::{Target, explain};

/// Header that asks for an abort whose phase does not wait for the clean-up.
const FORCE: &str = "x-pinion-force";

/// What to abort, and how.
#[derive(ClapArgs, Clone, Debug)]
pub(crate) struct Args {
    /// Execution name.
    execution: String,
    /// Why; shown to everybody who looks at it.
    #[arg(long, default_value = "terminated by pinion terminate")]
    cause: String,
    /// Show it as aborted at once, and clean up behind; `pinion get debts` lists what is left to clean up.
    #[arg(long)]
    force: bool,
}

/// Asks; the server converges on it.
pub(crate) async fn run(target: &Target, args: &Args) -> Result<()> {
    let Args { execution, cause, force } = args;
    let id = Some(target.execution(execution));
    let mut request = tonic::Request::new(ExecutionTerminateRequest { id, cause: cause.clone() });
    if *force {
        request.metadata_mut().insert(FORCE, MetadataValue::from_static("true"));
    }
    target.connect().await?.terminate_execution(request).await.map_err(|status| explain(&status))?;
    if *force {
        println!("forced the abort of {execution}; `pinion get debts` shows what is still to clean up");
    } else {
        println!("asked for the abort of {execution}; `pinion watch {execution}` shows how it ends");
    }
    Ok(())
}
