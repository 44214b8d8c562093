//! Finds the interface of nodes that run another node once for every element of their inputs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proto::flyteidl::core::array_node::SuccessCriteria;
use proto::flyteidl::core::literal_type::Type;
use proto::flyteidl::core::{ArrayNode, Node, SimpleType, UnionType, Variable};

use super::{Interface, Scope};
use crate::error::Error;
use crate::typing::{is_optional, of, simple};

/// The interface of the inner node, which SDKs write for lists already unless they say that it is the original one.
pub(super) fn interface<'a>(
    scope: &Scope<'a, '_>,
    node: &Node,
    array: &'a ArrayNode,
    errors: &mut Vec<Error>,
) -> Option<Interface<'a>> {
    let Some(inner) = array.node.as_deref() else {
        errors.push(Error::required(&node.id, "ArrayNode.Node"));
        return None;
    };
    let interface = scope.target_interface(inner, errors)?;
    if array.is_original_sub_node_interface != Some(true) {
        return Some(interface);
    }
    let may_fail = match &array.success_criteria {
        Some(SuccessCriteria::MinSuccesses(_)) => true,
        Some(SuccessCriteria::MinSuccessRatio(ratio)) => *ratio < 1.0,
        None => false,
    };
    let wrap_all = |variables: &BTreeMap<String, Variable>, optional: bool, keep: &[String]| {
        let wrapped = variables.iter().map(|(name, variable)| {
            let variable = if keep.contains(name) { variable.clone() } else { list_of(variable, optional) };
            (name.clone(), variable)
        });
        wrapped.collect::<BTreeMap<_, _>>()
    };
    Some(Interface {
        inputs: Cow::Owned(wrap_all(&interface.inputs, false, &array.bound_inputs)),
        outputs: Cow::Owned(wrap_all(&interface.outputs, may_fail, &[])),
    })
}

fn list_of(variable: &Variable, optional: bool) -> Variable {
    let mut variable = variable.clone();
    if let Some(t) = variable.r#type.take() {
        let element = if optional && !is_optional(&t) {
            of(Type::UnionType(UnionType { variants: vec![t, simple(SimpleType::None)] }))
        } else {
            t
        };
        variable.r#type = Some(of(Type::CollectionType(Box::new(element))));
    }
    variable
}
