//! Casts between the types of tabular data: schemas and structured datasets.

use std::borrow::Cow;
use std::collections::HashMap;

use proto::flyteidl::core::literal_type::Type;
use proto::flyteidl::core::schema_type::schema_column::SchemaColumnType;
use proto::flyteidl::core::{LiteralType, SimpleType};

use super::{casts, simple};

/// The only format in which a schema is stored.
const SCHEMA_FORMAT: &str = "parquet";

/// Whether a table of type `upstream` has everything that `downstream` asks for.
pub(super) fn covers(upstream: &LiteralType, downstream: &LiteralType) -> bool {
    let (u, d) = (format(upstream), format(downstream));
    if !u.is_empty() && !d.is_empty() && !u.eq_ignore_ascii_case(d) {
        return false;
    }
    let (up, down) = (columns(upstream), columns(downstream));
    if up.is_empty() || down.is_empty() {
        return true;
    }
    let up: HashMap<&str, Cow<'_, LiteralType>> = up.into_iter().collect();
    down.iter().all(|(name, expected)| up.get(name).is_some_and(|found| casts(found, expected)))
}

fn format(t: &LiteralType) -> &str {
    match &t.r#type {
        Some(Type::StructuredDatasetType(dataset)) => &dataset.format,
        _ => SCHEMA_FORMAT,
    }
}

fn columns(t: &LiteralType) -> Vec<(&str, Cow<'_, LiteralType>)> {
    match &t.r#type {
        Some(Type::Schema(schema)) => schema
            .columns
            .iter()
            .map(|c| (c.name.as_str(), Cow::Owned(simple(column_type(c.r#type())))))
            .collect(),
        Some(Type::StructuredDatasetType(dataset)) => dataset
            .columns
            .iter()
            .map(|c| {
                (
                    c.name.as_str(),
                    c.literal_type.as_ref().map_or_else(|| Cow::Owned(LiteralType::default()), Cow::Borrowed),
                )
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn column_type(t: SchemaColumnType) -> SimpleType {
    match t {
        SchemaColumnType::Integer => SimpleType::Integer,
        SchemaColumnType::Float => SimpleType::Float,
        SchemaColumnType::String => SimpleType::String,
        SchemaColumnType::Boolean => SimpleType::Boolean,
        SchemaColumnType::Datetime => SimpleType::Datetime,
        SchemaColumnType::Duration => SimpleType::Duration,
    }
}
