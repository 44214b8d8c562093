//! Makes a node's inputs out of its bindings, and checks what a task gave back.

mod array;
mod attribute;
mod branch;
mod failure;
mod generic;
mod msgpack;
mod outputs;

use std::fmt::Display;
use std::sync::Arc;

use proto::flyteidl::core;
use proto::flyteidl::core::binding_data::Value as Source;

use crate::error;
use crate::graph::{Graph, GraphNode, NodeKind};

pub use array::{array_size, element_inputs, gather};
pub use branch::decide_branch;
pub use failure::inject_error;
pub use outputs::{check_outputs, keep_declared};

/// Code of an error about inputs that cannot be made.
pub const BINDING_RESOLUTION_FAILURE: &str = "BindingResolutionFailure";

/// Why a binding gives no value. Each message begins with Flyte's name of the problem.
#[derive(Debug, thiserror::Error)]
enum Unresolvable {
    #[error("IllegalStateError: node {0:?} is not in the workflow")]
    UnknownNode(String),
    #[error("CausedByError: cannot read the outputs of node {node:?}: {cause}")]
    Unreadable { node: String, cause: String },
    #[error("OutputsNotFoundError: node {node:?} has no output {var:?}")]
    NoOutput { node: String, var: String },
    #[error("BadSpecificationError: output {var:?} of node {node:?} is not a list")]
    NotAList { node: String, var: String },
    #[error("OutputsNotFoundError: output {var:?} of node {node:?} has no item {index}")]
    NoItem { node: String, var: String, index: usize },
    #[error("PromiseAttributeResolveError: output {var:?} of node {node:?}: {cause}")]
    Attribute { node: String, var: String, cause: attribute::NoAttribute },
}

/// Makes the inputs the bindings describe. `fetch` gives the outputs of a node by its id; for the start node these
/// are the workflow's inputs. A binding without a source gives no input.
///
/// The error is ready to be answered with [`crate::Observation::InputsResolved`]. A source that cannot be read now but
/// perhaps later is the shell's to retry before it calls this.
pub fn resolve<E: Display>(
    graph: &Graph,
    bindings: &[core::Binding],
    fetch: &mut dyn FnMut(&str) -> Result<Arc<core::LiteralMap>, E>,
) -> Result<core::LiteralMap, core::ExecutionError> {
    let mut resolver = Resolver { graph, fetch };
    let mut literals = core::LiteralMap::default();
    for binding in bindings {
        let Some(data) = &binding.binding else { continue };
        let literal = resolver.literal(data).map_err(|cause| {
            let message = format!("Error binding Var [{}]: {cause}", binding.var);
            error::system(BINDING_RESOLUTION_FAILURE, message)
        })?;
        if let Some(literal) = literal {
            literals.literals.insert(binding.var.clone(), literal);
        }
    }
    Ok(literals)
}

/// Ids of the nodes the bindings name, in their order, with repetitions.
pub(crate) fn promised_nodes(bindings: &[core::Binding]) -> impl Iterator<Item = &str> {
    let mut left: Vec<&core::BindingData> =
        bindings.iter().rev().filter_map(|b| b.binding.as_ref()).collect();
    std::iter::from_fn(move || {
        while let Some(data) = left.pop() {
            match &data.value {
                Some(Source::Promise(promise)) => return Some(promise.node_id.as_str()),
                Some(Source::Collection(list)) => left.extend(list.bindings.iter().rev()),
                Some(Source::Map(map)) => left.extend(map.bindings.values().rev()),
                Some(Source::Scalar(_) | Source::OffloadedMetadata(_)) | None => {}
            }
        }
        None
    })
}

struct Resolver<'a, E> {
    graph: &'a Graph,
    fetch: &'a mut dyn FnMut(&str) -> Result<Arc<core::LiteralMap>, E>,
}

