//! Lists and evicts what is cached.

use model::{ExecutionId, Timestamp};

use crate::catalog_entry::retire;
use crate::catalog_row::{push_artifact, read_artifact};
use crate::dialect::Tx;
use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::{CatalogArtifactRow, CatalogTagRow, Result, Store};

/// Which artifacts; empty texts and `None` mean all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogFilter {
    /// Project of the dataset.
    pub project: String,
    /// Domain of the dataset.
    pub domain: String,
    /// Name of the dataset.
    pub name: String,
    /// Version of the dataset.
    pub version: String,
    /// Organisation of the dataset.
    pub org: Option<String>,
    /// Id of the artifact.
    pub artifact_id: String,
    /// Tags it must have, all of them.
    pub tags: Vec<String>,
    /// Name of the entry in the store.
    pub key: String,
    /// Partitions it must have, all of them.
    pub partitions: Vec<(String, String)>,
    /// The execution that made it.
    pub source: Option<ExecutionId>,
    /// The node of that execution.
    pub source_node: String,
    /// Made before this time.
    pub created_before: Option<Timestamp>,
    /// Neither made nor used since this time.
    pub unused_since: Option<Timestamp>,
    /// Evicted ones too.
    pub with_evicted: bool,
}

/// A page of artifacts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatalogPage {
    /// Most rows; 0 is all.
    pub limit: u32,
    /// Rows to skip.
    pub offset: u64,
    /// Oldest first.
    pub ascending: bool,
}

/// Tables of an artifact's row, in the order in which they are emptied.
const PARTS: [&str; 3] = ["catalog_use", "catalog_partition", "catalog_tag"];

impl CatalogFilter {
    /// Appends the conditions on artifacts `a` of datasets `d`.
    fn push(&self, sql: &mut Sql) {
        sql.push("true");
        for (condition, value) in [
            (" and d.project = ", &self.project),
            (" and d.domain = ", &self.domain),
            (" and d.name = ", &self.name),
            (" and d.version = ", &self.version),
            (" and a.artifact_id = ", &self.artifact_id),
            (" and a.source_node = ", &self.source_node),
        ] {
            if !value.is_empty() {
                sql.push(condition).push_arg(value);
            }
        }
        if let Some(org) = &self.org {
            sql.push(" and d.org = ").push_arg(org);
        }
        if let Some(source) = &self.source {
            sql.push(" and a.source_project = ").push_arg(&*source.project);
            sql.push(" and a.source_domain = ").push_arg(&*source.domain);
            sql.push(" and a.source_execution = ").push_arg(&*source.name);
        }
        if !self.with_evicted {
            sql.push(" and a.evicted_at is null");
        }
        if let Some(before) = self.created_before {
            sql.push(" and a.created_at < ").push_arg(before);
        }
        if let Some(since) = self.unused_since {
            sql.push(" and a.created_at < ").push_arg(since);
            sql.push(
                " and not exists (select 1 from catalog_use u where u.dataset_id = a.dataset_id
                 and u.artifact_id = a.artifact_id and u.used_at >= ",
            );
            sql.push_arg(since).push(")");
        }
        let tagged = " and exists (select 1 from catalog_tag t where t.dataset_id = a.dataset_id
                      and t.artifact_id = a.artifact_id and t.";
        for tag in &self.tags {
            sql.push(tagged).push("name = ").push_arg(tag).push(")");
        }
        if !self.key.is_empty() {
            sql.push(tagged).push("key = ").push_arg(&self.key).push(")");
        }
        for (key, value) in &self.partitions {
            sql.push(
                " and exists (select 1 from catalog_partition p where p.dataset_id = a.dataset_id
                 and p.artifact_id = a.artifact_id and p.key = ",
            );
            sql.push_arg(key).push(" and p.value = ").push_arg(value).push(")");
        }
    }
}

fn select(filter: &CatalogFilter, page: CatalogPage, with_outputs: bool) -> Sql {
    let mut sql = Sql::new("select ");
    push_artifact(&mut sql, with_outputs);
    sql.push(" from catalog_artifact a join catalog_dataset d on d.id = a.dataset_id where ");
    filter.push(&mut sql);
    sql.push(if page.ascending {
        " order by a.created_at, a.id"
    } else {
        " order by a.created_at desc, a.id desc"
    });
    let limit = if page.limit == 0 { i64::MAX } else { i64::from(page.limit) };
    sql.push(" limit ").push_arg(limit);
    if page.offset > 0 {
        sql.push(" offset ").push_arg(i64::try_from(page.offset).unwrap_or(i64::MAX));
    }
    sql
}

fn read_all(records: &[Record], with_outputs: bool) -> Result<Vec<CatalogArtifactRow>> {
    records.iter().map(|record| read_artifact(&mut record.cursor(), with_outputs)).collect()
}

/// Appends the condition that a row of `table` belongs to one of these artifacts.
fn push_of(sql: &mut Sql, rows: &[CatalogArtifactRow]) {
    sql.push("(");
    for (n, row) in rows.iter().enumerate() {
        sql.push(if n > 0 { " or " } else { "" }).push("(dataset_id = ").push_arg(row.dataset_key);
        sql.push(" and artifact_id = ").push_arg(&row.artifact_id).push(")");
    }
    sql.push(")");
}

