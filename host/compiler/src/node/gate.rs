//! Finds the interface of nodes that wait for an approval, a value or a while.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proto::flyteidl::core::{GateNode, Node, Variable, gate_node};

use super::{Interface, Scope};
use crate::binding;
use crate::error::{Error, ErrorCode};

pub(super) fn interface<'a>(
    scope: &Scope<'a, '_>,
    node: &Node,
    gate: &GateNode,
    errors: &mut Vec<Error>,
) -> Option<Interface<'a>> {
    match &gate.condition {
        None => {
            let text = "A gate node must wait for an approval, a signal or a duration.";
            errors.push(Error::new(ErrorCode::NoConditionFound, &node.id, text));
            None
        }
        // What is approved passes through.
        Some(gate_node::Condition::Approve(_)) => {
            let inputs = binding::bound_variables(scope, node);
            Some(Interface { inputs: Cow::Owned(inputs.clone()), outputs: Cow::Owned(inputs) })
        }
        Some(gate_node::Condition::Signal(signal)) => {
            let Some(t) = &signal.r#type else {
                errors.push(Error::required(&node.id, "Signal.Type"));
                return None;
            };
            if signal.output_variable_name.is_empty() {
                errors.push(Error::required(&node.id, "Signal.OutputVariableName"));
                return None;
            }
            let variable = Variable { r#type: Some(t.clone()), ..Variable::default() };
            let outputs = BTreeMap::from([(signal.output_variable_name.clone(), variable)]);
            Some(Interface { outputs: Cow::Owned(outputs), ..Interface::none() })
        }
        Some(gate_node::Condition::Sleep(_)) => Some(Interface::none()),
    }
}
