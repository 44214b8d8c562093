//! Stores datasets, and artifacts and tags one by one, as engines outside make them.

use model::Timestamp;

use crate::catalog_entry::{ARTIFACT_COLUMNS, DATASETS, dataset_row, insert_of_datasets};
use crate::catalog_row::{
    artifact_cells, dataset_cells, push_artifact, push_dataset_is, read_artifact, read_dataset,
    select_datasets,
};
use crate::dialect::Tx;
use crate::sql::{Arg, Sql, Type};
use crate::table::OnConflict;
use crate::{CatalogArtifactRow, CatalogDatasetId, CatalogDatasetRow, CatalogPage, Error, Result, Store};

/// Finds the artifact of this name, evicted ones too.
async fn find(tx: &mut Tx, dataset: &CatalogDatasetId, artifact: &str) -> Result<Option<CatalogArtifactRow>> {
    let mut sql = Sql::new("select ");
    push_artifact(&mut sql, false);
    sql.push(" from catalog_dataset d join catalog_artifact a on a.dataset_id = d.id where ");
    push_dataset_is(&mut sql, dataset);
    sql.push(" and a.artifact_id = ").push_arg(artifact);
    let record = tx.fetch_optional(sql).await?;
    record.map(|record| read_artifact(&mut record.cursor(), false)).transpose()
}

async fn insert(tx: &mut Tx, row: CatalogArtifactRow, partitions: Vec<(String, String)>) -> Result<()> {
    let mut dataset = select_datasets();
    push_dataset_is(&mut dataset, &row.dataset);
    if tx.fetch_optional(dataset).await?.is_none() {
        return Err(Error::NotFound { what: "dataset", id: row.dataset.to_string() });
    }
    let cells = vec![dataset_cells(&row.dataset).into_iter().chain(artifact_cells(&row)).collect()];
    let mut sql = insert_of_datasets(tx, "catalog_artifact", &ARTIFACT_COLUMNS, cells.into_iter());
    // One that was evicted makes room for another of its name.
    sql.push(" on conflict (dataset_id, artifact_id) do update set ");
    for (n, (name, _)) in ARTIFACT_COLUMNS.iter().skip(1).enumerate() {
        sql.push(if n > 0 { ", " } else { "" }).push(name).push(" = excluded.").push(name);
    }
    sql.push(" where catalog_artifact.evicted_at is not null");
    if tx.execute(sql).await? == 0 {
        return Err(Error::Exists { what: "artifact", id: row.artifact_id });
    }
    if !partitions.is_empty() {
        let columns = [("artifact_id", Type::Text), ("key", Type::Text), ("value", Type::Text)];
        let cells: Vec<Vec<Arg>> = partitions
            .iter()
            .map(|(key, value)| {
                let rest = [Arg::from(&row.artifact_id), Arg::from(key), Arg::from(value)];
                dataset_cells(&row.dataset).into_iter().chain(rest).collect()
            })
            .collect();
        let mut rest = cells.as_slice();
        while !rest.is_empty() {
            let (chunk, tail) = rest.split_at(tx.dialect().chunk(rest.len()));
            rest = tail;
            let mut sql = insert_of_datasets(tx, "catalog_partition", &columns, chunk.iter().cloned());
            sql.push(" on conflict (dataset_id, artifact_id, key) do update set value = excluded.value");
            tx.execute(sql).await?;
        }
    }
    Ok(())
}

/// What an engine outside wants to tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogTagging {
    /// The entry's name in the store.
    pub key: String,
    /// The dataset.
    pub dataset: CatalogDatasetId,
    /// The artifact.
    pub artifact_id: String,
    /// The tag.
    pub name: String,
    /// Current time.
    pub now: Timestamp,
}

async fn tag(tx: &mut Tx, tagging: CatalogTagging) -> Result<()> {
    let CatalogTagging { key, dataset, artifact_id, name, now } = tagging;
    let artifact = find(tx, &dataset, &artifact_id).await?;
    let Some(artifact) = artifact.filter(|row| row.evicted_at.is_none()) else {
        return Err(Error::NotFound { what: "artifact", id: artifact_id });
    };
    // A tag of an artifact that was evicted is free.
    let sql = Sql::new(
        "insert into catalog_tag (key, dataset_id, artifact_id, name, created_at) values ($1, $2, $3, $4, $5)
         on conflict (key) do update set dataset_id = excluded.dataset_id,
         artifact_id = excluded.artifact_id, created_at = excluded.created_at
         where exists (select 1 from catalog_artifact a where a.dataset_id = catalog_tag.dataset_id
         and a.artifact_id = catalog_tag.artifact_id and a.evicted_at is not null)",
    )
    .bind(&key)
    .bind(artifact.dataset_key)
    .bind(&artifact_id)
    .bind(&name)
    .bind(now);
    if tx.execute(sql).await? == 0 {
        return Err(Error::Exists { what: "tag", id: name });
    }
    Ok(())
}

