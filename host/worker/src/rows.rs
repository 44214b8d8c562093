//! Turns the engine's state into the rows that clients read (client-api.md 7), and rows back into snapshots.

use engine::{
    AttemptRow, Execution, ExecutionSnapshot, Expansion, NodeIdx, NodeKind, NodePhase, NodeSnapshot,
    NodeState, Phase,
};
use model::{EntityId, EntityKind, Timestamp, layout};
use prost::Message;
use proto::flyteidl::admin::{
    NodeExecutionClosure, Reason, TaskExecutionClosure, TaskNodeMetadata, WorkflowNodeMetadata,
    node_execution_closure::TargetMetadata, task_execution_closure::OutputResult,
};
use proto::flyteidl::core::{CatalogCacheStatus, ExecutionError, execution_error::ErrorKind, task_execution};
use proto::flyteidl::event::TaskExecutionMetadata;
use store::row::{ExecutionRow, ExecutionUpdate, NodeExecutionRow, NodeFlags, TaskExecutionRow};

use crate::cache::Cache;
use crate::child::child_id;
use crate::info::Info;
use crate::place::Place;
use crate::program::{Programs, Task};
use crate::recall::Remembered;

/// Task type of the one row that stands for all attempts of an array node's elements.
const ARRAY_TASK_TYPE: &str = "container_array";
/// The plugin that clients take that row to be of.
const ARRAY_PLUGIN: &str = "k8s-array";

/// Writes rows of an execution as it stands.
pub(crate) struct Scribe<'a> {
    pub(crate) info: &'a Info,
    pub(crate) engine: &'a Execution,
    pub(crate) programs: &'a Programs,
    pub(crate) cache: &'a Cache,
    pub(crate) remembered: &'a Remembered,
    pub(crate) now: Timestamp,
}

