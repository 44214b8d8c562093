//! `pinion terminate`: asks for the abort of an execution.

use anyhow::Result;
use proto::flyteidl::admin::ExecutionTerminateRequest;

use crate::client::{Target, explain};

/// Asks; the server converges on it.
pub(crate) async fn run(target: &Target, name: &str, cause: &str) -> Result<()> {
    let request = ExecutionTerminateRequest { id: Some(target.execution(name)), cause: cause.to_owned() };
    target.connect().await?.terminate_execution(request).await.map_err(|status| explain(&status))?;
    println!("asked for the abort of {name}; `pinion watch {name}` shows how it ends");
    Ok(())
}
