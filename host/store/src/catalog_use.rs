//! Stores which nodes took cached outputs instead of computing them.

use model::{ExecutionId, Timestamp};

use crate::catalog_entry::insert_of_datasets;
use crate::catalog_row::{dataset_cells, read_dataset_id};
use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::{CatalogArtifactRow, CatalogUseRow, Result, Store};

/// How often an artifact was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogUseCount {
    /// Key of the artifact's dataset.
    pub dataset_key: i64,
    /// The artifact.
    pub artifact_id: String,
    /// How many nodes took it.
    pub n_uses: u64,
    /// When one did last.
    pub last: Timestamp,
}

fn read_use(record: &Record) -> Result<CatalogUseRow> {
    let mut c = record.cursor();
    Ok(CatalogUseRow {
        dataset: read_dataset_id(&mut c)?,
        artifact_id: c.text()?,
        execution: c.execution_id()?,
        node_id: c.text()?,
        used_at: c.time()?,
    })
}

fn select_uses() -> Sql {
    Sql::new(
        "select d.project, d.domain, d.name, d.version, d.org, u.artifact_id, u.project, u.domain, u.execution,
         u.node_id, u.used_at from catalog_use u join catalog_dataset d on d.id = u.dataset_id where ",
    )
}

impl Store {
    /// Notes that nodes took artifacts; for unknown artifacts it does nothing.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_use_insert(&self, uses: Vec<CatalogUseRow>) -> Result<()> {
        let columns = [
            ("artifact_id", Type::Text),
            ("project", Type::Text),
            ("domain", Type::Text),
            ("execution", Type::Text),
            ("node_id", Type::Text),
            ("used_at", Type::Int),
        ];
        let key = |row: &CatalogUseRow| {
            (row.dataset.clone(), row.artifact_id.clone(), row.execution.clone(), row.node_id.clone())
        };
        let mut uses = uses;
        uses.sort_by_cached_key(key);
        uses.dedup_by_key(|row| key(row));
        self.write(move |tx| {
            Box::pin(async move {
                let mut rest = uses.as_slice();
                while !rest.is_empty() {
                    let (chunk, tail) = rest.split_at(tx.dialect().chunk(rest.len()));
                    rest = tail;
                    let cells = chunk.iter().map(|row| {
                        let rest = [
                            Arg::from(&row.artifact_id),
                            Arg::from(&*row.execution.project),
                            Arg::from(&*row.execution.domain),
                            Arg::from(&*row.execution.name),
                            Arg::from(&row.node_id),
                            Arg::from(row.used_at),
                        ];
                        dataset_cells(&row.dataset).into_iter().chain(rest).collect()
                    });
                    let mut sql = insert_of_datasets(tx, "catalog_use", &columns, cells);
                    sql.push(
                        " and exists (select 1 from catalog_artifact a where a.dataset_id = d.id
                         and a.artifact_id = r.artifact_id)
                         on conflict (dataset_id, artifact_id, project, domain, execution, node_id)
                         do update set used_at = excluded.used_at",
                    );
                    tx.execute(sql).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The nodes that took an artifact, newest first.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_uses_of(
        &self,
        artifact: &CatalogArtifactRow,
        limit: u32,
    ) -> Result<Vec<CatalogUseRow>> {
        let mut sql = select_uses();
        sql.push("u.dataset_id = ").push_arg(artifact.dataset_key);
        sql.push(" and u.artifact_id = ").push_arg(&artifact.artifact_id);
        sql.push(" order by u.used_at desc, u.execution, u.node_id limit ").push_arg(limit);
        self.fetch(sql).await?.iter().map(read_use).collect()
    }

    /// The artifacts that a node took.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_uses_by(
        &self,
        execution: &ExecutionId,
        node_id: &str,
    ) -> Result<Vec<CatalogUseRow>> {
        let mut sql = select_uses();
        sql.push("u.project = ").push_arg(&*execution.project);
        sql.push(" and u.domain = ").push_arg(&*execution.domain);
        sql.push(" and u.execution = ")
            .push_arg(&*execution.name)
            .push(" and u.node_id = ")
            .push_arg(node_id);
        sql.push(" order by u.used_at desc");
        self.fetch(sql).await?.iter().map(read_use).collect()
    }

    /// How often artifacts were taken; those that never were are left out.
    ///
    /// # Errors
    /// The database.
    pub async fn catalog_use_counts(&self, artifacts: &[CatalogArtifactRow]) -> Result<Vec<CatalogUseCount>> {
        const MAX_ROWS: usize = 500;
        let mut out = Vec::new();
        for artifacts in artifacts.chunks(MAX_ROWS) {
            let rows =
                artifacts.iter().map(|row| vec![Arg::from(row.dataset_key), Arg::from(&row.artifact_id)]);
            let mut sql = Sql::new("with r (dataset_id, artifact_id) as (");
            self.dialect().push_rows(&mut sql, &[Type::Int, Type::Text], rows);
            sql.push(
                ") select u.dataset_id, u.artifact_id, count(*), max(u.used_at) from r join catalog_use u
                 on u.dataset_id = r.dataset_id and u.artifact_id = r.artifact_id
                 group by u.dataset_id, u.artifact_id",
            );
            for record in self.fetch(sql).await? {
                let mut c = record.cursor();
                out.push(CatalogUseCount {
                    dataset_key: c.i64()?,
                    artifact_id: c.text()?,
                    n_uses: u64::try_from(c.i64()?).unwrap_or_default(),
                    last: c.time()?,
                });
            }
        }
        Ok(out)
    }
}