impl Scribe<'_> {
    /// The execution.
    pub(crate) fn execution(&self) -> ExecutionUpdate {
        let engine = self.engine;
        let (error, error_kind, error_code) = of_error(engine.error());
        ExecutionUpdate {
            key: self.info.key,
            phase: engine.wire_phase(),
            outputs_uri: engine.outputs_uri().to_owned(),
            error,
            error_kind,
            error_code,
            updated_at: self.now,
            started_at: engine.started_at(),
            duration: span(engine.started_at(), engine.ended_at()),
            live: !engine.is_done(),
        }
    }

    /// A node.
    pub(crate) fn node(&self, node: NodeIdx) -> NodeExecutionRow {
        let (engine, state) = (self.engine, self.engine.node(node));
        let graph_node = engine.graph_node(node);
        let place = Place::of(self.info, engine, node);
        let parent = engine.parent(node);
        let task = self.programs.task(engine, node);
        NodeExecutionRow {
            execution: self.info.key,
            node_id: place.id.node.to_string(),
            spec_node_id: graph_node.id.to_string(),
            node_name: graph_node.name.clone(),
            parent_id: parent.map(|parent| engine.unique_id(parent).to_string()).unwrap_or_default(),
            retry_group: parent.map(|parent| engine.node(parent).attempt.to_string()).unwrap_or_default(),
            phase: state.wire_phase(),
            engine_phase: state.phase.number(),
            attempt: i32::try_from(state.attempt).unwrap_or(i32::MAX),
            system_failures: i32::try_from(state.system_failures).unwrap_or(i32::MAX),
            input_uri: state.input_uri.to_string(),
            output_uri: state.output_uri.to_string(),
            deck_uri: self.deck_uri(task, state, &place),
            error: state.error.as_deref().map(Message::encode_to_vec).unwrap_or_default(),
            extra: self.extra(node, state, &place),
            flags: self.flags(node, task, state),
            detail: state.detail,
            created_at: state.queued_at.or(state.ended_at).unwrap_or(self.now),
            updated_at: self.now,
            queued_at: state.queued_at,
            started_at: state.started_at,
            attempt_started_at: state.attempt_started_at,
            duration: span(state.started_at, state.ended_at),
        }
    }

    /// A task that says it makes a deck has one from the start; else it is found at the end.
    fn deck_uri(&self, task: Option<&Task>, state: &NodeState, place: &Place) -> String {
        let is_promised = task.is_some_and(|task| task.generates_deck == Some(true));
        let has_attempt = state.open || state.attempt_started_at.is_some();
        if is_promised && has_attempt && state.deck_uri.is_empty() {
            return format!("{}/deck.html", place.output_prefix(self.info, state.attempt));
        }
        state.deck_uri.to_string()
    }

    fn flags(&self, node: NodeIdx, task: Option<&Task>, state: &NodeState) -> i32 {
        let recalled_dynamic =
            || self.engine.recalled(node).is_some_and(|outcome| outcome.spec_uri.is_some());
        match self.engine.graph_node(node).kind {
            NodeKind::SubWorkflow { .. } => NodeFlags::IS_PARENT,
            NodeKind::Array { .. } => NodeFlags::IS_ARRAY,
            NodeKind::Task { .. } => {
                let mut flags = 0;
                if state.spec_uri.is_some() {
                    // Clients read the compiled workflow once they see this.
                    flags |= NodeFlags::IS_PARENT | NodeFlags::IS_DYNAMIC;
                } else if recalled_dynamic() {
                    flags |= NodeFlags::IS_DYNAMIC;
                }
                if task.is_some_and(|task| task.is_eager) {
                    flags |= NodeFlags::IS_EAGER;
                }
                flags
            }
            NodeKind::Start
            | NodeKind::End
            | NodeKind::LaunchPlan { .. }
            | NodeKind::Branch { .. }
            | NodeKind::Gate(_) => 0,
        }
    }

    fn extra(&self, node: NodeIdx, state: &NodeState, place: &Place) -> Vec<u8> {
        if state.phase == NodePhase::Recovered
            && let Some(extra) = self.remembered.extra(&place.id.node)
        {
            return extra.to_vec();
        }
        let target = match self.engine.graph_node(node).kind {
            NodeKind::Task { .. } => TargetMetadata::TaskNodeMetadata(self.task_metadata(node, state, place)),
            // Clients ask for the child as soon as they see it.
            NodeKind::LaunchPlan { .. } if state.attempt_started_at.is_some() => {
                let child = child_id(&self.info.id, &place.id.node, state.attempt);
                TargetMetadata::WorkflowNodeMetadata(WorkflowNodeMetadata {
                    execution_id: Some(child.to_proto()),
                })
            }
            NodeKind::LaunchPlan { .. }
            | NodeKind::Start
            | NodeKind::End
            | NodeKind::SubWorkflow { .. }
            | NodeKind::Branch { .. }
            | NodeKind::Array { .. }
            | NodeKind::Gate(_) => return Vec::new(),
        };
        NodeExecutionClosure {
            target_metadata: Some(target),
            dynamic_job_spec_uri: state.spec_uri.as_deref().unwrap_or_default().to_owned(),
            ..NodeExecutionClosure::default()
        }
        .encode_to_vec()
    }

    fn task_metadata(&self, node: NodeIdx, state: &NodeState, place: &Place) -> TaskNodeMetadata {
        let (cache_status, catalog_key) = match self.cache.notes.get(&node) {
            Some(note) => (note.status, note.metadata.as_deref().cloned()),
            None => (CatalogCacheStatus::CacheDisabled, None),
        };
        let raw_dir = || self.info.raw_root.join(&layout::raw_output_dir(&place.attempt(state.attempt)));
        let has_attempt = state.open || state.attempt_started_at.is_some();
        TaskNodeMetadata {
            cache_status: cache_status.into(),
            catalog_key,
            checkpoint_uri: if has_attempt {
                raw_dir().join(layout::CHECKPOINT_DIR).as_str().to_owned()
            } else {
                String::new()
            },
        }
    }

    /// The one row that stands for all attempts of an array node's elements. What each element does is read from the
    /// elements' own rows: kept here, it would be written anew with every change of one of them.
    pub(crate) fn array_task(&self, array: NodeIdx) -> Option<TaskExecutionRow> {
        let (engine, state) = (self.engine, self.engine.node(array));
        if !matches!(engine.graph_node(array).kind, NodeKind::Array { .. }) {
            return None;
        }
        let phase = array_phase(state)?;
        let place = Place::of(self.info, engine, array);
        let message = state.error.as_ref().map_or(&*state.message, |error| &*error.message);
        let reason = crate::outcome::short(message);
        let reasons = (!reason.is_empty())
            .then(|| Reason { occurred_at: Some(self.now.to_proto()), message: reason.clone() });
        let closure = TaskExecutionClosure {
            task_type: ARRAY_TASK_TYPE.to_owned(),
            event_version: 1,
            reasons: reasons.into_iter().collect(),
            output_result: state.error.as_deref().cloned().map(OutputResult::Error),
            metadata: Some(TaskExecutionMetadata {
                generated_name: place.attempt(state.attempt).generated_name(),
                plugin_identifier: ARRAY_PLUGIN.to_owned(),
                ..TaskExecutionMetadata::default()
            }),
            ..TaskExecutionClosure::default()
        };
        let created_at = state.queued_at.or(state.ended_at).unwrap_or(self.now);
        Some(TaskExecutionRow {
            execution: self.info.key,
            node_id: place.id.node.to_string(),
            attempt: i32::try_from(state.attempt).unwrap_or(i32::MAX),
            task: self.task_of_elements(array),
            task_type: ARRAY_TASK_TYPE.to_owned(),
            phase: phase.into(),
            phase_version: 0,
            plugin_phase: 0,
            closure: closure.encode_to_vec(),
            output_uri: state.output_uri.to_string(),
            reason,
            plugin: ARRAY_PLUGIN.to_owned(),
            plugin_state: Vec::new(),
            state_version: 0,
            intent: Vec::new(),
            objects: Vec::new(),
            open: false,
            wake_at: None,
            created_at,
            updated_at: self.now,
            started_at: state.started_at,
            duration: span(state.started_at, state.ended_at),
        })
    }

    /// The task of the elements; elements that run none are given the name of the node, as Flyte does.
    fn task_of_elements(&self, array: NodeIdx) -> EntityId {
        let task = self.programs.task_of_elements(self.engine, array);
        task.map(|task| task.id.clone()).unwrap_or_else(|| EntityId {
            kind: EntityKind::Task,
            project: self.info.id.project.to_string(),
            domain: self.info.id.domain.to_string(),
            name: self.engine.graph_node(array).id.to_string(),
            version: "v1".to_owned(),
        })
    }
}

