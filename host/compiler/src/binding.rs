//! Checks what flows into the inputs of nodes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use proto::flyteidl::core::binding_data::Value;
use proto::flyteidl::core::literal_type::Type;
use proto::flyteidl::core::promise_attribute::Value as Step;
use proto::flyteidl::core::{BindingData, LiteralType, Node, OutputReference, Variable};

use crate::error::{Error, ErrorCode};
use crate::node::{Scope, takes_any_input};
use crate::typing::{
    Walk, castable, describe, is_optional, literal_type_of_all, of, scalar_matches, scalar_type, variants,
    walk,
};

/// Checks that every binding has a place and fits it, and that every place that needs one has one.
pub(crate) fn check(
    scope: &Scope<'_, '_>,
    node: &Node,
    inputs: &BTreeMap<String, Variable>,
    errors: &mut Vec<Error>,
) {
    let mut bound = HashSet::new();
    for binding in &node.inputs {
        let var = binding.var.as_str();
        let Some(variable) = inputs.get(var) else {
            let text = format!("Variable [{var}] not found on node [{}].", node.id);
            errors.push(Error::new(ErrorCode::VariableNameNotFound, &node.id, text));
            continue;
        };
        if !bound.insert(var) {
            let text = format!("Input [{var}] is bound more than once.");
            errors.push(Error::new(ErrorCode::ParameterBoundMoreThanOnce, &node.id, text));
            continue;
        }
        let Some(data) = &binding.binding else {
            errors.push(Error::required(&node.id, &format!("Binding of {var}")));
            continue;
        };
        let expected = if takes_any_input(node) { None } else { variable.r#type.as_ref() };
        errors.extend(Place { scope, node, var }.check(data, expected).err());
    }
    for (name, variable) in inputs {
        if !bound.contains(name.as_str()) && !variable.r#type.as_ref().is_some_and(is_optional) {
            let text = format!("Parameter not bound [{name}].");
            errors.push(Error::new(ErrorCode::ParameterNotBound, &node.id, text));
        }
    }
}

