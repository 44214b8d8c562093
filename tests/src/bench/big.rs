//! Builds the workflows of the largest sizes: lanes, gates, nests, large literals.

use proto::flyteidl::core::{
    Binding, BindingData, BindingDataCollection, GateNode, Identifier, Literal, LiteralType, Node,
    NodeMetadata, Primitive, ResourceType, Scalar, SignalCondition, SimpleType, TypedInterface, WorkflowNode,
    WorkflowTemplate, binding_data, gate_node, literal, literal_type, node, primitive, scalar, workflow_node,
};

use super::flow::{
    Flow, Work, echo_task, id, integer, integer_literal, list_of, node_name, node_of, promise, variable,
    workflow,
};

/// Nodes of one lane.
const LANE: usize = 50;
/// The signal that gates wait for.
pub const SIGNAL: &str = "go";

/// So many nodes in chains of 50 side by side: as many start at once as one after the other.
pub fn lanes(name: &str, work: Work, n: usize) -> Flow {
    let task = work.task();
    let node = |i: usize| {
        let upstream = (!i.is_multiple_of(LANE)).then(|| node_name(i - 1));
        let input =
            promise(upstream.as_deref().unwrap_or_default(), if upstream.is_some() { "o0" } else { "x" });
        node_of(&node_name(i), &task, Some(input), upstream.into_iter().collect())
    };
    let nodes = (0..n).map(node).collect();
    let last = promise(&node_name(n.saturating_sub(1)), "o0");
    flow(workflow(name, work, nodes, Some(last)), vec![task])
}

/// One gate that waits for a boolean.
pub fn gate(name: &str) -> Flow {
    let signal = SignalCondition {
        signal_id: SIGNAL.to_owned(),
        r#type: Some(simple(SimpleType::Boolean)),
        output_variable_name: "o0".to_owned(),
    };
    let target = GateNode { condition: Some(gate_node::Condition::Signal(signal)) };
    let node = plain("gate", node::Target::GateNode(target), Vec::new());
    let mut workflow = workflow(name, Work::Process, vec![node], None);
    workflow.interface = Some(TypedInterface::default());
    flow(workflow, Vec::new())
}

/// Workflows in each other, so deep; the innermost runs one echo.
pub fn nest(name: &str, depth: usize) -> Flow {
    let task = Work::Echo.task();
    let inner = vec![node_of(&node_name(0), &task, Some(promise("", "x")), Vec::new())];
    let last = || Some(promise(&node_name(0), "o0"));
    let at = |level: usize| if level == 0 { name.to_owned() } else { format!("{name}-{level}") };
    let mut subs: Vec<WorkflowTemplate> = vec![workflow(&at(depth), Work::Echo, inner, last())];
    for level in (0..depth).rev() {
        let reference = workflow_node::Reference::SubWorkflowRef(id(ResourceType::Workflow, &at(level + 1)));
        subs.push(workflow(&at(level), Work::Echo, vec![holding(reference)], last()));
    }
    let outer = subs.pop().unwrap_or_default();
    Flow { subs, ..flow(outer, vec![task]) }
}

/// A workflow that runs a launch plan.
pub fn child(name: &str, plan: &Identifier) -> Flow {
    let reference = workflow_node::Reference::LaunchplanRef(plan.clone());
    let nodes = vec![holding(reference)];
    flow(workflow(name, Work::Echo, nodes, Some(promise(&node_name(0), "o0"))), Vec::new())
}

/// So many echoes of a text of so many bytes, and one of all of them as a list, which the workflow gives.
pub fn texts(name: &str, n: usize, bytes: usize) -> Flow {
    let text = || simple(SimpleType::String);
    let (echo, join) =
        (echo_task("bench.text", text(), None), echo_task("bench.texts", list_of(text()), None));
    let mut nodes: Vec<Node> =
        (0..n).map(|i| node_of(&node_name(i), &echo, Some(promise("", "x")), Vec::new())).collect();
    let all: Vec<String> = (0..n).map(node_name).collect();
    let bindings = all.iter().map(|node| promise(node, "o0")).collect();
    let list = BindingData {
        value: Some(binding_data::Value::Collection(BindingDataCollection { bindings })),
        ..BindingData::default()
    };
    nodes.push(node_of("join", &join, Some(list), all));
    let mut workflow = workflow(name, Work::Echo, nodes, Some(promise("join", "o0")));
    workflow.interface = Some(TypedInterface {
        inputs: Some(variable("x", text())),
        outputs: Some(variable("o0", list_of(text()))),
    });
    let value = primitive::Value::StringValue("x".repeat(bytes));
    let scalar = scalar::Value::Primitive(Primitive { value: Some(value) });
    let value = literal::Value::Scalar(Box::new(Scalar { value: Some(scalar) }));
    let default = Literal { value: Some(value), ..Literal::default() };
    Flow { default, ..flow(workflow, vec![echo, join]) }
}

fn flow(workflow: WorkflowTemplate, tasks: Vec<proto::flyteidl::core::TaskTemplate>) -> Flow {
    Flow { tasks, workflow, subs: Vec::new(), default: integer_literal(7) }
}

fn holding(reference: workflow_node::Reference) -> Node {
    let inputs = vec![Binding { var: "x".to_owned(), binding: Some(promise("", "x")) }];
    plain(&node_name(0), node::Target::WorkflowNode(WorkflowNode { reference: Some(reference) }), inputs)
}

fn plain(name: &str, target: node::Target, inputs: Vec<Binding>) -> Node {
    Node {
        id: name.to_owned(),
        metadata: Some(NodeMetadata { name: name.to_owned(), ..NodeMetadata::default() }),
        inputs,
        target: Some(target),
        ..Node::default()
    }
}

fn simple(kind: SimpleType) -> LiteralType {
    match kind {
        SimpleType::Integer => integer(),
        kind => {
            LiteralType { r#type: Some(literal_type::Type::Simple(kind.into())), ..LiteralType::default() }
        }
    }
}
