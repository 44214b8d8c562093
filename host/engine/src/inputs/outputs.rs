//! Checks what a task gave back against what it declared.

use proto::flyteidl::core;

use crate::error;

/// Checks that every declared output is there and of its type. What was not declared is tolerated.
pub fn check_outputs(
    declared: &core::VariableMap,
    outputs: &core::LiteralMap,
) -> Result<(), core::ExecutionError> {
    let missing: Vec<_> = declared
        .variables
        .keys()
        .filter(|name| !outputs.literals.contains_key(*name))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        let message = format!("declared outputs were not written: {}", missing.join(", "));
        return Err(error::user("OutputsNotFound", message));
    }
    for (name, variable) in &declared.variables {
        let (Some(literal), Some(expected)) = (outputs.literals.get(name), &variable.r#type) else {
            continue;
        };
        if !compiler::typing::literal_matches(literal, expected) {
            let expected = compiler::typing::describe(expected);
            let message = format!("output {name:?} is not a {expected}, as the task declares");
            return Err(error::user("MismatchingTypes", message));
        }
    }
    Ok(())
}

/// Drops the outputs that are not declared.
pub fn keep_declared(declared: &core::VariableMap, outputs: &mut core::LiteralMap) {
    outputs.literals.retain(|name, _| declared.variables.contains_key(name));
}
