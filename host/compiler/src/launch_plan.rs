//! Checks the inputs of launch plans.

use proto::flyteidl::core::parameter::Behavior;
use proto::flyteidl::core::{
    Identifier, LiteralMap, LiteralType, Parameter, ParameterMap, Variable, VariableMap,
};

use crate::error::{Error, ErrorCode, Errors};
use crate::typing::{castable, describe, literal_matches, literal_type};

/// Interface of a launch plan, by id.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchPlanInterface {
    /// The launch plan.
    pub id: Identifier,
    /// Inputs that a launch may give, with their defaults.
    pub expected_inputs: ParameterMap,
    /// Inputs that a launch may not give.
    pub fixed_inputs: LiteralMap,
    /// Outputs of the workflow.
    pub expected_outputs: VariableMap,
}

/// The inputs that a launch of the plan may give: the plan's default where it has one, required where it has neither a
/// default nor a fixed value.
///
/// # Errors
/// Defaults and fixed values for inputs that the workflow does not have, or of another type, and parameters that are
/// neither required nor have a default.
pub fn expected_inputs(
    workflow_inputs: &VariableMap,
    default_inputs: &ParameterMap,
    fixed_inputs: &LiteralMap,
) -> Result<ParameterMap, Errors> {
    let mut errors = Vec::new();
    for (name, parameter) in &default_inputs.parameters {
        match workflow_inputs.variables.get(name) {
            None => errors.push(unexpected("default", name)),
            Some(input) => check_default(name, parameter, input, &mut errors),
        }
    }
    for (name, value) in &fixed_inputs.literals {
        let Some(input) = workflow_inputs.variables.get(name) else {
            errors.push(unexpected("fixed", name));
            continue;
        };
        match (literal_type(value), &input.r#type) {
            (None, _) => errors.push(untyped("fixed", name)),
            (Some(found), Some(expected)) if !literal_matches(value, expected) => {
                errors.push(mismatch("fixed", name, &found, expected));
            }
            _ => {}
        }
    }
    let expected = workflow_inputs.variables.iter().filter_map(|(name, input)| {
        let required = || Parameter { var: Some(input.clone()), behavior: Some(Behavior::Required(true)) };
        match default_inputs.parameters.get(name) {
            Some(parameter) => {
                let var = parameter.var.clone().or_else(|| Some(input.clone()));
                Some((name.clone(), Parameter { var, ..parameter.clone() }))
            }
            None if fixed_inputs.literals.contains_key(name) => None,
            None => Some((name.clone(), required())),
        }
    });
    let parameters = expected.collect();
    Errors::none_or(errors, ParameterMap { parameters })
}

fn check_default(name: &str, parameter: &Parameter, input: &Variable, errors: &mut Vec<Error>) {
    let Some(expected) = &input.r#type else { return };
    if let Some(found) = parameter.var.as_ref().and_then(|var| var.r#type.as_ref())
        && !castable(found, expected)
    {
        errors.push(mismatch("default", name, found, expected));
        return;
    }
    match &parameter.behavior {
        Some(Behavior::Required(true)) => {}
        Some(Behavior::Default(value)) => match literal_type(value) {
            None => errors.push(untyped("default", name)),
            Some(found) if !literal_matches(value, expected) => {
                errors.push(mismatch("default", name, &found, expected));
            }
            Some(_) => {}
        },
        Some(Behavior::ArtifactQuery(_) | Behavior::ArtifactId(_)) => {
            let text = format!("The default of input [{name}] asks for an artifact, which is not supported.");
            errors.push(Error::new(ErrorCode::InvalidValue, "", text));
        }
        Some(Behavior::Required(false)) | None => {
            let text = format!("Input [{name}] must be required or have a default.");
            errors.push(Error::new(ErrorCode::ValueRequired, "", text));
        }
    }
}

fn unexpected(what: &str, name: &str) -> Error {
    let text = format!("The {what} input [{name}] is not an input of the workflow.");
    Error::new(ErrorCode::VariableNameNotFound, "", text)
}

fn untyped(what: &str, name: &str) -> Error {
    let text = format!("The value of the {what} input [{name}] is of no known type.");
    Error::new(ErrorCode::InvalidLiteralType, "", text)
}

fn mismatch(what: &str, name: &str, found: &LiteralType, expected: &LiteralType) -> Error {
    let (found, expected) = (describe(found), describe(expected));
    let text =
        format!("The {what} input [{name}] (type [{found}]) doesn't match expected type [{expected}].");
    Error::new(ErrorCode::MismatchingTypes, "", text)
}
