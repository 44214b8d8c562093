//! Merges what a request gives, what a launch plan fixes and what it defaults into complete inputs. Pure.

use std::collections::BTreeMap;

use compiler::typing;
use proto::flyteidl::core::{Literal, LiteralMap, Parameter, ParameterMap, VariableMap, parameter::Behavior};

/// Errors reported for one request; the rest would only repeat them.
const MAX_ERRORS: usize = 10;

/// Why one input was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The interface has no such input.
    #[error("input `{name}` is unknown; there {known}")]
    Unknown {
        /// Name as given.
        name: String,
        /// `are none` or `is/are` with the names there are.
        known: String,
    },
    /// Neither the request nor the launch plan gives it.
    #[error("required input `{name}` of type {expected} is missing")]
    Missing {
        /// Name of the input.
        name: String,
        /// Its type.
        expected: String,
    },
    /// The value does not fit the type.
    #[error("input `{name}` is of type {expected}, but a value of type {found} was given")]
    Mismatch {
        /// Name of the input.
        name: String,
        /// Its type.
        expected: String,
        /// Type of the value.
        found: String,
    },
    /// The launch plan fixes it.
    #[error("input `{name}` is fixed by the launch plan and can't be given")]
    Fixed {
        /// Name of the input.
        name: String,
    },
    /// The literal holds nothing.
    #[error("input `{name}` has a literal without a known value")]
    Empty {
        /// Name of the input.
        name: String,
    },
}

/// The complete inputs: the given ones, then defaults, then fixed ones.
///
/// # Errors
/// Everything that does not fit, at most ten findings.
pub fn merge(
    given: &LiteralMap,
    fixed: &LiteralMap,
    expected: &ParameterMap,
) -> Result<LiteralMap, Vec<InputError>> {
    let mut errors = Vec::new();
    for name in given.literals.keys() {
        if fixed.literals.contains_key(name) {
            errors.push(InputError::Fixed { name: name.clone() });
        } else if !expected.parameters.contains_key(name) {
            errors.push(InputError::Unknown { name: name.clone(), known: known(expected) });
        }
    }
    let mut literals = BTreeMap::new();
    for (name, parameter) in &expected.parameters {
        if fixed.literals.contains_key(name) {
            continue;
        }
        match one(name, given.literals.get(name), parameter) {
            Ok(literal) => {
                literals.insert(name.clone(), literal.clone());
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        errors.truncate(MAX_ERRORS);
        return Err(errors);
    }
    literals.extend(fixed.literals.iter().map(|(name, literal)| (name.clone(), literal.clone())));
    Ok(LiteralMap { literals })
}

/// What a launch plan of all inputs, none defaulted, expects.
pub fn all_required(inputs: &VariableMap) -> ParameterMap {
    let parameters = inputs.variables.iter().map(|(name, variable)| {
        let parameter = Parameter { var: Some(variable.clone()), behavior: Some(Behavior::Required(true)) };
        (name.clone(), parameter)
    });
    ParameterMap { parameters: parameters.collect() }
}

fn one<'a>(
    name: &str,
    given: Option<&'a Literal>,
    parameter: &'a Parameter,
) -> Result<&'a Literal, InputError> {
    let expected = parameter.var.as_ref().and_then(|variable| variable.r#type.as_ref());
    let describe = || expected.map_or_else(|| "unknown".to_owned(), typing::describe);
    let Some(literal) = given else {
        return match &parameter.behavior {
            Some(Behavior::Default(literal)) => Ok(literal),
            _ => Err(InputError::Missing { name: name.to_owned(), expected: describe() }),
        };
    };
    check_literal(name, literal, expected).map(|()| literal)
}

/// Whether a literal fits a type; the name is only for the message.
///
/// # Errors
/// The finding.
pub fn check_literal(
    name: &str,
    literal: &Literal,
    expected: Option<&proto::flyteidl::core::LiteralType>,
) -> Result<(), InputError> {
    let Some(found) = typing::literal_type(literal) else {
        return Err(InputError::Empty { name: name.to_owned() });
    };
    match expected {
        Some(expected) if typing::literal_matches(literal, expected) => Ok(()),
        expected => Err(InputError::Mismatch {
            name: name.to_owned(),
            expected: expected.map_or_else(|| "unknown".to_owned(), typing::describe),
            found: typing::describe(&found),
        }),
    }
}

fn known(expected: &ParameterMap) -> String {
    const SHOWN: usize = 20;
    let names: Vec<_> = expected.parameters.keys().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = if expected.parameters.len() > SHOWN { " and more" } else { "" };
    match names.len() {
        0 => "are none".to_owned(),
        1 => format!("is {}", names.join(", ")),
        _ => format!("are {}{more}", names.join(", ")),
    }
}

#[cfg(test)]
#[path = "inputs_tests.rs"]
mod tests;
