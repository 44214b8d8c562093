//! Builds what a plugin is told about an attempt: names, places, labels, environment.

use std::collections::BTreeMap;

use engine::{NodeIdx, NodeState};
use model::{AttemptId, NodeExecutionId, layout, name};
use proto::flyteidl::core::TaskExecutionIdentifier;
use proto::pinion::plugin::v1::TaskExecutionContext;

use crate::info::Info;
use crate::program::{Program, Task};

const SHARDS: u32 = 32;

/// Names an attempt of a node.
pub(crate) fn attempt_id(info: &Info, program: &Program, node: NodeIdx, attempt: u32) -> AttemptId {
    let node = NodeExecutionId { execution: info.id.clone(), node: program.node_id(node) };
    AttemptId { node, attempt }
}

/// The output directory of an attempt.
pub(crate) fn output_prefix(info: &Info, id: &AttemptId) -> String {
    info.metadata_uri(&layout::output_dir(id))
}

/// All that does not change about an attempt.
pub(crate) fn build(
    info: &Info,
    program: &Program,
    state: &NodeState,
    node: NodeIdx,
    attempt: u32,
) -> Option<TaskExecutionContext> {
    let task = program.task(node)?;
    let id = attempt_id(info, program, node, attempt);
    let node_prefix = info.metadata_uri(&layout::node_dir(&id.node));
    let raw_output_prefix = info.raw_root.join(&layout::raw_output_dir(&id)).as_str().to_owned();
    let interruptible = state.interruptible_now;
    let console_url = console_url(info, &id);
    Some(TaskExecutionContext {
        id: Some(TaskExecutionIdentifier {
            task_id: Some(task.id.to_proto()),
            node_execution_id: Some(id.node.to_proto()),
            retry_attempt: attempt,
        }),
        task_template: task.template.to_vec(),
        generated_name: id.generated_name(),
        namespace: info.namespace.clone(),
        cluster: info.cluster.clone(),
        input_uri: info.metadata_uri(&layout::node_inputs(&id.node)),
        task_template_uri: format!("{node_prefix}/task.pb"),
        input_prefix: node_prefix,
        output_prefix: output_prefix(info, &id),
        checkpoint_prefix: format!("{raw_output_prefix}/{}", layout::CHECKPOINT_DIR),
        prev_checkpoint_prefix: previous_checkpoint(info, &id),
        raw_output_prefix,
        labels: labels(info, task, &id, interruptible),
        annotations: info.annotations.clone(),
        env: env(info, task, &id, &console_url),
        interruptible,
        attempt,
        max_attempts: max_attempts(info, program, node),
        service_account: info.service_account.clone(),
        security_context: info.security_context.clone(),
        platform_default_resources: info.default_resources.clone(),
        platform_limit_resources: info.limit_resources.clone(),
        overrides: program.overrides(node),
        console_url,
        workflow_id: Some(info.workflow.to_proto()),
        launch_plan_id: info.launch_plan.as_ref().map(model::EntityId::to_proto),
        traceparent: String::new(),
        unique_node_id: id.node.node.to_string(),
        array_element: None,
        interruptible_failure_threshold: info.settings.interruptible_failure_threshold.unsigned_abs(),
        system_failures: state.system_failures,
    })
}

fn max_attempts(info: &Info, program: &Program, node: NodeIdx) -> u32 {
    let node = program.graph.node(node);
    node.and_then(|node| node.metadata.max_attempts).unwrap_or(info.settings.default_max_attempts)
}

fn previous_checkpoint(info: &Info, id: &AttemptId) -> String {
    let Some(attempt) = id.attempt.checked_sub(1) else { return String::new() };
    let previous = AttemptId { attempt, ..id.clone() };
    let prefix = info.raw_root.join(&layout::raw_output_dir(&previous));
    format!("{}/{}", prefix.as_str(), layout::CHECKPOINT_DIR)
}

fn console_url(info: &Info, id: &AttemptId) -> String {
    let execution = &info.id;
    format!(
        "{}/projects/{}/domains/{}/executions/{}/nodeId/{}/nodes",
        info.console_url, execution.project, execution.domain, execution.name, id.node.node
    )
}

/// Labels of every object made for the attempt (execution.md A20); those of the user never replace the platform's.
fn labels(info: &Info, task: &Task, id: &AttemptId, interruptible: bool) -> BTreeMap<String, String> {
    let mut labels = info.labels.clone();
    let own = [
        ("execution-id", info.id.name.to_string()),
        ("project", info.id.project.to_string()),
        ("domain", info.id.domain.to_string()),
        ("workflow-name", label_value(&info.workflow.name)),
        ("node-id", label_value(&id.node.node)),
        ("task-name", label_value(&task.id.name)),
        ("interruptible", interruptible.to_string()),
        ("shard-key", (name::fnv32a(info.id.name.as_bytes()) % SHARDS).to_string()),
    ];
    labels.extend(own.map(|(key, value)| (key.to_owned(), value)));
    labels
}

/// What Kubernetes takes as a label value: lower case, other characters as `-`, at most 63.
fn label_value(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            value.push(c);
        } else if !value.ends_with('-') {
            value.push('-');
        }
    }
    value.truncate(63);
    value.trim_matches('-').to_owned()
}

/// What flytekit reads from its environment (client-api.md 1c); the platform's names win over the user's.
fn env(info: &Info, task: &Task, id: &AttemptId, console_url: &str) -> BTreeMap<String, String> {
    let mut env = info.env.clone();
    let of = |id: &model::EntityId| format!("{}:{}:{}", id.project, id.domain, id.name);
    let own = [
        ("FLYTE_INTERNAL_EXECUTION_ID", info.id.name.to_string()),
        ("FLYTE_INTERNAL_EXECUTION_PROJECT", info.id.project.to_string()),
        ("FLYTE_INTERNAL_EXECUTION_DOMAIN", info.id.domain.to_string()),
        ("FLYTE_INTERNAL_EXECUTION_WORKFLOW", of(&info.workflow)),
        ("FLYTE_INTERNAL_EXECUTION_LAUNCHPLAN", info.launch_plan.as_ref().map(of).unwrap_or_default()),
        ("FLYTE_ATTEMPT_NUMBER", id.attempt.to_string()),
        ("FLYTE_INTERNAL_TASK_PROJECT", task.id.project.clone()),
        ("FLYTE_INTERNAL_TASK_DOMAIN", task.id.domain.clone()),
        ("FLYTE_INTERNAL_TASK_NAME", task.id.name.clone()),
        ("FLYTE_INTERNAL_TASK_VERSION", task.id.version.clone()),
        ("FLYTE_EXECUTION_URL", console_url.to_owned()),
    ];
    env.extend(
        own.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.to_owned(), value)),
    );
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_what_kubernetes_takes() {
        assert_eq!(label_value("flyte.workflows.Example_1.my_wf"), "flyte-workflows-example-1-my-wf");
        assert_eq!(label_value("__"), "");
        assert_eq!(label_value(&"a".repeat(80)).len(), 63);
    }
}
