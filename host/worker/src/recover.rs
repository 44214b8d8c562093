//! Takes up an execution from its rows: one that never ran as well as one that another life left behind.

use std::collections::HashMap;
use std::sync::Arc;

use engine::{Execution, NodeIdx};
use model::EntityId;
use prost::Message;
use proto::flyteidl::core::{ExecutionError, execution_error::ErrorKind};
use store::row::{ExecutionRow, NodeExecutionRow, TaskExecutionRow};

use crate::attempt::{Attempt, Stage};
use crate::clusters::with_causes;
use crate::driver::Driver;
use crate::events::Events;
use crate::info::Info;
use crate::mailbox::{AttemptKey, Mailbox};
use crate::outcome::execution_error;
use crate::program::Program;
use crate::record::Record;
use crate::rows::{self, Unreadable};
use crate::shared::Shared;
use crate::wire::Actions;

/// Why an execution cannot be taken up.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// The store gives no answer now.
    Store(store::Error),
    /// It can never run: it fails with this.
    Hopeless(Box<ExecutionError>),
    /// Its rows are not what this version writes; another one may go on with them.
    Unreadable(String),
}

/// Reads all there is of an execution.
pub(crate) async fn load(
    shared: &Arc<Shared>,
    row: &ExecutionRow,
    mailbox: Arc<Mailbox>,
) -> Result<Driver, Obstacle> {
    let unreadable = |error: Unreadable| Obstacle::Unreadable(error.to_string());
    let snapshot = rows::execution_snapshot(row).map_err(unreadable)?;
    let (metadata_root, raw_root) = (shared.files.metadata_root(), shared.files.raw_root());
    let mut info = Info::read(row, &shared.config, metadata_root, raw_root).map_err(hopeless)?;
    info.cluster = shared.clusters.resolve_name(&info.cluster);
    let program = program(shared, &row.workflow).await?;
    // Nothing was ever written about an execution that did not start.
    let (nodes, tasks) = match row.started_at {
        Some(_) => shared.store.execution_load(row.key).await.map_err(Obstacle::Store)?,
        None => Default::default(),
    };
    let engine = restore_engine(&info, &program, snapshot, &nodes, &tasks)?;
    let events = Events::restored(shared.store.events_wanted(), row, &nodes, &tasks);
    let attempts = restore_attempts(&program, tasks)?;
    let mut driver = Driver::new(Arc::clone(shared), mailbox, info, program, engine, attempts);
    driver.events = events;
    Ok(driver)
}

fn hopeless(message: String) -> Obstacle {
    Obstacle::Hopeless(Box::new(execution_error(ErrorKind::System, "BadSpecificationError", message)))
}

async fn program(shared: &Shared, id: &EntityId) -> Result<Arc<Program>, Obstacle> {
    if let Some(program) = shared.cached_program(id) {
        return Ok(program);
    }
    let row = shared.store.entity_get(id).await.map_err(Obstacle::Store)?.ok_or_else(|| {
        let message = format!("{id} is not registered");
        hopeless(message)
    })?;
    let program = Arc::new(Program::read(&row.closure).map_err(Obstacle::Hopeless)?);
    shared.remember_program(id, &program);
    Ok(program)
}

fn restore_engine(
    info: &Info,
    program: &Program,
    snapshot: engine::ExecutionSnapshot,
    nodes: &[NodeExecutionRow],
    tasks: &[TaskExecutionRow],
) -> Result<Execution, Obstacle> {
    let by_attempt: HashMap<_, _> =
        tasks.iter().map(|task| ((task.node_id.as_str(), task.attempt), task)).collect();
    let nodes = nodes.iter().map(|node| {
        let attempt = by_attempt.get(&(node.node_id.as_str(), node.attempt)).copied();
        rows::node_snapshot(node, attempt)
    });
    let nodes =
        nodes.collect::<Result<Vec<_>, _>>().map_err(|error| Obstacle::Unreadable(error.to_string()))?;
    Execution::restore(Arc::clone(&program.graph), info.settings.clone(), snapshot, nodes.into_iter())
        .map_err(|error| Obstacle::Unreadable(error.to_string()))
}

/// The attempts that are open: their promised actions are performed again before their plugin is asked.
fn restore_attempts(
    program: &Program,
    tasks: Vec<TaskExecutionRow>,
) -> Result<HashMap<AttemptKey, Attempt>, Obstacle> {
    let mut attempts = HashMap::new();
    for task in tasks.into_iter().filter(|task| task.open) {
        let unreadable = |error: &dyn std::error::Error| {
            Obstacle::Unreadable(format!(
                "attempt {} of node {}: {}",
                task.attempt,
                task.node_id,
                with_causes(error)
            ))
        };
        let node: NodeIdx = program.graph.idx(&task.node_id).ok_or_else(|| {
            Obstacle::Unreadable(format!("stored node {:?} is not in the workflow", task.node_id))
        })?;
        let key = AttemptKey { node, attempt: u32::try_from(task.attempt).unwrap_or_default() };
        let intent = Actions::decode(task.intent.as_slice()).map_err(|error| unreadable(&error))?.actions;
        let mut attempt = Attempt::new(Record::from_row(task.clone()).map_err(|error| unreadable(&error))?);
        attempt.intent = intent;
        attempt.track_tokens();
        attempt.stage = if attempt.record.has_ended() { Stage::Ended } else { Stage::Opened };
        attempts.insert(key, attempt);
    }
    Ok(attempts)
}
