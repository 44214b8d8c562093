//! Stores what is cached and finds it again: many entries with few statements.

use std::collections::{BTreeMap, HashMap};

use model::Timestamp;

use crate::catalog_row::{
    artifact_cells, dataset_cells, push_artifact, push_dataset_is, read_artifact, read_dataset,
    select_datasets,
};
use crate::dialect::Tx;
use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::table::{OnConflict, Table};
use crate::{CatalogArtifactRow, CatalogDatasetId, CatalogDatasetRow, Result, Store};

/// An entry to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogPut {
    /// The entry's name in the store, made of dataset and tag.
    pub key: String,
    /// The tag by which it is found.
    pub tag: String,
    /// Whether it takes the place of one that is there.
    pub overwrite: bool,
    /// Unique id of the dataset, should this be its first entry.
    pub dataset_uuid: String,
    /// `datacatalog.Dataset` with metadata alone, should this be its first entry.
    pub dataset_message: Vec<u8>,
    /// The outputs and what made them.
    pub artifact: CatalogArtifactRow,
}

/// What became of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogStored {
    /// What is found under each key now, in the order of the keys, without outputs: the entry that was put, or the
    /// one that was there before.
    pub artifacts: Vec<CatalogArtifactRow>,
    /// What no tag finds any more, as it was; its outputs are not referred to by anything.
    pub dropped: Vec<CatalogArtifactRow>,
}

/// Most keys in one lookup statement.
const MAX_KEYS: usize = 2_000;

pub(crate) const DATASETS: Table = Table {
    name: "catalog_dataset",
    n_key: 5,
    fixed: &[],
    columns: &[
        ("project", Type::Text),
        ("domain", Type::Text),
        ("name", Type::Text),
        ("version", Type::Text),
        ("org", Type::Text),
        ("uuid", Type::Text),
        ("created_at", Type::Int),
        ("message", Type::Blob),
    ],
};

/// The columns of an artifact behind the key of its dataset.
pub(crate) const ARTIFACT_COLUMNS: [(&str, Type); 15] = [
    ("artifact_id", Type::Text),
    ("created_at", Type::Int),
    ("updated_at", Type::Int),
    ("evicted_at", Type::Int),
    ("task_version", Type::Text),
    ("source_project", Type::Text),
    ("source_domain", Type::Text),
    ("source_execution", Type::Text),
    ("source_node", Type::Text),
    ("source_attempt", Type::Int),
    ("outputs_uri", Type::Text),
    ("outputs_size", Type::Int),
    ("fields", Type::Blob),
    ("message", Type::Blob),
    ("outputs", Type::Blob),
];

const DATASET_TYPES: [Type; 5] = [Type::Text; 5];

