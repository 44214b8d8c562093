//! Turns task executions and outputs into rows of the catalog and back. Pure, but for the objects of large outputs.

use std::collections::BTreeMap;

use blob::{Blob, DataReference};
use bytes::Bytes;
use model::{ExecutionId, Timestamp};
use prost::Message;
use proto::datacatalog::{Artifact, Dataset, Metadata};
use proto::flyteidl::core;
use sha2::{Digest, Sha256};
use store::{CatalogArtifactRow, CatalogDatasetId, CatalogSource};

use crate::error::{Error, Result, decode};
use crate::key::DATASET_PREFIX;

/// Keys under which Flyte's engine notes where an artifact is from.
const TASK_VERSION: &str = "task-version";
const EXEC_PROJECT: &str = "exec-project";
const EXEC_DOMAIN: &str = "exec-domain";
const EXEC_NAME: &str = "execution-name";
const EXEC_NODE: &str = "exec-node";
const EXEC_ATTEMPT: &str = "exec-attempt";

/// What made outputs, as the rows name it.
pub(crate) fn source_of(id: &core::TaskExecutionIdentifier) -> CatalogSource {
    let node = id.node_execution_id.as_ref();
    let execution = node.and_then(|node| node.execution_id.as_ref());
    CatalogSource {
        execution: execution.map_or_else(
            || ExecutionId::new("", "", ""),
            |id| ExecutionId::new(&id.project, &id.domain, &id.name),
        ),
        node_id: node.map(|node| node.node_id.clone()).unwrap_or_default(),
        attempt: id.retry_attempt,
    }
}

/// Version of the task that made outputs.
pub(crate) fn task_version_of(id: &core::TaskExecutionIdentifier) -> String {
    id.task_id.as_ref().map(|task| task.version.clone()).unwrap_or_default()
}

/// The metadata by which Flyte's engine finds out where a dataset is from.
pub(crate) fn dataset_metadata(task_version: &str) -> Metadata {
    Metadata { key_map: [(TASK_VERSION.to_owned(), task_version.to_owned())].into() }
}

/// The metadata by which Flyte's engine finds out where an artifact is from.
pub(crate) fn artifact_metadata(source: &CatalogSource) -> Metadata {
    let CatalogSource { execution, node_id, attempt } = source;
    let entries = [
        (EXEC_PROJECT, execution.project.to_string()),
        (EXEC_DOMAIN, execution.domain.to_string()),
        (EXEC_NAME, execution.name.to_string()),
        (EXEC_NODE, node_id.clone()),
        (EXEC_ATTEMPT, attempt.to_string()),
    ];
    Metadata { key_map: entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect() }
}

