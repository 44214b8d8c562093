//! Parses what is to be started, so that no later step can meet a bad identifier.

use model::{EntityId, EntityKind, ExecutionId, NodeExecutionId, Timestamp};
use proto::flyteidl::admin::{
    ExecutionCreateRequest, ExecutionMetadata, ExecutionSpec, execution_metadata::ExecutionMode,
};
use proto::flyteidl::core::{LiteralMap, ResourceType};
use store::{ExecutionKey, ExecutionRow};

use crate::{Arrived, Error};

/// What an execution runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A launch plan, active or not.
    LaunchPlan(EntityId),
    /// A single task, in a workflow generated around it.
    Task(EntityId),
}

impl Target {
    /// The entity that was named.
    pub fn id(&self) -> &EntityId {
        match self {
            Self::LaunchPlan(id) | Self::Task(id) => id,
        }
    }
}

/// The node that starts an execution as its child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Row key of the parent execution.
    pub execution: ExecutionKey,
    /// The node.
    pub node: NodeExecutionId,
    /// How deep the parent execution is nested.
    pub nesting: i32,
}

/// A parsed wish to start an execution.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Project of the execution.
    pub project: String,
    /// Domain of the execution.
    pub domain: String,
    /// Its name; `None` has one generated.
    pub name: Option<String>,
    /// What it runs.
    pub target: Target,
    /// Its settings as they came.
    pub spec: ExecutionSpec,
    /// The caller's own inputs.
    pub inputs: LiteralMap,
    /// Who asks; empty without authentication.
    pub principal: String,
    /// How it came about.
    pub mode: ExecutionMode,
    /// The execution it repeats.
    pub source: Option<ExecutionId>,
    /// The node that starts it.
    pub parent: Option<Parent>,
    /// Spec and inputs as they arrived.
    pub arrived: Arrived,
}

impl Request {
    /// Adds the bytes of the `admin.ExecutionCreateRequest` that it was read from, so that what is stored of it are
    /// those.
    #[must_use]
    pub fn with_arrived(self, request: &[u8]) -> Self {
        Self { arrived: Arrived::of_request(request), ..self }
    }

    /// Reads a client's request.
    ///
    /// # Errors
    /// A missing part, a target that can't be started, a name that breaks the rule.
    pub fn from_proto(request: ExecutionCreateRequest, principal: &str) -> Result<Self, Error> {
        let spec = request.spec.ok_or(Error::Missing("spec"))?;
        for (value, field) in [(&request.project, "project"), (&request.domain, "domain")] {
            if value.is_empty() {
                return Err(Error::Missing(field));
            }
        }
        let target = target(&spec)?;
        let inputs = request.inputs.filter(|map| !map.literals.is_empty());
        let mode = spec.metadata.as_ref().map(ExecutionMetadata::mode).unwrap_or_default();
        Ok(Self {
            project: request.project,
            domain: request.domain,
            name: name(request.name)?,
            target,
            inputs: inputs.or_else(|| spec_inputs(&spec)).unwrap_or_default(),
            spec,
            principal: principal.to_owned(),
            mode,
            source: None,
            parent: None,
            arrived: Arrived::default(),
        })
    }

    /// Repeats an execution with the inputs its caller gave.
    ///
    /// # Errors
    /// A name that breaks the rule.
    pub fn relaunch(
        original: &ExecutionRow,
        spec: ExecutionSpec,
        inputs: LiteralMap,
        new_name: String,
        principal: &str,
    ) -> Result<Self, Error> {
        let mode = ExecutionMode::Relaunch;
        Self::repeat(original, spec, inputs, name(new_name)?, (mode, principal))
    }

    /// Repeats an execution with the inputs its caller gave; what succeeded in it is not run again.
    ///
    /// # Errors
    /// A name that breaks the rule.
    pub fn recover(
        original: &ExecutionRow,
        spec: ExecutionSpec,
        inputs: LiteralMap,
        new_name: String,
        principal: &str,
    ) -> Result<Self, Error> {
        let mode = ExecutionMode::Recovered;
        Self::repeat(original, spec, inputs, name(new_name)?, (mode, principal))
    }

    fn repeat(
        original: &ExecutionRow,
        mut spec: ExecutionSpec,
        inputs: LiteralMap,
        name: Option<String>,
        (mode, principal): (ExecutionMode, &str),
    ) -> Result<Self, Error> {
        let target = match (&original.task, &original.launch_plan) {
            (Some(task), _) => Target::Task(task.clone()),
            (None, Some(launch_plan)) => Target::LaunchPlan(launch_plan.clone()),
            (None, None) => target(&spec)?,
        };
        let metadata = ExecutionMetadata {
            mode: mode as i32,
            reference_execution: Some(original.id.to_proto()),
            parent_node_execution: None,
            nesting: 0,
            ..spec.metadata.take().unwrap_or_default()
        };
        // The original ran for whoever started it; the new one runs for whoever starts that.
        let run_as = spec.security_context.as_mut().and_then(|context| context.run_as.as_mut());
        if let Some(run_as) = run_as.filter(|run_as| run_as.execution_identity == original.principal) {
            run_as.execution_identity.clear();
        }
        Ok(Self {
            project: original.id.project.to_string(),
            domain: original.id.domain.to_string(),
            name,
            target,
            spec: ExecutionSpec { metadata: Some(metadata), ..spec },
            inputs,
            principal: principal.to_owned(),
            mode,
            source: Some(original.id.clone()),
            parent: None,
            arrived: Arrived { spec: original.spec.clone(), inputs: Vec::new() },
        })
    }

