//! Stores the nodes of an execution.

use prost::Message as _;
use proto::flyteidl::{admin, core};

use crate::listing::{Column, Join, Listing, Order};
use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::table::Table;
use crate::{ExecutionKey, ListQuery, NodeExecutionRow, NodeOutcomeRow, Result, Store, execution_list};

/// Columns of nodes that clients may name.
pub(crate) const COLUMNS: &[Column] = &[
    Column::text("node_id", "@.node_id"),
    Column::enumeration("phase", "@.phase", |n| {
        core::node_execution::Phase::try_from(n).ok().map(|phase| phase.as_str_name())
    }),
    Column::time("created_at", "@.created_at"),
    Column::time("node_execution_created_at", "@.created_at"),
    Column::time("updated_at", "@.updated_at"),
    Column::time("node_execution_updated_at", "@.updated_at"),
    Column::time("started_at", "@.started_at").nullable(),
    Column::duration("duration", "@.duration"),
    Column::text("error_kind", "@.error_kind"),
    Column::text("error_code", "@.error_code"),
    Column::text("cache_status", "@.cache_status"),
    Column::text("parent_id", "@.parent_id"),
    Column::text("retry_group", "@.retry_group"),
    Column::text("input_uri", "@.input_uri"),
];

const LISTING: Listing = Listing {
    names: &["node_execution"],
    alias: "n",
    columns: COLUMNS,
    joins: &[Join {
        names: &["execution"],
        own: &[],
        link: "select 1 from execution j where j.id = @.execution_id",
        columns: execution_list::COLUMNS,
    }],
    order: Order { column: "@.created_at", ascending: false },
    tiebreak: "@.node_id",
};

/// The table. Parent and time of creation make an index, which no change touches.
pub(crate) const TABLE: Table = Table {
    name: "node_execution",
    n_key: 2,
    fixed: &["parent_id", "created_at"],
    columns: &[
        ("execution_id", Type::Int),
        ("node_id", Type::Text),
        ("spec_node_id", Type::Text),
        ("node_name", Type::Text),
        ("parent_id", Type::Text),
        ("retry_group", Type::Text),
        ("phase", Type::Int),
        ("engine_phase", Type::Int),
        ("attempt", Type::Int),
        ("system_failures", Type::Int),
        ("flags", Type::Int),
        ("created_at", Type::Int),
        ("updated_at", Type::Int),
        ("queued_at", Type::Int),
        ("started_at", Type::Int),
        ("attempt_started_at", Type::Int),
        ("duration", Type::Int),
        ("error_kind", Type::Text),
        ("error_code", Type::Text),
        ("cache_status", Type::Text),
        ("input_uri", Type::Text),
        ("output_uri", Type::Text),
        ("deck_uri", Type::Text),
        ("error", Type::Blob),
        ("extra", Type::Blob),
        ("detail", Type::Int),
    ],
};

/// The columns that [`read`] reads, in its order.
const READ: &[&str] = &[
    "execution_id",
    "node_id",
    "spec_node_id",
    "node_name",
    "parent_id",
    "retry_group",
    "phase",
    "engine_phase",
    "attempt",
    "system_failures",
    "flags",
    "created_at",
    "updated_at",
    "queued_at",
    "started_at",
    "attempt_started_at",
    "duration",
    "input_uri",
    "output_uri",
    "deck_uri",
    "error",
    "extra",
    "detail",
];

/// Kind and code of a `core.ExecutionError`, for filters; empty when there is none.
fn error_columns(error: &[u8]) -> (String, String) {
    let decoded = if error.is_empty() { None } else { core::ExecutionError::decode(error).ok() };
    decoded.map(|error| (error.kind().as_str_name().to_owned(), error.code)).unwrap_or_default()
}

/// Cache status in a `admin.NodeExecutionClosure`, for filters; empty when there is none.
fn cache_status(extra: &[u8]) -> &'static str {
    use admin::node_execution_closure::TargetMetadata;
    let decoded = if extra.is_empty() { None } else { admin::NodeExecutionClosure::decode(extra).ok() };
    match decoded.and_then(|closure| closure.target_metadata) {
        Some(TargetMetadata::TaskNodeMetadata(task)) => task.cache_status().as_str_name(),
        _ => "",
    }
}

pub(crate) fn cells(row: &NodeExecutionRow) -> Vec<Arg> {
    let (error_kind, error_code) = error_columns(&row.error);
    vec![
        Arg::from(row.execution),
        Arg::from(&row.node_id),
        Arg::from(&row.spec_node_id),
        Arg::from(&row.node_name),
        Arg::from(&row.parent_id),
        Arg::from(&row.retry_group),
        Arg::from(row.phase),
        Arg::from(row.engine_phase),
        Arg::from(row.attempt),
        Arg::from(row.system_failures),
        Arg::from(row.flags),
        Arg::from(row.created_at),
        Arg::from(row.updated_at),
        Arg::from(row.queued_at),
        Arg::from(row.started_at),
        Arg::from(row.attempt_started_at),
        Arg::from(row.duration),
        Arg::from(error_kind),
        Arg::from(error_code),
        Arg::from(cache_status(&row.extra)),
        Arg::from(&row.input_uri),
        Arg::from(&row.output_uri),
        Arg::from(&row.deck_uri),
        Arg::from(&row.error),
        Arg::from(&row.extra),
        Arg::from(row.detail),
    ]
}

/// A `select` of nodes as `n` of an execution.
pub(crate) fn select(key: ExecutionKey) -> Sql {
    let mut sql = Sql::new("select ");
    sql.push_list("n.", READ.iter().copied());
    sql.push(" from node_execution n where n.execution_id = ").push_arg(key);
    sql
}

