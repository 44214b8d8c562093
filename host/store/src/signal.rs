//! Stores signals: what gate nodes wait for, and who answered.

use model::Timestamp;

use crate::listing::{Column, Listing, Order};
use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::table::{OnConflict, Table};
use crate::{Error, ExecutionKey, ListQuery, Result, SignalRow, Store, Wake};

const LISTING: Listing = Listing {
    names: &["signal"],
    alias: "s",
    columns: &[
        Column::text("signal_id", "@.signal_id"),
        Column::text("node_id", "@.node_id"),
        Column::time("created_at", "@.created_at"),
        Column::time("updated_at", "@.updated_at"),
        Column::text("execution_project", "(select x.project from execution x where x.id = @.execution_id)"),
        Column::text("execution_domain", "(select x.domain from execution x where x.id = @.execution_id)"),
        Column::text("execution_name", "(select x.name from execution x where x.id = @.execution_id)"),
    ],
    joins: &[],
    order: Order { column: "@.created_at", ascending: true },
    tiebreak: "@.signal_id",
};

/// The table.
pub(crate) const TABLE: Table = Table {
    name: "signal",
    n_key: 2,
    fixed: &[],
    columns: &[
        ("execution_id", Type::Int),
        ("signal_id", Type::Text),
        ("node_id", Type::Text),
        ("set_by", Type::Text),
        ("created_at", Type::Int),
        ("updated_at", Type::Int),
        ("type", Type::Blob),
        ("value", Type::Blob),
    ],
};

pub(crate) fn cells(row: &SignalRow) -> Vec<Arg> {
    vec![
        Arg::from(row.execution),
        Arg::from(&row.signal_id),
        Arg::from(&row.node_id),
        Arg::from(&row.set_by),
        Arg::from(row.created_at),
        Arg::from(row.updated_at),
        Arg::from(&row.ty),
        Arg::from(&row.value),
    ]
}

fn read(record: &Record) -> Result<SignalRow> {
    let mut c = record.cursor();
    Ok(SignalRow {
        execution: c.key()?,
        signal_id: c.text()?,
        node_id: c.text()?,
        set_by: c.text()?,
        created_at: c.time()?,
        updated_at: c.time()?,
        ty: c.blob()?,
        value: c.blob()?,
    })
}

/// A `select` of the signals as `s` of an execution.
fn select(key: ExecutionKey) -> Sql {
    let mut sql = Sql::new("select ");
    sql.push_list("s.", TABLE.names()).push(" from signal s where s.execution_id = ").push_arg(key);
    sql
}

fn select_one(key: ExecutionKey, signal_id: &str) -> Sql {
    let mut sql = select(key);
    sql.push(" and s.signal_id = ").push_arg(signal_id);
    sql
}

/// Whether nobody waits for a signal of this node any more.
fn ended(key: ExecutionKey, node_id: &str) -> Sql {
    let mut sql = Sql::new("select 1 from execution e where e.id = ");
    sql.push_arg(key).push(" and (e.phase in (4, 6, 7, 8) or exists (select 1 from node_execution n");
    sql.push(" where n.execution_id = e.id and n.phase in (3, 5, 6, 7, 8, 10) and n.node_id = ");
    sql.push_arg(node_id).push("))");
    sql
}

impl Store {
    /// Reads all signals of an execution.
    ///
    /// # Errors
    /// The database.
    pub async fn signal_load(&self, key: ExecutionKey) -> Result<Vec<SignalRow>> {
        self.fetch(select(key)).await?.iter().map(read).collect()
    }

    /// Reads one signal.
    ///
    /// # Errors
    /// The database.
    pub async fn signal_get(&self, key: ExecutionKey, signal_id: &str) -> Result<Option<SignalRow>> {
        self.fetch_optional(select_one(key, signal_id)).await?.as_ref().map(read).transpose()
    }

    /// Lists the signals of an execution; by default the oldest first.
    ///
    /// # Errors
    /// An unknown filter or sort key, or the database.
    pub async fn signal_list(&self, key: ExecutionKey, query: &ListQuery) -> Result<Vec<SignalRow>> {
        let mut sql = select(key);
        LISTING.push(&mut sql, self.dialect(), query)?;
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// Makes a signal, or returns the one that is there already, as it is.
    ///
    /// # Errors
    /// The database.
    pub async fn signal_get_or_create(&self, row: &SignalRow) -> Result<SignalRow> {
        let row = row.clone();
        self.write(move |tx| {
            Box::pin(async move {
                TABLE.write(tx, vec![cells(&row)], OnConflict::Keep).await?;
                let record = tx.fetch_optional(select_one(row.execution, &row.signal_id)).await?;
                record.as_ref().map(read).transpose()?.ok_or_else(|| unknown(&row.signal_id))
            })
        })
        .await
    }

    /// Gives a signal its value and wakes the execution. A later value replaces an earlier one while the gate waits;
    /// once it has ended, only the same value is taken, so that a repeated call is answered alike.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the execution has no such signal, [`Error::SignalSettled`] when the gate has ended
    /// with another value or none, or the database.
    pub async fn signal_set(
        &self,
        key: ExecutionKey,
        signal_id: &str,
        value: &[u8],
        by: &str,
        now: Timestamp,
    ) -> Result<SignalRow> {
        let (signal_id, value, by) = (signal_id.to_owned(), value.to_vec(), by.to_owned());
        self.write(move |tx| {
            Box::pin(async move {
                let mut find = select_one(key, &signal_id);
                find.push(tx.dialect().for_update());
                let found = tx.fetch_optional(find).await?.as_ref().map(read).transpose()?;
                let mut row = found.ok_or_else(|| unknown(&signal_id))?;
                if row.value == value {
                    // Told again all the same: the first wake-up may have found nobody.
                    tx.wakes.push(Wake::Signalled(key));
                    return Ok(row);
                }
                if tx.fetch_optional(ended(key, &row.node_id)).await?.is_some() {
                    return Err(Error::SignalSettled { id: signal_id });
                }
                let mut update = Sql::new("update signal set value = ");
                update.push_arg(value.as_slice()).push(", set_by = ").push_arg(&by);
                update.push(", updated_at = ").push_arg(now).push(" where execution_id = ").push_arg(key);
                update.push(" and signal_id = ").push_arg(&signal_id);
                tx.execute(update).await?;
                (row.value, row.set_by, row.updated_at) = (value, by, now);
                tx.wakes.push(Wake::Signalled(key));
                Ok(row)
            })
        })
        .await
    }
}

fn unknown(signal_id: &str) -> Error {
    Error::NotFound { what: "signal", id: signal_id.to_owned() }
}
