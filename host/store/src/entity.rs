//! Stores tasks and workflows, which never change once registered.

use model::{EntityId, EntityKind};

use crate::dialect::Tx;
use crate::listing::{Column, Listing, Order};
use crate::named_entity::{self, NAMES};
use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::{EntityRow, Error, ListQuery, Result, Store};

/// What became of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted<T> {
    /// It is stored now.
    New,
    /// The same content was registered before.
    Identical,
    /// Other content was registered before; this is it.
    Different(Box<T>),
}

/// Which part of the registry a list covers; empty texts cover everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Project id.
    pub project: String,
    /// Domain id.
    pub domain: String,
    /// Entity name, to list versions of one entity.
    pub name: Option<String>,
}

impl Scope {
    /// Appends the conditions of this scope.
    pub(crate) fn push(&self, sql: &mut Sql, alias: &'static str) {
        let name = self.name.as_deref().unwrap_or_default();
        for (column, value) in [
            ("@.project = ", self.project.as_str()),
            ("@.domain = ", self.domain.as_str()),
            ("@.name = ", name),
        ] {
            if !value.is_empty() {
                sql.push(" and ").push_aliased(column, alias).push_arg(value);
            }
        }
    }
}

/// Columns of tasks and workflows that clients may name.
pub(crate) const COLUMNS: &[Column] = &[
    Column::int("id", "@.id"),
    Column::time("created_at", "@.created_at"),
    Column::time("updated_at", "@.created_at"),
    Column::text("project", "@.project"),
    Column::text("domain", "@.domain"),
    Column::text("name", "@.name"),
    Column::text("version", "@.version"),
    Column::text("type", "@.task_type"),
    Column::hex("digest", "@.digest"),
    Column::text("short_description", "@.short_description"),
];

const LISTING: Listing = Listing {
    names: &["task", "workflow"],
    alias: "t",
    columns: COLUMNS,
    joins: &[],
    order: Order { column: "@.created_at", ascending: false },
    tiebreak: "@.id",
};

const SELECT: &str = "select t.kind, t.project, t.domain, t.name, t.version, t.task_type, t.short_description, \
                      t.created_at, t.digest, t.interface, t.closure from entity t where ";
/// The same without reading closures.
const SELECT_SHORT: &str = "select t.kind, t.project, t.domain, t.name, t.version, t.task_type, \
                            t.short_description, t.created_at, t.digest, t.interface from entity t where ";

pub(crate) fn kind_of(number: i32) -> Result<EntityKind> {
    match number {
        1 => Ok(EntityKind::Task),
        2 => Ok(EntityKind::Workflow),
        3 => Ok(EntityKind::LaunchPlan),
        _ => Err(Error::Corrupt { what: "entity kind", reason: format!("{number} is unknown") }),
    }
}

fn read(record: &Record, with_closure: bool) -> Result<EntityRow> {
    let mut c = record.cursor();
    let kind = kind_of(c.i32()?)?;
    Ok(EntityRow {
        id: c.entity_id(kind)?,
        task_type: c.text()?,
        short_description: c.text()?,
        created_at: c.time()?,
        digest: c.blob()?,
        interface: c.blob()?,
        closure: if with_closure { c.blob()? } else { Vec::new() },
    })
}

fn by_id(select: &'static str, id: &EntityId) -> Sql {
    let mut sql = Sql::new(select);
    sql.push("t.kind = ").push_arg(id.kind as i32);
    for (column, value) in [
        (" and t.project = ", &id.project),
        (" and t.domain = ", &id.domain),
        (" and t.name = ", &id.name),
        (" and t.version = ", &id.version),
    ] {
        sql.push(column).push_arg(value);
    }
    sql
}

async fn insert(
    tx: &mut Tx,
    row: &EntityRow,
    description: Option<&[u8]>,
    spec_rest: Option<&[u8]>,
) -> Result<Inserted<EntityRow>> {
    let id = &row.id;
    let sql = Sql::new(
        "insert into entity (kind, project, domain, name, version, task_type, short_description, created_at,
         digest, interface, closure, description, spec_rest)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         on conflict (kind, project, domain, name, version) do nothing",
    )
    .bind(id.kind as i32)
    .bind(&id.project)
    .bind(&id.domain)
    .bind(&id.name)
    .bind(&id.version)
    .bind(&row.task_type)
    .bind(&row.short_description)
    .bind(row.created_at)
    .bind(&row.digest)
    .bind(&row.interface)
    .bind(&row.closure)
    .bind(description)
    .bind(spec_rest);
    if tx.execute(sql).await? == 1 {
        named_entity::register(tx, id).await?;
        return Ok(Inserted::New);
    }
    let found = tx.fetch_optional(by_id(SELECT, id)).await?;
    let found = read(&found.ok_or_else(|| vanished(id))?, true)?;
    Ok(if found.digest == row.digest { Inserted::Identical } else { Inserted::Different(Box::new(found)) })
}

/// A row that stopped the insertion of another is not there.
pub(crate) fn vanished(id: &EntityId) -> Error {
    Error::NotFound { what: id.kind.word(), id: id.to_string() }
}

impl Store {
    /// Registers a task or workflow with its description (`admin.DescriptionEntity`). The digest decides, in the
    /// same transaction, whether an earlier registration of this id was identical.
    ///
    /// # Errors
    /// The database.
    pub async fn entity_insert(
        &self,
        row: &EntityRow,
        description: Option<&[u8]>,
    ) -> Result<Inserted<EntityRow>> {
        self.entity_insert_with(row, description, &[]).await
    }

