//! Builds the tasks and workflows that are measured, as flytekit would send them.

use std::collections::BTreeMap;

use proto::flyteidl::core::{
    ArrayNode, Binding, BindingData, BindingDataCollection, Container, Identifier, Literal,
    LiteralCollection, LiteralType, Node, NodeMetadata, OutputReference, Primitive, ResourceType, Scalar,
    SimpleType, TaskMetadata, TaskNode, TaskTemplate, TypedInterface, Variable, VariableMap,
    WorkflowMetadata, WorkflowMetadataDefaults, WorkflowTemplate, array_node, binding_data, literal,
    literal_type, node, primitive, scalar, task_node, task_template,
};

/// Project of everything here.
pub const PROJECT: &str = "flytesnacks";
/// Domain of everything here.
pub const DOMAIN: &str = "development";
/// Version of everything here.
pub const VERSION: &str = "bench";

/// A workflow and the tasks it needs; its launch plan has its name.
pub struct Flow {
    /// Task templates.
    pub tasks: Vec<TaskTemplate>,
    /// The workflow.
    pub workflow: WorkflowTemplate,
    /// Workflows that its nodes run.
    pub subs: Vec<WorkflowTemplate>,
    /// What its launch plan gives the input `x`, if there is one.
    pub default: Literal,
}

/// What a node does.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Copies an integer.
    Echo,
    /// Copies an integer after so many milliseconds.
    Sleep(u32),
    /// Starts `/bin/true`; takes and gives nothing.
    Process,
    /// Starts `/bin/false`; takes and gives nothing.
    Failure,
}

/// An identifier of the bench.
pub fn id(kind: ResourceType, name: &str) -> Identifier {
    Identifier {
        resource_type: kind.into(),
        project: PROJECT.to_owned(),
        domain: DOMAIN.to_owned(),
        name: name.to_owned(),
        version: VERSION.to_owned(),
        org: String::new(),
    }
}

/// So many nodes one after the other, each with the output of the last one.
pub fn chain(name: &str, work: Work, n: usize) -> Flow {
    let task = work.task();
    let nodes: Vec<Node> = (0..n)
        .map(|i| {
            let upstream = i.checked_sub(1).map(node_name);
            let input = work.has_value().then(|| match &upstream {
                Some(upstream) => promise(upstream, "o0"),
                None => promise("", "x"),
            });
            node_of(&node_name(i), &task, input, upstream.into_iter().collect())
        })
        .collect();
    let last = work.has_value().then(|| promise(&node_name(n.saturating_sub(1)), "o0"));
    Flow {
        workflow: workflow(name, work, nodes, last),
        subs: Vec::new(),
        tasks: vec![task],
        default: integer_literal(7),
    }
}

/// So many nodes side by side, and one that takes all their outputs as a list.
pub fn fan_out(name: &str, work: Work, n: usize) -> Flow {
    let task = work.task();
    let input = || work.has_value().then(|| promise("", "x"));
    let mut nodes: Vec<Node> = (0..n).map(|i| node_of(&node_name(i), &task, input(), Vec::new())).collect();
    let all: Vec<String> = (0..n).map(node_name).collect();
    let mut tasks = vec![task];
    if work.has_value() {
        let join = echo_task("bench.join", list_of(integer()), None);
        let bindings = all.iter().map(|name| promise(name, "o0")).collect();
        let list = BindingData {
            value: Some(binding_data::Value::Collection(BindingDataCollection { bindings })),
            ..BindingData::default()
        };
        nodes.push(node_of("join", &join, Some(list), all));
        tasks.push(join);
    } else {
        let join = work.task();
        nodes.push(node_of("join", &join, None, all));
    }
    // The list itself is no output: a thousand literals in each reply would be measured too.
    let last = work.has_value().then(|| promise(&node_name(0), "o0"));
    Flow { workflow: workflow(name, work, nodes, last), subs: Vec::new(), tasks, default: integer_literal(7) }
}

/// One node that maps a task over a list of so many integers.
pub fn map(name: &str, work: Work, n: usize) -> Flow {
    let task = work.task();
    let inner = node_of("element", &task, None, Vec::new());
    let node = Node {
        id: "map".to_owned(),
        metadata: Some(NodeMetadata { name: "map".to_owned(), ..NodeMetadata::default() }),
        inputs: vec![Binding { var: "x".to_owned(), binding: Some(promise("", "x")) }],
        target: Some(node::Target::ArrayNode(Box::new(ArrayNode {
            node: Some(Box::new(inner)),
            execution_mode: array_node::ExecutionMode::FullState.into(),
            is_original_sub_node_interface: Some(true),
            data_mode: array_node::DataMode::IndividualInputFiles.into(),
            ..ArrayNode::default()
        }))),
        ..Node::default()
    };
    let mut workflow = workflow(name, work, vec![node], Some(promise("map", "o0")));
    workflow.interface = Some(TypedInterface {
        inputs: Some(variable("x", list_of(integer()))),
        outputs: Some(variable("o0", list_of(integer()))),
    });
    let literals = (0..n).map(|i| integer_literal(i.try_into().unwrap_or(i64::MAX))).collect();
    let value = literal::Value::Collection(LiteralCollection { literals });
    let default = Literal { value: Some(value), ..Literal::default() };
    Flow { tasks: vec![task], workflow, subs: Vec::new(), default }
}

