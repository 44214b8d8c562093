//! Tells a failure node what failed.

use proto::flyteidl::core;
use proto::flyteidl::core::literal_type::Type;

use super::attribute;

/// The input that a failure node may declare to be told.
const ERROR_INPUT: &str = "err";

/// Puts the error into the failure node's input `err`, if it has one, in the form the SDKs read: a union that holds a
/// simple error tagged `FlyteError`.
pub fn inject_error(inputs: &mut core::LiteralMap, error: &core::ExecutionError, failed_node: &str) {
    let Some(input) = inputs.literals.get_mut(ERROR_INPUT) else { return };
    let told = core::Error { failed_node_id: failed_node.to_owned(), message: error.message.clone() };
    let ty = core::LiteralType {
        r#type: Some(Type::Simple(core::SimpleType::Error as i32)),
        structure: Some(core::TypeStructure { tag: "FlyteError".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let value = Some(Box::new(attribute::scalar(core::scalar::Value::Error(told))));
    let union = core::Union { value, r#type: Some(ty) };
    *input = attribute::scalar(core::scalar::Value::Union(Box::new(union)));
}
