//! Splits an array's inputs among its elements and joins their outputs.

use proto::flyteidl::core;
use proto::flyteidl::core::literal::Value as Shape;

use super::attribute;
use crate::error;
use crate::graph::{Graph, GraphIdx, NodeKind};

/// Code of an error about lists that do not tell how many elements there are.
const INVALID_ARRAY_LENGTH: &str = "InvalidArrayLength";

/// How many elements an array has: the length of the lists among its inputs that are not given whole to each element;
/// 1 when all are. Lists that are offloaded are to be read before.
///
/// # Errors
/// Of the user's, `InvalidArrayLength`: lists of different lengths, or no list.
pub fn array_size(
    graph: &Graph,
    node: GraphIdx,
    inputs: &core::LiteralMap,
) -> Result<u32, core::ExecutionError> {
    let bound = bound_inputs(graph, node)?;
    let refuse = |message: String| Err(error::user(INVALID_ARRAY_LENGTH, message));
    let mut split = inputs.literals.iter().filter(|(name, _)| !bound.contains(name)).peekable();
    if split.peek().is_none() {
        return Ok(1);
    }
    let mut size: Option<(&str, usize)> = None;
    for (name, literal) in split {
        let Some(items) = list(literal) else { continue };
        match size {
            None => size = Some((name, items.len())),
            Some((first, len)) if len != items.len() => {
                let other = items.len();
                return refuse(format!("input {first:?} has {len} items and input {name:?} has {other}"));
            }
            Some(_) => {}
        }
    }
    match size.map(|(_, len)| u32::try_from(len)) {
        Some(Ok(size)) => Ok(size),
        Some(Err(_)) => refuse("the inputs have more items than can be counted".to_owned()),
        None => refuse("none of the inputs to map over is a list".to_owned()),
    }
}

/// The inputs of one element: its item of each list, everything else whole.
///
/// # Errors
/// When a list has no such item: the inputs are not those the array was sized by.
pub fn element_inputs(
    graph: &Graph,
    array: GraphIdx,
    inputs: &core::LiteralMap,
    index: u32,
) -> Result<core::LiteralMap, core::ExecutionError> {
    let bound = bound_inputs(graph, array)?;
    let input = |(name, literal): (&String, &core::Literal)| {
        let own = match list(literal).filter(|_| !bound.contains(name)) {
            None => literal.clone(),
            Some(items) => items.get(index as usize).cloned().ok_or_else(|| {
                let message = format!("input {name:?} has no item {index}");
                error::user(INVALID_ARRAY_LENGTH, message)
            })?,
        };
        Ok((name.clone(), own))
    };
    Ok(core::LiteralMap { literals: inputs.literals.iter().map(input).collect::<Result<_, _>>()? })
}

/// The outputs of an array: of each variable a list with one item per element, in their order; none where an element
/// did not succeed or has no such output.
pub fn gather<'a>(
    names: impl IntoIterator<Item = &'a str>,
    elements: impl Iterator<Item = Option<core::LiteralMap>>,
) -> core::LiteralMap {
    let mut lists: Vec<(&str, Vec<core::Literal>)> =
        names.into_iter().map(|name| (name, Vec::with_capacity(elements.size_hint().0))).collect();
    for element in elements {
        let mut outputs = element.map(|map| map.literals).unwrap_or_default();
        for (name, items) in &mut lists {
            items.push(outputs.remove(*name).unwrap_or_else(attribute::none));
        }
    }
    let output = |(name, items): (&str, Vec<core::Literal>)| (name.to_owned(), attribute::list(items));
    core::LiteralMap { literals: lists.into_iter().map(output).collect() }
}

fn bound_inputs(graph: &Graph, node: GraphIdx) -> Result<&[String], core::ExecutionError> {
    match graph.node(node).map(|node| &node.kind) {
        Some(NodeKind::Array { bound_inputs, .. }) => Ok(bound_inputs),
        _ => Err(error::system("BadSpecificationError", "the node is not an array".to_owned())),
    }
}

/// The items of a list, also of one inside a union.
fn list(literal: &core::Literal) -> Option<&[core::Literal]> {
    let mut literal = literal;
    loop {
        match &literal.value {
            Some(Shape::Collection(list)) => return Some(&list.literals),
            Some(Shape::Scalar(scalar)) => match &scalar.value {
                Some(core::scalar::Value::Union(union)) => literal = union.value.as_deref()?,
                _ => return None,
            },
            Some(Shape::Map(_) | Shape::OffloadedMetadata(_)) | None => return None,
        }
    }
}
