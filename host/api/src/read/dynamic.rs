//! Finds the workflow that a node made at run time.

use blob::{Blob, DataReference};
use model::{NodeExecutionId, layout};
use proto::flyteidl::admin::{DynamicWorkflowNodeMetadata, NodeExecutionClosure};
use proto::flyteidl::core::CompiledWorkflowClosure;
use store::NodeExecutionRow;

use super::node_execution;
use crate::{context::decode, error::Result};

/// The object with the compiled form, beside the one with the tasks' own words.
pub(crate) const COMPILED: &str = "dynamic_compiled.pb";

/// Bytes that one reply may hold; clients take 20 MiB at most.
const MAX_COMPILED: u64 = 16 << 20;

/// The workflow that a node made; `None` while there is none. One too large for a reply is left out.
pub(crate) async fn workflow(
    blob: &Blob,
    id: &NodeExecutionId,
    row: &NodeExecutionRow,
) -> Result<Option<DynamicWorkflowNodeMetadata>> {
    let closure: NodeExecutionClosure = decode(&row.extra, "closure", id)?;
    if closure.dynamic_job_spec_uri.is_empty() && !node_execution::flag(row, store::NodeFlags::IS_DYNAMIC) {
        return Ok(None);
    }
    let Some(bytes) = compiled_bytes(blob, id, &closure.dynamic_job_spec_uri, MAX_COMPILED).await else {
        return Ok(None);
    };
    let compiled: CompiledWorkflowClosure = decode(&bytes, "dynamic workflow", id)?;
    let template = compiled.primary.as_ref().and_then(|primary| primary.template.as_ref());
    Ok(Some(DynamicWorkflowNodeMetadata {
        id: template.and_then(|template| template.id.clone()),
        compiled_workflow: Some(compiled),
        dynamic_job_spec_uri: closure.dynamic_job_spec_uri,
    }))
}

/// The compiled form as it is stored: beside the job spec, or, when an engine outside keeps that elsewhere, in the
/// node's own directory.
pub(crate) async fn compiled_bytes(
    blob: &Blob,
    id: &NodeExecutionId,
    job_spec_uri: &str,
    max: u64,
) -> Option<bytes::Bytes> {
    let beside = job_spec_uri.rsplit_once('/').map(|(dir, _)| format!("{dir}/{COMPILED}"));
    let own = blob.metadata_root().join(&format!("{}/{COMPILED}", layout::node_dir(id)));
    let places = beside.and_then(|uri| DataReference::parse(uri).ok()).into_iter().chain([own]);
    for place in places {
        match blob.get_limited(&place, max).await {
            Ok(bytes) => return Some(bytes),
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                let place = place.as_str();
                tracing::warn!(place, error = %crate::status::chain(&error), "cannot read a dynamic workflow");
            }
        }
    }
    None
}
