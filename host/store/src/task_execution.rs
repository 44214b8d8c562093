//! Stores the attempts of task nodes.

use model::{EntityId, EntityKind};
use proto::flyteidl::core;

use crate::listing::{Column, Join, Listing, Order};
use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::table::Table;
use crate::{
    ExecutionKey, ListQuery, Result, Store, TaskExecutionRow, entity, execution_list, node_execution,
};

const TASK_ID: [Column; 4] = [
    Column::text("project", "@.task_project"),
    Column::text("domain", "@.task_domain"),
    Column::text("name", "@.task_name"),
    Column::text("version", "@.task_version"),
];

const LISTING: Listing = Listing {
    names: &["task_execution"],
    alias: "t",
    columns: &[
        TASK_ID[0],
        TASK_ID[1],
        TASK_ID[2],
        TASK_ID[3],
        Column::text("node_id", "@.node_id"),
        Column::int("retry_attempt", "@.attempt"),
        Column::enumeration("phase", "@.phase", |n| {
            core::task_execution::Phase::try_from(n).ok().map(|phase| phase.as_str_name())
        }),
        Column::int("phase_version", "@.phase_version"),
        Column::text("task_type", "@.task_type"),
        Column::time("created_at", "@.created_at"),
        Column::time("task_execution_created_at", "@.created_at"),
        Column::time("updated_at", "@.updated_at"),
        Column::time("task_execution_updated_at", "@.updated_at"),
        Column::time("started_at", "@.started_at").nullable(),
        Column::duration("duration", "@.duration"),
        Column::text("output_uri", "@.output_uri"),
        Column::text("reason", "@.reason"),
    ],
    joins: &[
        Join {
            names: &["task"],
            own: &TASK_ID,
            link: "select 1 from entity j where j.kind = 1 and j.project = @.task_project \
                   and j.domain = @.task_domain and j.name = @.task_name and j.version = @.task_version",
            columns: entity::COLUMNS,
        },
        Join {
            names: &["execution"],
            own: &[],
            link: "select 1 from execution j where j.id = @.execution_id",
            columns: execution_list::COLUMNS,
        },
        Join {
            names: &["node_execution"],
            own: &[],
            link: "select 1 from node_execution j where j.execution_id = @.execution_id \
                   and j.node_id = @.node_id",
            columns: node_execution::COLUMNS,
        },
    ],
    order: Order { column: "@.created_at", ascending: false },
    tiebreak: "@.attempt",
};

/// The table.
pub(crate) const TABLE: Table = Table {
    name: "task_execution",
    n_key: 3,
    fixed: &[],
    columns: &[
        ("execution_id", Type::Int),
        ("node_id", Type::Text),
        ("attempt", Type::Int),
        ("task_project", Type::Text),
        ("task_domain", Type::Text),
        ("task_name", Type::Text),
        ("task_version", Type::Text),
        ("task_type", Type::Text),
        ("phase", Type::Int),
        ("phase_version", Type::Int),
        ("plugin_phase", Type::Int),
        ("open", Type::Int),
        ("state_version", Type::Int),
        ("wake_at", Type::Int),
        ("created_at", Type::Int),
        ("updated_at", Type::Int),
        ("started_at", Type::Int),
        ("duration", Type::Int),
        ("output_uri", Type::Text),
        ("reason", Type::Text),
        ("plugin", Type::Text),
        ("closure", Type::Blob),
        ("plugin_state", Type::Blob),
        ("intent", Type::Blob),
        ("objects", Type::Blob),
    ],
};

pub(crate) fn cells(row: &TaskExecutionRow) -> Vec<Arg> {
    vec![
        Arg::from(row.execution),
        Arg::from(&row.node_id),
        Arg::from(row.attempt),
        Arg::from(&row.task.project),
        Arg::from(&row.task.domain),
        Arg::from(&row.task.name),
        Arg::from(&row.task.version),
        Arg::from(&row.task_type),
        Arg::from(row.phase),
        Arg::from(row.phase_version),
        Arg::from(row.plugin_phase),
        Arg::from(row.open),
        Arg::from(row.state_version),
        Arg::from(row.wake_at),
        Arg::from(row.created_at),
        Arg::from(row.updated_at),
        Arg::from(row.started_at),
        Arg::from(row.duration),
        Arg::from(&row.output_uri),
        Arg::from(&row.reason),
        Arg::from(&row.plugin),
        Arg::from(&row.closure),
        Arg::from(&row.plugin_state),
        Arg::from(&row.intent),
        Arg::from(&row.objects),
    ]
}

/// A `select` of attempts as `t` of an execution.
pub(crate) fn select(key: ExecutionKey) -> Sql {
    let mut sql = Sql::new("select ");
    sql.push_list("t.", TABLE.names());
    sql.push(" from task_execution t where t.execution_id = ").push_arg(key);
    sql
}

pub(crate) fn read(record: &Record) -> Result<TaskExecutionRow> {
    let mut c = record.cursor();
    Ok(TaskExecutionRow {
        execution: c.key()?,
        node_id: c.text()?,
        attempt: c.i32()?,
        task: c.entity_id(EntityKind::Task)?,
        task_type: c.text()?,
        phase: c.i32()?,
        phase_version: c.i32()?,
        plugin_phase: c.i16()?,
        open: c.bool()?,
        state_version: c.i32()?,
        wake_at: c.opt_time()?,
        created_at: c.time()?,
        updated_at: c.time()?,
        started_at: c.opt_time()?,
        duration: c.opt_i64()?,
        output_uri: c.text()?,
        reason: c.text()?,
        plugin: c.text()?,
        closure: c.blob()?,
        plugin_state: c.blob()?,
        intent: c.blob()?,
        objects: c.blob()?,
    })
}

impl Store {
    /// Reads one attempt.
    ///
    /// # Errors
    /// The database.
    pub async fn task_execution_get(
        &self,
        key: ExecutionKey,
        node_id: &str,
        task: &EntityId,
        attempt: i32,
    ) -> Result<Option<TaskExecutionRow>> {
        let mut sql = select(key);
        sql.push(" and t.node_id = ").push_arg(node_id).push(" and t.attempt = ").push_arg(attempt);
        let row = self.fetch_optional(sql).await?.as_ref().map(read).transpose()?;
        Ok(row.filter(|row| row.task == *task))
    }

    /// Lists the attempts of a node.
    ///
    /// # Errors
    /// An unknown filter or sort key, or the database.
    pub async fn task_execution_list(
        &self,
        key: ExecutionKey,
        node_id: &str,
        query: &ListQuery,
    ) -> Result<Vec<TaskExecutionRow>> {
        let mut sql = select(key);
        sql.push(" and t.node_id = ").push_arg(node_id);
        LISTING.push(&mut sql, self.dialect(), query)?;
        self.fetch(sql).await?.iter().map(read).collect()
    }
}