/// The inputs of a node that takes whatever is bound; types that cannot be told are left out.
pub(crate) fn bound_variables(scope: &Scope<'_, '_>, node: &Node) -> BTreeMap<String, Variable> {
    let variables = node.inputs.iter().map(|binding| {
        let place = Place { scope, node, var: &binding.var };
        let t = binding.binding.as_ref().and_then(|data| place.infer(data));
        (binding.var.clone(), Variable { r#type: t, ..Variable::default() })
    });
    variables.collect()
}

/// An input that something is bound to.
#[derive(Clone, Copy)]
struct Place<'s> {
    scope: &'s Scope<'s, 's>,
    node: &'s Node,
    var: &'s str,
}

impl<'s> Place<'s> {
    fn error(self, code: ErrorCode, text: String) -> Error {
        Error::new(code, &self.node.id, text)
    }

    /// Whether `data` may go where `expected` is expected; anything may when that is unknown.
    fn check(self, data: &BindingData, expected: Option<&LiteralType>) -> Result<(), Error> {
        match (&data.value, expected) {
            (None, _) => {
                let text = format!("Nothing is bound to [{}].", self.var);
                Err(self.error(ErrorCode::UnrecognizedValue, text))
            }
            (Some(Value::Promise(promise)), _) => {
                let found = self.promised(promise)?;
                match (found, expected) {
                    (Some(found), Some(expected)) if !castable(&found, expected) => {
                        let var = format!("{}.{}", promise.node_id, promise.var);
                        Err(self.mismatch(&var, &found, expected))
                    }
                    _ => Ok(()),
                }
            }
            (Some(Value::Scalar(scalar)), expected) => {
                let Some(found) = scalar_type(scalar) else {
                    let text = format!("The value bound to [{}] is of no known type.", self.var);
                    return Err(self.error(ErrorCode::UnrecognizedValue, text));
                };
                match expected {
                    Some(expected) if !castable(&found, expected) => {
                        Err(self.mismatch(self.var, &found, expected))
                    }
                    Some(expected) if !scalar_matches(scalar, expected) => {
                        let text = format!(
                            "The value bound to [{}] is not a value of [{}].",
                            self.var,
                            describe(expected)
                        );
                        Err(self.error(ErrorCode::IllegalEnumValue, text))
                    }
                    _ => Ok(()),
                }
            }
            (Some(Value::OffloadedMetadata(offloaded)), expected) => {
                match (&offloaded.inferred_type, expected) {
                    (None, _) => {
                        let text = format!("The offloaded value bound to [{}] has no type.", self.var);
                        Err(self.error(ErrorCode::InvalidLiteralType, text))
                    }
                    (Some(found), Some(expected)) if !castable(found, expected) => {
                        Err(self.mismatch(self.var, found, expected))
                    }
                    _ => Ok(()),
                }
            }
            (Some(Value::Collection(_) | Value::Map(_)), expected) => self.check_container(data, expected),
        }
    }

    fn check_container(self, data: &BindingData, expected: Option<&LiteralType>) -> Result<(), Error> {
        if let Some(expected) = expected
            && let Some(variants) = variants(expected)
        {
            return self.check_variants(data, expected, &variants);
        }
        match (&data.value, expected.map(|expected| &expected.r#type)) {
            (Some(Value::Collection(bound)), None) => {
                bound.bindings.iter().try_for_each(|data| self.check(data, None))
            }
            (Some(Value::Collection(bound)), Some(Some(Type::CollectionType(inner)))) => {
                bound.bindings.iter().try_for_each(|data| self.check(data, Some(inner)))
            }
            (Some(Value::Map(bound)), None) => {
                bound.bindings.values().try_for_each(|data| self.check(data, None))
            }
            (Some(Value::Map(bound)), Some(Some(Type::MapValueType(inner)))) => {
                bound.bindings.values().try_for_each(|data| self.check(data, Some(inner)))
            }
            (value, _) => {
                let shape = if matches!(value, Some(Value::Map(_))) { "map" } else { "list" };
                let expected = expected.map_or_else(String::new, describe);
                let text = format!("Input [{}] expects [{expected}] but is bound to a {shape}.", self.var);
                Err(self.error(ErrorCode::MismatchingBindings, text))
            }
        }
    }

    /// A list or map bound where a union is expected must fit exactly one variant.
    fn check_variants(
        self,
        data: &BindingData,
        expected: &LiteralType,
        variants: &[&LiteralType],
    ) -> Result<(), Error> {
        let mut fitting = 0;
        let mut reason = None;
        for variant in variants {
            match self.check(data, Some(variant)) {
                Ok(()) => fitting += 1,
                // What is missing is missing for every variant.
                Err(error)
                    if matches!(error.code, ErrorCode::VariableNameNotFound | ErrorCode::FieldNotFound) =>
                {
                    reason = Some(error);
                }
                Err(_) => {}
            }
        }
        let text = |what| {
            let expected = describe(expected);
            format!(
                "Input [{}] expects [{expected}] but is bound to a value that fits {what} of its variants.",
                self.var
            )
        };
        match (fitting, reason) {
            (1, _) => Ok(()),
            (0, Some(reason)) => Err(reason),
            (0, None) => Err(self.error(ErrorCode::IncompatibleBindingUnionValue, text("none"))),
            _ => Err(self.error(ErrorCode::AmbiguousBindingUnionValue, text("more than one"))),
        }
    }

    /// The type of a promise; nothing when only the run can tell or the node is known to be wrong.
    fn promised(self, promise: &OutputReference) -> Result<Option<Cow<'s, LiteralType>>, Error> {
        let Some(position) = self.scope.graph.position(&promise.node_id) else { return Ok(None) };
        let Some(interface) = &self.scope.interfaces[position] else { return Ok(None) };
        let Some(variable) = interface.outputs.get(&promise.var) else {
            let text = format!("Variable [{}] not found on node [{}].", promise.var, promise.node_id);
            return Err(self.error(ErrorCode::VariableNameNotFound, text));
        };
        let Some(t) = &variable.r#type else { return Ok(None) };
        match walk(t, &promise.attr_path) {
            Walk::Type(t) => Ok(Some(t)),
            Walk::Unknown => Ok(None),
            Walk::NotFound(step) => {
                let field = match promise.attr_path.get(step).and_then(|step| step.value.as_ref()) {
                    Some(Step::StringValue(name)) => name.clone(),
                    Some(Step::IntValue(index)) => index.to_string(),
                    None => String::new(),
                };
                let var = format!("{}.{}", promise.node_id, promise.var);
                let text = format!("Field [{field}] not found on variable [{var}] (type [{}]).", describe(t));
                Err(self.error(ErrorCode::FieldNotFound, text))
            }
        }
    }

    fn mismatch(self, var: &str, found: &LiteralType, expected: &LiteralType) -> Error {
        let (found, expected) = (describe(found), describe(expected));
        let text = format!("Variable [{var}] (type [{found}]) doesn't match expected type [{expected}].");
        self.error(ErrorCode::MismatchingTypes, text)
    }

    fn infer(self, data: &BindingData) -> Option<LiteralType> {
        match data.value.as_ref()? {
            Value::Promise(promise) => self.promised(promise).ok()?.map(Cow::into_owned),
            Value::Scalar(scalar) => scalar_type(scalar),
            Value::OffloadedMetadata(offloaded) => offloaded.inferred_type.clone(),
            Value::Collection(bound) => {
                let inner = literal_type_of_all(bound.bindings.iter().map(|data| self.infer(data)))?;
                Some(of(Type::CollectionType(Box::new(inner))))
            }
            Value::Map(bound) => {
                let inner = literal_type_of_all(bound.bindings.values().map(|data| self.infer(data)))?;
                Some(of(Type::MapValueType(Box::new(inner))))
            }
        }
    }
}
