//! Stores executions: the side of clients, who read, abort and archive them.

use model::{EntityKind, ExecutionId, Timestamp};
use proto::flyteidl::core;
use proto::flyteidl::event::workflow_execution_event::OutputResult;

use crate::record::Record;
use crate::sql::{Arg, Sql, Type};
use crate::{Error, ExecutionKey, ExecutionRow, OutboxRow, Result, Store, Wake, outbox};

/// Most keys in one statement.
const MAX_KEYS: usize = 8_000;

/// What became of a request to abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortOutcome {
    /// There is no such execution.
    NotFound,
    /// It had ended before, in this `core.WorkflowExecution.Phase`.
    AlreadyTerminal(i32),
    /// The intent is stored; the owner converges on it.
    Requested,
}

/// The columns that [`read`] reads, in its order.
pub(crate) const READ: &[&str] = &[
    "id",
    "project",
    "domain",
    "name",
    "launch_plan_project",
    "launch_plan_domain",
    "launch_plan_name",
    "launch_plan_version",
    "task_project",
    "task_domain",
    "task_name",
    "task_version",
    "workflow_project",
    "workflow_domain",
    "workflow_name",
    "workflow_version",
    "phase",
    "mode",
    "principal",
    "cluster",
    "nesting",
    "source_project",
    "source_domain",
    "source_name",
    "parent_id",
    "parent_node",
    "inputs_uri",
    "user_inputs_uri",
    "outputs_uri",
    "error_kind",
    "error_code",
    "abort_cause",
    "aborted_by",
    "state",
    "created_at",
    "updated_at",
    "started_at",
    "duration",
    "live",
    "error",
    "spec",
    "abort_forced",
    "settings",
];

/// A `select` of executions as `e` that ends with `where`.
fn select() -> Sql {
    let mut sql = Sql::new("select ");
    sql.push_list("e.", READ.iter().copied()).push(" from execution e where ");
    sql
}

/// A `select` of one execution by its name.
pub(crate) fn select_by_id(id: &ExecutionId) -> Sql {
    let mut sql = select();
    push_id(&mut sql, id);
    sql
}

/// Appends the columns of a changed row that [`read`] reads.
pub(crate) fn push_returning(sql: &mut Sql) {
    sql.push(" returning ").push_list("", READ.iter().copied());
}

pub(crate) fn read(record: &Record) -> Result<ExecutionRow> {
    let mut c = record.cursor();
    Ok(ExecutionRow {
        key: c.key()?,
        id: c.execution_id()?,
        launch_plan: c.opt_entity_id(EntityKind::LaunchPlan)?,
        task: c.opt_entity_id(EntityKind::Task)?,
        workflow: c.entity_id(EntityKind::Workflow)?,
        phase: c.i32()?,
        mode: c.i32()?,
        principal: c.text()?,
        cluster: c.text()?,
        nesting: c.i32()?,
        source: c.opt_execution_id()?,
        parent_node: match (c.opt_i64()?, c.opt_text()?) {
            (Some(key), Some(node)) => Some((ExecutionKey(key), node)),
            _ => None,
        },
        inputs_uri: c.text()?,
        user_inputs_uri: c.text()?,
        outputs_uri: c.text()?,
        error_kind: c.text()?,
        error_code: c.text()?,
        abort_cause: c.text()?,
        aborted_by: c.opt_text()?,
        state: c.i32()?,
        created_at: c.time()?,
        updated_at: c.time()?,
        started_at: c.opt_time()?,
        duration: c.opt_i64()?,
        live: c.bool()?,
        error: c.blob()?,
        spec: c.blob()?,
        abort_forced: c.bool()?,
        settings: c.blob()?,
    })
}

fn push_id(sql: &mut Sql, id: &ExecutionId) {
    sql.push("project = ").push_arg(&*id.project).push(" and domain = ").push_arg(&*id.domain);
    sql.push(" and name = ").push_arg(&*id.name);
}

/// Whether an execution in this `core.WorkflowExecution.Phase` has ended.
pub(crate) fn is_terminal(phase: i32) -> bool {
    use core::workflow_execution::Phase;
    matches!(Phase::try_from(phase), Ok(Phase::Succeeded | Phase::Failed | Phase::Aborted | Phase::TimedOut))
}

impl Store {
    /// Reads an execution by its name.
    ///
    /// # Errors
    /// The database.
    pub async fn execution_get(&self, id: &ExecutionId) -> Result<Option<ExecutionRow>> {
        self.fetch_optional(select_by_id(id)).await?.as_ref().map(read).transpose()
    }

    /// Reads an execution by its key.
    ///
    /// # Errors
    /// The database.
    pub async fn execution_get_by_key(&self, key: ExecutionKey) -> Result<Option<ExecutionRow>> {
        let mut sql = select();
        sql.push("e.id = ").push_arg(key);
        self.fetch_optional(sql).await?.as_ref().map(read).transpose()
    }