/// Begins a statement with rows as `r` that start with the five parts of a dataset's name, and inserts into `table`
/// with the dataset's key in their place.
pub(crate) fn insert_of_datasets(
    tx: &Tx,
    table: &'static str,
    columns: &[(&'static str, Type)],
    rows: impl ExactSizeIterator<Item = Vec<Arg>>,
) -> Sql {
    let names = || columns.iter().map(|(name, _)| *name);
    let types: Vec<Type> = DATASET_TYPES.into_iter().chain(columns.iter().map(|(_, ty)| *ty)).collect();
    let mut sql = Sql::new("with r (d_project, d_domain, d_name, d_version, d_org, ");
    sql.push_list("", names()).push(") as (");
    tx.dialect().push_rows(&mut sql, &types, rows);
    sql.push(") insert into ").push(table).push(" (dataset_id, ").push_list("", names());
    sql.push(") select d.id, ").push_list("r.", names());
    sql.push(
        " from r join catalog_dataset d on d.project = r.d_project and d.domain = r.d_domain
         and d.name = r.d_name and d.version = r.d_version and d.org = r.d_org where true",
    );
    sql
}

/// Ends an insert: what is there under the same key is replaced.
fn push_replace(sql: &mut Sql, key: &'static str, columns: &[&'static str]) {
    sql.push(" on conflict (").push(key).push(") do update set ");
    for (n, name) in columns.iter().enumerate() {
        sql.push(if n > 0 { ", " } else { "" }).push(name).push(" = excluded.").push(name);
    }
}

async fn put(
    tx: &mut Tx,
    puts: Vec<CatalogPut>,
    stale_before: Option<Timestamp>,
    now: Timestamp,
) -> Result<CatalogStored> {
    let datasets: BTreeMap<&CatalogDatasetId, &CatalogPut> =
        puts.iter().map(|put| (&put.artifact.dataset, put)).collect();
    let rows = datasets.iter().map(|(id, put)| dataset_row(id, &put.dataset_uuid, now, &put.dataset_message));
    DATASETS.write(tx, rows.collect(), OnConflict::Keep).await?;

    let mut there = HashMap::new();
    let keys: Vec<&str> = puts.iter().map(|put| put.key.as_str()).collect();
    for keys in keys.chunks(MAX_KEYS) {
        let sql = lookup(tx.dialect(), keys, false);
        read_found(&tx.fetch(sql).await?, false, &mut there)?;
    }
    let is_live = |row: &CatalogArtifactRow| {
        row.evicted_at.is_none() && stale_before.is_none_or(|before| row.updated_at >= before)
    };
    // Of several entries under one key, the first counts, or the last that overwrites.
    let mut fresh: BTreeMap<&str, &CatalogPut> = BTreeMap::new();
    for put in &puts {
        let found = there.get(&put.key).is_some_and(is_live) || fresh.contains_key(put.key.as_str());
        if put.overwrite || !found {
            fresh.insert(&put.key, put);
        }
    }
    insert_artifacts(tx, fresh.values().map(|put| &put.artifact).collect()).await?;
    tag(tx, &fresh, now).await?;
    let replaced: Vec<CatalogArtifactRow> = fresh
        .iter()
        .filter_map(|(key, put)| there.remove(*key).filter(|old| old.artifact_id != put.artifact.artifact_id))
        .filter(|old| old.evicted_at.is_none())
        .collect();
    let dropped = retire(tx, &replaced, now).await?;
    let artifacts = puts
        .iter()
        .map(|put| {
            let new = fresh.get(put.key.as_str()).map(|put| &put.artifact);
            let mut row = new.or_else(|| there.get(&put.key)).unwrap_or(&put.artifact).clone();
            row.outputs.clear();
            row
        })
        .collect();
    Ok(CatalogStored { artifacts, dropped })
}

pub(crate) fn dataset_row(id: &CatalogDatasetId, uuid: &str, at: Timestamp, message: &[u8]) -> Vec<Arg> {
    let rest = [Arg::from(uuid), Arg::from(at), Arg::from(message)];
    dataset_cells(id).into_iter().chain(rest).collect()
}

async fn insert_artifacts(tx: &mut Tx, rows: Vec<&CatalogArtifactRow>) -> Result<()> {
    let mut rest = rows.as_slice();
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at(tx.dialect().chunk(rest.len()));
        rest = tail;
        let cells = chunk
            .iter()
            .map(|row| dataset_cells(&row.dataset).into_iter().chain(artifact_cells(row)).collect());
        let mut sql = insert_of_datasets(tx, "catalog_artifact", &ARTIFACT_COLUMNS, cells);
        let changing: Vec<&'static str> = ARTIFACT_COLUMNS.iter().skip(1).map(|(name, _)| *name).collect();
        push_replace(&mut sql, "dataset_id, artifact_id", &changing);
        tx.execute(sql).await?;
    }
    Ok(())
}

async fn tag(tx: &mut Tx, fresh: &BTreeMap<&str, &CatalogPut>, now: Timestamp) -> Result<()> {
    let columns =
        [("key", Type::Text), ("artifact_id", Type::Text), ("name", Type::Text), ("created_at", Type::Int)];
    let puts: Vec<&CatalogPut> = fresh.values().copied().collect();
    let mut rest = puts.as_slice();
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at(tx.dialect().chunk(rest.len()));
        rest = tail;
        let cells = chunk.iter().map(|put| {
            let rest = [
                Arg::from(&put.key),
                Arg::from(&put.artifact.artifact_id),
                Arg::from(&put.tag),
                Arg::from(now),
            ];
            dataset_cells(&put.artifact.dataset).into_iter().chain(rest).collect()
        });
        let mut sql = insert_of_datasets(tx, "catalog_tag", &columns, cells);
        push_replace(&mut sql, "key", &["dataset_id", "artifact_id", "name", "created_at"]);
        tx.execute(sql).await?;
    }
    Ok(())
}

