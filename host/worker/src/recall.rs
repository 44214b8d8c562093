//! Reads what became of the nodes of an execution that is recovered (execution.md A16).

use std::collections::HashMap;
use std::sync::Arc;

use engine::{NodePhase, Outcome, Recalled};
use model::ExecutionId;
use prost::Message;
use proto::flyteidl::admin::{NodeExecutionClosure, node_execution_closure::TargetMetadata};
use proto::flyteidl::core::{CatalogCacheStatus, node_execution::Phase};
use store::row::NodeOutcomeRow;

use crate::shared::Shared;

/// What a recovery knows beside what the engine needs.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// Clients' view of nodes that succeeded and that says more than where files are, by unique id:
    /// `admin.NodeExecutionClosure`.
    extras: HashMap<Box<str>, Vec<u8>>,
}

impl Remembered {
    /// Clients' view of a node that is taken over.
    pub(crate) fn extra(&self, node: &str) -> Option<&[u8]> {
        self.extras.get(node).map(Vec::as_slice)
    }
}

/// Reads the outcomes, page by page. Nothing when the old execution is not there any more.
pub(crate) async fn load(
    shared: &Shared,
    source: &ExecutionId,
) -> Result<(Arc<Recalled>, Remembered), store::Error> {
    let mut recalled = Recalled::default();
    let mut remembered = Remembered::default();
    let Some(row) = shared.store.execution_get(source).await? else {
        return Ok((Arc::new(recalled), remembered));
    };
    let mut pages = shared.store.node_outcomes(row.key);
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            return Ok((Arc::new(recalled), remembered));
        }
        for mut row in page {
            let id: Box<str> = std::mem::take(&mut row.node_id).into();
            let closure = NodeExecutionClosure::decode(row.extra.as_slice()).unwrap_or_default();
            let succeeded = matches!(Phase::try_from(row.phase), Ok(Phase::Succeeded | Phase::Recovered));
            if succeeded && says_more(&closure) {
                remembered.extras.insert(id.clone(), std::mem::take(&mut row.extra));
            }
            recalled.by_id.insert(id, outcome(row, closure));
        }
    }
}

/// Whether clients are to read this again of a node that is taken over.
fn says_more(closure: &NodeExecutionClosure) -> bool {
    match &closure.target_metadata {
        Some(TargetMetadata::TaskNodeMetadata(task)) => {
            task.cache_status() != CatalogCacheStatus::CacheDisabled
        }
        Some(TargetMetadata::WorkflowNodeMetadata(_)) => true,
        None => false,
    }
}

/// What a row tells. Only success counts, so the phases of engines outside are fine enough.
fn outcome(row: NodeOutcomeRow, closure: NodeExecutionClosure) -> Outcome {
    let spec_uri = closure.dynamic_job_spec_uri;
    let checkpoint = match closure.target_metadata {
        Some(TargetMetadata::TaskNodeMetadata(task)) => task.checkpoint_uri,
        Some(TargetMetadata::WorkflowNodeMetadata(_)) | None => String::new(),
    };
    Outcome {
        phase: match Phase::try_from(row.phase) {
            Ok(Phase::Succeeded) => NodePhase::Succeeded,
            Ok(Phase::Recovered) => NodePhase::Recovered,
            Ok(Phase::Skipped) => NodePhase::Skipped,
            Ok(_) | Err(_) => NodePhase::Failed,
        },
        attempt: u32::try_from(row.attempt).unwrap_or_default(),
        input_uri: row.input_uri.into(),
        output_uri: row.output_uri.into(),
        deck_uri: row.deck_uri.into(),
        spec_uri: (!spec_uri.is_empty()).then(|| spec_uri.into()),
        checkpoint_uri: checkpoint.into(),
    }
}