/// Reads where an artifact is from, from the metadata that an engine outside gave it: source and task version.
pub(crate) fn source_in(
    dataset: &CatalogDatasetId,
    dataset_map: &BTreeMap<String, String>,
    artifact_map: &BTreeMap<String, String>,
) -> (CatalogSource, String) {
    let text = |key: &str| artifact_map.get(key).map(String::as_str);
    let name = text(EXEC_NAME).unwrap_or_default();
    let (project, domain) = (text(EXEC_PROJECT), text(EXEC_DOMAIN));
    let execution = if name.is_empty() {
        ExecutionId::new("", "", "")
    } else {
        ExecutionId::new(project.unwrap_or(&dataset.project), domain.unwrap_or(&dataset.domain), name)
    };
    let source = CatalogSource {
        execution,
        node_id: text(EXEC_NODE).unwrap_or_default().to_owned(),
        attempt: text(EXEC_ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or_default(),
    };
    let version = artifact_map.get(TASK_VERSION).or_else(|| dataset_map.get(TASK_VERSION));
    (source, version.cloned().unwrap_or_default())
}

/// An id that is the same whenever it is made of the same parts, in the form of a UUID.
pub(crate) fn stable_uuid(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut bytes: [u8; 16] = [0; 16];
    bytes.copy_from_slice(&hasher.finalize()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The id of the artifact that an attempt leaves under a key: the same when it is stored again after a crash.
pub(crate) fn artifact_id(key: &str, source: &CatalogSource) -> String {
    let CatalogSource { execution, node_id, attempt } = source;
    let attempt = attempt.to_string();
    stable_uuid(&[key, &execution.project, &execution.domain, &execution.name, node_id, &attempt])
}

/// The id of a dataset.
pub(crate) fn dataset_uuid(id: &CatalogDatasetId) -> String {
    stable_uuid(&[&id.org, &id.project, &id.domain, &id.name, &id.version])
}

/// What clients read of an entry.
pub(crate) fn metadata_of(row: &CatalogArtifactRow, tag: &str) -> core::CatalogMetadata {
    let dataset = &row.dataset;
    core::CatalogMetadata {
        dataset_id: Some(core::Identifier {
            resource_type: core::ResourceType::Dataset.into(),
            project: dataset.project.clone(),
            domain: dataset.domain.clone(),
            name: dataset.name.clone(),
            version: dataset.version.clone(),
            org: dataset.org.clone(),
        }),
        artifact_tag: Some(core::CatalogArtifactTag {
            artifact_id: row.artifact_id.clone(),
            name: tag.to_owned(),
        }),
        source_execution: Some(core::catalog_metadata::SourceExecution::SourceTaskExecution(source(row))),
    }
}

/// The task execution that made an entry.
fn source(row: &CatalogArtifactRow) -> core::TaskExecutionIdentifier {
    let CatalogSource { execution, node_id, attempt } = &row.source;
    let dataset = &row.dataset;
    core::TaskExecutionIdentifier {
        task_id: Some(core::Identifier {
            resource_type: core::ResourceType::Task.into(),
            project: dataset.project.clone(),
            domain: dataset.domain.clone(),
            name: dataset.name.strip_prefix(DATASET_PREFIX).unwrap_or(&dataset.name).to_owned(),
            version: row.task_version.clone(),
            org: dataset.org.clone(),
        }),
        node_execution_id: Some(core::NodeExecutionIdentifier {
            node_id: node_id.clone(),
            execution_id: Some(execution.to_proto()),
        }),
        retry_attempt: *attempt,
    }
}

/// `datacatalog.Artifact` as its row keeps it.
pub(crate) fn artifact_message(metadata: Metadata) -> Vec<u8> {
    Artifact { metadata: Some(metadata), ..Artifact::default() }.encode_to_vec()
}

/// `datacatalog.Dataset` as its row keeps it.
pub(crate) fn dataset_message(metadata: Metadata) -> Vec<u8> {
    Dataset { metadata: Some(metadata), ..Dataset::default() }.encode_to_vec()
}

/// A row for new outputs; [`Outputs::place`] says where they are.
pub(crate) fn row(
    dataset: CatalogDatasetId,
    artifact_id: String,
    source: CatalogSource,
    task_version: String,
    now: Timestamp,
) -> CatalogArtifactRow {
    let message = artifact_message(artifact_metadata(&source));
    CatalogArtifactRow {
        dataset,
        dataset_key: 0,
        artifact_id,
        created_at: now,
        updated_at: now,
        evicted_at: None,
        task_version,
        source,
        outputs_uri: String::new(),
        outputs_size: 0,
        fields: Vec::new(),
        message,
        outputs: Vec::new(),
    }
}

/// Where outputs are kept: in their row, or as an object under a name made of their content.
#[derive(Clone, Debug)]
pub(crate) struct Outputs {
    pub(crate) blob: Blob,
    pub(crate) prefix: String,
    pub(crate) max_inline: usize,
}

impl Outputs {
    /// Writes outputs that are too large for the row, and notes in the row where they are.
    pub(crate) async fn place(&self, row: &mut CatalogArtifactRow, outputs: &core::LiteralMap) -> Result<()> {
        let bytes = outputs.encode_to_vec();
        row.outputs_size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        if bytes.len() <= self.max_inline {
            (row.outputs_uri, row.outputs) = (String::new(), bytes);
            return Ok(());
        }
        let digest = hex::encode(&Sha256::digest(&bytes)[..8]);
        let reference = self.blob.reference(&format!("{}{digest}.pb", self.stem(row)))?;
        self.blob.put(&reference, Bytes::from(bytes)).await?;
        (row.outputs_uri, row.outputs) = (reference.as_str().to_owned(), Vec::new());
        Ok(())
    }

    /// Reads the outputs of a row. `None` when they are gone.
    pub(crate) async fn read(&self, row: &CatalogArtifactRow) -> Result<Option<core::LiteralMap>> {
        let what = "outputs";
        if row.outputs_uri.is_empty() {
            return decode(&row.outputs, what, &row.artifact_id).map(Some);
        }
        match self.blob.get(&DataReference::parse(row.outputs_uri.as_str())?).await {
            Ok(bytes) => decode(&bytes, what, &row.artifact_id).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(Error::Blob(error)),
        }
    }

    /// Removes the objects of rows that nothing refers to. Objects that are not of this room stay, such as the
    /// outputs that an engine outside named; so do those that can't be removed, with a line in the log.
    pub(crate) async fn remove(&self, rows: &[&CatalogArtifactRow]) {
        for row in rows {
            let Ok(reference) = DataReference::parse(row.outputs_uri.as_str()) else { continue };
            let is_own =
                reference.bucket() == self.blob.bucket() && reference.key().starts_with(&self.stem(row));
            if let Err(error) = if is_own { self.blob.delete(&reference).await } else { Ok(()) } {
                tracing::warn!(uri = row.outputs_uri, %error, "cannot remove outputs that nothing refers to");
            }
        }
    }

    /// What the keys of a row's objects start with.
    fn stem(&self, row: &CatalogArtifactRow) -> String {
        let name = stable_uuid(&[&dataset_uuid(&row.dataset), &row.artifact_id]);
        format!("{}/{}/{name}-", self.prefix.trim_matches('/'), &name[..2])
    }
}
