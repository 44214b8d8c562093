//! Takes up an execution from its rows: one that never ran as well as one that another life left behind.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use engine::{Execution, Expansion, NodeIdx, NodePhase, RowLife};
use futures::{StreamExt, TryStreamExt};
use model::EntityId;
use prost::Message;
use proto::flyteidl::core::{ExecutionError, SecurityContext, execution_error::ErrorKind};
use store::row::{ExecutionRow, NodeExecutionRow, TaskExecutionRow};

use crate::attempt::{Attempt, Stage};
use crate::cache::Note;
use crate::clusters::with_causes;
use crate::declared::Declared;
use crate::driver::Driver;
use crate::events::Events;
use crate::expansion::{self, Made};
use crate::info::Info;
use crate::mailbox::{AttemptKey, Mailbox};
use crate::outcome::execution_error;
use crate::program::{Program, Programs};
use crate::recall;
use crate::record::Record;
use crate::rows::{self, Unreadable};
use crate::shared::Shared;
use crate::wire::Actions;

/// Workflows that tasks made, loaded at once.
const LOADS_AT_ONCE: usize = 16;

/// Why an execution cannot be taken up.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// Store or storage give no answer now.
    Unavailable(String),
    /// It can never run: it fails with this.
    Hopeless(Box<ExecutionError>),
    /// Its rows are not what this version writes; another one may go on with them.
    Unreadable(String),
}

impl From<store::Error> for Obstacle {
    fn from(error: store::Error) -> Self {
        Self::Unavailable(with_causes(&error))
    }
}