    /// The executions that a node of another one started, in the order of their keys; with an empty `node_id`, those
    /// of all its nodes.
    ///
    /// # Errors
    /// The database.
    pub async fn children_of(&self, parent: ExecutionKey, node_id: &str) -> Result<Vec<ExecutionRow>> {
        let mut sql = select();
        sql.push("e.parent_id = ").push_arg(parent);
        if !node_id.is_empty() {
            sql.push(" and e.parent_node = ").push_arg(node_id);
        }
        sql.push(" order by e.id");
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// Those of these executions that have ended, in any order; one statement for each 8,000.
    ///
    /// # Errors
    /// The database.
    pub async fn executions_ended(&self, keys: &[ExecutionKey]) -> Result<Vec<ExecutionRow>> {
        let mut out = Vec::new();
        for keys in keys.chunks(MAX_KEYS) {
            let mut sql = Sql::new("with r (id) as (");
            let rows = keys.iter().map(|key| vec![Arg::from(*key)]);
            self.dialect().push_rows(&mut sql, &[Type::Int], rows);
            sql.push(") select ").push_list("e.", READ.iter().copied());
            sql.push(" from r join execution e on e.id = r.id where e.phase in (4, 6, 7, 8)");
            for record in self.fetch(sql).await? {
                out.push(read(&record)?);
            }
        }
        Ok(out)
    }

    /// Executions that ended and still have something to clean up, oldest first.
    ///
    /// # Errors
    /// The database.
    pub async fn execution_debts(&self, limit: u32) -> Result<Vec<ExecutionRow>> {
        let mut sql = select();
        sql.push("e.live = 1 and e.phase in (4, 6, 7, 8) order by e.created_at, e.id limit ").push_arg(limit);
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// Stores the wish to abort an execution and wakes its owner. The first request's cause and principal stay.
    ///
    /// # Errors
    /// The database.
    pub async fn execution_request_abort(
        &self,
        id: &ExecutionId,
        cause: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<AbortOutcome> {
        self.abort(id, (cause, principal), false, now).await
    }

    /// The same, and its phase becomes ABORTED without waiting until everything is cleaned up: the owner sees to
    /// that. An execution that an engine outside drives is ended here and now.
    ///
    /// # Errors
    /// The database.
    pub async fn execution_force_abort(
        &self,
        id: &ExecutionId,
        cause: &str,
        principal: &str,
        now: Timestamp,
    ) -> Result<AbortOutcome> {
        self.abort(id, (cause, principal), true, now).await
    }

    async fn abort(
        &self,
        id: &ExecutionId,
        (cause, principal): (&str, &str),
        forced: bool,
        now: Timestamp,
    ) -> Result<AbortOutcome> {
        let mut find = Sql::new("select id, phase, aborted_by, live, parent_id from execution where ");
        push_id(&mut find, id);
        find.push(self.dialect().for_update());
        let mut wish = Sql::new("update execution set abort_cause = ");
        wish.push_arg(cause).push(", aborted_by = ").push_arg(principal);
        wish.push(", phase = ").push_arg(core::workflow_execution::Phase::Aborting as i32);
        wish.push(", updated_at = ").push_arg(now).push(" where ");
        push_id(&mut wish, id);
        let (wish_event, id_of_event) = (self.events_wanted(), id.clone());
        let error = core::ExecutionError {
            code: "Aborted".to_owned(),
            message: cause.to_owned(),
            ..core::ExecutionError::default()
        };
        let mut force =
            Sql::new("update execution set abort_forced = 1, phase = case when live = 1 then phase else ");
        force.push_arg(core::workflow_execution::Phase::Aborted as i32);
        force.push(" end, duration = case when live = 1 then duration else ").push_arg(now);
        force.push(" - coalesce(started_at, ").push_arg(now).push(") end where ");
        push_id(&mut force, id);
        self.write(move |tx| {
            Box::pin(async move {
                let Some(record) = tx.fetch_optional(find).await? else { return Ok(AbortOutcome::NotFound) };
                let mut c = record.cursor();
                let (key, phase, aborted_by) = (c.key()?, c.i32()?, c.opt_text()?);
                let (live, parent) = (c.bool()?, c.opt_i64()?);
                let event = |phase| {
                    OutboxRow::of_workflow(
                        key,
                        &id_of_event,
                        phase,
                        now,
                        Some(OutputResult::Error(error.clone())),
                    )
                };
                let mut events = Vec::new();
                if is_terminal(phase) {
                    return Ok(AbortOutcome::AlreadyTerminal(phase));
                }
                if aborted_by.is_none() {
                    tx.execute(wish).await?;
                    let aborting = core::workflow_execution::Phase::Aborting as i32;
                    events.extend(wish_event.workflows.then(|| event(aborting)));
                }
                if forced {
                    tx.execute(force).await?;
                    let aborted = core::workflow_execution::Phase::Aborted as i32;
                    events.extend((!live && wish_event.any()).then(|| event(aborted)));
                }
                outbox::write(tx, events).await?;
                tx.wakes.push(Wake::AbortRequested(key));
                if forced && !live {
                    tx.wakes.extend(parent.map(|parent| Wake::ChildEnded(ExecutionKey(parent))));
                }
                Ok(AbortOutcome::Requested)
            })
        })
        .await
    }

    /// Archives an execution or brings it back.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the database.
    pub async fn execution_set_state(&self, id: &ExecutionId, state: i32, now: Timestamp) -> Result<()> {
        let mut sql = Sql::new("update execution set state = ");
        sql.push_arg(state).push(", updated_at = ").push_arg(now).push(" where ");
        push_id(&mut sql, id);
        sql.push(" returning id");
        let missing = Error::NotFound { what: "execution", id: id.to_string() };
        self.write(move |tx| {
            Box::pin(async move {
                let record = tx.fetch_optional(sql).await?.ok_or(missing)?;
                tx.wakes.push(Wake::Changed(record.cursor().key()?));
                Ok(())
            })
        })
        .await
    }
}
