//! Finds the interface of nodes that start an execution of a launch plan.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use proto::flyteidl::core::{Identifier, Node, parameter};

use super::{Interface, Scope, borrow};
use crate::error::{Error, ErrorCode};
use crate::library::Key;

/// Inputs are the required ones and those that the node binds; the launch plan knows the others.
pub(super) fn interface<'a>(
    scope: &Scope<'a, '_>,
    node: &Node,
    id: &Identifier,
    errors: &mut Vec<Error>,
) -> Option<Interface<'a>> {
    if scope.template.id.as_ref().map(Key::of) == Some(Key::of(id)) {
        // The workflow starts itself; its launch plan will be registered after it.
        return scope.template.interface.as_ref().map(Interface::of);
    }
    let Some(launch_plan) = scope.library.launch_plan(id) else {
        let text = format!("Referenced Workflow [{}] not found.", Key::of(id));
        errors.push(Error::new(ErrorCode::WorkflowReferenceNotFound, &node.id, text));
        return None;
    };
    let bound: HashSet<&str> = node.inputs.iter().map(|binding| binding.var.as_str()).collect();
    let mut inputs = BTreeMap::new();
    for (name, parameter) in &launch_plan.expected_inputs.parameters {
        let required = matches!(parameter.behavior, Some(parameter::Behavior::Required(true)));
        if required || bound.contains(name.as_str()) {
            inputs.insert(name.clone(), parameter.var.clone().unwrap_or_default());
        }
    }
    Some(Interface { inputs: Cow::Owned(inputs), outputs: borrow(Some(&launch_plan.expected_outputs)) })
}