async fn remove(tx: &mut Tx, before: Timestamp, limit: u32) -> Result<usize> {
    const MAX_ROWS: usize = 64;
    let mut find = Sql::new("select ");
    push_artifact(&mut find, false);
    find.push(" from catalog_artifact a join catalog_dataset d on d.id = a.dataset_id where a.evicted_at < ");
    find.push_arg(before).push(" limit ").push_arg(limit);
    let rows = read_all(&tx.fetch(find).await?, false)?;
    for rows in rows.chunks(MAX_ROWS) {
        for table in PARTS.into_iter().chain(["catalog_artifact"]) {
            let mut sql = Sql::new("delete from ");
            sql.push(table).push(" where ");
            push_of(&mut sql, rows);
            tx.execute(sql).await?;
        }
    }
    Ok(rows.len())
}

impl Store {
    /// Lists artifacts, newest first unless the page says otherwise.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_artifact_list(
        &self,
        filter: &CatalogFilter,
        page: CatalogPage,
        with_outputs: bool,
    ) -> Result<Vec<CatalogArtifactRow>> {
        read_all(&self.fetch(select(filter, page, with_outputs)).await?, with_outputs)
    }

    /// How many artifacts pass a filter.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_artifact_count(&self, filter: &CatalogFilter) -> Result<u64> {
        let mut sql = Sql::new(
            "select count(*) from catalog_artifact a join catalog_dataset d on d.id = a.dataset_id where ",
        );
        filter.push(&mut sql);
        let record = self.fetch_optional(sql).await?;
        let count = record.map(|record| record.cursor().i64()).transpose()?.unwrap_or_default();
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// The tags of artifacts.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_tags(&self, artifacts: &[CatalogArtifactRow]) -> Result<Vec<CatalogTagRow>> {
        const MAX_ROWS: usize = 500;
        let mut out = Vec::with_capacity(artifacts.len());
        for artifacts in artifacts.chunks(MAX_ROWS) {
            let rows =
                artifacts.iter().map(|row| vec![Arg::from(row.dataset_key), Arg::from(&row.artifact_id)]);
            let mut sql = Sql::new("with r (dataset_id, artifact_id) as (");
            self.dialect().push_rows(&mut sql, &[Type::Int, Type::Text], rows);
            sql.push(
                ") select t.key, t.dataset_id, t.artifact_id, t.name from r join catalog_tag t
                 on t.dataset_id = r.dataset_id and t.artifact_id = r.artifact_id order by t.name",
            );
            for record in self.fetch(sql).await? {
                let mut c = record.cursor();
                out.push(CatalogTagRow {
                    key: c.text()?,
                    dataset_key: c.i64()?,
                    artifact_id: c.text()?,
                    name: c.text()?,
                });
            }
        }
        Ok(out)
    }

    /// Evicts at most `limit` artifacts that pass a filter, oldest first: takes away their outputs, and says what
    /// they were. The rows stay, for lineage and to tell why nothing is found. Nothing is left when none is evicted.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_evict(
        &self,
        filter: &CatalogFilter,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<CatalogArtifactRow>> {
        let filter = CatalogFilter { with_evicted: false, ..filter.clone() };
        // Searched by a reader, for it may take a while and on SQLite would hold up all writes.
        let page = CatalogPage { limit, offset: 0, ascending: true };
        let rows = read_all(&self.fetch(select(&filter, page, false)).await?, false)?;
        if rows.is_empty() {
            return Ok(rows);
        }
        self.write(move |tx| {
            Box::pin(async move {
                const MAX_ROWS: usize = 64;
                for rows in rows.chunks(MAX_ROWS) {
                    let mut sql = Sql::new("update catalog_artifact set evicted_at = ");
                    sql.push_arg(now).push(", outputs_uri = '', outputs = ").push_arg(&[][..]);
                    sql.push(" where evicted_at is null and ");
                    push_of(&mut sql, rows);
                    tx.execute(sql).await?;
                }
                Ok(rows)
            })
        })
        .await
    }

    /// Evicts artifacts that no tag finds and that were made before a time, as a put that was cut off leaves them.
    /// Says what they were.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_evict_untagged(
        &self,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<CatalogArtifactRow>> {
        let mut find = Sql::new("select ");
        push_artifact(&mut find, false);
        find.push(
            " from catalog_artifact a join catalog_dataset d on d.id = a.dataset_id where a.evicted_at is null
             and not exists (select 1 from catalog_tag t where t.dataset_id = a.dataset_id
             and t.artifact_id = a.artifact_id) and a.created_at < ",
        );
        find.push_arg(before).push(" limit 1000");
        let rows = read_all(&self.fetch(find).await?, false)?;
        if rows.is_empty() {
            return Ok(rows);
        }
        self.write(move |tx| Box::pin(async move { retire(tx, &rows, now).await })).await
    }

    /// Forgets at most `limit` artifacts that were evicted before a time, with their tags and uses; how many there
    /// were.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_forget(&self, before: Timestamp, limit: u32) -> Result<usize> {
        self.write(move |tx| Box::pin(remove(tx, before, limit))).await
    }
}
