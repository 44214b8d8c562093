//! Shapes of the catalog's rows: datasets, artifacts, tags, uses.

use model::{ExecutionId, Timestamp};

use crate::Result;
use crate::record::{Cursor, Record};
use crate::sql::{Arg, Sql};

/// The name of a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CatalogDatasetId {
    /// Project.
    pub project: String,
    /// Domain.
    pub domain: String,
    /// `flyte_task-<task name>`, or whatever an engine outside says.
    pub name: String,
    /// Cache version and interface hashes.
    pub version: String,
    /// Organisation; usually empty.
    pub org: String,
}

impl std::fmt::Display for CatalogDatasetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}@{}", self.project, self.domain, self.name, self.version)
    }
}

/// A dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogDatasetRow {
    /// Its name.
    pub id: CatalogDatasetId,
    /// Key inside the database; 0 in a row that is not yet inserted.
    pub key: i64,
    /// Unique id for clients.
    pub uuid: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// `datacatalog.Dataset` with metadata and partition keys alone.
    pub message: Vec<u8>,
}

/// The attempt that made an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CatalogSource {
    /// Its execution; its name is empty where an engine outside did not say.
    pub execution: ExecutionId,
    /// Unique id of its node.
    pub node_id: String,
    /// The attempt, from 0.
    pub attempt: u32,
}

/// The outputs of one task execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogArtifactRow {
    /// Where it belongs.
    pub dataset: CatalogDatasetId,
    /// Key of the dataset inside the database; 0 in a row that is not yet inserted.
    pub dataset_key: i64,
    /// Its id, unique in the dataset.
    pub artifact_id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its outputs were last replaced.
    pub updated_at: Timestamp,
    /// When it was evicted or replaced by another; its outputs are gone then.
    pub evicted_at: Option<Timestamp>,
    /// Version of the task that made it.
    pub task_version: String,
    /// What made it.
    pub source: CatalogSource,
    /// Where the outputs are; empty when the row holds them.
    pub outputs_uri: String,
    /// Size of the encoded outputs in bytes.
    pub outputs_size: i64,
    /// The fields of its key, as the `catalog` room encodes them; empty where an engine outside made it.
    pub fields: Vec<u8>,
    /// `datacatalog.Artifact` with metadata and partitions alone.
    pub message: Vec<u8>,
    /// `core.LiteralMap`; empty when `outputs_uri` says where it is, and in lists.
    pub outputs: Vec<u8>,
}

/// A tag of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogTagRow {
    /// The entry's name in the store, made of dataset and tag.
    pub key: String,
    /// Key of the dataset.
    pub dataset_key: i64,
    /// The artifact.
    pub artifact_id: String,
    /// The tag.
    pub name: String,
}

/// A node that took an artifact instead of computing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogUseRow {
    /// Where the artifact belongs.
    pub dataset: CatalogDatasetId,
    /// The artifact.
    pub artifact_id: String,
    /// The execution that took it.
    pub execution: ExecutionId,
    /// Unique id of the node that took it.
    pub node_id: String,
    /// When.
    pub used_at: Timestamp,
}

/// Columns of a dataset `d` that [`read_dataset_id`] reads.
const DATASET: &[&str] = &["project", "domain", "name", "version", "org"];

/// Columns of an artifact `a` that [`read_artifact`] reads, but for its outputs.
const ARTIFACT: &[&str] = &[
    "dataset_id",
    "artifact_id",
    "created_at",
    "updated_at",
    "evicted_at",
    "task_version",
    "source_project",
    "source_domain",
    "source_execution",
    "source_node",
    "source_attempt",
    "outputs_uri",
    "outputs_size",
    "fields",
    "message",
];

/// Appends the columns of artifacts `a` and their datasets `d`.
pub(crate) fn push_artifact(sql: &mut Sql, with_outputs: bool) {
    sql.push_list("d.", DATASET.iter().copied()).push(", ").push_list("a.", ARTIFACT.iter().copied());
    if with_outputs {
        sql.push(", a.outputs");
    }
}

pub(crate) fn read_dataset_id(c: &mut Cursor<'_>) -> Result<CatalogDatasetId> {
    Ok(CatalogDatasetId {
        project: c.text()?,
        domain: c.text()?,
        name: c.text()?,
        version: c.text()?,
        org: c.text()?,
    })
}

pub(crate) fn read_artifact(c: &mut Cursor<'_>, with_outputs: bool) -> Result<CatalogArtifactRow> {
    Ok(CatalogArtifactRow {
        dataset: read_dataset_id(c)?,
        dataset_key: c.i64()?,
        artifact_id: c.text()?,
        created_at: c.time()?,
        updated_at: c.time()?,
        evicted_at: c.opt_time()?,
        task_version: c.text()?,
        source: CatalogSource { execution: c.execution_id()?, node_id: c.text()?, attempt: c.u32()? },
        outputs_uri: c.text()?,
        outputs_size: c.i64()?,
        fields: c.blob()?,
        message: c.blob()?,
        outputs: if with_outputs { c.blob()? } else { Vec::new() },
    })
}

pub(crate) fn read_dataset(record: &Record) -> Result<CatalogDatasetRow> {
    let mut c = record.cursor();
    Ok(CatalogDatasetRow {
        id: read_dataset_id(&mut c)?,
        key: c.i64()?,
        uuid: c.text()?,
        created_at: c.time()?,
        message: c.blob()?,
    })
}

/// A `select` of datasets as `d` that ends with `where`.
pub(crate) fn select_datasets() -> Sql {
    let mut sql = Sql::new("select ");
    sql.push_list("d.", DATASET.iter().copied());
    sql.push(", d.id, d.uuid, d.created_at, d.message from catalog_dataset d where ");
    sql
}

/// Appends the condition that names one dataset `d`.
pub(crate) fn push_dataset_is(sql: &mut Sql, id: &CatalogDatasetId) {
    sql.push("d.project = ").push_arg(&id.project).push(" and d.domain = ").push_arg(&id.domain);
    sql.push(" and d.name = ").push_arg(&id.name).push(" and d.version = ").push_arg(&id.version);
    sql.push(" and d.org = ").push_arg(&id.org);
}

pub(crate) fn dataset_cells(id: &CatalogDatasetId) -> [Arg; 5] {
    [&id.project, &id.domain, &id.name, &id.version, &id.org].map(Arg::from)
}

/// The cells of an artifact's row behind the key of its dataset.
pub(crate) fn artifact_cells(row: &CatalogArtifactRow) -> Vec<Arg> {
    let execution = &row.source.execution;
    vec![
        Arg::from(&row.artifact_id),
        Arg::from(row.created_at),
        Arg::from(row.updated_at),
        Arg::from(row.evicted_at),
        Arg::from(&row.task_version),
        Arg::from(&*execution.project),
        Arg::from(&*execution.domain),
        Arg::from(&*execution.name),
        Arg::from(&row.source.node_id),
        Arg::from(row.source.attempt),
        Arg::from(&row.outputs_uri),
        Arg::from(row.outputs_size),
        Arg::from(&row.fields),
        Arg::from(&row.message),
        Arg::from(&row.outputs),
    ]
}