impl<E: Display> Resolver<'_, E> {
    /// The value of a binding. What it says about a union helps the compiler's type check only: the value itself
    /// already tells its variant.
    fn literal(&mut self, data: &core::BindingData) -> Result<Option<core::Literal>, Unresolvable> {
        use core::literal::Value;
        let value = match &data.value {
            None => return Ok(None),
            Some(Source::Scalar(scalar)) => Value::Scalar(Box::new(scalar.clone())),
            Some(Source::OffloadedMetadata(metadata)) => Value::OffloadedMetadata(metadata.clone()),
            Some(Source::Promise(promise)) => return self.promised(promise).map(Some),
            Some(Source::Collection(list)) => {
                let items = list.bindings.iter().map(|item| Ok(self.literal(item)?.unwrap_or_default()));
                Value::Collection(core::LiteralCollection { literals: items.collect::<Result<_, _>>()? })
            }
            Some(Source::Map(map)) => {
                let entry = |(key, item): (&String, &core::BindingData)| {
                    Ok((key.clone(), self.literal(item)?.unwrap_or_default()))
                };
                let literals = map.bindings.iter().map(entry).collect::<Result<_, _>>()?;
                Value::Map(core::LiteralMap { literals })
            }
        };
        Ok(Some(core::Literal { value: Some(value), ..Default::default() }))
    }

    fn promised(&mut self, promise: &core::OutputReference) -> Result<core::Literal, Unresolvable> {
        let id = &promise.node_id;
        let node = self.graph.idx(id).and_then(|idx| self.graph.node(idx));
        let node = node.ok_or_else(|| Unresolvable::UnknownNode(id.clone()))?;
        let (index, var) = split_index(&promise.var);
        let var = without_alias(node, var);
        let outputs = (self.fetch)(id)
            .map_err(|cause| Unresolvable::Unreadable { node: id.clone(), cause: cause.to_string() })?;
        let named = || (id.clone(), var.to_owned());
        let output = outputs.literals.get(var).or_else(|| {
            let mut aliases = self.aliases_of_arms(node, var);
            aliases.find_map(|var| outputs.literals.get(var))
        });
        let output = output.ok_or_else(|| {
            let (node, var) = named();
            Unresolvable::NoOutput { node, var }
        })?;
        let output = match index {
            None => output,
            Some(index) => item(output, index, named)?,
        };
        attribute::resolve(output, &promise.attr_path).map_err(|cause| {
            let (node, var) = named();
            Unresolvable::Attribute { node, var, cause }
        })
    }
}

impl<E> Resolver<'_, E> {
    /// What the arms of a branch call the output that they name so for the outside. The branch's outputs are those
    /// of the arm that ran, under its names.
    fn aliases_of_arms<'n>(&'n self, node: &'n GraphNode, var: &'n str) -> impl Iterator<Item = &'n str> {
        let mut arms: Vec<&GraphNode> = Vec::new();
        let mut next = Some(node);
        let mut n_seen = 0;
        while let Some(found) = next {
            if let NodeKind::Branch { arms: inner, .. } = &found.kind {
                arms.extend(inner.iter().filter_map(|arm| self.graph.node(*arm)));
            }
            next = arms.get(n_seen).copied();
            n_seen += 1;
        }
        arms.into_iter().map(move |arm| without_alias(arm, var)).filter(move |own| *own != var)
    }
}

/// The name a node's output has in the node, given the one used outside.
fn without_alias<'n>(node: &'n GraphNode, var: &'n str) -> &'n str {
    let alias = node.output_aliases.iter().find(|alias| alias.alias == var);
    alias.map_or(var, |alias| alias.var.as_str())
}

/// One item of an output that is a list.
fn item(
    output: &core::Literal,
    index: usize,
    named: impl Fn() -> (String, String),
) -> Result<&core::Literal, Unresolvable> {
    let Some(core::literal::Value::Collection(list)) = &output.value else {
        let (node, var) = named();
        return Err(Unresolvable::NotAList { node, var });
    };
    list.literals.get(index).ok_or_else(|| {
        let (node, var) = named();
        Unresolvable::NoItem { node, var, index }
    })
}

/// Splits `[3].name` into index and name; any other text is a name.
fn split_index(var: &str) -> (Option<usize>, &str) {
    let split = || {
        let (index, name) = var.strip_prefix('[')?.split_once("].")?;
        Some((index.parse().ok()?, name))
    };
    match split() {
        Some((index, name)) => (Some(index), name),
        None => (None, var),
    }
}

#[cfg(test)]
mod tests;
