//! Shows literals in a few characters. Pure.

use proto::flyteidl::core::{Literal, Primitive, Scalar, literal, primitive, scalar};

/// Longest text of a value.
const MAX: usize = 60;

/// A value as people recognise it: numbers and texts as themselves, files by their URI, the rest by what it is.
pub(crate) fn short(value: &Literal) -> String {
    let text = match &value.value {
        Some(literal::Value::Scalar(scalar)) => of_scalar(scalar),
        Some(literal::Value::Collection(list)) => format!("a list of {}", list.literals.len()),
        Some(literal::Value::Map(map)) => format!("a map of {}", map.literals.len()),
        Some(literal::Value::OffloadedMetadata(metadata)) => metadata.uri.clone(),
        None => "nothing".to_owned(),
    };
    if text.chars().count() <= MAX {
        return text;
    }
    let head: String = text.chars().take(MAX - 1).collect();
    format!("{head}…")
}

fn of_scalar(value: &Scalar) -> String {
    match &value.value {
        Some(scalar::Value::Primitive(value)) => of_primitive(value),
        Some(scalar::Value::Blob(blob)) => blob.uri.clone(),
        Some(scalar::Value::Schema(schema)) => schema.uri.clone(),
        Some(scalar::Value::StructuredDataset(dataset)) => dataset.uri.clone(),
        Some(scalar::Value::Binary(binary)) => format!("{} bytes of {}", binary.value.len(), binary.tag),
        Some(scalar::Value::Generic(structure)) => format!("a structure of {}", structure.fields.len()),
        Some(scalar::Value::Union(union)) => union.value.as_deref().map_or_else(String::new, short),
        Some(scalar::Value::Error(error)) => error.message.clone(),
        Some(scalar::Value::NoneType(_)) | None => "none".to_owned(),
    }
}

fn of_primitive(value: &Primitive) -> String {
    match &value.value {
        Some(primitive::Value::Integer(value)) => value.to_string(),
        Some(primitive::Value::FloatValue(value)) => value.to_string(),
        Some(primitive::Value::StringValue(value)) => format!("{value:?}"),
        Some(primitive::Value::Boolean(value)) => value.to_string(),
        Some(primitive::Value::Datetime(value)) => value.to_string(),
        Some(primitive::Value::Duration(value)) => value.to_string(),
        None => "none".to_owned(),
    }
}
