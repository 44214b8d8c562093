//! Stores matchable attributes: settings that a project, a project and domain, or a workflow gives its executions.

use model::Timestamp;

use crate::dialect::Tx;
use crate::record::Record;
use crate::sql::Sql;
use crate::{Error, Result, Store};

/// Settings of one kind at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeRow {
    /// Where they hold.
    pub place: AttributePlace,
    /// `admin.MatchableResource`.
    pub kind: i32,
    /// `admin.MatchingAttributes`.
    pub attributes: Vec<u8>,
    /// When they were last changed.
    pub updated_at: Timestamp,
}

/// Where settings hold. The order is from the general to the particular.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributePlace {
    /// Project id.
    pub project: String,
    /// Domain id; empty for all domains.
    pub domain: String,
    /// Workflow name; empty for all workflows.
    pub workflow: String,
}

const COLUMNS: &str = "a.project, a.domain, a.workflow, a.kind, a.updated_at, a.attributes";

fn read(record: &Record) -> Result<AttributeRow> {
    let mut c = record.cursor();
    Ok(AttributeRow {
        place: AttributePlace { project: c.text()?, domain: c.text()?, workflow: c.text()? },
        kind: c.i32()?,
        updated_at: c.time()?,
        attributes: c.blob()?,
    })
}

fn push_place(sql: &mut Sql, place: &AttributePlace) {
    sql.push("project = ").push_arg(&place.project).push(" and domain = ").push_arg(&place.domain);
    sql.push(" and workflow = ").push_arg(&place.workflow);
}

fn push_one(sql: &mut Sql, place: &AttributePlace, kind: i32) {
    push_place(sql, place);
    sql.push(" and kind = ").push_arg(kind);
}

fn select() -> Sql {
    let mut sql = Sql::new("select ");
    sql.push(COLUMNS).push(" from attribute a where ");
    sql
}

async fn put<M>(tx: &mut Tx, row: AttributeRow, merge: M) -> Result<()>
where
    M: FnOnce(&[u8], Vec<u8>) -> Vec<u8>,
{
    // Makes the row, so that it can be locked.
    let make = Sql::new(
        "insert into attribute (project, domain, workflow, kind, updated_at, attributes)
         values ($1, $2, $3, $4, $5, $6) on conflict (project, domain, workflow, kind) do nothing",
    )
    .bind(&row.place.project)
    .bind(&row.place.domain)
    .bind(&row.place.workflow)
    .bind(row.kind)
    .bind(row.updated_at)
    .bind(&row.attributes);
    if tx.execute(make.clone()).await? == 1 {
        return Ok(());
    }
    let mut find = select();
    push_one(&mut find, &row.place, row.kind);
    find.push(tx.dialect().for_update());
    let Some(found) = tx.fetch_optional(find).await? else {
        // Removed in between.
        return tx.execute(make).await.map(drop);
    };
    let merged = merge(&read(&found)?.attributes, row.attributes);
    let mut update = Sql::new("update attribute set updated_at = ");
    update.push_arg(row.updated_at).push(", attributes = ").push_arg(merged.as_slice()).push(" where ");
    push_one(&mut update, &row.place, row.kind);
    tx.execute(update).await.map(drop)
}

impl Store {
    /// Sets the settings of a kind at a place. If there are some, `merge` makes one of the old and the new ones, in
    /// the same transaction.
    ///
    /// # Errors
    /// The database.
    pub async fn attribute_put<M>(&self, row: AttributeRow, merge: M) -> Result<()>
    where
        M: FnOnce(&[u8], Vec<u8>) -> Vec<u8> + Send + 'static,
    {
        self.write(move |tx| Box::pin(put(tx, row, merge))).await
    }

    /// The settings of a kind that were set for exactly this place.
    ///
    /// # Errors
    /// The database.
    pub async fn attribute_get(&self, place: &AttributePlace, kind: i32) -> Result<Option<AttributeRow>> {
        let mut sql = select();
        push_one(&mut sql, place, kind);
        self.fetch_optional(sql).await?.as_ref().map(read).transpose()
    }

    /// All settings that hold at a place, its own and those of the places it lies in; the particular ones first.
    ///
    /// # Errors
    /// The database.
    pub async fn attribute_matching(&self, place: &AttributePlace) -> Result<Vec<AttributeRow>> {
        let mut sql = select();
        sql.push("a.project = ").push_arg(&place.project);
        sql.push(" and a.domain in ('', ").push_arg(&place.domain);
        sql.push(") and a.workflow in ('', ").push_arg(&place.workflow).push(")");
        let mut rows: Vec<AttributeRow> = self.fetch(sql).await?.iter().map(read).collect::<Result<_>>()?;
        rows.sort_unstable_by(|a, b| (&b.place, a.kind).cmp(&(&a.place, b.kind)));
        Ok(rows)
    }

    /// The settings of a kind at all places, by place.
    ///
    /// # Errors
    /// The database.
    pub async fn attribute_list(&self, kind: i32) -> Result<Vec<AttributeRow>> {
        let mut sql = select();
        sql.push("a.kind = ").push_arg(kind).push(" order by a.project, a.domain, a.workflow");
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// Removes the settings of a kind from a place.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there are none, or the database.
    pub async fn attribute_delete(&self, place: &AttributePlace, kind: i32) -> Result<()> {
        let mut sql = Sql::new("delete from attribute where ");
        push_one(&mut sql, place, kind);
        let AttributePlace { project, domain, workflow } = place;
        let parts = [project, domain, workflow].map(String::as_str);
        let named: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let missing = Error::NotFound { what: "attributes of", id: named.join(":") };
        self.write(move |tx| {
            Box::pin(async move { if tx.execute(sql).await? == 0 { Err(missing) } else { Ok(()) } })
        })
        .await
    }
}
