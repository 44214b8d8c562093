//! Names why an execution was not started.

use model::{EntityId, ExecutionId, id::IdError};

use crate::{inputs::InputError, labels::LabelError, notifications::NotificationError};

/// Why an execution was not started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A required field of the request is empty.
    #[error("missing {0}")]
    Missing(&'static str),
    /// An identifier is incomplete or of the wrong kind.
    #[error("invalid {field}: {source}")]
    Id {
        /// Which field of the request.
        field: &'static str,
        /// What is wrong with it.
        source: IdError,
    },
    /// The identifier names something that can't be started.
    #[error("invalid spec.launch_plan: a {found} can't be started, name a launch plan or a task")]
    Target {
        /// Its resource type.
        found: String,
    },
    /// The name breaks the rule for execution names.
    #[error(
        "invalid name `{name}`: an execution name starts with a letter, has only letters, digits and dashes, \
         and at most 63 characters"
    )]
    Name {
        /// The name that was asked for.
        name: String,
    },
    /// No project has this id.
    #[error("project `{project}` is unknown; register it first")]
    UnknownProject {
        /// Project id.
        project: String,
    },
    /// The project is archived.
    #[error("project `{project}` is not active; activate it first")]
    InactiveProject {
        /// Project id.
        project: String,
    },
    /// No domain has this id.
    #[error("domain `{domain}` is unknown; this installation has {known}")]
    UnknownDomain {
        /// Domain id.
        domain: String,
        /// The domains there are.
        known: String,
    },
    /// The launch plan or task is not registered.
    #[error("{0} is not registered")]
    NotRegistered(EntityId),
    /// The execution to run again, or to be nested in, is not there.
    #[error("execution {0} does not exist")]
    UnknownExecution(ExecutionId),
    /// The node to be nested in is not there.
    #[error("node {node} of execution {execution} does not exist")]
    UnknownNode {
        /// The execution.
        execution: ExecutionId,
        /// Unique node id.
        node: String,
    },
    /// Inputs do not fit the interface.
    #[error("invalid inputs of {target}: {}", join(errors))]
    Inputs {
        /// What was to be started.
        target: Box<EntityId>,
        /// Everything that is wrong with them.
        errors: Vec<InputError>,
    },
    /// Inputs are larger than allowed.
    #[error(
        "inputs have {actual} bytes, more than the limit of {allowed}; pass large values as files or datasets"
    )]
    InputsTooLarge {
        /// Encoded size.
        actual: usize,
        /// The limit.
        allowed: u64,
    },
    /// A label or annotation is not usable.
    #[error("invalid {field}: {source}")]
    Labels {
        /// `labels` or `annotations`.
        field: &'static str,
        /// What is wrong.
        source: LabelError,
    },
    /// A notification can't work.
    #[error("invalid spec.notifications: {0}")]
    Notifications(NotificationError),
    /// A place for data is no URI of an object store.
    #[error("invalid {field}: {source}")]
    Prefix {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: Box<blob::Error>,
    },
    /// A resource is no quantity.
    #[error("invalid resources: {0}")]
    Quantity(#[from] model::quantity::QuantityError),
    /// Executions here are assigned to another cluster pool.
    #[error(
        "executions of project `{project}` and domain `{domain}` run in cluster pool `{assigned}`, not in `{asked}`"
    )]
    ClusterPool {
        /// Project id.
        project: String,
        /// Domain id.
        domain: String,
        /// The pool that was asked for.
        asked: String,
        /// The pool it has to be.
        assigned: String,
    },
    /// A number in the request is out of its range.
    #[error("invalid {field}: {value} is {reason}")]
    OutOfRange {
        /// Which field.
        field: &'static str,
        /// What was given.
        value: i64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Executions start executions without end.
    #[error(
        "execution is nested {depth} deep, more than the limit of {allowed}; does a launch plan start itself?"
    )]
    TooDeep {
        /// How deep it would be.
        depth: i32,
        /// The limit.
        allowed: i32,
    },
    /// The name is taken.
    #[error("execution {0} already exists")]
    Exists(ExecutionId),
    /// The launch plan's concurrency policy allows no further execution now.
    #[error(
        "{launch_plan} has {limit} executions that have not ended, as many as its concurrency policy allows"
    )]
    AtLimit {
        /// The launch plan.
        launch_plan: Box<EntityId>,
        /// How many may run at once.
        limit: u32,
        /// Whether a launch that nobody waits for is left out rather than tried again.
        skip: bool,
    },
    /// The workflow around a single task does not compile.
    #[error("cannot make a workflow of {task}: {errors}")]
    SingleTask {
        /// The task.
        task: Box<EntityId>,
        /// The compiler's findings.
        errors: String,
    },
    /// A stored message can't be read.
    #[error("cannot decode the stored {what} of {id}")]
    Decode {
        /// Which message.
        what: &'static str,
        /// Whose.
        id: String,
        /// The cause.
        #[source]
        source: prost::DecodeError,
    },
    /// The store did not answer.
    #[error("cannot reach the store")]
    Store(#[from] store::Error),
    /// The inputs can't be kept, or those of an earlier execution can't be read.
    #[error("cannot read or keep the inputs")]
    Blob(#[from] blob::Error),
}

impl Error {
    /// Whether the same request may succeed later without being changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Blob(error) => error.is_transient(),
            _ => false,
        }
    }
}

fn join(errors: &[InputError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
