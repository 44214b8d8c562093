//! Names what can be wrong with a registered definition.

use std::fmt;

/// The kind of a compile error, named as clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorCode {
    /// Nodes depend on each other in a circle.
    CycleDetected,
    /// A case of a branch names no node.
    BranchNodeIdNotFound,
    /// A case of a branch has no condition.
    BranchNodeHasNoCondition,
    /// A branch says nothing for when no case holds.
    BranchNodeHasNoDefault,
    /// A required field is empty.
    ValueRequired,
    /// A field has a value that is not allowed there.
    InvalidValue,
    /// A binding or an edge names a node that does not exist.
    NodeReferenceNotFound,
    /// A node names a task that is not registered.
    TaskReferenceNotFound,
    /// A node names a workflow or launch plan that is not registered.
    WorkflowReferenceNotFound,
    /// A binding names a variable that does not exist.
    VariableNameNotFound,
    /// Two outputs of a node have the same effective name.
    DuplicateAlias,
    /// Two things have the same id.
    DuplicateId,
    /// A value has another type than its place.
    MismatchingTypes,
    /// A binding has another shape than its place.
    MismatchingBindings,
    /// The cases of a branch give the same output with different types.
    MismatchingInterfaces,
    /// The two sides of a comparison have different types.
    InconsistentTypes,
    /// An input is bound twice.
    ParameterBoundMoreThanOnce,
    /// A required input is not bound.
    ParameterNotBound,
    /// No node can run first.
    NoEntryNodeFound,
    /// Nodes cannot be reached from the start.
    UnreachableNodes,
    /// A value is of no known kind.
    UnrecognizedValue,
    /// The compiled workflow could not be put together.
    WorkflowBuildError,
    /// Two values claim the same place.
    ValueCollision,
    /// A text could not be read.
    SyntaxError,
    /// A workflow has no nodes.
    NoNodesFound,
    /// A value is not among those of its enum.
    IllegalEnumValue,
    /// A binding fits more than one variant of a union.
    AmbiguousBindingUnionValue,
    /// A binding fits no variant of a union.
    IncompatibleBindingUnionValue,
    /// A gate says not what it waits for.
    NoConditionFound,
    /// A path into a value names a field that does not exist.
    FieldNotFound,
    /// A literal is of no type that can be named.
    InvalidLiteralType,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Code: {code}, Node Id: {node_id}, Description: {description}")]
pub struct Error {
    /// What kind of error it is.
    pub code: ErrorCode,
    /// The node it was found on; for a task, the name of the task.
    pub node_id: String,
    /// What is wrong, for people.
    pub description: String,
}

impl Error {
    pub(crate) fn new(code: ErrorCode, node_id: &str, description: impl Into<String>) -> Self {
        Self { code, node_id: node_id.to_owned(), description: description.into() }
    }

    pub(crate) fn required(node_id: &str, field: &str) -> Self {
        Self::new(ErrorCode::ValueRequired, node_id, format!("Value required [{field}]."))
    }
}

/// Everything that is wrong with one definition; never empty when returned as an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<Error>);

impl Errors {
    /// `value` if nothing went wrong.
    pub(crate) fn none_or<T>(errors: Vec<Error>, value: T) -> Result<T, Self> {
        if errors.is_empty() { Ok(value) } else { Err(Self(errors)) }
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collected Errors: {}", self.0.len())?;
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "\n\tError {i}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
