//! Builds literals, types and templates.

use proto::flyteidl::core::*;

pub(crate) fn primitive(value: primitive::Value) -> Literal {
    let scalar = Scalar { value: Some(scalar::Value::Primitive(Primitive { value: Some(value) })) };
    Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() }
}

pub(crate) fn integer(value: i64) -> Literal {
    primitive(primitive::Value::Integer(value))
}

pub(crate) fn text(value: &str) -> Literal {
    primitive(primitive::Value::StringValue(value.to_owned()))
}

pub(crate) fn map<const N: usize>(entries: [(&str, Literal); N]) -> LiteralMap {
    LiteralMap { literals: entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
}

pub(crate) fn variables(entries: &[(&str, SimpleType)]) -> VariableMap {
    let variable = |simple: SimpleType| Variable {
        r#type: Some(LiteralType {
            r#type: Some(literal_type::Type::Simple(simple.into())),
            ..LiteralType::default()
        }),
        ..Variable::default()
    };
    VariableMap { variables: entries.iter().map(|(name, ty)| ((*name).to_owned(), variable(*ty))).collect() }
}

/// A task `t(x: int, y: int) -> o: int` that is cached under a version.
pub(crate) fn template(cache_version: &str) -> TaskTemplate {
    let inputs = variables(&[("x", SimpleType::Integer), ("y", SimpleType::Integer)]);
    template_of(cache_version, Some(inputs), Some(variables(&[("o", SimpleType::Integer)])))
}

pub(crate) fn template_of(
    cache_version: &str,
    inputs: Option<VariableMap>,
    outputs: Option<VariableMap>,
) -> TaskTemplate {
    TaskTemplate {
        id: Some(Identifier {
            resource_type: ResourceType::Task.into(),
            project: "project".to_owned(),
            domain: "domain".to_owned(),
            name: "t".to_owned(),
            version: "v1".to_owned(),
            ..Identifier::default()
        }),
        metadata: Some(TaskMetadata {
            discoverable: true,
            discovery_version: cache_version.to_owned(),
            ..TaskMetadata::default()
        }),
        interface: Some(TypedInterface { inputs, outputs }),
        ..TaskTemplate::default()
    }
}

pub(crate) fn inputs(x: i64, y: i64) -> LiteralMap {
    map([("x", integer(x)), ("y", integer(y))])
}

pub(crate) fn outputs(o: i64) -> LiteralMap {
    map([("o", integer(o))])
}

/// Attempt 0 of a node of an execution of the template's project and domain.
pub(crate) fn source(execution: &str, node: &str) -> TaskExecutionIdentifier {
    TaskExecutionIdentifier {
        task_id: template("1").id,
        node_execution_id: Some(node_id(execution, node)),
        retry_attempt: 0,
    }
}

pub(crate) fn node_id(execution: &str, node: &str) -> NodeExecutionIdentifier {
    NodeExecutionIdentifier {
        node_id: node.to_owned(),
        execution_id: Some(WorkflowExecutionIdentifier {
            project: "project".to_owned(),
            domain: "domain".to_owned(),
            name: execution.to_owned(),
            ..WorkflowExecutionIdentifier::default()
        }),
    }
}
