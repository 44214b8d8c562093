//! Reads when nodes and attempts began and ended, without the rest of their rows.

use model::{EntityId, EntityKind, Timestamp};

use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::{ExecutionKey, Result, Store};

/// When a node was what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTimesRow {
    /// See [`crate::NodeExecutionRow::node_id`].
    pub node_id: String,
    /// See [`crate::NodeExecutionRow::spec_node_id`].
    pub spec_node_id: String,
    /// See [`crate::NodeExecutionRow::parent_id`].
    pub parent_id: String,
    /// See [`crate::NodeExecutionRow::phase`].
    pub phase: i32,
    /// See [`crate::NodeExecutionRow::flags`].
    pub flags: i32,
    /// See [`crate::NodeExecutionRow::created_at`].
    pub created_at: Timestamp,
    /// See [`crate::NodeExecutionRow::updated_at`].
    pub updated_at: Timestamp,
    /// See [`crate::NodeExecutionRow::started_at`].
    pub started_at: Option<Timestamp>,
    /// See [`crate::NodeExecutionRow::duration`].
    pub duration: Option<i64>,
    /// See [`crate::NodeExecutionRow::extra`].
    pub extra: Vec<u8>,
}

/// When an attempt was what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskTimesRow {
    /// See [`crate::TaskExecutionRow::node_id`].
    pub node_id: String,
    /// See [`crate::TaskExecutionRow::attempt`].
    pub attempt: i32,
    /// See [`crate::TaskExecutionRow::task`].
    pub task: EntityId,
    /// See [`crate::TaskExecutionRow::phase`].
    pub phase: i32,
    /// See [`crate::TaskExecutionRow::created_at`].
    pub created_at: Timestamp,
    /// See [`crate::TaskExecutionRow::updated_at`].
    pub updated_at: Timestamp,
    /// See [`crate::TaskExecutionRow::started_at`].
    pub started_at: Option<Timestamp>,
    /// See [`crate::TaskExecutionRow::duration`].
    pub duration: Option<i64>,
}

/// Most ids in one statement.
const MAX_IDS: usize = 8_000;

/// A table expression `r` of ids of nodes of an execution. It must be the first of a cross join, to whose order SQLite
/// keeps: else it may go through all rows of the execution for each id.
fn with_ids(store: &Store, key: ExecutionKey, ids: &[String]) -> Sql {
    let mut sql = Sql::new("with r (execution_id, id) as (");
    let rows = ids.iter().map(|id| vec![Arg::from(key), Arg::from(id)]);
    store.dialect().push_rows(&mut sql, &[Type::Int, Type::Text], rows);
    sql.push(") select ");
    sql
}

fn read_node(record: &Record) -> Result<NodeTimesRow> {
    let mut c = record.cursor();
    Ok(NodeTimesRow {
        node_id: c.text()?,
        spec_node_id: c.text()?,
        parent_id: c.text()?,
        phase: c.i32()?,
        flags: c.i32()?,
        created_at: c.time()?,
        updated_at: c.time()?,
        started_at: c.opt_time()?,
        duration: c.opt_i64()?,
        extra: c.blob()?,
    })
}

fn read_task(record: &Record) -> Result<TaskTimesRow> {
    let mut c = record.cursor();
    Ok(TaskTimesRow {
        node_id: c.text()?,
        attempt: c.i32()?,
        task: c.entity_id(EntityKind::Task)?,
        phase: c.i32()?,
        created_at: c.time()?,
        updated_at: c.time()?,
        started_at: c.opt_time()?,
        duration: c.opt_i64()?,
    })
}

impl Store {
    /// When the children of these nodes were what, in any order; the parent with an empty id has the top-level nodes.
    /// Stops some way behind `most`; then children of later parents are missing.
    ///
    /// # Errors
    /// The database.
    pub async fn node_times(
        &self,
        key: ExecutionKey,
        parents: &[String],
        most: usize,
    ) -> Result<Vec<NodeTimesRow>> {
        let mut out = Vec::new();
        for ids in parents.chunks(MAX_IDS) {
            let mut sql = with_ids(self, key, ids);
            // The children are found in the index alone: for rows as wide as these, SQLite prefers to search the
            // primary key for the execution, and would do so for each parent.
            sql.push(
                "n.node_id, n.spec_node_id, n.parent_id, n.phase, n.flags, n.created_at, n.updated_at,
                 n.started_at, n.duration, n.extra from r cross join node_execution p cross join node_execution n
                 where p.execution_id = r.execution_id and p.parent_id = r.id
                 and n.execution_id = p.execution_id and n.node_id = p.node_id",
            );
            for record in self.fetch(sql).await? {
                out.push(read_node(&record)?);
            }
            if out.len() > most {
                break;
            }
        }
        Ok(out)
    }

    /// When the attempts of these nodes were what, those of a node one after the other.
    ///
    /// # Errors
    /// The database.
    pub async fn task_times(&self, key: ExecutionKey, nodes: &[String]) -> Result<Vec<TaskTimesRow>> {
        let mut out = Vec::new();
        for ids in nodes.chunks(MAX_IDS) {
            let mut sql = with_ids(self, key, ids);
            sql.push(
                "t.node_id, t.attempt, t.task_project, t.task_domain, t.task_name, t.task_version, t.phase,
                 t.created_at, t.updated_at, t.started_at, t.duration from r cross join task_execution t
                 where t.execution_id = r.execution_id and t.node_id = r.id order by t.node_id, t.attempt",
            );
            for record in self.fetch(sql).await? {
                out.push(read_task(&record)?);
            }
        }
        Ok(out)
    }
}
