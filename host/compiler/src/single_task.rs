//! Makes the workflow that a task runs in when it is launched by itself.

use proto::flyteidl::core::binding_data::Value;
use proto::flyteidl::core::node::Target;
use proto::flyteidl::core::{
    Binding, BindingData, Identifier, Node, NodeMetadata, OutputReference, ResourceType, RetryStrategy,
    TaskNode, TaskTemplate, VariableMap, WorkflowTemplate, task_node,
};

use crate::{END_NODE, START_NODE};

/// Goes before the name of the task.
const PREFIX: &str = ".flytegen.";
/// Longest node id that is also a label of Kubernetes.
const MAX_NODE_ID: usize = 63;
/// Retries of a task that names none.
const DEFAULT_RETRIES: u32 = 3;

/// A workflow of one node around `task`, with the same interface and version, and the id of its node.
pub fn workflow_of_task(task: &TaskTemplate) -> (WorkflowTemplate, String) {
    let task_id = task.id.clone().unwrap_or_default();
    let node_id = node_id(&task_id.name);
    let interface = task.interface.clone().unwrap_or_default();
    let retries = task.metadata.as_ref().and_then(|metadata| metadata.retries.as_ref());
    let retries = retries.map_or(0, |strategy| strategy.retries);
    let node = Node {
        id: node_id.clone(),
        metadata: Some(NodeMetadata {
            name: node_id.clone(),
            retries: Some(RetryStrategy { retries: if retries == 0 { DEFAULT_RETRIES } else { retries } }),
            ..NodeMetadata::default()
        }),
        inputs: bindings(interface.inputs.as_ref(), START_NODE),
        target: Some(Target::TaskNode(TaskNode {
            reference: Some(task_node::Reference::ReferenceId(task_id.clone())),
            overrides: None,
        })),
        ..Node::default()
    };
    let template = WorkflowTemplate {
        id: Some(Identifier {
            resource_type: ResourceType::Workflow as i32,
            name: format!("{PREFIX}{}", task_id.name),
            ..task_id
        }),
        outputs: bindings(interface.outputs.as_ref(), &node_id),
        interface: Some(interface),
        nodes: vec![node],
        ..WorkflowTemplate::default()
    };
    (template, node_id)
}

/// The end of the task name, without what a node id may not have.
fn node_id(task_name: &str) -> String {
    let kept: String = task_name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let id = &kept[kept.len().saturating_sub(MAX_NODE_ID)..];
    match id {
        "" => "task".to_owned(),
        START_NODE | END_NODE => format!("task-{id}"),
        _ => id.to_owned(),
    }
}

/// Binds every variable to the output of the same name.
fn bindings(variables: Option<&VariableMap>, node_id: &str) -> Vec<Binding> {
    let names = variables.into_iter().flat_map(|variables| variables.variables.keys());
    let bindings = names.map(|name| {
        let promise =
            OutputReference { node_id: node_id.to_owned(), var: name.clone(), attr_path: Vec::new() };
        let data = BindingData { value: Some(Value::Promise(promise)), union: None };
        Binding { var: name.clone(), binding: Some(data) }
    });
    bindings.collect()
}
