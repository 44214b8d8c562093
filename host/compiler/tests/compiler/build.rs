//! Builds the messages that the tests feed to the compiler.

use std::collections::BTreeMap;

use compiler::{ErrorCode, Errors, LaunchPlanInterface};
use prost_types::Struct;
use proto::flyteidl::core::binding_data::Value;
use proto::flyteidl::core::literal_type::Type;
use proto::flyteidl::core::node::Target;
use proto::flyteidl::core::*;

pub(crate) fn of(t: Type) -> LiteralType {
    LiteralType { r#type: Some(t), ..LiteralType::default() }
}

pub(crate) fn simple(t: SimpleType) -> LiteralType {
    of(Type::Simple(t as i32))
}

pub(crate) fn int() -> LiteralType {
    simple(SimpleType::Integer)
}

pub(crate) fn string() -> LiteralType {
    simple(SimpleType::String)
}

pub(crate) fn none() -> LiteralType {
    simple(SimpleType::None)
}

pub(crate) fn list(t: LiteralType) -> LiteralType {
    of(Type::CollectionType(Box::new(t)))
}

pub(crate) fn map(t: LiteralType) -> LiteralType {
    of(Type::MapValueType(Box::new(t)))
}

pub(crate) fn union<const N: usize>(variants: [LiteralType; N]) -> LiteralType {
    of(Type::UnionType(UnionType { variants: variants.into() }))
}

pub(crate) fn choice<const N: usize>(values: [&str; N]) -> LiteralType {
    of(Type::EnumType(EnumType { values: values.map(str::to_owned).into() }))
}

pub(crate) fn blob(format: &str) -> LiteralType {
    of(Type::Blob(BlobType { format: format.to_owned(), dimensionality: 0 }))
}

pub(crate) fn dataset<const N: usize>(format: &str, columns: [(&str, LiteralType); N]) -> LiteralType {
    let columns = columns.map(|(name, t)| structured_dataset_type::DatasetColumn {
        name: name.to_owned(),
        literal_type: Some(t),
    });
    of(Type::StructuredDatasetType(StructuredDatasetType {
        columns: columns.into(),
        format: format.to_owned(),
        ..StructuredDatasetType::default()
    }))
}

pub(crate) fn schema<const N: usize>(
    columns: [(&str, schema_type::schema_column::SchemaColumnType); N],
) -> LiteralType {
    let columns =
        columns.map(|(name, t)| schema_type::SchemaColumn { name: name.to_owned(), r#type: t as i32 });
    of(Type::Schema(SchemaType { columns: columns.into() }))
}

pub(crate) fn tagged(t: LiteralType, tag: &str) -> LiteralType {
    let structure = TypeStructure { tag: tag.to_owned(), ..TypeStructure::default() };
    LiteralType { structure: Some(structure), ..t }
}

/// A structure whose fields have known types.
pub(crate) fn dataclass<const N: usize>(fields: [(&str, LiteralType); N]) -> LiteralType {
    let dataclass_type = fields.map(|(name, t)| (name.to_owned(), t)).into();
    let structure = TypeStructure { tag: String::new(), dataclass_type };
    LiteralType { structure: Some(structure), ..simple(SimpleType::Struct) }
}

/// A structure with a JSON schema as metadata.
pub(crate) fn structure(schema: &serde_json::Value) -> LiteralType {
    LiteralType { metadata: Some(fields(schema)), ..simple(SimpleType::Struct) }
}

pub(crate) fn fields(value: &serde_json::Value) -> Struct {
    match to_value(value).kind {
        Some(prost_types::value::Kind::StructValue(fields)) => fields,
        other => panic!("not an object: {other:?}"),
    }
}

fn to_value(value: &serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(b) => Kind::BoolValue(*b),
        serde_json::Value::Number(n) => Kind::NumberValue(n.as_f64().unwrap()),
        serde_json::Value::String(s) => Kind::StringValue(s.clone()),
        serde_json::Value::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.iter().map(to_value).collect() })
        }
        serde_json::Value::Object(map) => Kind::StructValue(Struct {
            fields: map.iter().map(|(key, value)| (key.clone(), to_value(value))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

pub(crate) fn int_scalar(value: i64) -> Scalar {
    primitive_scalar(primitive::Value::Integer(value))
}

pub(crate) fn text_scalar(value: &str) -> Scalar {
    primitive_scalar(primitive::Value::StringValue(value.to_owned()))
}

fn primitive_scalar(value: primitive::Value) -> Scalar {
    Scalar { value: Some(scalar::Value::Primitive(Primitive { value: Some(value) })) }
}

pub(crate) fn none_scalar() -> Scalar {
    Scalar { value: Some(scalar::Value::NoneType(Void {})) }
}

pub(crate) fn literal(scalar: Scalar) -> Literal {
    Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() }
}

pub(crate) fn literals<const N: usize>(items: [Literal; N]) -> Literal {
    let collection = LiteralCollection { literals: items.into() };
    Literal { value: Some(literal::Value::Collection(collection)), ..Literal::default() }
}

pub(crate) fn literal_map<const N: usize>(items: [(&str, Literal); N]) -> Literal {
    let literals = items.map(|(key, value)| (key.to_owned(), value)).into();
    Literal { value: Some(literal::Value::Map(LiteralMap { literals })), ..Literal::default() }
}

pub(crate) fn in_union(value: Literal, t: LiteralType) -> Literal {
    let union = Union { value: Some(Box::new(value)), r#type: Some(t) };
    literal(Scalar { value: Some(scalar::Value::Union(Box::new(union))) })
}

pub(crate) fn data(value: Value) -> BindingData {
    BindingData { value: Some(value), union: None }
}

pub(crate) fn promise(node_id: &str, var: &str) -> BindingData {
    promise_at(node_id, var, [])
}

pub(crate) fn promise_at<const N: usize>(
    node_id: &str,
    var: &str,
    path: [PromiseAttribute; N],
) -> BindingData {
    data(Value::Promise(OutputReference {
        node_id: node_id.to_owned(),
        var: var.to_owned(),
        attr_path: path.into(),
    }))
}

pub(crate) fn key(name: &str) -> PromiseAttribute {
    PromiseAttribute { value: Some(promise_attribute::Value::StringValue(name.to_owned())) }
}

pub(crate) fn index(position: i32) -> PromiseAttribute {
    PromiseAttribute { value: Some(promise_attribute::Value::IntValue(position)) }
}

pub(crate) fn scalar(scalar: Scalar) -> BindingData {
    data(Value::Scalar(scalar))
}

pub(crate) fn collection<const N: usize>(bindings: [BindingData; N]) -> BindingData {
    data(Value::Collection(BindingDataCollection { bindings: bindings.into() }))
}

pub(crate) fn bound_map<const N: usize>(bindings: [(&str, BindingData); N]) -> BindingData {
    let bindings = bindings.map(|(key, value)| (key.to_owned(), value)).into();
    data(Value::Map(BindingDataMap { bindings }))
}

pub(crate) fn bind(var: &str, binding: BindingData) -> Binding {
    Binding { var: var.to_owned(), binding: Some(binding) }
}

pub(crate) fn id(kind: ResourceType, name: &str) -> Identifier {
    Identifier {
        resource_type: kind as i32,
        project: "p".to_owned(),
        domain: "d".to_owned(),
        name: name.to_owned(),
        version: "v".to_owned(),
        org: String::new(),
    }
}

pub(crate) fn variables<const N: usize>(types: [(&str, LiteralType); N]) -> VariableMap {
    let variable = |t| Variable { r#type: Some(t), ..Variable::default() };
    VariableMap { variables: types.map(|(name, t)| (name.to_owned(), variable(t))).into() }
}

pub(crate) fn interface<const I: usize, const O: usize>(
    inputs: [(&str, LiteralType); I],
    outputs: [(&str, LiteralType); O],
) -> TypedInterface {
    TypedInterface { inputs: Some(variables(inputs)), outputs: Some(variables(outputs)) }
}

pub(crate) fn task(name: &str, interface: TypedInterface) -> CompiledTask {
    compiler::compile_task(TaskTemplate {
        id: Some(id(ResourceType::Task, name)),
        r#type: "python-task".to_owned(),
        interface: Some(interface),
        ..TaskTemplate::default()
    })
}

pub(crate) fn node_of(id: &str, target: Target, inputs: Vec<Binding>) -> Node {
    Node { id: id.to_owned(), inputs, target: Some(target), ..Node::default() }
}

pub(crate) fn task_target(name: &str) -> Target {
    let reference = task_node::Reference::ReferenceId(id(ResourceType::Task, name));
    Target::TaskNode(TaskNode { reference: Some(reference), overrides: None })
}

/// A node that runs the task `name`.
pub(crate) fn node(node_id: &str, name: &str, inputs: Vec<Binding>) -> Node {
    node_of(node_id, task_target(name), inputs)
}

pub(crate) fn sub_workflow_node(node_id: &str, name: &str, inputs: Vec<Binding>) -> Node {
    let reference = workflow_node::Reference::SubWorkflowRef(id(ResourceType::Workflow, name));
    node_of(node_id, Target::WorkflowNode(WorkflowNode { reference: Some(reference) }), inputs)
}

pub(crate) fn launch_plan_node(node_id: &str, name: &str, inputs: Vec<Binding>) -> Node {
    let reference = workflow_node::Reference::LaunchplanRef(id(ResourceType::LaunchPlan, name));
    node_of(node_id, Target::WorkflowNode(WorkflowNode { reference: Some(reference) }), inputs)
}

pub(crate) fn workflow(
    name: &str,
    interface: TypedInterface,
    nodes: Vec<Node>,
    outputs: Vec<Binding>,
) -> WorkflowTemplate {
    WorkflowTemplate {
        id: Some(id(ResourceType::Workflow, name)),
        interface: Some(interface),
        nodes,
        outputs,
        ..WorkflowTemplate::default()
    }
}

/// Tasks with different interfaces: `inc` int to int, `say` string to nothing, `make` nothing to int.
pub(crate) fn tasks() -> Vec<CompiledTask> {
    vec![
        task("inc", interface([("x", int())], [("o", int())])),
        task("say", interface([("s", string())], [])),
        task("make", interface([], [("o", int())])),
    ]
}

pub(crate) fn compile(template: WorkflowTemplate) -> Result<CompiledWorkflowClosure, Errors> {
    compile_with(template, &tasks())
}

pub(crate) fn compile_with(
    template: WorkflowTemplate,
    tasks: &[CompiledTask],
) -> Result<CompiledWorkflowClosure, Errors> {
    compiler::compile_workflow(template, Vec::new(), tasks, &[])
}

pub(crate) fn codes<T: std::fmt::Debug>(result: Result<T, Errors>) -> Vec<(ErrorCode, String)> {
    result.unwrap_err().0.into_iter().map(|error| (error.code, error.node_id)).collect()
}

pub(crate) fn parameters<const N: usize>(
    items: [(&str, LiteralType, parameter::Behavior); N],
) -> ParameterMap {
    let parameter = |t, behavior| Parameter {
        var: Some(Variable { r#type: Some(t), ..Variable::default() }),
        behavior: Some(behavior),
    };
    let parameters = items.map(|(name, t, behavior)| (name.to_owned(), parameter(t, behavior))).into();
    ParameterMap { parameters }
}

pub(crate) fn launch_plan(
    name: &str,
    expected_inputs: ParameterMap,
    outputs: VariableMap,
) -> LaunchPlanInterface {
    LaunchPlanInterface {
        id: id(ResourceType::LaunchPlan, name),
        expected_inputs,
        fixed_inputs: LiteralMap::default(),
        expected_outputs: outputs,
    }
}

/// Ids by node, sorted, as in the message.
pub(crate) fn edges(lists: &BTreeMap<String, connection_set::IdList>) -> BTreeMap<&str, Vec<&str>> {
    lists.iter().map(|(id, list)| (id.as_str(), list.ids.iter().map(String::as_str).collect())).collect()
}