/// Takes the outputs from artifacts that no tag finds any more, and says which they were.
pub(crate) async fn retire(
    tx: &mut Tx,
    rows: &[CatalogArtifactRow],
    now: Timestamp,
) -> Result<Vec<CatalogArtifactRow>> {
    const MAX_ROWS: usize = 64;
    let mut dropped = Vec::new();
    for rows in rows.chunks(MAX_ROWS) {
        let mut sql = Sql::new("update catalog_artifact set evicted_at = ");
        sql.push_arg(now).push(", outputs_uri = '', outputs = ").push_arg(&[][..]);
        sql.push(" where evicted_at is null and (");
        for (n, row) in rows.iter().enumerate() {
            sql.push(if n > 0 { " or " } else { "" }).push("(dataset_id = ").push_arg(row.dataset_key);
            sql.push(" and artifact_id = ").push_arg(&row.artifact_id).push(")");
        }
        sql.push(
            ") and not exists (select 1 from catalog_tag t where t.dataset_id = catalog_artifact.dataset_id
             and t.artifact_id = catalog_artifact.artifact_id) returning dataset_id, artifact_id",
        );
        for record in tx.fetch(sql).await? {
            let mut c = record.cursor();
            let (dataset, artifact) = (c.i64()?, c.text()?);
            let old = rows.iter().find(|row| row.dataset_key == dataset && row.artifact_id == artifact);
            dropped.extend(old.cloned());
        }
    }
    Ok(dropped)
}

fn lookup(dialect: crate::dialect::Dialect, keys: &[&str], with_outputs: bool) -> Sql {
    let mut sql = Sql::new("with r (key) as (");
    dialect.push_rows(&mut sql, &[Type::Text], keys.iter().map(|key| vec![Arg::from(*key)]));
    sql.push(") select t.key, ");
    push_artifact(&mut sql, with_outputs);
    sql.push(
        " from r join catalog_tag t on t.key = r.key
         join catalog_artifact a on a.dataset_id = t.dataset_id and a.artifact_id = t.artifact_id
         join catalog_dataset d on d.id = t.dataset_id",
    );
    sql
}

fn read_found(
    records: &[Record],
    with_outputs: bool,
    found: &mut HashMap<String, CatalogArtifactRow>,
) -> Result<()> {
    for record in records {
        let mut c = record.cursor();
        found.insert(c.text()?, read_artifact(&mut c, with_outputs)?);
    }
    Ok(())
}

impl Store {
    /// Stores entries. One that is there stays unless the new one overwrites, or it is evicted, or its outputs are
    /// of before `stale_before`.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_put(
        &self,
        puts: Vec<CatalogPut>,
        stale_before: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<CatalogStored> {
        if puts.is_empty() {
            return Ok(CatalogStored::default());
        }
        self.write(move |tx| Box::pin(put(tx, puts, stale_before, now))).await
    }

    /// Finds entries by their keys, evicted ones too; a key under which there never was one is left out.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_lookup(&self, keys: &[&str]) -> Result<HashMap<String, CatalogArtifactRow>> {
        let mut found = HashMap::with_capacity(keys.len());
        for keys in keys.chunks(MAX_KEYS) {
            let records = self.fetch(lookup(self.dialect(), keys, true)).await?;
            read_found(&records, true, &mut found)?;
        }
        Ok(found)
    }

    /// The newest artifacts of a dataset that are not evicted, without their outputs.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_newest(
        &self,
        dataset: &CatalogDatasetId,
        limit: u32,
    ) -> Result<Vec<CatalogArtifactRow>> {
        let mut sql = Sql::new("select ");
        push_artifact(&mut sql, false);
        sql.push(" from catalog_dataset d join catalog_artifact a on a.dataset_id = d.id where ");
        push_dataset_is(&mut sql, dataset);
        sql.push(" and a.evicted_at is null order by a.created_at desc, a.id desc limit ").push_arg(limit);
        self.fetch(sql).await?.iter().map(|record| read_artifact(&mut record.cursor(), false)).collect()
    }

    /// The newest datasets of the same name as this one, in whatever version.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_versions(
        &self,
        dataset: &CatalogDatasetId,
        limit: u32,
    ) -> Result<Vec<CatalogDatasetRow>> {
        let mut sql = select_datasets();
        sql.push("d.project = ")
            .push_arg(&dataset.project)
            .push(" and d.domain = ")
            .push_arg(&dataset.domain);
        sql.push(" and d.name = ").push_arg(&dataset.name).push(" and d.org = ").push_arg(&dataset.org);
        sql.push(" order by d.created_at desc, d.id desc limit ").push_arg(limit);
        self.fetch(sql).await?.iter().map(read_dataset).collect()
    }
}