/// What clients see of all elements together; nothing before the array began.
fn array_phase(state: &NodeState) -> Option<task_execution::Phase> {
    use task_execution::Phase as Wire;
    Some(match state.phase {
        NodePhase::NotYetStarted | NodePhase::Skipped => return None,
        NodePhase::Queued => Wire::Queued,
        NodePhase::Running
        | NodePhase::DynamicRunning
        | NodePhase::RetryableFailure
        | NodePhase::Succeeding
        | NodePhase::Failing
        | NodePhase::TimingOut
        | NodePhase::Aborting => Wire::Running,
        NodePhase::Succeeded | NodePhase::Recovered => Wire::Succeeded,
        NodePhase::Failed | NodePhase::TimedOut => Wire::Failed,
        NodePhase::Aborted => Wire::Aborted,
    })
}

/// An execution that failed before it began: its workflow cannot be run.
pub(crate) fn stillborn(row: &ExecutionRow, error: &ExecutionError, now: Timestamp) -> ExecutionUpdate {
    let (error, error_kind, error_code) = of_error(Some(error));
    ExecutionUpdate {
        key: row.key,
        phase: Phase::Failed.wire(),
        outputs_uri: String::new(),
        error,
        error_kind,
        error_code,
        updated_at: now,
        started_at: Some(row.started_at.unwrap_or(now)),
        duration: Some(now.since(row.started_at.unwrap_or(now))),
        live: false,
    }
}

