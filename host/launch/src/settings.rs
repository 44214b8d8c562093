//! Resolves the settings of an execution: the request, then the launch plan, then attributes, the particular before
//! the general, then the configuration. Pure.
//!
//! What the request says stays as it came; clients compare it with what they sent.

use std::collections::BTreeMap;

use blob::DataReference;
use model::LaunchSettings;
use proto::flyteidl::admin::{
    AuthRole, ExecutionMetadata, ExecutionSpec, Labels, LaunchPlanSpec, SystemMetadata,
    WorkflowExecutionConfig, execution_spec::NotificationOverrides,
};
use proto::flyteidl::core::{Identity, QualityOfService, SecurityContext};

use crate::{Config, Error, Target, attributes::Attributes, cluster, labels, notifications, quality, queue};

/// What settings come from, beside the request and the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// The launch plan; none for a single task.
    pub plan: Option<&'a LaunchPlanSpec>,
    /// Quality of service that the workflow asks for.
    pub workflow_quality: Option<&'a QualityOfService>,
    /// Attributes that hold for the execution.
    pub attributes: &'a Attributes,
    /// Labels of the project.
    pub project_labels: &'a BTreeMap<String, String>,
    /// Project and domain of the execution.
    pub place: (&'a str, &'a str),
    /// Name of the execution.
    pub name: &'a str,
    /// Who asks; empty without authentication.
    pub principal: &'a str,
}

/// What was resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The spec as it is stored, but for its metadata.
    pub spec: ExecutionSpec,
    /// Settings that are not part of the spec.
    pub settings: LaunchSettings,
    /// The cluster; empty leaves it to the worker.
    pub cluster: String,
}

/// Fills what the request leaves open.
///
/// # Errors
/// A request for another cluster pool than the assigned one.
pub fn resolve(
    mut spec: ExecutionSpec,
    target: &Target,
    sources: &Sources<'_>,
    config: &Config,
) -> Result<Resolved, Error> {
    let Sources { plan, attributes, place, .. } = *sources;
    let as_role = spec.security_context.take().or_else(|| from_role(deprecated_role(&spec)));
    spec.security_context = as_role;
    if let Some(plan) = plan {
        fill(&mut spec, &config_of_plan(plan), true);
        spec.cluster_assignment = spec.cluster_assignment.take().or_else(|| plan.cluster_assignment.clone());
        notifications::fill(&mut spec, plan);
    }
    let application = config.execution_config();
    for layer in attributes.configs().chain([&application]) {
        fill(&mut spec, layer, plan.is_some());
    }
    fill_principal(&mut spec, sources.principal);
    spec.cluster_assignment =
        cluster::assignment(spec.cluster_assignment.take(), attributes.cluster_assignment(), config, place)?;
    if spec.execution_cluster_label.as_ref().is_none_or(|label| label.value.is_empty()) {
        spec.execution_cluster_label = attributes.cluster_label().cloned().or(spec.execution_cluster_label);
    }
    let said = [
        spec.quality_of_service.as_ref(),
        plan.and_then(|plan| plan.quality_of_service.as_ref()),
        sources.workflow_quality,
        attributes.quality_of_service(),
    ];
    spec.quality_of_service = quality::resolve(said, place.1, config);
    add_project_labels(&mut spec, sources.project_labels);
    spec.launch_plan = Some(target.id().to_proto());
    clear_inputs(&mut spec);
    let label = spec.execution_cluster_label.as_ref().map(|label| label.value.as_str());
    Ok(Resolved {
        cluster: cluster::choose(config, label.unwrap_or_default(), sources.name),
        settings: LaunchSettings {
            plugin_overrides: attributes.plugin_overrides().to_vec(),
            task_resources: attributes.task_resources().cloned(),
            queue: queue::choose(config, attributes.queue_tags(), place.1, sources.name),
            cluster_resources: attributes.cluster_resources(),
            queueing_budget: quality::queueing_budget(spec.quality_of_service.as_ref(), config),
        },
        spec,
    })
}

/// What the platform says about an execution; it replaces what a client wrote there.
#[must_use]
pub fn metadata(
    given: Option<ExecutionMetadata>,
    principal: &str,
    cluster: &str,
    (project, domain): (&str, &str),
) -> ExecutionMetadata {
    ExecutionMetadata {
        principal: principal.to_owned(),
        system_metadata: Some(SystemMetadata {
            execution_cluster: cluster.to_owned(),
            namespace: format!("{project}-{domain}"),
        }),
        ..given.unwrap_or_default()
    }
}

/// Refuses settings that nothing can be run with.
///
/// # Errors
/// Labels, annotations or numbers that break their rule.
pub fn check(spec: &ExecutionSpec, config: &Config) -> Result<(), Error> {
    if spec.max_parallelism < 0 {
        return Err(Error::OutOfRange {
            field: "spec.max_parallelism",
            value: i64::from(spec.max_parallelism),
            reason: "negative; 0 leaves it open",
        });
    }
    if let Some(found) = &spec.labels {
        labels::check_labels(&found.values, config.max_label_entries)
            .map_err(|source| Error::Labels { field: "spec.labels", source })?;
    }
    if let Some(found) = &spec.annotations {
        labels::check_annotations(&found.values, config.max_label_entries)
            .map_err(|source| Error::Labels { field: "spec.annotations", source })?;
    }
    if let Some(raw) = &spec.raw_output_data_config {
        check_prefix("spec.raw_output_data_config", &raw.output_location_prefix)?;
    }
    if let Some(NotificationOverrides::Notifications(list)) = &spec.notification_overrides {
        notifications::check(&list.notifications).map_err(Error::Notifications)?;
    }
    Ok(())
}

