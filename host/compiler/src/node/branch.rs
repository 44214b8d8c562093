//! Finds the interface of nodes that run one of several nodes, and checks the conditions by which they choose.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proto::flyteidl::core::boolean_expression::Expr;
use proto::flyteidl::core::if_else_block::Default as Otherwise;
use proto::flyteidl::core::{
    BooleanExpression, BranchNode, ComparisonExpression, IfBlock, LiteralType, Node, Operand, Scalar,
    Variable, operand, scalar,
};

use super::{Interface, Scope};
use crate::binding;
use crate::error::{Error, ErrorCode};
use crate::graph::Entry;
use crate::typing::{castable, describe, scalar_type};

/// Nodes of the cases in order, then the one for when no case holds.
pub(super) fn inner_nodes(branch: &BranchNode) -> Vec<&Node> {
    let Some(block) = branch.if_else.as_deref() else { return Vec::new() };
    let cases = block.case.as_deref().into_iter().chain(&block.other);
    let mut nodes: Vec<&Node> = cases.filter_map(|case| case.then_node.as_deref()).collect();
    if let Some(Otherwise::ElseNode(node)) = &block.default {
        nodes.push(node);
    }
    nodes
}

pub(super) fn inner_nodes_mut(branch: &mut BranchNode) -> Vec<&mut Node> {
    let Some(block) = branch.if_else.as_deref_mut() else { return Vec::new() };
    let cases = block.case.as_deref_mut().into_iter().chain(&mut block.other);
    let mut nodes: Vec<&mut Node> = cases.filter_map(|case| case.then_node.as_deref_mut()).collect();
    if let Some(Otherwise::ElseNode(node)) = &mut block.default {
        nodes.push(node);
    }
    nodes
}

/// Inputs are what is bound; outputs are those that every case has.
pub(super) fn interface<'a>(
    scope: &Scope<'a, '_>,
    entry: &Entry<'a>,
    branch: &BranchNode,
    errors: &mut Vec<Error>,
) -> Option<Interface<'a>> {
    check_shape(entry.node, branch, errors);
    let mut outputs: Option<BTreeMap<String, Variable>> = None;
    for &child in &entry.children {
        let case = scope.interfaces[child].as_ref()?;
        outputs = Some(match outputs {
            None => case.outputs.clone().into_owned(),
            Some(mut common) => {
                common.retain(|name, variable| match case.outputs.get(name) {
                    None => false,
                    Some(other) => {
                        if !same_type(variable, other) {
                            errors.push(mismatch(entry.node, name, variable, other));
                        }
                        true
                    }
                });
                common
            }
        });
    }
    Some(Interface {
        inputs: Cow::Owned(binding::bound_variables(scope, entry.node)),
        outputs: Cow::Owned(outputs.unwrap_or_default()),
    })
}

fn check_shape(node: &Node, branch: &BranchNode, errors: &mut Vec<Error>) {
    let Some(block) = branch.if_else.as_deref() else {
        errors.push(Error::required(&node.id, "IfElse"));
        return;
    };
    if block.case.is_none() {
        errors.push(no_condition(node));
    }
    for case in cases(branch) {
        if case.then_node.is_none() {
            let text = "A case of the branch has no node to run.";
            errors.push(Error::new(ErrorCode::BranchNodeIdNotFound, &node.id, text));
        }
    }
    if block.default.is_none() {
        let text = "One of the branches must be the default, either a node or an error.";
        errors.push(Error::new(ErrorCode::BranchNodeHasNoDefault, &node.id, text));
    }
}

fn cases(branch: &BranchNode) -> impl Iterator<Item = &IfBlock> {
    let block = branch.if_else.as_deref().into_iter();
    block.flat_map(|block| block.case.as_deref().into_iter().chain(&block.other))
}

fn same_type(a: &Variable, b: &Variable) -> bool {
    match (&a.r#type, &b.r#type) {
        (Some(a), Some(b)) => castable(a, b) && castable(b, a),
        (a, b) => a == b,
    }
}

fn mismatch(node: &Node, name: &str, a: &Variable, b: &Variable) -> Error {
    let text = |variable: &Variable| variable.r#type.as_ref().map_or_else(|| "unknown".to_owned(), describe);
    let text = format!("Output [{name}] has type [{}] in one case and [{}] in another.", text(a), text(b));
    Error::new(ErrorCode::MismatchingInterfaces, &node.id, text)
}

fn no_condition(node: &Node) -> Error {
    Error::new(ErrorCode::BranchNodeHasNoCondition, &node.id, "One of the branches has no condition.")
}

/// Checks that conditions compare variables that are bound, and compare like with like.
pub(crate) fn check_conditions(
    node: &Node,
    branch: &BranchNode,
    inputs: &BTreeMap<String, Variable>,
    errors: &mut Vec<Error>,
) {
    let mut rest: Vec<&BooleanExpression> = Vec::new();
    for case in cases(branch) {
        match &case.condition {
            Some(condition) => rest.push(condition),
            None => errors.push(no_condition(node)),
        }
    }
    while let Some(expression) = rest.pop() {
        match &expression.expr {
            None => errors.push(no_condition(node)),
            Some(Expr::Comparison(comparison)) => check_comparison(node, comparison, inputs, errors),
            Some(Expr::Conjunction(both)) => {
                for side in [&both.left_expression, &both.right_expression] {
                    match side.as_deref() {
                        Some(side) => rest.push(side),
                        None => errors.push(no_condition(node)),
                    }
                }
            }
        }
    }
}

fn check_comparison(
    node: &Node,
    comparison: &ComparisonExpression,
    inputs: &BTreeMap<String, Variable>,
    errors: &mut Vec<Error>,
) {
    let left = operand_type(node, "LeftValue", comparison.left_value.as_ref(), inputs, errors);
    let right = operand_type(node, "RightValue", comparison.right_value.as_ref(), inputs, errors);
    if let (Some(left), Some(right)) = (left, right)
        && !castable(&left, &right)
        && !castable(&right, &left)
    {
        let text = format!("Cannot compare [{}] with [{}].", describe(&left), describe(&right));
        errors.push(Error::new(ErrorCode::MismatchingTypes, &node.id, text));
    }
}

fn operand_type(
    node: &Node,
    name: &str,
    operand: Option<&Operand>,
    inputs: &BTreeMap<String, Variable>,
    errors: &mut Vec<Error>,
) -> Option<LiteralType> {
    match operand.and_then(|operand| operand.val.as_ref()) {
        None => {
            errors.push(Error::required(&node.id, name));
            None
        }
        #[allow(deprecated, reason = "SDKs still write it")]
        Some(operand::Val::Primitive(primitive)) => {
            scalar_type(&Scalar { value: Some(scalar::Value::Primitive(primitive.clone())) })
        }
        Some(operand::Val::Scalar(scalar)) => scalar_type(scalar),
        Some(operand::Val::Var(var)) => match inputs.get(var) {
            Some(variable) => variable.r#type.clone(),
            None => {
                let text = format!("Variable [{var}] of a condition not found on node [{}].", node.id);
                errors.push(Error::new(ErrorCode::VariableNameNotFound, &node.id, text));
                None
            }
        },
    }
}
