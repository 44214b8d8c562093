//! Names the things of the platform: registered entities, executions, node executions, task attempts.

use std::fmt;
use std::sync::Arc;

use proto::flyteidl::core;

/// What kind of registered entity an [`EntityId`] names (flyteidl `core.ResourceType`, numbers alike).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntityKind {
    /// A task template.
    Task = 1,
    /// A workflow template and its compiled closure.
    Workflow = 2,
    /// A launch plan.
    LaunchPlan = 3,
}

impl EntityKind {
    /// The wire number.
    pub fn to_proto(self) -> core::ResourceType {
        match self {
            Self::Task => core::ResourceType::Task,
            Self::Workflow => core::ResourceType::Workflow,
            Self::LaunchPlan => core::ResourceType::LaunchPlan,
        }
    }

    /// The word used in messages: `task`, `workflow`, `launch plan`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Workflow => "workflow",
            Self::LaunchPlan => "launch plan",
        }
    }
}

/// A registered entity at one version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityId {
    /// Which kind of entity.
    pub kind: EntityKind,
    /// Project id.
    pub project: String,
    /// Domain id.
    pub domain: String,
    /// Entity name, unique per kind, project and domain.
    pub name: String,
    /// Version text.
    pub version: String,
}

/// Why an identifier on the wire was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// A required part is empty.
    #[error("missing {0}")]
    Missing(&'static str),
    /// The resource type is not the one this place needs.
    #[error("expected resource type {expected:?} but got {found}")]
    WrongKind {
        /// The kind needed here.
        expected: EntityKind,
        /// The name of what came.
        found: String,
    },
}

impl EntityId {
    /// Reads a wire identifier of the given kind; an unspecified resource type is accepted.
    ///
    /// # Errors
    /// A missing part, or another resource type.
    pub fn from_proto(kind: EntityKind, id: &core::Identifier) -> Result<Self, IdError> {
        let found = id.resource_type();
        if found != core::ResourceType::Unspecified && found != kind.to_proto() {
            return Err(IdError::WrongKind { expected: kind, found: found.as_str_name().to_owned() });
        }
        for (value, part) in
            [(&id.project, "project"), (&id.domain, "domain"), (&id.name, "name"), (&id.version, "version")]
        {
            if value.is_empty() {
                return Err(IdError::Missing(part));
            }
        }
        Ok(Self {
            kind,
            project: id.project.clone(),
            domain: id.domain.clone(),
            name: id.name.clone(),
            version: id.version.clone(),
        })
    }

    /// The wire form.
    pub fn to_proto(&self) -> core::Identifier {
        core::Identifier {
            resource_type: self.kind.to_proto() as i32,
            project: self.project.clone(),
            domain: self.domain.clone(),
            name: self.name.clone(),
            version: self.version.clone(),
            ..Default::default()
        }
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}:{}@{}", self.kind.word(), self.project, self.domain, self.name, self.version)
    }
}

/// One execution: project, domain, name. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutionId {
    /// Project id.
    pub project: Arc<str>,
    /// Domain id.
    pub domain: Arc<str>,
    /// Execution name, unique in project and domain.
    pub name: Arc<str>,
}

impl ExecutionId {
    /// Makes an id of its three parts.
    pub fn new(project: &str, domain: &str, name: &str) -> Self {
        Self { project: project.into(), domain: domain.into(), name: name.into() }
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// A missing part.
    pub fn from_proto(id: &core::WorkflowExecutionIdentifier) -> Result<Self, IdError> {
        for (value, part) in [(&id.project, "project"), (&id.domain, "domain"), (&id.name, "name")] {
            if value.is_empty() {
                return Err(IdError::Missing(part));
            }
        }
        Ok(Self::new(&id.project, &id.domain, &id.name))
    }

    /// The wire form.
    pub fn to_proto(&self) -> core::WorkflowExecutionIdentifier {
        core::WorkflowExecutionIdentifier {
            project: self.project.to_string(),
            domain: self.domain.to_string(),
            name: self.name.to_string(),
            ..Default::default()
        }
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.project, self.domain, self.name)
    }
}

/// A node of an execution, by its unique id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeExecutionId {
    /// The execution it belongs to.
    pub execution: ExecutionId,
    /// Unique node id within the execution (`n0`, `n1-0-n0`).
    pub node: Arc<str>,
}

impl NodeExecutionId {
    /// The wire form.
    pub fn to_proto(&self) -> core::NodeExecutionIdentifier {
        core::NodeExecutionIdentifier {
            node_id: self.node.to_string(),
            execution_id: Some(self.execution.to_proto()),
        }
    }
}

impl fmt::Display for NodeExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.execution, self.node)
    }
}

/// One try of a task node: the node and the attempt, counted from 0 (`retry_attempt` on the wire).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId {
    /// The node.
    pub node: NodeExecutionId,
    /// 0 for the first try.
    pub attempt: u32,
}

impl AttemptId {
    /// The name of everything this attempt creates outside (pod, job, query), at most 50 characters and a
    /// DNS-1123 label (execution.md A20).
    pub fn generated_name(&self) -> String {
        crate::name::generated_name(&self.node.execution.name, &self.node.node, self.attempt)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.node, self.attempt)
    }
}