impl From<Unreadable> for Obstacle {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl From<engine::Error> for Obstacle {
    fn from(error: engine::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Reads all there is of an execution.
pub(crate) async fn load(
    shared: &Arc<Shared>,
    row: &ExecutionRow,
    mailbox: Arc<Mailbox>,
) -> Result<Driver, Obstacle> {
    let snapshot = rows::execution_snapshot(row)?;
    let (metadata_root, raw_root) = (shared.files.metadata_root(), shared.files.raw_root());
    let mut info = Info::read(row, &shared.config, metadata_root, raw_root).map_err(hopeless)?;
    info.cluster = shared.clusters.resolve_name(&info.cluster);
    let program = program(shared, &row.workflow).await?;
    let (recalled, remembered) = match &info.recovers {
        Some(source) => recall::load(shared, source).await?,
        None => Default::default(),
    };
    // Nothing was ever written about an execution that did not start.
    let (nodes, tasks) = match row.started_at {
        Some(_) => shared.store.execution_load(row.key).await?,
        None => Default::default(),
    };
    let made = load_expansions(shared, &nodes, &tasks).await?;
    let events = Events::restored(shared.store.events_wanted(), row, &nodes, &tasks);
    let cached = cached(&nodes);
    let snapshots = snapshots(nodes, &tasks, &made)?;
    let graph = Arc::clone(&program.graph);
    let mut engine = Execution::restore(graph, info.settings.clone(), snapshot, snapshots.into_iter())?;
    if info.recovers.is_some() {
        engine = engine.with_recalled(recalled);
    }
    let context = SecurityContext::decode(info.security_context.as_slice()).unwrap_or_default();
    *mailbox.declared() = Declared::of_execution(context);
    let programs = Programs::new(program, &mailbox);
    let mut driver = Driver::new(Arc::clone(shared), mailbox, info, programs, engine);
    driver.remembered = remembered;
    driver.events = events;
    driver.abort_forced = row.abort_forced;
    driver.aborted_by = row.aborted_by.clone().unwrap_or_default();
    restore(&mut driver, tasks, &made, &cached)?;
    Ok(driver)
}

fn hopeless(message: String) -> Obstacle {
    Obstacle::Hopeless(Box::new(execution_error(ErrorKind::System, "BadSpecificationError", message)))
}

async fn program(shared: &Shared, id: &EntityId) -> Result<Arc<Program>, Obstacle> {
    if let Some(program) = shared.cached_program(id) {
        return Ok(program);
    }
    let row = shared.store.entity_get(id).await?.ok_or_else(|| {
        let message = format!("{id} is not registered");
        hopeless(message)
    })?;
    let program = Arc::new(Program::read(&row.closure).map_err(Obstacle::Hopeless)?);
    shared.remember_program(id, &program);
    Ok(program)
}

/// The workflows that tasks made and in which something may be under way, by the unique id of their node.
async fn load_expansions(
    shared: &Shared,
    nodes: &[NodeExecutionRow],
    tasks: &[TaskExecutionRow],
) -> Result<HashMap<String, Made>, Obstacle> {
    let open: HashSet<&str> = tasks.iter().filter(|task| task.open).map(|task| &*task.node_id).collect();
    let life = |row: &'_ NodeExecutionRow| {
        NodePhase::from_number(row.engine_phase).is_ok_and(NodePhase::is_in_flight)
            || open.contains(&*row.node_id)
    };
    let lives =
        nodes.iter().map(|row| RowLife { id: &row.node_id, parent: &row.parent_id, is_live: life(row) });
    let holders: HashSet<&str> = engine::holders(lives).collect();
    let needed = nodes.iter().filter(|row| life(row) || holders.contains(&*row.node_id));
    let wanted = needed.filter_map(|row| Some((row.node_id.clone(), rows::spec_uri(row)?)));
    let loads = futures::stream::iter(wanted.collect::<Vec<_>>()).map(|(node, uri)| async move {
        match expansion::load(shared, &uri).await {
            Ok(made) => Ok((node, made)),
            Err(expansion::Failure::Unknown(text)) => {
                Err(Obstacle::Unavailable(format!("the workflow that node {node} made: {text}")))
            }
            Err(expansion::Failure::Bad(error)) => {
                Err(Obstacle::Unreadable(format!("the workflow that node {node} made: {}", error.message)))
            }
        }
    });
    loads.buffer_unordered(LOADS_AT_ONCE).try_collect().await
}

/// What rows of nodes that have not ended say about the cache, by the unique id of the node.
fn cached(nodes: &[NodeExecutionRow]) -> HashMap<String, Note> {
    let is_live = |row: &&NodeExecutionRow| {
        NodePhase::from_number(row.engine_phase).is_ok_and(|phase| !phase.is_terminal())
    };
    let note = |row: &NodeExecutionRow| Some((row.node_id.clone(), Note::restored(&row.extra)?));
    nodes.iter().filter(is_live).filter_map(note).collect()
}

fn snapshots(
    nodes: Vec<NodeExecutionRow>,
    tasks: &[TaskExecutionRow],
    made: &HashMap<String, Made>,
) -> Result<Vec<engine::NodeSnapshot>, Unreadable> {
    let by_attempt: HashMap<_, _> =
        tasks.iter().map(|task| ((task.node_id.as_str(), task.attempt), task)).collect();
    let snapshot = |node: NodeExecutionRow| {
        let attempt = by_attempt.get(&(node.node_id.as_str(), node.attempt)).copied();
        let expansion: Option<Expansion> = made.get(&node.node_id).map(Made::expansion);
        rows::node_snapshot(node, attempt, expansion)
    };
    nodes.into_iter().map(snapshot).collect()
}

/// Finds again what the driver keeps beside the engine: workflows that tasks made, open attempts, what was found out
/// about the cache.
fn restore(
    driver: &mut Driver,
    tasks: Vec<TaskExecutionRow>,
    made: &HashMap<String, Made>,
    cached: &HashMap<String, Note>,
) -> Result<(), Obstacle> {
    let open: HashSet<&str> = tasks.iter().filter(|task| task.open).map(|task| &*task.node_id).collect();
    if open.is_empty() && made.is_empty() && cached.is_empty() {
        return Ok(());
    }
    let mut found: HashMap<Arc<str>, NodeIdx> = HashMap::new();
    for node in 0..NodeIdx::try_from(driver.engine.len()).unwrap_or(NodeIdx::MAX) {
        let id = driver.engine.unique_id(node);
        if let Some(made) = made.get(&*id) {
            driver.programs.add(node, &made.program, &driver.mailbox);
        }
        if let Some(note) = cached.get(&*id) {
            driver.cache.notes.insert(node, note.clone());
        }
        if open.contains(&*id) {
            found.insert(id, node);
        }
    }
    for task in tasks.into_iter().filter(|task| task.open) {
        let node = found.get(task.node_id.as_str()).copied().ok_or_else(|| {
            Obstacle::Unreadable(format!("stored node {:?} is not in the workflow", task.node_id))
        })?;
        restore_attempt(driver, node, task)?;
    }
    Ok(())
}

/// An attempt that is open: its promised actions are performed again before its plugin is asked.
fn restore_attempt(driver: &mut Driver, node: NodeIdx, task: TaskExecutionRow) -> Result<(), Obstacle> {
    let name = format!("attempt {} of node {}", task.attempt, task.node_id);
    let unreadable =
        |error: prost::DecodeError| Obstacle::Unreadable(format!("{name}: {}", with_causes(&error)));
    let key = AttemptKey { node, attempt: u32::try_from(task.attempt).unwrap_or_default() };
    let intent = Actions::decode(task.intent.as_slice()).map_err(unreadable)?.actions;
    driver.names.insert(task.node_id.as_str().into(), node);
    let mut attempt = Attempt::new(Record::from_row(task).map_err(unreadable)?);
    attempt.intent = intent;
    attempt.track_tokens();
    attempt.stage = if attempt.record.has_ended() { Stage::Ended } else { Stage::Opened };
    driver.attempts.insert(key, Box::new(attempt));
    Ok(())
}
