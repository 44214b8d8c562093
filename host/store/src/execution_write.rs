//! Writes executions: new ones, many at a time, and the engine's changes to them.

use std::collections::{BTreeMap, HashMap};

use model::{EntityId, ExecutionId};
use prost::Message as _;
use proto::flyteidl::{admin, core};
use tokio::sync::oneshot;

use crate::dialect::{Dialect, Tx};
use crate::sql::{Arg, Sql, Type};
use crate::table::{OnConflict, Table};
use crate::writer::Op;
use crate::{
    Error, EventWish, ExecutionKey, ExecutionRow, ExecutionUpdate, OutboxRow, Result, Store, Wake, outbox,
};

const EXECUTION: Table = Table {
    name: "execution",
    n_key: 3,
    fixed: &[],
    columns: &[
        ("project", Type::Text),
        ("domain", Type::Text),
        ("name", Type::Text),
        ("launch_plan_project", Type::Text),
        ("launch_plan_domain", Type::Text),
        ("launch_plan_name", Type::Text),
        ("launch_plan_version", Type::Text),
        ("task_project", Type::Text),
        ("task_domain", Type::Text),
        ("task_name", Type::Text),
        ("task_version", Type::Text),
        ("workflow_project", Type::Text),
        ("workflow_domain", Type::Text),
        ("workflow_name", Type::Text),
        ("workflow_version", Type::Text),
        ("phase", Type::Int),
        ("mode", Type::Int),
        ("principal", Type::Text),
        ("cluster", Type::Text),
        ("nesting", Type::Int),
        ("source_project", Type::Text),
        ("source_domain", Type::Text),
        ("source_name", Type::Text),
        ("parent_id", Type::Int),
        ("parent_node", Type::Text),
        ("inputs_uri", Type::Text),
        ("user_inputs_uri", Type::Text),
        ("outputs_uri", Type::Text),
        ("error_kind", Type::Text),
        ("error_code", Type::Text),
        ("abort_cause", Type::Text),
        ("aborted_by", Type::Text),
        ("state", Type::Int),
        ("created_at", Type::Int),
        ("updated_at", Type::Int),
        ("started_at", Type::Int),
        ("duration", Type::Int),
        ("live", Type::Int),
        ("error", Type::Blob),
        ("spec", Type::Blob),
        ("abort_forced", Type::Int),
        ("settings", Type::Blob),
    ],
};

const TAG: Table = Table {
    name: "execution_tag",
    n_key: 2,
    fixed: &[],
    columns: &[
        ("execution_id", Type::Int),
        ("key", Type::Text),
        ("value", Type::Text),
        ("project", Type::Text),
        ("domain", Type::Text),
        ("created_at", Type::Int),
    ],
};

/// An execution on its way to the writer.
pub(crate) struct NewExecution {
    id: ExecutionId,
    cells: Vec<Arg>,
    /// Labels, and tags as keys without value; of equal keys the label stays.
    tags: BTreeMap<String, String>,
    created_at: Arg,
    /// That it is queued, if anyone wants to know. It lacks the key.
    event: Option<OutboxRow>,
}

impl NewExecution {
    fn new(row: &ExecutionRow, wish: EventWish) -> Result<Self> {
        let spec = admin::ExecutionSpec::decode(row.spec.as_slice()).map_err(|error| Error::Corrupt {
            what: "execution spec",
            reason: format!("of new execution {}: {error}", row.id),
        })?;
        #[allow(deprecated, reason = "older clients send tags in this field only")]
        let tags = spec.tags.into_iter().map(|tag| (tag, String::new()));
        let labels = spec.labels.unwrap_or_default().values;
        Ok(Self {
            id: row.id.clone(),
            cells: cells(row),
            tags: tags.chain(labels).collect(),
            created_at: Arg::from(row.created_at),
            event: wish.workflows.then(|| queued(row)),
        })
    }
}