fn of_error(error: Option<&ExecutionError>) -> (Vec<u8>, String, String) {
    let Some(error) = error else { return Default::default() };
    let kind = match error.kind() {
        ErrorKind::Unknown => String::new(),
        kind @ (ErrorKind::User | ErrorKind::System) => kind.as_str_name().to_owned(),
    };
    (error.encode_to_vec(), kind, error.code.clone())
}

fn span(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<i64> {
    Some(to?.since(from?))
}

/// Why stored rows cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error(transparent)]
    Phase(#[from] engine::Error),
    #[error("a stored error cannot be read: {0}")]
    Error(#[from] prost::DecodeError),
}

/// The execution as its row tells. A row that nobody has touched may have no phase yet.
pub(crate) fn execution_snapshot(row: &ExecutionRow) -> Result<ExecutionSnapshot, Unreadable> {
    let phase = if row.phase == 0 { Phase::Queued } else { Phase::from_wire(row.phase)? };
    Ok(ExecutionSnapshot {
        phase,
        abort_cause: row.aborted_by.is_some().then(|| row.abort_cause.clone()),
        abort_forced: row.abort_forced,
        error: read_error(&row.error)?,
        created_at: row.created_at,
        started_at: row.started_at,
        ended_at: row.started_at.zip(row.duration).map(|(start, micros)| start.plus(micros)),
    })
}

/// Where a stored node's task wrote the workflow it made; nothing when it made none.
pub(crate) fn spec_uri(row: &NodeExecutionRow) -> Option<String> {
    if row.flags & NodeFlags::IS_DYNAMIC == 0 || row.flags & NodeFlags::IS_PARENT == 0 {
        return None;
    }
    let closure = NodeExecutionClosure::decode(row.extra.as_slice()).ok()?;
    Some(closure.dynamic_job_spec_uri).filter(|uri| !uri.is_empty())
}

/// A node as its row, that of its current attempt, and the workflow it made tell.
pub(crate) fn node_snapshot(
    row: NodeExecutionRow,
    attempt: Option<&TaskExecutionRow>,
    expansion: Option<Expansion>,
) -> Result<NodeSnapshot, Unreadable> {
    let phase = NodePhase::from_number(row.engine_phase)?;
    let spec_uri = spec_uri(&row);
    let ended = row.started_at.zip(row.duration).map(|(start, micros)| start.plus(micros));
    // The row beside an array is no attempt of it.
    let attempt = attempt.filter(|_| row.flags & NodeFlags::IS_ARRAY == 0);
    Ok(NodeSnapshot {
        id: row.node_id,
        parent: row.parent_id,
        phase,
        attempt: u32::try_from(row.attempt).unwrap_or_default(),
        attempt_row: attempt.map(attempt_row).unwrap_or_default(),
        system_failures: u32::try_from(row.system_failures).unwrap_or_default(),
        detail: row.detail,
        spec_uri,
        expansion,
        error: read_error(&row.error)?,
        input_uri: row.input_uri,
        output_uri: row.output_uri,
        deck_uri: row.deck_uri,
        queued_at: row.queued_at,
        started_at: row.started_at,
        attempt_started_at: row.attempt_started_at,
        ended_at: ended.or_else(|| phase.is_terminal().then_some(row.updated_at)),
    })
}

/// The plugin's phase is negative when it asked to be aborted, and terminal when it said that the attempt ended.
fn attempt_row(row: &TaskExecutionRow) -> AttemptRow {
    use proto::pinion::plugin::v1::Phase as Plugin;
    let ended = [Plugin::Succeeded, Plugin::RetryableFailure, Plugin::PermanentFailure];
    match (row.open, Plugin::try_from(i32::from(row.plugin_phase))) {
        (false, _) => AttemptRow::Closed,
        (true, Ok(phase)) if ended.contains(&phase) => AttemptRow::Ended,
        (true, _) => AttemptRow::Live,
    }
}

fn read_error(bytes: &[u8]) -> Result<Option<ExecutionError>, prost::DecodeError> {
    if bytes.is_empty() { Ok(None) } else { ExecutionError::decode(bytes).map(Some) }
}
