//! Shapes of the rows: what is written and read as one piece.
//!
//! A row is both what the engine runs on and what a client reads; there is no second copy. Protobuf fields
//! are kept as encoded bytes: `Vec<u8>` with the message named in the comment. All times are microseconds
//! since the Unix epoch. Phases are the numbers of the `flyteidl.core` phase enums.

use model::{EntityId, ExecutionId, Timestamp};

use crate::OutboxRow;

/// Key of an execution inside the database; stable for its whole life and cheaper than the three-part name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutionKey(pub i64);

/// A project and the domains every project has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectRow {
    /// Project id, a DNS-1123 label.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// `admin.Labels`.
    pub labels: Vec<u8>,
    /// `admin.Project.ProjectState`: 0 active, 1 archived, 2 system generated, 3 system archived.
    pub state: i32,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// A registered task or workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityRow {
    /// What it is.
    pub id: EntityId,
    /// SHA-256 over the canonical closure.
    pub digest: Vec<u8>,
    /// Task type (`python-task`); empty for workflows.
    pub task_type: String,
    /// One line about it.
    pub short_description: String,
    /// `admin.TaskClosure` or `admin.WorkflowClosure`, `created_at` left out.
    pub closure: Vec<u8>,
    /// `core.TypedInterface`, so that a workflow list need not read closures.
    pub interface: Vec<u8>,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// A registered launch plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchPlanRow {
    /// What it is.
    pub id: EntityId,
    /// The workflow it starts.
    pub workflow: EntityId,
    /// SHA-256 over id, spec and expected interface.
    pub digest: Vec<u8>,
    /// `admin.LaunchPlanSpec`, default inputs completed.
    pub spec: Vec<u8>,
    /// `admin.LaunchPlanClosure` without state and times.
    pub closure: Vec<u8>,
    /// `admin.LaunchPlanState`: 0 inactive, 1 active. At most one version of a name is active.
    pub state: i32,
    /// `NONE`, `CRON` or `RATE`.
    pub schedule_type: String,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

/// An execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionRow {
    /// Row key; 0 in a row that is not yet inserted.
    pub key: ExecutionKey,
    /// Its name.
    pub id: ExecutionId,
    /// The launch plan that was named, if one was.
    pub launch_plan: Option<EntityId>,
    /// The task that was named, for a single-task execution.
    pub task: Option<EntityId>,
    /// The workflow that runs (generated for a single task).
    pub workflow: EntityId,
    /// `core.WorkflowExecution.Phase`.
    pub phase: i32,
    /// `admin.ExecutionMetadata.ExecutionMode`.
    pub mode: i32,
    /// Who asked for it; empty without authentication.
    pub principal: String,
    /// Cluster its tasks run on.
    pub cluster: String,
    /// How many executions it is nested in.
    pub nesting: i32,
    /// The execution it was relaunched or recovered from.
    pub source: Option<ExecutionId>,
    /// Row key of the execution and unique node id that started it as a child.
    pub parent_node: Option<(ExecutionKey, String)>,
    /// `admin.ExecutionSpec` as resolved at launch and echoed to clients.
    pub spec: Vec<u8>,
    /// Where the complete inputs are.
    pub inputs_uri: String,
    /// Where the caller's own inputs are.
    pub user_inputs_uri: String,
    /// Where the outputs are, once it succeeded.
    pub outputs_uri: String,
    /// `core.ExecutionError`; empty without error.
    pub error: Vec<u8>,
    /// `USER`, `SYSTEM` or empty: a filter column.
    pub error_kind: String,
    /// Error code: a filter column.
    pub error_code: String,
    /// Why it is to be aborted; set together with `aborted_by` when an abort is asked for.
    pub abort_cause: String,
    /// Who asked for the abort. `Some` is the persisted intent: the owner converges on it.
    pub aborted_by: Option<String>,
    /// `admin.ExecutionState`: 0 active, 1 archived.
    pub state: i32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its row last changed.
    pub updated_at: Timestamp,
    /// When it began to run.
    pub started_at: Option<Timestamp>,
    /// Microseconds from start to end, once terminal.
    pub duration: Option<i64>,
    /// True until the engine has nothing more to do for it: terminal and every clean-up done. False from the start
    /// for an execution that an engine outside drives.
    pub live: bool,
    /// Whether the abort was asked for by force: the phase becomes ABORTED without waiting for the clean-up, which
    /// goes on behind it.
    pub abort_forced: bool,
    /// `model::LaunchSettings`, as they were at launch.
    pub settings: Vec<u8>,
}