pub(crate) fn read(record: &Record) -> Result<NodeExecutionRow> {
    let mut c = record.cursor();
    Ok(NodeExecutionRow {
        execution: c.key()?,
        node_id: c.text()?,
        spec_node_id: c.text()?,
        node_name: c.text()?,
        parent_id: c.text()?,
        retry_group: c.text()?,
        phase: c.i32()?,
        engine_phase: c.i16()?,
        attempt: c.i32()?,
        system_failures: c.i32()?,
        flags: c.i32()?,
        created_at: c.time()?,
        updated_at: c.time()?,
        queued_at: c.opt_time()?,
        started_at: c.opt_time()?,
        attempt_started_at: c.opt_time()?,
        duration: c.opt_i64()?,
        input_uri: c.text()?,
        output_uri: c.text()?,
        deck_uri: c.text()?,
        error: c.blob()?,
        extra: c.blob()?,
        detail: c.i64()?,
    })
}

/// Most ids in one statement; SQLite binds two values for each.
const MAX_IDS: usize = 8_000;

/// Nodes in a page of [`NodeOutcomePages`].
const PAGE: usize = 2_000;

/// The nodes of an execution in the order of their ids, page by page, so that no execution is too large to read.
#[derive(Debug)]
pub struct NodeOutcomePages {
    store: Store,
    key: ExecutionKey,
    last: Option<String>,
}

impl NodeOutcomePages {
    /// The next page; empty when there are no more.
    ///
    /// # Errors
    /// The database; the same page may be asked for again.
    pub async fn next(&mut self) -> Result<Vec<NodeOutcomeRow>> {
        let mut sql = Sql::new(
            "select n.node_id, n.spec_node_id, n.parent_id, n.phase, n.attempt, n.flags, n.error_code,
             n.input_uri, n.output_uri, n.deck_uri, n.extra from node_execution n where n.execution_id = ",
        );
        sql.push_arg(self.key);
        if let Some(last) = &self.last {
            sql.push(" and n.node_id > ").push_arg(last);
        }
        sql.push(" order by n.node_id limit ").push_arg(PAGE as i64);
        let rows: Vec<NodeOutcomeRow> =
            self.store.fetch(sql).await?.iter().map(read_outcome).collect::<Result<_>>()?;
        if let Some(row) = rows.last() {
            self.last = Some(row.node_id.clone());
        }
        Ok(rows)
    }
}

fn read_outcome(record: &Record) -> Result<NodeOutcomeRow> {
    let mut c = record.cursor();
    Ok(NodeOutcomeRow {
        node_id: c.text()?,
        spec_node_id: c.text()?,
        parent_id: c.text()?,
        phase: c.i32()?,
        attempt: c.i32()?,
        flags: c.i32()?,
        error_code: c.text()?,
        input_uri: c.text()?,
        output_uri: c.text()?,
        deck_uri: c.text()?,
        extra: c.blob()?,
    })
}

impl Store {
    /// Reads several nodes of an execution with one statement for each 8,000; those that don't exist are left out,
    /// the order is free.
    ///
    /// # Errors
    /// The database.
    pub async fn node_executions_by_ids<S: AsRef<str>>(
        &self,
        key: ExecutionKey,
        ids: &[S],
    ) -> Result<Vec<NodeExecutionRow>> {
        let mut ids: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut out = Vec::with_capacity(ids.len());
        for ids in ids.chunks(MAX_IDS) {
            let rows = ids.iter().map(|id| vec![Arg::from(key), Arg::from(*id)]);
            let mut sql = Sql::new("with r (execution_id, node_id) as (");
            self.dialect().push_rows(&mut sql, &[Type::Int, Type::Text], rows);
            sql.push(") select ").push_list("n.", READ.iter().copied());
            sql.push(
                " from r cross join node_execution n where n.execution_id = r.execution_id
                 and n.node_id = r.node_id",
            );
            for record in self.fetch(sql).await? {
                out.push(read(&record)?);
            }
        }
        Ok(out)
    }

    /// What became of the nodes of an execution, for a recovery.
    pub fn node_outcomes(&self, key: ExecutionKey) -> NodeOutcomePages {
        NodeOutcomePages { store: self.clone(), key, last: None }
    }

    /// Reads a node.
    ///
    /// # Errors
    /// The database.
    pub async fn node_execution_get(
        &self,
        key: ExecutionKey,
        node_id: &str,
    ) -> Result<Option<NodeExecutionRow>> {
        let mut sql = select(key);
        sql.push(" and n.node_id = ").push_arg(node_id);
        self.fetch_optional(sql).await?.as_ref().map(read).transpose()
    }

    /// Lists the children of a node; with an empty `parent_id`, the top-level nodes.
    ///
    /// # Errors
    /// An unknown filter or sort key, or the database.
    pub async fn node_execution_list(
        &self,
        key: ExecutionKey,
        parent_id: &str,
        query: &ListQuery,
    ) -> Result<Vec<NodeExecutionRow>> {
        // Rows that are skipped are skipped in the index: only those of the page are read.
        let mut sql = Sql::new("select ");
        sql.push_list("n.", READ.iter().copied());
        sql.push(" from (select n.execution_id, n.node_id from node_execution n where n.execution_id = ");
        sql.push_arg(key).push(" and n.parent_id = ").push_arg(parent_id);
        LISTING.push(&mut sql, self.dialect(), query)?;
        sql.push(") page join node_execution n on n.execution_id = page.execution_id");
        sql.push(" and n.node_id = page.node_id");
        LISTING.push_order(&mut sql, self.dialect(), query)?;
        self.fetch(sql).await?.iter().map(read).collect()
    }
}