fn queued(row: &ExecutionRow) -> OutboxRow {
    let phase = core::workflow_execution::Phase::Queued as i32;
    OutboxRow::of_workflow(row.key, &row.id, phase, row.created_at, None)
}

fn push_entity_id(out: &mut Vec<Arg>, id: Option<&EntityId>) {
    out.extend([
        Arg::from(id.map(|id| id.project.as_str())),
        Arg::from(id.map(|id| id.domain.as_str())),
        Arg::from(id.map(|id| id.name.as_str())),
        Arg::from(id.map(|id| id.version.as_str())),
    ]);
}

fn cells(row: &ExecutionRow) -> Vec<Arg> {
    let mut out = Vec::with_capacity(EXECUTION.columns.len());
    out.extend([Arg::from(&*row.id.project), Arg::from(&*row.id.domain), Arg::from(&*row.id.name)]);
    push_entity_id(&mut out, row.launch_plan.as_ref());
    push_entity_id(&mut out, row.task.as_ref());
    push_entity_id(&mut out, Some(&row.workflow));
    let source = row.source.as_ref();
    let parent = row.parent_node.as_ref();
    out.extend([
        Arg::from(row.phase),
        Arg::from(row.mode),
        Arg::from(&row.principal),
        Arg::from(&row.cluster),
        Arg::from(row.nesting),
        Arg::from(source.map(|id| &*id.project)),
        Arg::from(source.map(|id| &*id.domain)),
        Arg::from(source.map(|id| &*id.name)),
        Arg::from(parent.map(|(key, _)| key.0)),
        Arg::from(parent.map(|(_, node)| node.as_str())),
        Arg::from(&row.inputs_uri),
        Arg::from(&row.user_inputs_uri),
        Arg::from(&row.outputs_uri),
        Arg::from(&row.error_kind),
        Arg::from(&row.error_code),
        Arg::from(&row.abort_cause),
        Arg::from(row.aborted_by.as_deref()),
        Arg::from(row.state),
        Arg::from(row.created_at),
        Arg::from(row.updated_at),
        Arg::from(row.started_at),
        Arg::from(row.duration),
        Arg::from(row.live),
        Arg::from(&row.error),
        Arg::from(&row.spec),
        Arg::from(row.abort_forced),
        Arg::from(&row.settings),
    ]);
    out
}

/// Inserts executions whose names are free. The results stand in the order of the rows; of equal names the
/// first is inserted.
pub(crate) async fn insert_many(
    tx: &mut Tx,
    rows: &[Box<NewExecution>],
) -> Result<Vec<Result<ExecutionKey>>> {
    // In the order of their names, so that two hosts can't wait for each other.
    let mut sorted: Vec<&NewExecution> = rows.iter().map(|row| &**row).collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    let mut keys: HashMap<ExecutionId, ExecutionKey> = HashMap::with_capacity(rows.len());
    let mut rest = sorted.as_slice();
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(tx.dialect().chunk(rest.len()));
        rest = behind;
        let cells = chunk.iter().map(|row| row.cells.clone());
        let mut sql = EXECUTION.insert(tx.dialect(), cells, OnConflict::Keep);
        sql.push(" returning project, domain, name, id");
        for record in tx.fetch(sql).await? {
            let mut c = record.cursor();
            keys.insert(c.execution_id()?, c.key()?);
        }
    }
    let (mut tags, mut events) = (Vec::new(), Vec::new());
    let mut out = Vec::with_capacity(rows.len());
    for row in rows {
        // Taken out, so that a later row of the same name finds it taken.
        let Some(key) = keys.remove(&row.id) else {
            out.push(Err(Error::Exists { what: "execution", id: row.id.to_string() }));
            continue;
        };
        for (name, value) in &row.tags {
            tags.push(vec![
                Arg::from(key),
                Arg::from(name),
                Arg::from(value),
                Arg::from(&*row.id.project),
                Arg::from(&*row.id.domain),
                row.created_at.clone(),
            ]);
        }
        events.extend(row.event.clone().map(|event| OutboxRow { execution: key, ..event }));
        tx.wakes.push(Wake::Created(key));
        out.push(Ok(key));
    }
    metrics::counter!("pinion_store_rows_total", "table" => "execution").increment(out.len() as u64);
    TAG.write(tx, tags, OnConflict::Replace).await?;
    outbox::write(tx, events).await?;
    Ok(out)
}