/// What changed about an execution in a round; the engine's half of the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionUpdate {
    /// Which execution.
    pub key: ExecutionKey,
    /// New phase.
    pub phase: i32,
    /// See [`ExecutionRow::outputs_uri`].
    pub outputs_uri: String,
    /// See [`ExecutionRow::error`].
    pub error: Vec<u8>,
    /// See [`ExecutionRow::error_kind`].
    pub error_kind: String,
    /// See [`ExecutionRow::error_code`].
    pub error_code: String,
    /// Time of the change.
    pub updated_at: Timestamp,
    /// See [`ExecutionRow::started_at`].
    pub started_at: Option<Timestamp>,
    /// See [`ExecutionRow::duration`].
    pub duration: Option<i64>,
    /// See [`ExecutionRow::live`].
    pub live: bool,
}

/// A node of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeExecutionRow {
    /// The execution.
    pub execution: ExecutionKey,
    /// Unique node id.
    pub node_id: String,
    /// Node id in the compiled template.
    pub spec_node_id: String,
    /// Node name shown to people.
    pub node_name: String,
    /// Unique id of the parent node; empty at top level. Kept from the first write of the row.
    pub parent_id: String,
    /// Parent attempt as text, for children.
    pub retry_group: String,
    /// `core.NodeExecution.Phase`, what clients read.
    pub phase: i32,
    /// `engine`'s own phase number, finer than `phase`.
    pub engine_phase: i16,
    /// Current attempt, from 0.
    pub attempt: i32,
    /// How many attempts ended by the system's fault.
    pub system_failures: i32,
    /// Where the resolved inputs are; empty when the node has none.
    pub input_uri: String,
    /// Where the outputs are.
    pub output_uri: String,
    /// Where the deck is; empty without one.
    pub deck_uri: String,
    /// `core.ExecutionError`; empty without error.
    pub error: Vec<u8>,
    /// `admin.NodeExecutionMetaData` flags and `admin.NodeExecutionClosure` extras (task_node_metadata,
    /// workflow_node_metadata) as one `admin.NodeExecutionClosure`; empty when there are none.
    pub extra: Vec<u8>,
    /// Bit set of [`NodeFlags`].
    pub flags: i32,
    /// What `engine` settled about the node before it began: the arm of a branch and 1, the size of an array and 1;
    /// 0 without.
    pub detail: i64,
    /// When the row was made. Kept from the first write of the row.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was queued.
    pub queued_at: Option<Timestamp>,
    /// When its first attempt started.
    pub started_at: Option<Timestamp>,
    /// When the current attempt started.
    pub attempt_started_at: Option<Timestamp>,
    /// Microseconds from start to end, once terminal.
    pub duration: Option<i64>,
}

/// Bits of [`NodeExecutionRow::flags`].
#[derive(Debug)]
pub struct NodeFlags;

impl NodeFlags {
    /// The node has child nodes.
    pub const IS_PARENT: i32 = 1;
    /// The node's children are made at run time.
    pub const IS_DYNAMIC: i32 = 2;
    /// The node maps over a list.
    pub const IS_ARRAY: i32 = 4;
    /// The node's task is a client of the API.
    pub const IS_EAGER: i32 = 8;
}

