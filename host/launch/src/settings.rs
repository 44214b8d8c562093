//! Resolves the settings of an execution: the request, then the launch plan, then the configuration. Pure.
//!
//! What the request says stays as it came; clients compare it with what they sent.

use std::collections::BTreeMap;

use proto::flyteidl::admin::{
    AuthRole, ExecutionMetadata, ExecutionSpec, Labels, LaunchPlanSpec, NotificationList, SystemMetadata,
    execution_spec::NotificationOverrides,
};
use proto::flyteidl::core::{Identity, SecurityContext};

use crate::{Config, Error, Target, labels, notifications};

/// Fills what the request leaves open.
#[must_use]
pub fn resolve(
    mut spec: ExecutionSpec,
    target: &Target,
    plan: Option<&LaunchPlanSpec>,
    config: &Config,
    project_labels: &BTreeMap<String, String>,
) -> ExecutionSpec {
    let as_role = spec.security_context.take().or_else(|| from_role(deprecated_role(&spec)));
    spec.security_context = as_role;
    if let Some(plan) = plan {
        fill_from_plan(&mut spec, plan);
        if spec.max_parallelism == 0 {
            spec.max_parallelism = config.max_parallelism;
        }
    }
    add_project_labels(&mut spec, project_labels);
    spec.launch_plan = Some(target.id().to_proto());
    clear_inputs(&mut spec);
    spec
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
    if let Some(NotificationOverrides::Notifications(list)) = &spec.notification_overrides {
        notifications::check(&list.notifications).map_err(Error::Notifications)?;
    }
    Ok(())
}

fn fill_from_plan(spec: &mut ExecutionSpec, plan: &LaunchPlanSpec) {
    let open = |values: Option<&Labels>| values.is_none_or(|labels| labels.values.is_empty());
    if open(spec.labels.as_ref()) && plan.labels.is_some() {
        spec.labels.clone_from(&plan.labels);
    }
    if spec.annotations.as_ref().is_none_or(|a| a.values.is_empty()) && plan.annotations.is_some() {
        spec.annotations.clone_from(&plan.annotations);
    }
    if spec.envs.as_ref().is_none_or(|envs| envs.values.is_empty()) && plan.envs.is_some() {
        spec.envs.clone_from(&plan.envs);
    }
    if spec.raw_output_data_config.as_ref().is_none_or(|raw| raw.output_location_prefix.is_empty())
        && plan.raw_output_data_config.is_some()
    {
        spec.raw_output_data_config.clone_from(&plan.raw_output_data_config);
    }
    if spec.security_context.as_ref().is_none_or(|context| context.run_as.is_none()) {
        let theirs = plan.security_context.clone().or_else(|| from_role(plan_role(plan)));
        fill_identity(spec, theirs);
    }
    if spec.max_parallelism == 0 {
        spec.max_parallelism = plan.max_parallelism.max(0);
    }
    if spec.execution_env_assignments.is_empty() {
        spec.execution_env_assignments.clone_from(&plan.execution_env_assignments);
    }
    spec.interruptible = spec.interruptible.or(plan.interruptible);
    spec.overwrite_cache |= plan.overwrite_cache;
    spec.quality_of_service = spec.quality_of_service.or(plan.quality_of_service);
    spec.cluster_assignment = spec.cluster_assignment.take().or_else(|| plan.cluster_assignment.clone());
    fill_notifications(spec, plan);
}

fn fill_identity(spec: &mut ExecutionSpec, theirs: Option<SecurityContext>) {
    let Some(theirs) = theirs else { return };
    match &mut spec.security_context {
        Some(ours) => ours.run_as = theirs.run_as,
        none => *none = Some(theirs),
    }
}

fn fill_notifications(spec: &mut ExecutionSpec, plan: &LaunchPlanSpec) {
    let theirs = plan.entity_metadata.as_ref().map(|metadata| &metadata.notifications);
    if let (None, Some(theirs)) = (&spec.notification_overrides, theirs)
        && !theirs.is_empty()
    {
        let list = NotificationList { notifications: theirs.clone() };
        spec.notification_overrides = Some(NotificationOverrides::Notifications(list));
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
