//! Says in a few words what a type is, for messages.

use proto::flyteidl::core::blob_type::BlobDimensionality;
use proto::flyteidl::core::literal_type::Type;
use proto::flyteidl::core::{LiteralType, SimpleType};

/// How many variants or values are spelled out.
const SHOWN: usize = 8;
/// How many levels of nesting are spelled out.
const DEPTH: usize = 6;

/// A short text for a type, such as `list of integer`; long unions and enums are cut.
pub fn describe(t: &LiteralType) -> String {
    describe_to(t, DEPTH)
}

fn describe_to(t: &LiteralType, depth: usize) -> String {
    let Some(t) = &t.r#type else { return "unknown".to_owned() };
    if depth == 0 {
        return "...".to_owned();
    }
    match t {
        Type::Simple(simple) => SimpleType::try_from(*simple)
            .map_or_else(|_| format!("simple {simple}"), |simple| simple.as_str_name().to_ascii_lowercase()),
        Type::Schema(_) => "schema".to_owned(),
        Type::CollectionType(inner) => format!("list of {}", describe_to(inner, depth - 1)),
        Type::MapValueType(inner) => format!("map of {}", describe_to(inner, depth - 1)),
        Type::Blob(blob) => {
            let kind = match blob.dimensionality() {
                BlobDimensionality::Single => "file",
                BlobDimensionality::Multipart => "directory",
            };
            if blob.format.is_empty() { kind.to_owned() } else { format!("{kind} ({})", blob.format) }
        }
        Type::EnumType(inner) => {
            format!("enum ({})", join(inner.values.iter().map(|value| value.chars().take(40).collect())))
        }
        Type::StructuredDatasetType(dataset) if dataset.format.is_empty() => "structured dataset".to_owned(),
        Type::StructuredDatasetType(dataset) => format!("structured dataset ({})", dataset.format),
        Type::UnionType(union) => {
            format!("one of ({})", join(union.variants.iter().map(|v| describe_to(v, depth - 1))))
        }
    }
}

fn join(parts: impl ExactSizeIterator<Item = String>) -> String {
    let more = parts.len() > SHOWN;
    let mut shown: Vec<String> = parts.take(SHOWN).collect();
    if more {
        shown.push("...".to_owned());
    }
    shown.join(", ")
}