    /// Starts a launch plan for a tick of a schedule or of a backfill. The inputs are those that the tick gives; tags
    /// are for those who look for its execution.
    ///
    /// # Errors
    /// A name that breaks the rule.
    pub fn scheduled(
        launch_plan: EntityId,
        tick_name: String,
        scheduled_at: Timestamp,
        inputs: LiteralMap,
        tags: Vec<String>,
        principal: &str,
    ) -> Result<Self, Error> {
        let metadata = ExecutionMetadata {
            mode: ExecutionMode::Scheduled as i32,
            scheduled_at: Some(scheduled_at.to_proto()),
            ..ExecutionMetadata::default()
        };
        Ok(Self {
            project: launch_plan.project.clone(),
            domain: launch_plan.domain.clone(),
            name: name(tick_name)?,
            target: Target::LaunchPlan(launch_plan),
            spec: tagged(ExecutionSpec { metadata: Some(metadata), ..ExecutionSpec::default() }, tags),
            inputs,
            principal: principal.to_owned(),
            mode: ExecutionMode::Scheduled,
            source: None,
            parent: None,
            arrived: Arrived::default(),
        })
    }

    /// Starts a launch plan for a node: settings are inherited from the execution the node belongs to.
    ///
    /// # Errors
    /// A name that breaks the rule.
    pub fn child(
        parent: Parent,
        parent_spec: &ExecutionSpec,
        launch_plan: EntityId,
        child_name: String,
        inputs: LiteralMap,
    ) -> Result<Self, Error> {
        let principal = parent_spec.metadata.as_ref().map(|m| m.principal.clone()).unwrap_or_default();
        let id = &parent.node.execution;
        Ok(Self {
            project: id.project.to_string(),
            domain: id.domain.to_string(),
            name: name(child_name)?,
            target: Target::LaunchPlan(launch_plan),
            spec: ExecutionSpec {
                interruptible: parent_spec.interruptible,
                overwrite_cache: parent_spec.overwrite_cache,
                envs: parent_spec.envs.clone(),
                labels: parent_spec.labels.clone(),
                annotations: parent_spec.annotations.clone(),
                max_parallelism: parent_spec.max_parallelism,
                security_context: parent_spec.security_context.clone(),
                raw_output_data_config: parent_spec.raw_output_data_config.clone(),
                execution_cluster_label: parent_spec.execution_cluster_label.clone(),
                cluster_assignment: parent_spec.cluster_assignment.clone(),
                ..ExecutionSpec::default()
            },
            inputs,
            principal,
            mode: ExecutionMode::ChildWorkflow,
            source: None,
            parent: Some(parent),
            arrived: Arrived::default(),
        })
    }
}

/// Names are kept in lower case: everything named after an execution outside is.
fn name(name: String) -> Result<Option<String>, Error> {
    if name.is_empty() {
        return Ok(None);
    }
    let lower = name.to_ascii_lowercase();
    if model::name::is_execution_name(&lower) { Ok(Some(lower)) } else { Err(Error::Name { name }) }
}

fn target(spec: &ExecutionSpec) -> Result<Target, Error> {
    const FIELD: &str = "spec.launch_plan";
    let id = spec.launch_plan.as_ref().ok_or(Error::Missing(FIELD))?;
    let parse = |kind| EntityId::from_proto(kind, id).map_err(|source| Error::Id { field: FIELD, source });
    match ResourceType::try_from(id.resource_type) {
        Ok(ResourceType::Task) => parse(EntityKind::Task).map(Target::Task),
        Ok(ResourceType::LaunchPlan | ResourceType::Unspecified) => {
            parse(EntityKind::LaunchPlan).map(Target::LaunchPlan)
        }
        Ok(other) => Err(Error::Target { found: other.as_str_name().to_lowercase() }),
        Err(_) => Err(Error::Target { found: format!("resource of unknown type {}", id.resource_type) }),
    }
}

#[allow(deprecated, reason = "there is no other field for tags")]
fn tagged(mut spec: ExecutionSpec, tags: Vec<String>) -> ExecutionSpec {
    spec.tags = tags;
    spec
}

#[allow(deprecated, reason = "the console sends inputs here")]
fn spec_inputs(spec: &ExecutionSpec) -> Option<LiteralMap> {
    spec.inputs.clone()
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
