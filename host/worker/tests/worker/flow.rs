//! Builds compiled workflows of tasks that the fake plugins know.

use model::{EntityId, EntityKind};
use proto::flyteidl::admin::WorkflowClosure;
use proto::flyteidl::core::{
    self, Binding, BindingData, CompiledTask, CompiledWorkflow, CompiledWorkflowClosure, Literal, LiteralMap,
    LiteralType, Node, NodeMetadata, OutputReference, Primitive, RetryStrategy, Scalar, SimpleType,
    TaskMetadata, TaskNode, TaskTemplate, TypedInterface, Variable, VariableMap, WorkflowTemplate,
    binding_data, literal, literal_type, node, primitive, scalar, task_node,
};

/// A workflow under construction. Every task adds one to the sum of its inputs.
#[derive(Clone, Default)]
pub struct Flow {
    nodes: Vec<Node>,
    tasks: Vec<TaskTemplate>,
    output: Option<String>,
}

pub fn integer(value: i64) -> Literal {
    let primitive = Primitive { value: Some(primitive::Value::Integer(value)) };
    let scalar = Scalar { value: Some(scalar::Value::Primitive(primitive)) };
    Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() }
}

pub fn read_integer(literal: &Literal) -> Option<i64> {
    match literal.value.as_ref()? {
        literal::Value::Scalar(scalar) => match scalar.value.as_ref()? {
            scalar::Value::Primitive(Primitive { value: Some(primitive::Value::Integer(value)) }) => {
                Some(*value)
            }
            _ => None,
        },
        _ => None,
    }
}

pub fn map(values: &[(&str, i64)]) -> LiteralMap {
    LiteralMap { literals: values.iter().map(|(key, value)| ((*key).to_owned(), integer(*value))).collect() }
}

fn variables(names: &[String]) -> VariableMap {
    let r#type = literal_type::Type::Simple(SimpleType::Integer.into());
    let variable = Variable {
        r#type: Some(LiteralType { r#type: Some(r#type), ..LiteralType::default() }),
        ..Variable::default()
    };
    VariableMap { variables: names.iter().map(|name| (name.clone(), variable.clone())).collect() }
}

fn promise(node: &str, var: &str) -> BindingData {
    let promise = OutputReference { node_id: node.into(), var: var.into(), ..OutputReference::default() };
    BindingData { value: Some(binding_data::Value::Promise(promise)), ..BindingData::default() }
}

impl Flow {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node that runs a task of a type and adds up the outputs of others; without others the input `n`.
    pub fn node(mut self, id: &str, task_type: &str, upstream: &[&str]) -> Self {
        let sources: Vec<(&str, &str)> = match upstream {
            [] => vec![("start-node", "n")],
            nodes => nodes.iter().map(|node| (*node, "o0")).collect(),
        };
        let names: Vec<_> = (0..sources.len()).map(|i| format!("x{i}")).collect();
        let bound = names.iter().zip(&sources);
        let inputs =
            bound.map(|(var, (node, out))| Binding { var: var.clone(), binding: Some(promise(node, out)) });
        let task = core::Identifier {
            resource_type: core::ResourceType::Task.into(),
            project: "p".into(),
            domain: "d".into(),
            name: format!("task-{id}"),
            version: "v".into(),
            ..core::Identifier::default()
        };
        self.tasks.push(TaskTemplate {
            id: Some(task.clone()),
            r#type: task_type.into(),
            metadata: Some(TaskMetadata::default()),
            interface: Some(TypedInterface {
                inputs: Some(variables(&names)),
                outputs: Some(variables(&["o0".to_owned()])),
            }),
            ..TaskTemplate::default()
        });
        self.nodes.push(Node {
            id: id.into(),
            metadata: Some(NodeMetadata { name: format!("name of {id}"), ..NodeMetadata::default() }),
            inputs: inputs.collect(),
            upstream_node_ids: upstream.iter().map(|node| (*node).to_owned()).collect(),
            target: Some(node::Target::TaskNode(TaskNode {
                reference: Some(task_node::Reference::ReferenceId(task)),
                overrides: None,
            })),
            ..Node::default()
        });
        self.output = Some(id.to_owned());
        self
    }

    /// Grants the last node retries.
    pub fn retries(mut self, retries: u32) -> Self {
        self.metadata().retries = Some(RetryStrategy { retries });
        self
    }

    /// Limits each attempt of the last node.
    pub fn timeout(mut self, seconds: i64) -> Self {
        self.metadata().timeout = Some(prost_types::Duration { seconds, nanos: 0 });
        self
    }

    /// Changes the task of the last node.
    pub fn task(mut self, change: impl FnOnce(&mut TaskTemplate)) -> Self {
        change(self.tasks.last_mut().unwrap());
        self
    }

    fn metadata(&mut self) -> &mut NodeMetadata {
        self.nodes.last_mut().unwrap().metadata.as_mut().unwrap()
    }

    /// A chain of tasks of one type.
    pub fn chain(n: usize, task_type: &str) -> Self {
        (0..n).fold(Self::new(), |flow, i| match i.checked_sub(1) {
            None => flow.node("n0", task_type, &[]),
            Some(last) => flow.node(&format!("n{i}"), task_type, &[&format!("n{last}")]),
        })
    }

    /// Many tasks beside each other and one that adds them up.
    pub fn fan(n: usize, task_type: &str) -> Self {
        let ids: Vec<_> = (0..n).map(|i| format!("n{i}")).collect();
        let flow = ids.iter().fold(Self::new(), |flow, id| flow.node(id, task_type, &[]));
        flow.node("join", task_type, &ids.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub fn id(name: &str) -> EntityId {
        EntityId {
            kind: EntityKind::Workflow,
            project: "p".into(),
            domain: "d".into(),
            name: name.into(),
            version: "v".into(),
        }
    }

    pub fn closure(&self, name: &str) -> WorkflowClosure {
        let output =
            self.output.as_ref().map(|node| Binding { var: "o0".into(), binding: Some(promise(node, "o0")) });
        let edge = |id: &str| Node { id: id.into(), ..Node::default() };
        let mut nodes = vec![edge("start-node"), edge("end-node")];
        nodes[1].inputs = output.iter().cloned().collect();
        nodes.extend(self.nodes.iter().cloned());
        let template = WorkflowTemplate {
            id: Some(Self::id(name).to_proto()),
            interface: Some(TypedInterface {
                inputs: Some(variables(&["n".to_owned()])),
                outputs: Some(variables(&["o0".to_owned()])),
            }),
            nodes,
            outputs: output.into_iter().collect(),
            ..WorkflowTemplate::default()
        };
        let tasks = self.tasks.iter().map(|task| CompiledTask { template: Some(task.clone()) });
        WorkflowClosure {
            compiled_workflow: Some(CompiledWorkflowClosure {
                primary: Some(CompiledWorkflow { template: Some(template), connections: None }),
                tasks: tasks.collect(),
                ..CompiledWorkflowClosure::default()
            }),
            created_at: None,
        }
    }
}
