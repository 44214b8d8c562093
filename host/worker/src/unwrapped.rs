//! Finds the interface of one element of an array node whose task is described as taking and giving lists.

use engine::{Execution, NodeIdx, NodeKind};
use proto::flyteidl::core::{LiteralType, TaskTemplate, TypedInterface, Variable, VariableMap, literal_type};

/// The template of the task an element runs, as one element sees it: only what says how it is called. `None` when the
/// node is no element, or its task is described as it is.
pub(crate) fn of_element(engine: &Execution, node: NodeIdx, template: &TaskTemplate) -> Option<TaskTemplate> {
    let bound = bound_inputs(engine, node)?;
    let interface = template.interface.as_ref()?;
    let inputs = interface.inputs.as_ref().map(|inputs| VariableMap {
        variables: inputs
            .variables
            .iter()
            .map(|(name, var)| {
                let keep = bound.contains(name);
                (name.clone(), if keep { var.clone() } else { item(var) })
            })
            .collect(),
    });
    Some(TaskTemplate {
        id: template.id.clone(),
        metadata: template.metadata.clone(),
        interface: Some(TypedInterface { inputs, outputs: interface.outputs.as_ref().map(items) }),
        ..TaskTemplate::default()
    })
}

/// Whether the node is an element whose task is described as taking and giving lists.
pub(crate) fn is_wanted(engine: &Execution, node: NodeIdx) -> bool {
    bound_inputs(engine, node).is_some()
}

/// Inputs that all elements share, of an element whose task is described as taking lists.
fn bound_inputs(engine: &Execution, node: NodeIdx) -> Option<&[String]> {
    engine.element(node)?;
    let array = engine.parent(node)?;
    match &engine.graph_node(array).kind {
        NodeKind::Array { bound_inputs, original_interface: false, .. } => Some(bound_inputs),
        _ => None,
    }
}

/// The variables of one item of each list.
pub(crate) fn items(list: &VariableMap) -> VariableMap {
    VariableMap { variables: list.variables.iter().map(|(name, var)| (name.clone(), item(var))).collect() }
}

/// The variable of one item; what is no list stays as it is.
fn item(var: &Variable) -> Variable {
    let list = var.r#type.as_ref().and_then(|ty| match &ty.r#type {
        Some(literal_type::Type::CollectionType(item)) => Some(item),
        _ => None,
    });
    match list {
        Some(item) => Variable { r#type: Some(LiteralType::clone(item)), ..var.clone() },
        None => var.clone(),
    }
}
