//! Decides which values and types may flow where.

mod describe;
mod json_schema;
mod literal;
mod path;
mod table;

pub use describe::describe;
pub use literal::{literal_matches, literal_type};
pub(crate) use literal::{literal_type_of_all, scalar_matches, scalar_type};
pub(crate) use path::{Walk, walk};

use proto::flyteidl::core::literal_type::Type;
use proto::flyteidl::core::{LiteralType, SimpleType};

/// Whether a value of type `upstream` may be given where `downstream` is expected.
pub fn castable(upstream: &LiteralType, downstream: &LiteralType) -> bool {
    // Types of connected variables are nearly always the same, and every type can be cast to itself.
    upstream == downstream || casts(upstream, downstream)
}

fn casts(upstream: &LiteralType, downstream: &LiteralType) -> bool {
    match (variants(upstream), variants(downstream)) {
        (Some(from), Some(to)) => from.iter().all(|u| to.iter().any(|d| casts(u, d))),
        (Some(from), None) => matches!(from[..], [only] if casts(only, downstream)),
        (None, Some(to)) => matches_one(&to, is_none(upstream), |d| casts(upstream, d)),
        (None, None) => casts_plain(upstream, downstream),
    }
}

/// Casts between types neither of which is a union.
fn casts_plain(upstream: &LiteralType, downstream: &LiteralType) -> bool {
    match (&upstream.r#type, &downstream.r#type) {
        (_, Some(Type::Simple(simple))) if *simple == SimpleType::None as i32 => is_none(upstream),
        (Some(Type::CollectionType(u)), Some(Type::CollectionType(d)))
        | (Some(Type::MapValueType(u)), Some(Type::MapValueType(d))) => is_none(u) || casts(u, d),
        (Some(Type::Blob(u)), Some(Type::Blob(d))) => {
            u.format.is_empty() || d.format.is_empty() || u.format == d.format
        }
        (
            Some(Type::Schema(_) | Type::StructuredDatasetType(_)),
            Some(Type::Schema(_) | Type::StructuredDatasetType(_)),
        ) => table::covers(upstream, downstream),
        (_, Some(Type::StructuredDatasetType(_))) => is_none(upstream),
        (_, Some(Type::CollectionType(_) | Type::MapValueType(_) | Type::Blob(_) | Type::Schema(_))) => false,
        _ => casts_trivially(upstream, downstream),
    }
}

/// Casts between simple types and enums.
fn casts_trivially(upstream: &LiteralType, downstream: &LiteralType) -> bool {
    match (&upstream.r#type, &downstream.r#type) {
        (Some(Type::EnumType(_)), Some(Type::Simple(d))) if *d == SimpleType::String as i32 => return true,
        (Some(Type::Simple(u)), Some(Type::EnumType(_))) if *u == SimpleType::String as i32 => return true,
        _ => {}
    }
    let tag = tag(upstream);
    if !tag.is_empty() && tag != self::tag(downstream) {
        return false;
    }
    if upstream.r#type != downstream.r#type {
        return false;
    }
    match (&upstream.metadata, &downstream.metadata) {
        (Some(u), Some(d)) if is_simple(upstream, SimpleType::Struct) => json_schema::covers(u, d),
        _ => true,
    }
}

/// Whether exactly one variant fits. The absence of a value is not ambiguous when a variant says so by name, even
/// though other variants (datasets) take it as well.
fn matches_one(variants: &[&LiteralType], none: bool, fits: impl Fn(&LiteralType) -> bool) -> bool {
    let mut fitting = variants.iter().filter(|variant| fits(variant));
    match (fitting.next(), fitting.next()) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(_), Some(_)) => none && variants.iter().filter(|variant| is_none(variant)).count() == 1,
    }
}

/// The variants of a union, those of unions inside it included; nothing for other types.
pub(crate) fn variants(t: &LiteralType) -> Option<Vec<&LiteralType>> {
    let Some(Type::UnionType(union)) = &t.r#type else { return None };
    let mut flat = Vec::with_capacity(union.variants.len());
    let mut rest: Vec<&LiteralType> = union.variants.iter().rev().collect();
    while let Some(variant) = rest.pop() {
        match &variant.r#type {
            Some(Type::UnionType(inner)) => rest.extend(inner.variants.iter().rev()),
            _ => flat.push(variant),
        }
    }
    Some(flat)
}

/// Whether an input of this type may stay unbound.
pub(crate) fn is_optional(t: &LiteralType) -> bool {
    variants(t).is_some_and(|variants| variants.into_iter().any(is_none))
}

fn tag(t: &LiteralType) -> &str {
    t.structure.as_ref().map_or("", |structure| &structure.tag)
}

pub(crate) fn is_none(t: &LiteralType) -> bool {
    is_simple(t, SimpleType::None)
}

pub(crate) fn is_simple(t: &LiteralType, simple: SimpleType) -> bool {
    matches!(t.r#type, Some(Type::Simple(s)) if s == simple as i32)
}

pub(crate) fn of(t: Type) -> LiteralType {
    LiteralType { r#type: Some(t), ..LiteralType::default() }
}

pub(crate) fn simple(simple: SimpleType) -> LiteralType {
    of(Type::Simple(simple as i32))
}
