//! Decides which arm a branch takes.

use std::cmp::Ordering;

use proto::flyteidl::core;
use proto::flyteidl::core::boolean_expression::Expr;
use proto::flyteidl::core::comparison_expression::Operator;
use proto::flyteidl::core::conjunction_expression::LogicalOperator;
use proto::flyteidl::core::operand::Val;
use proto::flyteidl::core::primitive::Value as Primitive;
use proto::flyteidl::core::scalar::Value as Scalar;

use crate::error;
use crate::graph::{Graph, GraphIdx, NodeKind, Otherwise};

/// Conditions nested deeper are refused, so that judging them cannot exhaust the stack.
const MAX_DEPTH: u32 = 128;

/// Why a condition has no answer.
#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error("the branch has no input {0:?}")]
    NoInput(String),
    #[error("a condition or one of its operands is empty")]
    Empty,
    #[error("a {0} cannot be compared, only primitive values can")]
    NotPrimitive(&'static str),
    #[error("a value of type {left} cannot be compared with one of type {right}")]
    Mismatch { left: &'static str, right: &'static str },
    #[error("{0} values can be tested for equality only")]
    NoOrder(&'static str),
    #[error("conditions are nested more than {MAX_DEPTH} deep")]
    TooDeep,
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Primitive(&'a Primitive),
    None,
}

/// The arm that a branch takes, counted from 0: that of the first case that holds, else the last one. Both sides of a
/// conjunction are always judged, times and durations compared in full precision. None equals none only.
///
/// # Errors
/// Of the user's: `UserProvidedError` where the branch says to fail, `MalformedBranchUserError` for a condition that
/// cannot be judged, `MalformedBranch` when no case holds and nothing else is said.
pub fn decide_branch(
    graph: &Graph,
    node: GraphIdx,
    inputs: &core::LiteralMap,
) -> Result<u32, core::ExecutionError> {
    let Some(NodeKind::Branch { cases, otherwise, .. }) = graph.node(node).map(|node| &node.kind) else {
        return Err(error::system("BadSpecificationError", "the node is not a branch".to_owned()));
    };
    for case in cases.iter() {
        let holds = holds(&case.condition, inputs, 0)
            .map_err(|cause| error::user("MalformedBranchUserError", cause.to_string()))?;
        if holds {
            return Ok(case.arm);
        }
    }
    match &**otherwise {
        Otherwise::Arm(arm) => Ok(*arm),
        Otherwise::Error(error) => Err(error::user("UserProvidedError", error.message.clone())),
        Otherwise::Nothing => Err(error::user("MalformedBranch", "no case of the branch holds".to_owned())),
    }
}

fn holds(
    condition: &core::BooleanExpression,
    inputs: &core::LiteralMap,
    depth: u32,
) -> Result<bool, Malformed> {
    if depth >= MAX_DEPTH {
        return Err(Malformed::TooDeep);
    }
    match condition.expr.as_ref().ok_or(Malformed::Empty)? {
        Expr::Comparison(comparison) => compare(comparison, inputs),
        Expr::Conjunction(both) => {
            let side = |side: Option<&core::BooleanExpression>| {
                holds(side.ok_or(Malformed::Empty)?, inputs, depth + 1)
            };
            let (left, right) =
                (side(both.left_expression.as_deref())?, side(both.right_expression.as_deref())?);
            Ok(match both.operator() {
                LogicalOperator::And => left && right,
                LogicalOperator::Or => left || right,
            })
        }
    }
}

fn compare(comparison: &core::ComparisonExpression, inputs: &core::LiteralMap) -> Result<bool, Malformed> {
    let left = operand(comparison.left_value.as_ref(), inputs)?;
    let right = operand(comparison.right_value.as_ref(), inputs)?;
    let operator = comparison.operator();
    let order = match (left, right) {
        (Value::Primitive(left), Value::Primitive(right)) => {
            if matches!(left, Primitive::Boolean(_)) && !is_equality(operator) {
                return Err(Malformed::NoOrder("boolean"));
            }
            order(left, right)?
        }
        _ if !is_equality(operator) => return Err(Malformed::NoOrder("none")),
        (Value::None, Value::None) => Some(Ordering::Equal),
        _ => None,
    };
    Ok(match operator {
        Operator::Eq => order == Some(Ordering::Equal),
        Operator::Neq => order != Some(Ordering::Equal),
        Operator::Gt => order == Some(Ordering::Greater),
        Operator::Gte => order.is_some_and(Ordering::is_ge),
        Operator::Lt => order == Some(Ordering::Less),
        Operator::Lte => order.is_some_and(Ordering::is_le),
    })
}

fn is_equality(operator: Operator) -> bool {
    matches!(operator, Operator::Eq | Operator::Neq)
}

fn operand<'a>(
    operand: Option<&'a core::Operand>,
    inputs: &'a core::LiteralMap,
) -> Result<Value<'a>, Malformed> {
    match operand.and_then(|operand| operand.val.as_ref()).ok_or(Malformed::Empty)? {
        #[allow(deprecated, reason = "SDKs still write it")]
        Val::Primitive(primitive) => primitive.value.as_ref().map(Value::Primitive).ok_or(Malformed::Empty),
        Val::Scalar(found) => scalar(found.value.as_ref()),
        Val::Var(var) => {
            let found = inputs.literals.get(var).ok_or_else(|| Malformed::NoInput(var.clone()))?;
            literal(found)
        }
    }
}

