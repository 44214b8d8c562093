//! Builds what a plugin is told about an attempt: names, places, labels, environment.

use std::collections::BTreeMap;

use engine::{Execution, NodeIdx};
use model::{AttemptId, layout, name};
use prost::Message;
use proto::flyteidl::core::TaskExecutionIdentifier;
use proto::pinion::plugin::v1::{ArrayElement, TaskExecutionContext};

use crate::info::Info;
use crate::mailbox::AttemptKey;
use crate::place::Place;
use crate::program::{Programs, Task};

const SHARDS: u32 = 32;

/// Names the variable that holds an element's index.
const INDEX_VARIABLE_NAME: &str = "BATCH_JOB_ARRAY_INDEX_VAR_NAME";
/// Holds an element's index.
const INDEX_VARIABLE: &str = "FLYTE_K8S_ARRAY_INDEX";

/// All that does not change about an attempt of a task.
pub(crate) fn build(
    info: &Info,
    engine: &Execution,
    programs: &Programs,
    key: AttemptKey,
) -> Option<TaskExecutionContext> {
    let AttemptKey { node, attempt } = key;
    let (state, task) = (engine.node(node), programs.task(engine, node)?);
    let place = Place::of(info, engine, node);
    let id = place.attempt(attempt);
    let node_prefix = place.prefix(info);
    let element = element(engine, node);
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
        input_uri: state.input_uri.to_string(),
        task_template_uri: format!("{node_prefix}/task.pb"),
        input_prefix: node_prefix,
        output_prefix: place.output_prefix(info, attempt),
        checkpoint_prefix: format!("{raw_output_prefix}/{}", layout::CHECKPOINT_DIR),
        // Looked up before a call that may start something: see `earlier_checkpoints`.
        prev_checkpoint_prefix: String::new(),
        raw_output_prefix,
        labels: labels(info, task, &id, interruptible),
        annotations: info.annotations.clone(),
        env: env(info, task, &id, &console_url, element.as_ref()),
        interruptible,
        attempt,
        max_attempts: engine.rules(node).max_attempts(),
        service_account: info.service_account.clone(),
        security_context: info.security_context.clone(),
        platform_default_resources: info.default_resources.clone(),
        platform_limit_resources: info.limit_resources.clone(),
        overrides: overrides(engine, node),
        console_url,
        workflow_id: Some(info.workflow.to_proto()),
        launch_plan_id: info.launch_plan.as_ref().map(model::EntityId::to_proto),
        traceparent: String::new(),
        unique_node_id: id.node.node.to_string(),
        array_element: element,
        interruptible_failure_threshold: info.settings.interruptible_failure_threshold.unsigned_abs(),
        system_failures: state.system_failures,
    })
}

/// Which element of an array a node is.
fn element(engine: &Execution, node: NodeIdx) -> Option<ArrayElement> {
    let index = engine.element(node)?;
    let elements = engine.elements(engine.parent(node)?)?;
    Some(ArrayElement { index, size: elements.end - elements.start })
}

/// `core.TaskNodeOverrides` of a node; empty without.
fn overrides(engine: &Execution, node: NodeIdx) -> Vec<u8> {
    engine.graph_node(node).overrides.as_ref().map(Message::encode_to_vec).unwrap_or_default()
}

/// Where the attempts before may have left a checkpoint, the latest first, and last of all the execution that is
/// recovered.
pub(crate) fn earlier_checkpoints(
    info: &Info,
    engine: &Execution,
    key: AttemptKey,
) -> impl Iterator<Item = String> {
    let place = Place::of(info, engine, key.node);
    let of = move |attempt| {
        let dir = info.raw_root.join(&layout::raw_output_dir(&place.attempt(attempt)));
        dir.join(layout::CHECKPOINT_DIR).as_str().to_owned()
    };
    let recalled = engine.recalled(key.node).map(|old| old.checkpoint_uri.to_string());
    (0..key.attempt).rev().map(of).chain(recalled).filter(|uri| !uri.is_empty())
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
fn env(
    info: &Info,
    task: &Task,
    id: &AttemptId,
    console_url: &str,
    element: Option<&ArrayElement>,
) -> BTreeMap<String, String> {
    let mut env = info.env.clone();
    if let Some(element) = element {
        env.insert(INDEX_VARIABLE_NAME.to_owned(), INDEX_VARIABLE.to_owned());
        env.insert(INDEX_VARIABLE.to_owned(), element.index.to_string());
    }
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