async fn replace(tx: &mut Tx, row: CatalogArtifactRow) -> Result<CatalogArtifactRow> {
    let missing = || Error::NotFound { what: "artifact", id: row.artifact_id.clone() };
    let old = find(tx, &row.dataset, &row.artifact_id).await?;
    let old = old.filter(|old| old.evicted_at.is_none()).ok_or_else(missing)?;
    let mut sql = Sql::new("update catalog_artifact set ");
    let cells = artifact_cells(&row).into_iter().zip(ARTIFACT_COLUMNS);
    let changing = cells.filter(|(_, (name, _))| !matches!(*name, "artifact_id" | "evicted_at"));
    for (n, (cell, (name, _))) in changing.enumerate() {
        sql.push(if n > 0 { ", " } else { "" }).push(name).push(" = ").push_arg(cell);
    }
    sql.push(" where dataset_id = ").push_arg(old.dataset_key);
    sql.push(" and artifact_id = ").push_arg(&row.artifact_id);
    tx.execute(sql).await?;
    Ok(old)
}

impl Store {
    /// Makes a dataset; whether it is new.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_dataset_insert(&self, row: CatalogDatasetRow) -> Result<bool> {
        let cells = dataset_row(&row.id, &row.uuid, row.created_at, &row.message);
        self.write(move |tx| {
            Box::pin(async move {
                let sql = DATASETS.insert(tx.dialect(), [cells].into_iter(), OnConflict::Keep);
                Ok(tx.execute(sql).await? == 1)
            })
        })
        .await
    }

    /// Reads a dataset.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_dataset_get(&self, id: &CatalogDatasetId) -> Result<Option<CatalogDatasetRow>> {
        let mut sql = select_datasets();
        push_dataset_is(&mut sql, id);
        self.fetch_optional(sql).await?.as_ref().map(read_dataset).transpose()
    }

    /// Lists datasets, newest first unless the page says otherwise. Empty texts of the filter mean all.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_dataset_list(
        &self,
        filter: &CatalogDatasetId,
        page: CatalogPage,
    ) -> Result<Vec<CatalogDatasetRow>> {
        let mut sql = select_datasets();
        sql.push("true");
        for (condition, value) in [
            (" and d.project = ", &filter.project),
            (" and d.domain = ", &filter.domain),
            (" and d.name = ", &filter.name),
            (" and d.version = ", &filter.version),
            (" and d.org = ", &filter.org),
        ] {
            if !value.is_empty() {
                sql.push(condition).push_arg(value);
            }
        }
        sql.push(if page.ascending {
            " order by d.created_at, d.id"
        } else {
            " order by d.created_at desc, d.id desc"
        });
        let limit = if page.limit == 0 { i64::MAX } else { i64::from(page.limit) };
        sql.push(" limit ").push_arg(limit);
        sql.push(" offset ").push_arg(i64::try_from(page.offset).unwrap_or(i64::MAX));
        self.fetch(sql).await?.iter().map(read_dataset).collect()
    }

    /// Makes an artifact in a dataset that is there.
    ///
    /// # Errors
    /// [`Error::NotFound`] without the dataset, [`Error::Exists`], or the database.
    pub async fn catalog_artifact_insert(
        &self,
        row: CatalogArtifactRow,
        partitions: Vec<(String, String)>,
    ) -> Result<()> {
        self.write(move |tx| Box::pin(insert(tx, row, partitions))).await
    }

    /// Replaces the outputs and metadata of an artifact, and says what it was, without outputs.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database.
    pub async fn catalog_artifact_replace(&self, row: CatalogArtifactRow) -> Result<CatalogArtifactRow> {
        self.write(move |tx| Box::pin(replace(tx, row))).await
    }

    /// Gives an artifact a tag that no other artifact of its dataset has.
    ///
    /// # Errors
    /// [`Error::NotFound`] without the artifact, [`Error::Exists`], or the database.
    pub async fn catalog_tag_insert(&self, tagging: CatalogTagging) -> Result<()> {
        self.write(move |tx| Box::pin(tag(tx, tagging))).await
    }
}