/// So many nodes side by side, and behind them one that fails.
pub fn failing(name: &str, work: Work, n: usize) -> Flow {
    let mut flow = fan_out(name, work, n);
    let all = (0..n).map(node_name).collect();
    let task = Work::Failure.task();
    flow.workflow.nodes.push(node_of("failure", &task, None, all));
    flow.tasks.push(task);
    flow
}

/// A map over so many integers, and behind it a node that fails.
pub fn failing_map(name: &str, work: Work, n: usize) -> Flow {
    let mut flow = map(name, work, n);
    let task = Work::Failure.task();
    flow.workflow.nodes.push(node_of("failure", &task, None, vec!["map".to_owned()]));
    flow.tasks.push(task);
    flow
}

impl Work {
    fn has_value(self) -> bool {
        !matches!(self, Self::Process | Self::Failure)
    }

    pub(super) fn task(self) -> TaskTemplate {
        match self {
            Self::Echo => echo_task("bench.echo", integer(), None),
            Self::Sleep(ms) => echo_task(&format!("bench.sleep-{ms}"), integer(), Some(ms)),
            Self::Process => process_task("bench.process", "/bin/true"),
            Self::Failure => process_task("bench.failure", "/bin/false"),
        }
    }
}

fn process_task(name: &str, program: &str) -> TaskTemplate {
    TaskTemplate {
        id: Some(id(ResourceType::Task, name)),
        r#type: "container".to_owned(),
        metadata: Some(TaskMetadata::default()),
        interface: Some(TypedInterface::default()),
        target: Some(task_template::Target::Container(Container {
            image: "local".to_owned(),
            command: vec![program.to_owned()],
            ..Container::default()
        })),
        ..TaskTemplate::default()
    }
}

pub(super) fn echo_task(name: &str, literal_type: LiteralType, sleep_ms: Option<u32>) -> TaskTemplate {
    let custom = sleep_ms.map(|ms| {
        let number = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(f64::from(ms))) };
        prost_types::Struct {
            fields: BTreeMap::from([("sleep-ms".to_owned(), number)]).into_iter().collect(),
        }
    });
    TaskTemplate {
        id: Some(id(ResourceType::Task, name)),
        r#type: "echo".to_owned(),
        metadata: Some(TaskMetadata::default()),
        interface: Some(TypedInterface {
            inputs: Some(variable("x", literal_type.clone())),
            outputs: Some(variable("o0", literal_type)),
        }),
        custom,
        ..TaskTemplate::default()
    }
}

pub(super) fn workflow(
    name: &str,
    work: Work,
    nodes: Vec<Node>,
    output: Option<BindingData>,
) -> WorkflowTemplate {
    let map = |name: &str| if work.has_value() { variable(name, integer()) } else { VariableMap::default() };
    WorkflowTemplate {
        id: Some(id(ResourceType::Workflow, name)),
        metadata: Some(WorkflowMetadata::default()),
        metadata_defaults: Some(WorkflowMetadataDefaults::default()),
        interface: Some(TypedInterface { inputs: Some(map("x")), outputs: Some(map("o0")) }),
        nodes,
        outputs: output
            .map(|binding| Binding { var: "o0".to_owned(), binding: Some(binding) })
            .into_iter()
            .collect(),
        failure_node: None,
    }
}

pub(super) fn node_of(
    name: &str,
    task: &TaskTemplate,
    input: Option<BindingData>,
    upstream: Vec<String>,
) -> Node {
    Node {
        id: name.to_owned(),
        metadata: Some(NodeMetadata { name: name.to_owned(), ..NodeMetadata::default() }),
        inputs: input
            .map(|binding| Binding { var: "x".to_owned(), binding: Some(binding) })
            .into_iter()
            .collect(),
        upstream_node_ids: upstream,
        target: Some(node::Target::TaskNode(TaskNode {
            reference: task.id.clone().map(task_node::Reference::ReferenceId),
            overrides: None,
        })),
        ..Node::default()
    }
}

pub(super) fn node_name(i: usize) -> String {
    format!("n{i}")
}

pub(super) fn promise(node_id: &str, var: &str) -> BindingData {
    let reference =
        OutputReference { node_id: node_id.to_owned(), var: var.to_owned(), attr_path: Vec::new() };
    BindingData { value: Some(binding_data::Value::Promise(reference)), ..BindingData::default() }
}

pub(super) fn variable(name: &str, literal_type: LiteralType) -> VariableMap {
    let variable = Variable { r#type: Some(literal_type), ..Variable::default() };
    VariableMap { variables: BTreeMap::from([(name.to_owned(), variable)]) }
}

pub(super) fn integer() -> LiteralType {
    LiteralType {
        r#type: Some(literal_type::Type::Simple(SimpleType::Integer.into())),
        ..LiteralType::default()
    }
}

pub(super) fn list_of(item: LiteralType) -> LiteralType {
    LiteralType { r#type: Some(literal_type::Type::CollectionType(Box::new(item))), ..LiteralType::default() }
}

pub(super) fn integer_literal(value: i64) -> Literal {
    let primitive = Primitive { value: Some(primitive::Value::Integer(value)) };
    let scalar = Scalar { value: Some(scalar::Value::Primitive(primitive)) };
    Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() }
}