/// One attempt of a task node, together with what its plugin keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskExecutionRow {
    /// The execution.
    pub execution: ExecutionKey,
    /// Unique node id.
    pub node_id: String,
    /// Attempt, from 0.
    pub attempt: i32,
    /// The task that runs.
    pub task: EntityId,
    /// Task type, by which the plugin was found.
    pub task_type: String,
    /// `core.TaskExecution.Phase`, what clients read.
    pub phase: i32,
    /// Grows with each reported change within a phase.
    pub phase_version: i32,
    /// The plugin's phase (`pinion.plugin.v1.Phase`), finer than `phase`.
    pub plugin_phase: i16,
    /// `admin.TaskExecutionClosure` with what is rarely filtered on: logs, custom_info, reasons, metadata, error.
    pub closure: Vec<u8>,
    /// Where the outputs are; empty until it succeeded.
    pub output_uri: String,
    /// Short reason text of the last phase.
    pub reason: String,
    /// Plugin id, semantic version and file digest that own this attempt.
    pub plugin: String,
    /// The plugin's state bytes, at most 64 KiB.
    pub plugin_state: Vec<u8>,
    /// The plugin's state version.
    pub state_version: i32,
    /// Work promised to be done outside and not yet known to be done: an encoded
    /// `pinion.plugin.v1.Actions`; repeated after a crash.
    pub intent: Vec<u8>,
    /// Objects made for this attempt, encoded `pinion.plugin.v1.ObjectRefs`, by which changes are routed back.
    pub objects: Vec<u8>,
    /// True until finalize has been done for this attempt.
    pub open: bool,
    /// When the plugin asked to be called again.
    pub wake_at: Option<Timestamp>,
    /// When the row was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When the task began to run.
    pub started_at: Option<Timestamp>,
    /// Microseconds from start to end, once terminal.
    pub duration: Option<i64>,
}

/// What a gate node waits for, and the answer once it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalRow {
    /// The execution.
    pub execution: ExecutionKey,
    /// Its name, unique in the execution.
    pub signal_id: String,
    /// Unique id of the node that waits for it; empty when an engine outside made it.
    pub node_id: String,
    /// `core.LiteralType` the value must have.
    pub ty: Vec<u8>,
    /// `core.Literal`; empty until it is set.
    pub value: Vec<u8>,
    /// Who set it.
    pub set_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last set.
    pub updated_at: Timestamp,
}

/// What a recovery needs to know of a node of the execution it recovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeOutcomeRow {
    /// See [`NodeExecutionRow::node_id`].
    pub node_id: String,
    /// See [`NodeExecutionRow::spec_node_id`].
    pub spec_node_id: String,
    /// See [`NodeExecutionRow::parent_id`].
    pub parent_id: String,
    /// See [`NodeExecutionRow::phase`].
    pub phase: i32,
    /// See [`NodeExecutionRow::attempt`].
    pub attempt: i32,
    /// See [`NodeExecutionRow::flags`].
    pub flags: i32,
    /// Code of [`NodeExecutionRow::error`].
    pub error_code: String,
    /// See [`NodeExecutionRow::input_uri`].
    pub input_uri: String,
    /// See [`NodeExecutionRow::output_uri`].
    pub output_uri: String,
    /// See [`NodeExecutionRow::deck_uri`].
    pub deck_uri: String,
    /// See [`NodeExecutionRow::extra`].
    pub extra: Vec<u8>,
}

/// All a round of one or more executions changes; written in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Executions that changed.
    pub executions: Vec<ExecutionUpdate>,
    /// Node rows, inserted or replaced; the last of equal keys wins.
    pub nodes: Vec<NodeExecutionRow>,
    /// Task rows, inserted or replaced; the last of equal keys wins.
    pub tasks: Vec<TaskExecutionRow>,
    /// Signals to make; one that is there already keeps its type and value.
    pub signals: Vec<SignalRow>,
    /// Events to hand out, in their order.
    pub events: Vec<OutboxRow>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.executions.is_empty()
            && self.nodes.is_empty()
            && self.tasks.is_empty()
            && self.signals.is_empty()
            && self.events.is_empty()
    }

    /// Adds another batch behind this one.
    pub fn append(&mut self, other: &mut Batch) {
        self.executions.append(&mut other.executions);
        self.nodes.append(&mut other.nodes);
        self.tasks.append(&mut other.tasks);
        self.signals.append(&mut other.signals);
        self.events.append(&mut other.events);
    }
}

/// The claim of one running host on the executions it owns; its epoch fences off an earlier owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Unique id of the running host process.
    pub host: String,
    /// Grows with each take-over.
    pub epoch: i64,
}
