//! Finds the workflow that a node made at run time.

use blob::{Blob, DataReference};
use bytes::Bytes;
use model::raw;
use model::{NodeExecutionId, layout};
use proto::flyteidl::admin::{DynamicWorkflowNodeMetadata, NodeExecutionClosure};
use store::NodeExecutionRow;

use super::node_execution;
use crate::{context::decode, error::Result};

/// The object with the compiled form, beside the one with the tasks' own words.
pub(crate) const COMPILED: &str = "dynamic_compiled.pb";

/// Bytes that one reply may hold; clients take 20 MiB at most.
const MAX_COMPILED: u64 = 16 << 20;

/// Numbers of the fields that lead to the id, from the outside: `primary`, `template`, `id`.
const ID: [u32; 3] = [1, 1, 1];

/// A workflow that a node made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dynamic {
    /// All but its compiled form.
    pub(crate) metadata: DynamicWorkflowNodeMetadata,
    /// `core.CompiledWorkflowClosure`, as it is stored.
    pub(crate) compiled: Bytes,
}

/// The workflow that a node made; `None` while there is none. One too large for a reply is left out.
pub(crate) async fn workflow(
    blob: &Blob,
    id: &NodeExecutionId,
    row: &NodeExecutionRow,
) -> Result<Option<Dynamic>> {
    let closure: NodeExecutionClosure = decode(&row.extra, "closure", id)?;
    if closure.dynamic_job_spec_uri.is_empty() && !node_execution::flag(row, store::NodeFlags::IS_DYNAMIC) {
        return Ok(None);
    }
    let Some(bytes) = compiled_bytes(blob, id, &closure.dynamic_job_spec_uri, MAX_COMPILED).await else {
        return Ok(None);
    };
    let workflow_id = raw::field_at(&bytes, &ID);
    let metadata = DynamicWorkflowNodeMetadata {
        id: Some(decode(&workflow_id, "dynamic workflow's id", id)?),
        compiled_workflow: None,
        dynamic_job_spec_uri: closure.dynamic_job_spec_uri,
    };
    Ok(Some(Dynamic { metadata, compiled: bytes }))
}

/// The compiled form as it is stored: beside the job spec, or, when an engine outside keeps that elsewhere, in the
/// node's own directory.
pub(crate) async fn compiled_bytes(
    blob: &Blob,
    id: &NodeExecutionId,
    job_spec_uri: &str,
    max: u64,
) -> Option<Bytes> {
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
