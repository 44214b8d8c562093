//! Builds compiled workflows of tasks that the fake plugins know.

use model::{EntityId, EntityKind};
use proto::flyteidl::admin::WorkflowClosure;
use proto::flyteidl::core::{
    self, Binding, BindingData, CompiledTask, CompiledWorkflow, CompiledWorkflowClosure, DynamicJobSpec,
    Literal, LiteralMap, LiteralType, Node, NodeMetadata, OutputReference, Primitive, RetryStrategy, Scalar,
    SimpleType, TaskMetadata, TaskNode, TaskTemplate, TypedInterface, Variable, VariableMap,
    WorkflowMetadata, WorkflowTemplate, binding_data, literal, literal_type, node, primitive, scalar,
    task_node, workflow_metadata::OnFailurePolicy,
};

/// A workflow under construction. Every task adds one to the sum of its inputs.
#[derive(Clone, Default)]
pub struct Flow {
    pub(crate) nodes: Vec<Node>,
    pub(crate) tasks: Vec<TaskTemplate>,
    pub(crate) subs: Vec<(String, Flow)>,
    pub(crate) failure_node: Option<Node>,
    pub(crate) go_on: bool,
    pub(crate) output: Option<(String, String)>,
    /// Type of the output, when it is no integer.
    pub(crate) output_type: Option<LiteralType>,
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

pub fn integer_type() -> LiteralType {
    let r#type = literal_type::Type::Simple(SimpleType::Integer.into());
    LiteralType { r#type: Some(r#type), ..LiteralType::default() }
}

pub fn list_type(item: LiteralType) -> LiteralType {
    let r#type = literal_type::Type::CollectionType(Box::new(item));
    LiteralType { r#type: Some(r#type), ..LiteralType::default() }
}

pub fn variables(names: &[String]) -> VariableMap {
    let variable = Variable { r#type: Some(integer_type()), ..Variable::default() };
    VariableMap { variables: names.iter().map(|name| (name.clone(), variable.clone())).collect() }
}

pub fn promise(node: &str, var: &str) -> BindingData {
    let promise = OutputReference { node_id: node.into(), var: var.into(), ..OutputReference::default() };
    BindingData { value: Some(binding_data::Value::Promise(promise)), ..BindingData::default() }
}

impl Flow {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node that runs a task of a type and adds up the outputs of others; without others the input `n`.
    pub fn node(mut self, id: &str, task_type: &str, upstream: &[&str]) -> Self {
        let node = self.task_node(id, task_type, upstream);
        self.push(node)
    }

    /// Makes such a node, to be put somewhere.
    pub fn task_node(&mut self, id: &str, task_type: &str, upstream: &[&str]) -> Node {
        let sources: Vec<(&str, &str)> = match upstream {
            [] => vec![("start-node", "n")],
            nodes => nodes.iter().map(|node| (*node, "o0")).collect(),
        };
        let names: Vec<_> = (0..sources.len()).map(|i| format!("x{i}")).collect();
        let bound = names.iter().zip(&sources);
        let inputs =
            bound.map(|(var, (node, out))| Binding { var: var.clone(), binding: Some(promise(node, out)) });
        let task = Self::task_id(id);
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
        Node {
            id: id.into(),
            metadata: Some(NodeMetadata { name: format!("name of {id}"), ..NodeMetadata::default() }),
            inputs: inputs.collect(),
            upstream_node_ids: upstream.iter().map(|node| (*node).to_owned()).collect(),
            target: Some(node::Target::TaskNode(TaskNode {
                reference: Some(task_node::Reference::ReferenceId(task)),
                overrides: None,
            })),
            ..Node::default()
        }
    }

    pub fn task_id(name: &str) -> core::Identifier {
        core::Identifier {
            resource_type: core::ResourceType::Task.into(),
            project: "p".into(),
            domain: "d".into(),
            name: format!("task-{name}"),
            version: "v".into(),
            ..core::Identifier::default()
        }
    }

    /// Adds a node; its output is that of the workflow.
    pub fn push(mut self, node: Node) -> Self {
        self.output = Some((node.id.clone(), "o0".to_owned()));
        self.output_type = None;
        self.nodes.push(node);
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

    fn template(&self, name: &str) -> WorkflowTemplate {
        let output = self
            .output
            .as_ref()
            .map(|(node, var)| Binding { var: "o0".into(), binding: Some(promise(node, var)) });
        let edge = |id: &str| Node { id: id.into(), ..Node::default() };
        let mut nodes = vec![edge("start-node"), edge("end-node")];
        nodes[1].inputs = output.iter().cloned().collect();
        nodes.extend(self.nodes.iter().cloned());
        let mut outputs = variables(&["o0".to_owned()]);
        if let Some(ty) = &self.output_type {
            outputs.variables.get_mut("o0").unwrap().r#type = Some(ty.clone());
        }
        let policy = if self.go_on {
            OnFailurePolicy::FailAfterExecutableNodesComplete
        } else {
            OnFailurePolicy::FailImmediately
        };
        WorkflowTemplate {
            id: Some(Self::id(name).to_proto()),
            metadata: Some(WorkflowMetadata { on_failure: policy.into(), ..WorkflowMetadata::default() }),
            interface: Some(TypedInterface {
                inputs: Some(variables(&["n".to_owned()])),
                outputs: Some(outputs),
            }),
            nodes,
            outputs: output.into_iter().collect(),
            failure_node: self.failure_node.clone(),
            ..WorkflowTemplate::default()
        }
    }

    fn gather(&self, tasks: &mut Vec<CompiledTask>, subs: &mut Vec<CompiledWorkflow>) {
        tasks.extend(self.tasks.iter().map(|task| CompiledTask { template: Some(task.clone()) }));
        for (name, flow) in &self.subs {
            let id = Self::id(name).to_proto();
            let known = |sub: &CompiledWorkflow| sub.template.as_ref().unwrap().id == Some(id.clone());
            if !subs.iter().any(known) {
                subs.push(CompiledWorkflow { template: Some(flow.template(name)), connections: None });
                flow.gather(tasks, subs);
            }
        }
    }

    pub fn closure(&self, name: &str) -> WorkflowClosure {
        let (mut tasks, mut sub_workflows) = (Vec::new(), Vec::new());
        self.gather(&mut tasks, &mut sub_workflows);
        WorkflowClosure {
            compiled_workflow: Some(CompiledWorkflowClosure {
                primary: Some(CompiledWorkflow { template: Some(self.template(name)), connections: None }),
                sub_workflows,
                tasks,
                ..CompiledWorkflowClosure::default()
            }),
            created_at: None,
        }
    }
}

/// What a task writes to have `n` tasks of a type run one after the other, the first with this value.
pub fn made(n: usize, task_type: &str, value: i64) -> DynamicJobSpec {
    let ids: Vec<_> = (0..n).map(|i| format!("dn{i}")).collect();
    let flow = ids.iter().enumerate().fold(Flow::new(), |flow, (i, id)| {
        let upstream: Vec<&str> = i.checked_sub(1).map(|last| ids[last].as_str()).into_iter().collect();
        flow.node(id, task_type, &upstream)
    });
    let mut nodes = flow.nodes;
    let scalar = Scalar {
        value: Some(scalar::Value::Primitive(Primitive { value: Some(primitive::Value::Integer(value)) })),
    };
    let value = Some(binding_data::Value::Scalar(scalar));
    let value = BindingData { value, ..BindingData::default() };
    if let Some(first) = nodes.first_mut() {
        first.inputs[0].binding = Some(value.clone());
    }
    let output = ids.last().map_or(value, |last| promise(last, "o0"));
    DynamicJobSpec {
        min_successes: nodes.len() as i64,
        nodes,
        outputs: vec![Binding { var: "o0".into(), binding: Some(output) }],
        tasks: flow.tasks,
        subworkflows: Vec::new(),
    }
}