    /// As [`Store::entity_insert`], with the fields of its spec that nobody here knows.
    ///
    /// # Errors
    /// The database.
    pub async fn entity_insert_with(
        &self,
        row: &EntityRow,
        description: Option<&[u8]>,
        spec_rest: &[u8],
    ) -> Result<Inserted<EntityRow>> {
        let (row, description) = (row.clone(), description.map(<[u8]>::to_vec));
        let rest = Some(spec_rest.to_vec()).filter(|rest| !rest.is_empty());
        self.write(move |tx| {
            Box::pin(async move { insert(tx, &row, description.as_deref(), rest.as_deref()).await })
        })
        .await
    }

    /// The fields of a task's or workflow's spec that nobody here knows, as they arrived; empty when there are none.
    ///
    /// # Errors
    /// The database.
    pub async fn entity_spec_rest(&self, id: &EntityId) -> Result<Vec<u8>> {
        let found = self.fetch_optional(by_id("select t.spec_rest from entity t where ", id)).await?;
        Ok(found.map(|record| record.cursor().opt_blob()).transpose()?.flatten().unwrap_or_default())
    }

    /// Reads a task or workflow.
    ///
    /// # Errors
    /// The database.
    pub async fn entity_get(&self, id: &EntityId) -> Result<Option<EntityRow>> {
        let record = self.fetch_optional(by_id(SELECT, id)).await?;
        record.as_ref().map(|record| read(record, true)).transpose()
    }

    /// Reads several with one statement; those that don't exist are left out, the order is free.
    ///
    /// # Errors
    /// The database.
    pub async fn entity_get_many(&self, ids: &[EntityId]) -> Result<Vec<EntityRow>> {
        // Binding 5 values each, this stays far below what a statement may bind.
        const MAX_IDS: usize = 2_000;
        let mut out = Vec::with_capacity(ids.len());
        let mut ids: Vec<&EntityId> = ids.iter().collect();
        ids.sort_unstable();
        ids.dedup();
        for ids in ids.chunks(MAX_IDS) {
            let rows = ids.iter().map(|id| {
                vec![
                    Arg::from(id.kind as i32),
                    Arg::from(&id.project),
                    Arg::from(&id.domain),
                    Arg::from(&id.name),
                    Arg::from(&id.version),
                ]
            });
            let mut sql = Sql::new("with r (kind, project, domain, name, version) as (");
            let types = [Type::Int, Type::Text, Type::Text, Type::Text, Type::Text];
            self.dialect().push_rows(&mut sql, &types, rows);
            sql.push(
                ") select t.kind, t.project, t.domain, t.name, t.version, t.task_type, t.short_description,
                 t.created_at, t.digest, t.interface, t.closure from r join entity t on t.kind = r.kind
                 and t.project = r.project and t.domain = r.domain and t.name = r.name
                 and t.version = r.version",
            );
            for record in self.fetch(sql).await? {
                out.push(read(&record, true)?);
            }
        }
        Ok(out)
    }

    /// Reads the description that was registered with an entity.
    ///
    /// # Errors
    /// The database.
    pub async fn entity_description_get(&self, id: &EntityId) -> Result<Option<Vec<u8>>> {
        let sql = by_id("select t.description from entity t where ", id);
        let record = self.fetch_optional(sql).await?;
        Ok(record.map(|record| record.cursor().opt_blob()).transpose()?.flatten())
    }

    /// Reads the descriptions of a list of tasks or workflows, with those that have none.
    ///
    /// # Errors
    /// An unknown filter or sort key, or the database.
    pub async fn entity_description_list(
        &self,
        kind: EntityKind,
        scope: &Scope,
        query: &ListQuery,
    ) -> Result<Vec<Option<Vec<u8>>>> {
        let mut sql = Sql::new("select t.description from entity t where t.kind = ");
        sql.push_arg(kind as i32);
        scope.push(&mut sql, LISTING.alias);
        LISTING.push(&mut sql, self.dialect(), query)?;
        self.fetch(sql).await?.iter().map(|record| record.cursor().opt_blob()).collect()
    }

    /// Lists tasks or workflows. Rows of workflows come without closure.
    ///
    /// # Errors
    /// An unknown filter or sort key, or the database.
    pub async fn entity_list(
        &self,
        kind: EntityKind,
        scope: &Scope,
        query: &ListQuery,
    ) -> Result<Vec<EntityRow>> {
        let with_closure = kind == EntityKind::Task;
        let mut sql = Sql::new(if with_closure { SELECT } else { SELECT_SHORT });
        sql.push("t.kind = ").push_arg(kind as i32);
        scope.push(&mut sql, LISTING.alias);
        LISTING.push(&mut sql, self.dialect(), query)?;
        self.fetch(sql).await?.iter().map(|record| read(record, with_closure)).collect()
    }

    /// Lists the distinct project, domain and name of registered entities of any kind; by default by name.
    ///
    /// # Errors
    /// An unknown filter or sort key, or the database.
    pub async fn entity_names(
        &self,
        kind: EntityKind,
        scope: &Scope,
        query: &ListQuery,
    ) -> Result<Vec<(String, String, String)>> {
        let mut sql = Sql::new(
            "select n.project, n.domain, n.name from named_entity n where n.registered = 1 and n.kind = ",
        );
        sql.push_arg(kind as i32);
        scope.push(&mut sql, NAMES.alias);
        NAMES.push(&mut sql, self.dialect(), query)?;
        let read = |record: &Record| {
            let mut c = record.cursor();
            Ok((c.text()?, c.text()?, c.text()?))
        };
        self.fetch(sql).await?.iter().map(read).collect()
    }
}
