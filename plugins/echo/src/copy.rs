//! Decides which input becomes which output.
//!
//! flytekit's `Echo` names the outputs `o0`, `o1`, ... in the order in which the inputs were declared. That order is lost
//! on the wire (a protobuf map has none), so inputs are taken by name, and an output gets the first input of its own type
//! that is left.

use plugin_api::PluginError;
use plugin_api::flyteidl::core::{LiteralMap, TypedInterface, Variable};

/// An output and the input it copies.
#[derive(Debug, PartialEq, Eq)]
pub struct Pair {
    pub output: String,
    pub input: String,
}

/// Pairs each output with one input.
pub fn pairs(interface: &TypedInterface) -> Result<Vec<Pair>, PluginError> {
    let inputs = variables(interface.inputs.as_ref());
    let outputs = variables(interface.outputs.as_ref());
    if inputs.len() != outputs.len() {
        return Err(bad(format!(
            "an echo task has as many outputs as inputs, this one has {} inputs and {} outputs",
            inputs.len(),
            outputs.len()
        )));
    }
    let mut left = inputs;
    let mut pairs = Vec::with_capacity(outputs.len());
    for (output, variable) in outputs {
        let same_name = left.iter().position(|(name, _)| *name == output);
        let same_type = || left.iter().position(|(_, other)| other.r#type == variable.r#type);
        let Some(at) = same_name.or_else(same_type) else {
            return Err(bad(format!("no input has the type of output {output}")));
        };
        pairs.push(Pair { output: output.to_owned(), input: left.remove(at).0.to_owned() });
    }
    Ok(pairs)
}

/// Copies the literals.
pub fn outputs(pairs: &[Pair], inputs: &LiteralMap) -> Result<LiteralMap, PluginError> {
    let mut outputs = LiteralMap::default();
    for pair in pairs {
        let literal = inputs
            .literals
            .get(&pair.input)
            .ok_or_else(|| bad(format!("input {} is missing", pair.input)))?;
        outputs.literals.insert(pair.output.clone(), literal.clone());
    }
    Ok(outputs)
}

/// The variables by name, `o2` before `o10`.
fn variables(map: Option<&plugin_api::flyteidl::core::VariableMap>) -> Vec<(&str, &Variable)> {
    let mut variables: Vec<(&str, &Variable)> = map
        .into_iter()
        .flat_map(|map| &map.variables)
        .map(|(name, variable)| (name.as_str(), variable))
        .collect();
    variables.sort_by_key(|(name, _)| (name.len(), *name));
    variables
}

fn bad(message: String) -> PluginError {
    PluginError::user("BadTaskSpecification", message)
}

#[cfg(test)]
mod tests {
    use plugin_api::flyteidl::core::{LiteralType, SimpleType, VariableMap, literal_type};

    use super::*;

    fn map(variables: &[(&str, SimpleType)]) -> Option<VariableMap> {
        let variable = |simple: SimpleType| Variable {
            r#type: Some(LiteralType {
                r#type: Some(literal_type::Type::Simple(simple.into())),
                ..Default::default()
            }),
            ..Default::default()
        };
        let variables =
            variables.iter().map(|(name, simple)| ((*name).to_owned(), variable(*simple))).collect();
        Some(VariableMap { variables })
    }

    fn paired(
        inputs: &[(&str, SimpleType)],
        outputs: &[(&str, SimpleType)],
    ) -> Result<Vec<String>, PluginError> {
        let interface = TypedInterface { inputs: map(inputs), outputs: map(outputs) };
        let pairs = pairs(&interface)?;
        Ok(pairs.into_iter().map(|pair| format!("{}<-{}", pair.output, pair.input)).collect())
    }

    #[test]
    fn outputs_take_inputs_of_their_type() {
        let (int, text) = (SimpleType::Integer, SimpleType::String);
        let found = paired(&[("a", int), ("b", text), ("c", int)], &[("o0", text), ("o1", int), ("o2", int)]);
        assert_eq!(found.unwrap(), ["o0<-b", "o1<-a", "o2<-c"]);
    }

    #[test]
    fn tenth_output_comes_last() {
        let int = SimpleType::Integer;
        let names: Vec<String> = (0..11).map(|n| format!("i{n:02}")).collect();
        let outs: Vec<String> = (0..11).map(|n| format!("o{n}")).collect();
        let inputs: Vec<_> = names.iter().map(|name| (name.as_str(), int)).collect();
        let outputs: Vec<_> = outs.iter().map(|name| (name.as_str(), int)).collect();
        assert_eq!(paired(&inputs, &outputs).unwrap()[10], "o10<-i10");
    }

    #[test]
    fn uneven_interface_is_refused() {
        let error = paired(&[("a", SimpleType::Integer)], &[]).unwrap_err();
        assert_eq!(error.code, "BadTaskSpecification");
    }
}
