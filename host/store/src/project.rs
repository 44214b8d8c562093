//! Stores projects.

use proto::flyteidl::admin;

use crate::listing::{Column, Listing, Order};
use crate::record::Record;
use crate::sql::Sql;
use crate::{Error, ListQuery, ProjectRow, Result, Store};

const LISTING: Listing = Listing {
    names: &["project"],
    alias: "p",
    columns: &[
        Column::text("identifier", "@.id"),
        Column::text("id", "@.id"),
        Column::text("name", "@.name"),
        Column::text("description", "@.description"),
        Column::enumeration("state", "@.state", |n| {
            admin::project::ProjectState::try_from(n).ok().map(|state| state.as_str_name())
        }),
        Column::time("created_at", "@.created_at"),
    ],
    joins: &[],
    order: Order { column: "@.id", ascending: true },
    tiebreak: "@.id",
};

const SELECT: &str =
    "select p.id, p.name, p.description, p.state, p.created_at, p.labels from project p where ";

fn read(record: &Record) -> Result<ProjectRow> {
    let mut c = record.cursor();
    Ok(ProjectRow {
        id: c.text()?,
        name: c.text()?,
        description: c.text()?,
        state: c.i32()?,
        created_at: c.time()?,
        labels: c.blob()?,
    })
}

impl Store {
    /// Adds a project.
    ///
    /// # Errors
    /// [`crate::Error::Exists`], or the database.
    pub async fn project_insert(&self, row: &ProjectRow) -> Result<()> {
        let sql = Sql::new(
            "insert into project (id, name, description, state, created_at, labels)
             values ($1, $2, $3, $4, $5, $6) on conflict (id) do nothing",
        )
        .bind(&row.id)
        .bind(&row.name)
        .bind(&row.description)
        .bind(row.state)
        .bind(row.created_at)
        .bind(&row.labels);
        let exists = Error::Exists { what: "project", id: row.id.clone() };
        self.write(move |tx| {
            Box::pin(async move { if tx.execute(sql).await? == 0 { Err(exists) } else { Ok(()) } })
        })
        .await
    }

    /// Reads a project.
    ///
    /// # Errors
    /// The database.
    pub async fn project_get(&self, id: &str) -> Result<Option<ProjectRow>> {
        let mut sql = Sql::new(SELECT);
        sql.push("p.id = ").push_arg(id);
        self.fetch_optional(sql).await?.as_ref().map(read).transpose()
    }

    /// Lists projects; without a sort key by id.
    ///
    /// # Errors
    /// An unknown filter or sort key, or the database.
    pub async fn project_list(&self, query: &ListQuery) -> Result<Vec<ProjectRow>> {
        let mut sql = Sql::new(SELECT);
        sql.push("true");
        LISTING.push(&mut sql, self.dialect(), query)?;
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// Replaces everything of a project but its id and time of creation.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`], or the database.
    pub async fn project_update(&self, row: &ProjectRow) -> Result<()> {
        let sql =
            Sql::new("update project set name = $1, description = $2, state = $3, labels = $4 where id = $5")
                .bind(&row.name)
                .bind(&row.description)
                .bind(row.state)
                .bind(&row.labels)
                .bind(&row.id);
        let missing = Error::NotFound { what: "project", id: row.id.clone() };
        self.write(move |tx| {
            Box::pin(async move { if tx.execute(sql).await? == 0 { Err(missing) } else { Ok(()) } })
        })
        .await
    }
}
