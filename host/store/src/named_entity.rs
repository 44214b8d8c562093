//! Stores what is said about a name, whatever its versions: description and state.

use model::EntityId;
use proto::flyteidl::{admin, core};

use crate::dialect::Tx;
use crate::listing::{Column, Listing, Order};
use crate::record::Record;
use crate::sql::Sql;
use crate::{ListQuery, Result, Scope, Store};

/// A name under which entities are registered, and its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedEntityRow {
    /// `core.ResourceType`: 1 task, 2 workflow, 3 launch plan.
    pub resource_type: i32,
    /// Project id.
    pub project: String,
    /// Domain id.
    pub domain: String,
    /// Entity name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// `admin.NamedEntityState`: 0 active, 1 archived, 2 system generated.
    pub state: i32,
}

/// Lists of names. The unique column is the name within its project and domain.
pub(crate) const NAMES: Listing = Listing {
    names: &["entities", "named_entity_metadata", "named_entity", "task", "workflow", "launch_plan"],
    alias: "n",
    columns: &[
        Column::enumeration("resource_type", "@.kind", |n| {
            core::ResourceType::try_from(n).ok().map(|kind| kind.as_str_name())
        }),
        Column::text("project", "@.project"),
        Column::text("domain", "@.domain"),
        Column::text("name", "@.name"),
        Column::text("description", "@.description"),
        Column::enumeration("state", "@.state", |n| {
            admin::NamedEntityState::try_from(n).ok().map(|state| state.as_str_name())
        }),
    ],
    joins: &[],
    order: Order { column: "@.name", ascending: true },
    tiebreak: "@.name, @.project, @.domain",
};

const SELECT: &str = "select n.kind, n.project, n.domain, n.name, n.description, n.state from named_entity n \
                      where n.registered = 1 and n.kind = ";

fn read(record: &Record) -> Result<NamedEntityRow> {
    let mut c = record.cursor();
    Ok(NamedEntityRow {
        resource_type: c.i32()?,
        project: c.text()?,
        domain: c.text()?,
        name: c.text()?,
        description: c.text()?,
        state: c.i32()?,
    })
}

/// Notes that an entity is registered under its name. On Postgres the name stays locked until the end of the
/// transaction.
pub(crate) async fn register(tx: &mut Tx, id: &EntityId) -> Result<()> {
    let sql = Sql::new(
        "insert into named_entity (kind, project, domain, name, registered) values ($1, $2, $3, $4, 1)
         on conflict (kind, project, domain, name) do update set registered = 1",
    )
    .bind(id.kind as i32)
    .bind(&id.project)
    .bind(&id.domain)
    .bind(&id.name);
    tx.execute(sql).await.map(drop)
}

impl Store {
    /// Reads the metadata of a registered name; `None` when no version is registered under it.
    ///
    /// # Errors
    /// The database.
    pub async fn named_entity_get(
        &self,
        resource_type: i32,
        project: &str,
        domain: &str,
        name: &str,
    ) -> Result<Option<NamedEntityRow>> {
        let mut sql = Sql::new(SELECT);
        sql.push_arg(resource_type).push(" and n.project = ").push_arg(project);
        sql.push(" and n.domain = ").push_arg(domain).push(" and n.name = ").push_arg(name);
        self.fetch_optional(sql).await?.as_ref().map(read).transpose()
    }

    /// Lists registered names with their metadata, by default by name. Without filters, names that start with
    /// `.flytegen` are left out.
    ///
    /// # Errors
    /// An unknown filter or sort key, or the database.
    pub async fn named_entity_list(
        &self,
        resource_type: i32,
        scope: &Scope,
        query: &ListQuery,
    ) -> Result<Vec<NamedEntityRow>> {
        let mut sql = Sql::new(SELECT);
        sql.push_arg(resource_type);
        scope.push(&mut sql, NAMES.alias);
        if query.filters.is_empty() {
            sql.push(" and substr(n.name, 1, 9) <> '.flytegen'");
        }
        NAMES.push(&mut sql, self.dialect(), query)?;
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// Sets description and state of a name, registered or not yet.
    ///
    /// # Errors
    /// The database.
    pub async fn named_entity_upsert(&self, row: &NamedEntityRow) -> Result<()> {
        let sql = Sql::new(
            "insert into named_entity (kind, project, domain, name, description, state)
             values ($1, $2, $3, $4, $5, $6) on conflict (kind, project, domain, name)
             do update set description = excluded.description, state = excluded.state",
        )
        .bind(row.resource_type)
        .bind(&row.project)
        .bind(&row.domain)
        .bind(&row.name)
        .bind(&row.description)
        .bind(row.state);
        self.write(move |tx| Box::pin(async move { tx.execute(sql).await.map(drop) })).await
    }
}