const UPDATE_TYPES: [Type; 10] = [
    Type::Int,
    Type::Int,
    Type::Text,
    Type::Blob,
    Type::Text,
    Type::Text,
    Type::Int,
    Type::Int,
    Type::Int,
    Type::Int,
];

pub(crate) fn update_cells(update: &ExecutionUpdate) -> Vec<Arg> {
    vec![
        Arg::from(update.key),
        Arg::from(update.phase),
        Arg::from(&update.outputs_uri),
        Arg::from(&update.error),
        Arg::from(&update.error_kind),
        Arg::from(&update.error_code),
        Arg::from(update.updated_at),
        Arg::from(update.started_at),
        Arg::from(update.duration),
        Arg::from(update.live),
    ]
}

/// Whether these cells end an execution.
fn ends(cells: &[Arg]) -> bool {
    matches!(cells.get(1), Some(Arg::Int(Some(4 | 6 | 7 | 8))))
}

/// Writes the engine's changes. A wish to abort that came in between stays visible: until the execution ends,
/// its phase stays ABORTING. Whoever started an execution that ends is woken.
pub(crate) async fn update_many(tx: &mut Tx, mut rows: Vec<Vec<Arg>>) -> Result<()> {
    let mut rest = rows.drain(..);
    while rest.len() > 0 {
        let n_rows = tx.dialect().chunk(rest.len());
        let chunk: Vec<Vec<Arg>> = rest.by_ref().take(n_rows).collect();
        let some_end = chunk.iter().any(|cells| ends(cells));
        let mut sql = Sql::new(
            "with r (id, phase, outputs_uri, error, error_kind, error_code, updated_at, started_at, duration,
             live) as (",
        );
        tx.dialect().push_rows(&mut sql, &UPDATE_TYPES, chunk.into_iter());
        sql.push(
            ") update execution set
             phase = case when execution.aborted_by is not null and r.phase not in (4, 6, 7, 8) then 9
                          else r.phase end,
             outputs_uri = r.outputs_uri, error = r.error, error_kind = r.error_kind,
             error_code = r.error_code, updated_at = r.updated_at, started_at = r.started_at,
             duration = r.duration, live = r.live from r where execution.id = r.id",
        );
        let changed = if some_end || tx.dialect() == Dialect::Sqlite {
            // Rows that come back save SQLite a trip: what waits goes with the statement.
            sql.push(" returning case when execution.phase in (4, 6, 7, 8) then execution.parent_id end");
            let records = tx.fetch(sql).await?;
            for record in &records {
                tx.wakes
                    .extend(record.cursor().opt_i64()?.map(|parent| Wake::ChildEnded(ExecutionKey(parent))));
            }
            records.len() as u64
        } else {
            tx.execute(sql).await?
        };
        if changed != n_rows as u64 {
            let id = format!("(one of {n_rows} in a batch)");
            return Err(Error::NotFound { what: "execution", id });
        }
        metrics::counter!("pinion_store_rows_total", "table" => "execution").increment(changed);
    }
    Ok(())
}

impl Store {
    /// Creates an execution and wakes the engine. `row.key` is ignored; the new key is returned.
    ///
    /// # Errors
    /// [`Error::Exists`] when the name is taken, [`Error::Corrupt`] when its spec is no `admin.ExecutionSpec`, or
    /// the database.
    pub async fn execution_insert(&self, row: &ExecutionRow) -> Result<ExecutionKey> {
        let new = NewExecution::new(row, self.events_wanted())?;
        let (reply, key) = oneshot::channel();
        self.hand_over(Op::Insert(Box::new(new), reply)).await?;
        key.await.map_err(|_| Error::Closed)?
    }
}