fn literal(found: &core::Literal) -> Result<Value<'_>, Malformed> {
    use core::literal::Value as Shape;
    match &found.value {
        Some(Shape::Scalar(found)) => scalar(found.value.as_ref()),
        Some(Shape::Collection(_)) => Err(Malformed::NotPrimitive("list")),
        Some(Shape::Map(_)) => Err(Malformed::NotPrimitive("map")),
        Some(Shape::OffloadedMetadata(_)) => Err(Malformed::NotPrimitive("offloaded value")),
        None => Err(Malformed::Empty),
    }
}

/// A scalar; of a union the value inside.
fn scalar(found: Option<&Scalar>) -> Result<Value<'_>, Malformed> {
    let mut found = found;
    while let Some(Scalar::Union(union)) = found {
        found = match union.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(core::literal::Value::Scalar(inner)) => inner.value.as_ref(),
            _ => return Err(Malformed::NotPrimitive("union of something else")),
        };
    }
    match found {
        Some(Scalar::Primitive(primitive)) => {
            primitive.value.as_ref().map(Value::Primitive).ok_or(Malformed::Empty)
        }
        Some(Scalar::NoneType(_)) => Ok(Value::None),
        Some(Scalar::Blob(_)) => Err(Malformed::NotPrimitive("blob")),
        Some(Scalar::Binary(_)) => Err(Malformed::NotPrimitive("binary value")),
        Some(Scalar::Schema(_)) => Err(Malformed::NotPrimitive("schema")),
        Some(Scalar::Error(_)) => Err(Malformed::NotPrimitive("error")),
        Some(Scalar::Generic(_)) => Err(Malformed::NotPrimitive("struct")),
        Some(Scalar::StructuredDataset(_)) => Err(Malformed::NotPrimitive("structured dataset")),
        Some(Scalar::Union(_)) | None => Err(Malformed::Empty),
    }
}

/// How two primitives of one type stand to each other; numbers that are none stand to nothing.
fn order(left: &Primitive, right: &Primitive) -> Result<Option<Ordering>, Malformed> {
    Ok(match (left, right) {
        (Primitive::Integer(left), Primitive::Integer(right)) => Some(left.cmp(right)),
        (Primitive::FloatValue(left), Primitive::FloatValue(right)) => left.partial_cmp(right),
        (Primitive::StringValue(left), Primitive::StringValue(right)) => Some(left.cmp(right)),
        (Primitive::Boolean(left), Primitive::Boolean(right)) => Some(left.cmp(right)),
        (Primitive::Datetime(left), Primitive::Datetime(right)) => {
            Some((left.seconds, left.nanos).cmp(&(right.seconds, right.nanos)))
        }
        (Primitive::Duration(left), Primitive::Duration(right)) => {
            Some((left.seconds, left.nanos).cmp(&(right.seconds, right.nanos)))
        }
        _ => return Err(Malformed::Mismatch { left: name(left), right: name(right) }),
    })
}

fn name(primitive: &Primitive) -> &'static str {
    match primitive {
        Primitive::Integer(_) => "integer",
        Primitive::FloatValue(_) => "float",
        Primitive::StringValue(_) => "string",
        Primitive::Boolean(_) => "boolean",
        Primitive::Datetime(_) => "datetime",
        Primitive::Duration(_) => "duration",
    }
}
