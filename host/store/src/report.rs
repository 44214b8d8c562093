//! Takes what an engine outside reports about the executions it drives, which no worker of this host owns.

use model::{EntityId, ExecutionId};

use crate::lease::{encode, write_rows};
use crate::sql::Sql;
use crate::{
    Batch, ExecutionRow, NodeExecutionRow, Result, Store, TaskExecutionRow, execution, node_execution,
    task_execution,
};

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// The execution.
    pub execution: ExecutionId,
    /// Unique id of a node, if one is concerned.
    pub node: Option<String>,
    /// Task and attempt, if one is concerned.
    pub task: Option<(EntityId, i32)>,
}

/// How that stands; nobody changes it until the report is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedState {
    /// The execution.
    pub execution: ExecutionRow,
    /// The node, if it was asked for and is there.
    pub node: Option<NodeExecutionRow>,
    /// The attempt, if it was asked for and is there.
    pub task: Option<TaskExecutionRow>,
}

/// What follows from a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows to write.
    pub batch: Batch,
    /// The cluster that took the execution over, if it is another one.
    pub cluster: Option<String>,
}

impl Store {
    /// Reads what a report is about, lets `decide` say what follows, and writes that, in one transaction. `None` when
    /// there is no such execution.
    ///
    /// # Errors
    /// The database. What `decide` refuses is handed back inside.
    pub async fn execution_report<E, F>(
        &self,
        about: Reported,
        decide: F,
    ) -> Result<Option<std::result::Result<(), E>>>
    where
        E: Send + 'static,
        F: FnOnce(ReportedState) -> std::result::Result<Report, E> + Send + 'static,
    {
        self.write(move |tx| {
            Box::pin(async move {
                let mut find = execution::select_by_id(&about.execution);
                find.push(tx.dialect().for_update());
                let Some(record) = tx.fetch_optional(find).await? else { return Ok(None) };
                let execution = execution::read(&record)?;
                let key = execution.key;
                let mut state = ReportedState { execution, node: None, task: None };
                if let Some(node) = &about.node {
                    let mut find = node_execution::select(key);
                    find.push(" and n.node_id = ").push_arg(node);
                    let record = tx.fetch_optional(find).await?;
                    state.node = record.as_ref().map(node_execution::read).transpose()?;
                }
                if let (Some(node), Some((task, attempt))) = (&about.node, &about.task) {
                    let mut find = task_execution::select(key);
                    find.push(" and t.node_id = ").push_arg(node);
                    find.push(" and t.attempt = ").push_arg(*attempt);
                    let record = tx.fetch_optional(find).await?;
                    let found = record.as_ref().map(task_execution::read).transpose()?;
                    state.task = found.filter(|found| found.task == *task);
                }
                let report = match decide(state) {
                    Ok(report) => report,
                    Err(refusal) => return Ok(Some(Err(refusal))),
                };
                write_rows(tx, encode(&report.batch)).await?;
                if let Some(cluster) = report.cluster {
                    let mut update = Sql::new("update execution set cluster = ");
                    update.push_arg(cluster).push(" where id = ").push_arg(key);
                    tx.execute(update).await?;
                }
                Ok(Some(Ok(())))
            })
        })
        .await
    }
}
