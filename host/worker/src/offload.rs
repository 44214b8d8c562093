//! Reads values that were written beside the outputs they belong to, where their inside is needed (execution.md A22).
//!
//! A value that is only passed on stays where it is.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use proto::flyteidl::core::binding_data::Value as Source;
use proto::flyteidl::core::promise_attribute::Value as Step;
use proto::flyteidl::core::{
    Binding, BindingData, ExecutionError, Literal, LiteralMap, LiteralOffloadedMetadata, OutputReference,
    execution_error::ErrorKind, literal,
};

use crate::call::retried;
use crate::clusters::with_causes;
use crate::outcome::execution_error;
use crate::shared::Shared;

/// Outputs of upstream nodes, by node id.
pub(crate) type Sources = HashMap<Arc<str>, Arc<LiteralMap>>;

/// Whether bindings reach into values that were written elsewhere.
pub(crate) fn is_wanted(bindings: &[Binding], sources: &Sources) -> bool {
    promises(bindings).any(|promise| {
        let (var, path) = target(promise);
        let value = sources.get(promise.node_id.as_str()).and_then(|map| map.literals.get(var));
        value.is_some_and(|value| on_path(value, &path).is_some())
    })
}

/// Puts values that bindings reach into in the place of what names them.
pub(crate) async fn fetch(
    shared: &Shared,
    bindings: &[Binding],
    sources: &mut Sources,
) -> Result<(), Box<ExecutionError>> {
    for promise in promises(bindings) {
        let (var, path) = target(promise);
        let Some(map) = sources.get_mut(promise.node_id.as_str()) else { continue };
        while let Some(uri) = map.literals.get(var).and_then(|value| on_path(value, &path)) {
            let value = read(shared, &uri).await?;
            let place =
                Arc::make_mut(map).literals.get_mut(var).and_then(|value| place_on_path(value, &path));
            let Some(place) = place else { break };
            *place = value;
        }
    }
    Ok(())
}

/// Puts lists among inputs in the place of what names them.
pub(crate) async fn fetch_lists(shared: &Shared, inputs: &mut LiteralMap) -> Result<(), Box<ExecutionError>> {
    for literal in inputs.literals.values_mut() {
        while let Some(uri) = offloaded(literal).map(|metadata| metadata.uri.clone()) {
            *literal = read(shared, &uri).await?;
        }
    }
    Ok(())
}

/// Whether an input is written elsewhere.
pub(crate) fn has_any(inputs: &LiteralMap) -> bool {
    inputs.literals.values().any(|literal| offloaded(literal).is_some())
}

async fn read(shared: &Shared, uri: &str) -> Result<Literal, Box<ExecutionError>> {
    let failed = |what: String| {
        let message = format!("cannot read the offloaded value {uri}: {what}");
        Box::new(execution_error(ErrorKind::System, engine::inputs::BINDING_RESOLUTION_FAILURE, message))
    };
    let bytes: Bytes = retried(shared, || shared.files.read_unlimited(uri))
        .await
        .map_err(|error| failed(with_causes(&error)))?;
    Literal::decode(bytes).map_err(|error| failed(error.to_string()))
}

fn offloaded(literal: &Literal) -> Option<&LiteralOffloadedMetadata> {
    match &literal.value {
        Some(literal::Value::OffloadedMetadata(metadata)) => Some(metadata),
        _ => None,
    }
}

/// One step into a value.
#[derive(Clone, Debug)]
enum Into {
    Key(String),
    Index(usize),
}

/// The output a promise is about, and the way into it.
fn target(promise: &OutputReference) -> (&str, Vec<Into>) {
    let mut path = Vec::new();
    let mut var = promise.var.as_str();
    if let Some((index, name)) = var.strip_prefix('[').and_then(|rest| rest.split_once("]."))
        && let Ok(index) = index.parse()
    {
        path.push(Into::Index(index));
        var = name;
    }
    path.extend(promise.attr_path.iter().filter_map(|step| match step.value.as_ref()? {
        Step::StringValue(key) => Some(Into::Key(key.clone())),
        Step::IntValue(index) => usize::try_from(*index).ok().map(Into::Index),
    }));
    (var, path)
}

/// Where the first value on the way is written, if one is written elsewhere and the way goes on into it.
fn on_path(literal: &Literal, path: &[Into]) -> Option<String> {
    let mut literal = literal;
    for step in path {
        if let Some(metadata) = offloaded(literal) {
            return Some(metadata.uri.clone());
        }
        literal = match (&literal.value, step) {
            (Some(literal::Value::Map(map)), Into::Key(key)) => map.literals.get(key)?,
            (Some(literal::Value::Collection(list)), Into::Index(index)) => list.literals.get(*index)?,
            _ => return None,
        };
    }
    None
}

/// The place of the value that [`on_path`] found.
fn place_on_path<'a>(literal: &'a mut Literal, path: &[Into]) -> Option<&'a mut Literal> {
    let mut literal = literal;
    for step in path {
        if offloaded(literal).is_some() {
            return Some(literal);
        }
        literal = match (&mut literal.value, step) {
            (Some(literal::Value::Map(map)), Into::Key(key)) => map.literals.get_mut(key)?,
            (Some(literal::Value::Collection(list)), Into::Index(index)) => list.literals.get_mut(*index)?,
            _ => return None,
        };
    }
    None
}

/// All promises in bindings.
fn promises(bindings: &[Binding]) -> impl Iterator<Item = &OutputReference> {
    let mut left: Vec<&BindingData> =
        bindings.iter().filter_map(|binding| binding.binding.as_ref()).collect();
    std::iter::from_fn(move || {
        while let Some(data) = left.pop() {
            match &data.value {
                Some(Source::Promise(promise)) => return Some(promise),
                Some(Source::Collection(list)) => left.extend(&list.bindings),
                Some(Source::Map(map)) => left.extend(map.bindings.values()),
                Some(Source::Scalar(_) | Source::OffloadedMetadata(_)) | None => {}
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use proto::flyteidl::core::{LiteralCollection, PromiseAttribute};

    use super::*;

    fn far(uri: &str) -> Literal {
        let metadata = LiteralOffloadedMetadata { uri: uri.into(), ..LiteralOffloadedMetadata::default() };
        Literal { value: Some(literal::Value::OffloadedMetadata(metadata)), ..Literal::default() }
    }

    fn list(literals: Vec<Literal>) -> Literal {
        let list = LiteralCollection { literals };
        Literal { value: Some(literal::Value::Collection(list)), ..Literal::default() }
    }

    fn promise(var: &str, index: Option<i32>) -> OutputReference {
        let step = |index| PromiseAttribute { value: Some(Step::IntValue(index)) };
        OutputReference {
            node_id: "n0".into(),
            var: var.into(),
            attr_path: index.map(step).into_iter().collect(),
        }
    }

    #[test]
    fn only_values_that_are_reached_into_are_wanted() {
        for (value, promise, uri) in [
            (far("a"), promise("o0", None), None),
            (far("a"), promise("o0", Some(0)), Some("a")),
            (far("a"), promise("[0].o0", None), Some("a")),
            (list(vec![far("b")]), promise("o0", Some(0)), None),
            (list(vec![far("b")]), promise("[0].o0", Some(0)), Some("b")),
            (list(vec![]), promise("o0", Some(3)), None),
        ] {
            let (var, path) = target(&promise);
            assert_eq!(var, "o0");
            assert_eq!(on_path(&value, &path).as_deref(), uri, "{promise:?}");
            let mut value = value;
            assert_eq!(place_on_path(&mut value, &path).is_some(), uri.is_some());
        }
    }
}
