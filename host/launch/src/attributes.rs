//! Finds the matchable attributes that hold for an execution: of each kind the most particular. Pure.

use prost::Message;
use proto::flyteidl::admin::{
    ClusterAssignment, ExecutionClusterLabel, MatchableResource, MatchingAttributes, PluginOverride,
    PluginOverrides, TaskResourceAttributes, WorkflowExecutionConfig, matching_attributes::Target,
};
use proto::flyteidl::core::QualityOfService;
use store::AttributeRow;

use crate::{Error, labels, launcher::decode};

/// The attributes that hold for an execution.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    /// The most particular of each kind.
    found: Vec<Target>,
    /// What the project says about executions, beside a more particular saying.
    of_project: Option<WorkflowExecutionConfig>,
}

impl Attributes {
    /// Reads rows, the particular ones first.
    ///
    /// # Errors
    /// A stored message that can't be read.
    pub fn read(rows: &[AttributeRow]) -> Result<Self, Error> {
        let mut out = Self::default();
        let mut kinds = Vec::new();
        for row in rows {
            let is_first = !kinds.contains(&row.kind);
            let is_config = row.kind == MatchableResource::WorkflowExecutionConfig as i32;
            if !is_first && !is_config {
                continue;
            }
            kinds.push(row.kind);
            let matching: MatchingAttributes = decode(&row.attributes, "attributes", &row.place.project)?;
            if let Some(Target::WorkflowExecutionConfig(config)) = &matching.target
                && row.place.domain.is_empty()
            {
                out.of_project = Some(config.clone());
            }
            if is_first {
                out.found.extend(matching.target);
            }
        }
        Ok(out)
    }

    /// Settings of executions, the particular ones first.
    pub(crate) fn configs(&self) -> impl Iterator<Item = &WorkflowExecutionConfig> {
        let particular = self.found.iter().find_map(|target| match target {
            Target::WorkflowExecutionConfig(config) => Some(config),
            _ => None,
        });
        particular.into_iter().chain(&self.of_project)
    }

    /// The cluster pool that executions must run in.
    pub(crate) fn cluster_assignment(&self) -> Option<&ClusterAssignment> {
        self.found.iter().find_map(|target| match target {
            Target::ClusterAssignment(assignment) if !assignment.cluster_pool_name.is_empty() => {
                Some(assignment)
            }
            _ => None,
        })
    }

    pub(crate) fn cluster_label(&self) -> Option<&ExecutionClusterLabel> {
        self.found.iter().find_map(|target| match target {
            Target::ExecutionClusterLabel(label) if !label.value.is_empty() => Some(label),
            _ => None,
        })
    }

    pub(crate) fn quality_of_service(&self) -> Option<&QualityOfService> {
        self.found.iter().find_map(|target| match target {
            Target::QualityOfService(quality) => Some(quality),
            _ => None,
        })
    }

    pub(crate) fn queue_tags(&self) -> &[String] {
        let found = self.found.iter().find_map(|target| match target {
            Target::ExecutionQueueAttributes(queue) => Some(queue.tags.as_slice()),
            _ => None,
        });
        found.unwrap_or_default()
    }

    pub(crate) fn plugin_overrides(&self) -> &[PluginOverride] {
        let found = self.found.iter().find_map(|target| match target {
            Target::PluginOverrides(plugins) => Some(plugins.overrides.as_slice()),
            _ => None,
        });
        found.unwrap_or_default()
    }

    /// Default and highest resources of tasks.
    pub fn task_resources(&self) -> Option<&TaskResourceAttributes> {
        self.found.iter().find_map(|target| match target {
            Target::TaskResourceAttributes(resources) => Some(resources),
            _ => None,
        })
    }

    pub(crate) fn cluster_resources(&self) -> std::collections::BTreeMap<String, String> {
        let found = self.found.iter().find_map(|target| match target {
            Target::ClusterResourceAttributes(cluster) => Some(cluster.attributes.clone()),
            _ => None,
        });
        found.unwrap_or_default()
    }
}

/// The kind of some attributes; `None` for attributes of no known kind.
pub fn kind(attributes: &MatchingAttributes) -> Option<MatchableResource> {
    Some(match attributes.target.as_ref()? {
        Target::TaskResourceAttributes(_) => MatchableResource::TaskResource,
        Target::ClusterResourceAttributes(_) => MatchableResource::ClusterResource,
        Target::ExecutionQueueAttributes(_) => MatchableResource::ExecutionQueue,
        Target::ExecutionClusterLabel(_) => MatchableResource::ExecutionClusterLabel,
        Target::QualityOfService(_) => MatchableResource::QualityOfServiceSpecification,
        Target::PluginOverrides(_) => MatchableResource::PluginOverride,
        Target::WorkflowExecutionConfig(_) => MatchableResource::WorkflowExecutionConfig,
        Target::ClusterAssignment(_) => MatchableResource::ClusterAssignment,
    })
}

/// Adds to what was set before: plugin overrides by task type, everything else is replaced.
#[must_use]
pub fn merge(old: &[u8], new: Vec<u8>) -> Vec<u8> {
    let read = |bytes: &[u8]| match MatchingAttributes::decode(bytes).ok()?.target {
        Some(Target::PluginOverrides(plugins)) => Some(plugins.overrides),
        _ => None,
    };
    let (Some(mut overrides), Some(added)) = (read(old), read(&new)) else { return new };
    for one in added {
        match overrides.iter_mut().find(|known| known.task_type == one.task_type) {
            Some(known) => *known = one,
            None => overrides.push(one),
        }
    }
    let target = Some(Target::PluginOverrides(PluginOverrides { overrides }));
    MatchingAttributes { target }.encode_to_vec()
}

/// Refuses attributes under which nothing could be started.
///
/// # Errors
/// Labels, numbers or quantities that break their rule.
pub fn check(attributes: &MatchingAttributes, max_label_entries: usize) -> Result<(), Error> {
    match &attributes.target {
        Some(Target::WorkflowExecutionConfig(config)) => check_config(config, max_label_entries),
        Some(Target::TaskResourceAttributes(resources)) => check_resources(resources),
        _ => Ok(()),
    }
}

fn check_config(config: &WorkflowExecutionConfig, max_label_entries: usize) -> Result<(), Error> {
    if config.max_parallelism < 0 {
        return Err(Error::OutOfRange {
            field: "max_parallelism",
            value: i64::from(config.max_parallelism),
            reason: "negative; 0 leaves it open",
        });
    }
    if let Some(found) = &config.labels {
        labels::check_labels(&found.values, max_label_entries)
            .map_err(|source| Error::Labels { field: "labels", source })?;
    }
    if let Some(found) = &config.annotations {
        labels::check_annotations(&found.values, max_label_entries)
            .map_err(|source| Error::Labels { field: "annotations", source })?;
    }
    match &config.raw_output_data_config {
        Some(raw) => crate::settings::check_prefix("raw_output_data_config", &raw.output_location_prefix),
        None => Ok(()),
    }
}

fn check_resources(resources: &TaskResourceAttributes) -> Result<(), Error> {
    for spec in resources.defaults.iter().chain(&resources.limits) {
        for text in [&spec.cpu, &spec.gpu, &spec.memory, &spec.storage, &spec.ephemeral_storage] {
            if !text.is_empty() {
                model::quantity::parse_milli(text)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "attributes_tests.rs"]
mod tests;
