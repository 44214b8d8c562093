//! Says why a graph could not be built or a state not be restored.

use proto::flyteidl::core;

/// What this room refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The closure holds no primary workflow template.
    #[error("compiled workflow has no primary template")]
    NoTemplate,
    /// A node every workflow has is missing.
    #[error("compiled workflow has no node {node:?}")]
    NodeMissing {
        /// `start-node` or `end-node`.
        node: &'static str,
    },
    /// Two nodes share an id.
    #[error("node id {node:?} occurs twice")]
    DuplicateNode {
        /// The id.
        node: String,
    },
    /// The node lacks something it cannot be run without.
    #[error("node {node:?} lacks {what}")]
    IncompleteNode {
        /// The node.
        node: String,
        /// What it lacks.
        what: &'static str,
    },
    /// The node names a task that the closure does not hold.
    #[error("node {node:?} runs task {task}, which is not in the compiled workflow")]
    UnknownTask {
        /// The node.
        node: String,
        /// The task, as `project:domain:name:version`.
        task: String,
    },
    /// The node names a sub-workflow that the closure does not hold.
    #[error("node {node:?} runs sub-workflow {workflow}, which is not in the compiled workflow")]
    UnknownSubWorkflow {
        /// The node.
        node: String,
        /// The sub-workflow, as `project:domain:name:version`.
        workflow: String,
    },
    /// Sub-workflows lie in each other deeper than the engine goes.
    #[error("sub-workflow {workflow} lies more than {max} levels deep; split the workflow by launch plans")]
    NestedTooDeep {
        /// The sub-workflow, as `project:domain:name:version`.
        workflow: String,
        /// How deep they may.
        max: usize,
    },
    /// An edge or a binding names a node that does not exist.
    #[error("node {node:?} depends on {upstream:?}, which does not exist")]
    UnknownUpstream {
        /// The node.
        node: String,
        /// What it names.
        upstream: String,
    },
    /// Nodes wait for each other.
    #[error("node {node:?} depends on itself through other nodes")]
    Cycle {
        /// One of them.
        node: String,
    },
    /// More nodes than positions.
    #[error("compiled workflow has {nodes} nodes, more than can be numbered")]
    TooManyNodes {
        /// How many.
        nodes: usize,
    },
    /// A stored node does not exist in the graph.
    #[error("stored node {node:?} is not in the workflow")]
    UnknownNode {
        /// The stored id.
        node: String,
    },
    /// A stored node holds others, and what they are is not stored with it.
    #[error("stored node {node:?} runs, but {what} is not stored with it")]
    UnknownContent {
        /// The stored id.
        node: String,
        /// What is missing.
        what: &'static str,
    },
    /// A stored execution phase that this engine never writes.
    #[error("stored execution phase {number} is unknown")]
    UnknownPhase {
        /// The stored number.
        number: i32,
    },
    /// A stored node phase that this engine never writes.
    #[error("stored node phase {number} is unknown")]
    UnknownNodePhase {
        /// The stored number.
        number: i16,
    },
}

impl Error {
    /// What an execution that cannot begin because of it is failed with.
    pub fn execution_error(&self) -> core::ExecutionError {
        system("BadSpecificationError", self.to_string())
    }
}

/// An error that is the platform's fault.
pub(crate) fn system(code: &str, message: String) -> core::ExecutionError {
    failure(core::execution_error::ErrorKind::System, code, message)
}

/// An error that is the user's fault.
pub(crate) fn user(code: &str, message: String) -> core::ExecutionError {
    failure(core::execution_error::ErrorKind::User, code, message)
}

/// An error of any kind.
pub(crate) fn failure(
    kind: core::execution_error::ErrorKind,
    code: &str,
    message: String,
) -> core::ExecutionError {
    core::ExecutionError { code: code.to_owned(), message, kind: kind as i32, ..Default::default() }
}
