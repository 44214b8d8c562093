//! Reads the elements of an array node, as many as there are.

use crate::record::Record;
use crate::sql::Sql;
use crate::{ExecutionKey, Result, Store};

/// Elements in a page of [`ElementPages`], with closures and without.
const PAGES: (i64, i64) = (2_000, 20_000);

/// What clients are shown of an element of an array node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementRow {
    /// Unique node id.
    pub node_id: String,
    /// `core.NodeExecution.Phase`.
    pub phase: i32,
    /// Current attempt, from 0.
    pub attempt: i32,
    /// Name of a `core.CatalogCacheStatus`; empty when nothing is known.
    pub cache_status: String,
    /// See [`crate::NodeExecutionRow::extra`]; left empty where a cache status says what it would.
    pub extra: Vec<u8>,
    /// `core.TaskExecution.Phase` of the current attempt, when it is one of a task.
    pub task_phase: Option<i32>,
    /// `admin.TaskExecutionClosure` of the current attempt, if it was asked for; else empty.
    pub closure: Vec<u8>,
}

/// The elements of an array node in the order of their ids as texts, page by page.
#[derive(Debug)]
pub struct ElementPages {
    store: Store,
    key: ExecutionKey,
    array: String,
    closures: bool,
    last: String,
}

impl ElementPages {
    /// The next page; empty when there are no more.
    ///
    /// # Errors
    /// The database; the same page may be asked for again.
    pub async fn next(&mut self) -> Result<Vec<ElementRow>> {
        let mut sql = Sql::new(
            "select n.node_id, n.phase, n.attempt, n.cache_status,
             case when n.cache_status = '' then n.extra end, t.phase",
        );
        sql.push(if self.closures { ", t.closure" } else { ", null" });
        sql.push(
            " from node_execution n left join task_execution t
             on t.execution_id = n.execution_id and t.node_id = n.node_id and t.attempt = n.attempt
             where n.execution_id = ",
        );
        sql.push_arg(self.key).push(" and n.node_id > ").push_arg(&self.last);
        sql.push(" and n.parent_id = ").push_arg(&self.array);
        sql.push(" order by n.node_id limit ").push_arg(if self.closures { PAGES.0 } else { PAGES.1 });
        let rows = self.store.fetch(sql).await?.iter().map(read).collect::<Result<Vec<_>>>()?;
        if let Some(row) = rows.last() {
            self.last.clone_from(&row.node_id);
        }
        Ok(rows)
    }
}

fn read(record: &Record) -> Result<ElementRow> {
    let mut c = record.cursor();
    Ok(ElementRow {
        node_id: c.text()?,
        phase: c.i32()?,
        attempt: c.i32()?,
        cache_status: c.text()?,
        extra: c.opt_blob()?.unwrap_or_default(),
        task_phase: c.opt_i64()?.and_then(|phase| i32::try_from(phase).ok()),
        closure: c.opt_blob()?.unwrap_or_default(),
    })
}

impl Store {
    /// The elements of an array node, with the closures of their attempts if asked for.
    pub fn array_elements(&self, key: ExecutionKey, array: &str, closures: bool) -> ElementPages {
        ElementPages { store: self.clone(), key, array: array.to_owned(), closures, last: String::new() }
    }
}