/// Refuses a place for data that is no URI; empty is none.
pub(crate) fn check_prefix(field: &'static str, prefix: &str) -> Result<(), Error> {
    if prefix.is_empty() {
        return Ok(());
    }
    match DataReference::parse(prefix.trim_end_matches('/')) {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Prefix { field, source: Box::new(source) }),
    }
}

/// A launch plan's settings in the form that attributes have.
fn config_of_plan(plan: &LaunchPlanSpec) -> WorkflowExecutionConfig {
    WorkflowExecutionConfig {
        max_parallelism: plan.max_parallelism,
        security_context: plan.security_context.clone().or_else(|| from_role(plan_role(plan))),
        raw_output_data_config: plan.raw_output_data_config.clone(),
        labels: plan.labels.clone(),
        annotations: plan.annotations.clone(),
        interruptible: plan.interruptible,
        overwrite_cache: plan.overwrite_cache,
        envs: plan.envs.clone(),
        execution_env_assignments: plan.execution_env_assignments.clone(),
    }
}

/// Takes from a layer what is still open. Labels, annotations and variables are taken whole, never mixed.
fn fill(spec: &mut ExecutionSpec, layer: &WorkflowExecutionConfig, with_parallelism: bool) {
    let open = |values: Option<&Labels>| values.is_none_or(|labels| labels.values.is_empty());
    if open(spec.labels.as_ref()) && !open(layer.labels.as_ref()) {
        spec.labels.clone_from(&layer.labels);
    }
    if spec.annotations.as_ref().is_none_or(|a| a.values.is_empty())
        && layer.annotations.as_ref().is_some_and(|a| !a.values.is_empty())
    {
        spec.annotations.clone_from(&layer.annotations);
    }
    if spec.envs.as_ref().is_none_or(|envs| envs.values.is_empty())
        && layer.envs.as_ref().is_some_and(|envs| !envs.values.is_empty())
    {
        spec.envs.clone_from(&layer.envs);
    }
    if spec.raw_output_data_config.as_ref().is_none_or(|raw| raw.output_location_prefix.is_empty())
        && layer.raw_output_data_config.as_ref().is_some_and(|raw| !raw.output_location_prefix.is_empty())
    {
        spec.raw_output_data_config.clone_from(&layer.raw_output_data_config);
    }
    if !names_somebody(spec.security_context.as_ref()) && names_somebody(layer.security_context.as_ref()) {
        fill_identity(spec, layer.security_context.clone());
    }
    if with_parallelism && spec.max_parallelism == 0 {
        spec.max_parallelism = layer.max_parallelism.max(0);
    }
    if spec.execution_env_assignments.is_empty() {
        spec.execution_env_assignments.clone_from(&layer.execution_env_assignments);
    }
    spec.interruptible = spec.interruptible.or(layer.interruptible);
    spec.overwrite_cache |= layer.overwrite_cache;
}

/// A security context whose identity is there but empty names nobody; the console sends such.
fn names_somebody(context: Option<&SecurityContext>) -> bool {
    context.and_then(|context| context.run_as.as_ref()).is_some_and(|run_as| {
        !run_as.k8s_service_account.is_empty()
            || !run_as.iam_role.is_empty()
            || !run_as.execution_identity.is_empty()
    })
}

fn fill_identity(spec: &mut ExecutionSpec, theirs: Option<SecurityContext>) {
    let Some(theirs) = theirs else { return };
    match &mut spec.security_context {
        Some(ours) => ours.run_as = theirs.run_as,
        none => *none = Some(theirs),
    }
}

/// Whoever started the execution is whom it runs for, unless it says another.
fn fill_principal(spec: &mut ExecutionSpec, principal: &str) {
    if principal.is_empty() {
        return;
    }
    let run_as = spec.security_context.get_or_insert_default().run_as.get_or_insert_default();
    if run_as.execution_identity.is_empty() {
        principal.clone_into(&mut run_as.execution_identity);
    }
}

fn add_project_labels(spec: &mut ExecutionSpec, project_labels: &BTreeMap<String, String>) {
    if project_labels.is_empty() {
        return;
    }
    let ours = &mut spec.labels.get_or_insert_default().values;
    for (key, value) in project_labels {
        ours.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

#[allow(deprecated, reason = "old clients still send the role here")]
fn deprecated_role(spec: &ExecutionSpec) -> Option<&AuthRole> {
    spec.auth_role.as_ref()
}

#[allow(deprecated, reason = "old clients still send the role here")]
fn plan_role(plan: &LaunchPlanSpec) -> Option<&AuthRole> {
    plan.auth_role.as_ref()
}

/// Inputs live in the blob room; a copy in the spec would be read with every list.
#[allow(deprecated, reason = "the console sends inputs here")]
fn clear_inputs(spec: &mut ExecutionSpec) {
    spec.inputs = None;
}

fn from_role(role: Option<&AuthRole>) -> Option<SecurityContext> {
    let role = role?;
    if role.assumable_iam_role.is_empty() && role.kubernetes_service_account.is_empty() {
        return None;
    }
    let run_as = Identity {
        iam_role: role.assumable_iam_role.clone(),
        k8s_service_account: role.kubernetes_service_account.clone(),
        ..Identity::default()
    };
    Some(SecurityContext { run_as: Some(run_as), ..SecurityContext::default() })
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
