//! Names the types of values, and checks values against types.

use std::collections::BTreeMap;

use prost::Message;
use proto::flyteidl::core::literal_type::Type;
use proto::flyteidl::core::{
    EnumType, Literal, LiteralType, Scalar, SimpleType, UnionType, literal, primitive, scalar,
};

use super::{castable, is_none, matches_one, of, simple, variants};

/// The tag of binary values that hold a structure.
const MSGPACK: &str = "msgpack";

/// The type of a value; nothing when the value does not say enough about itself.
pub fn literal_type(l: &Literal) -> Option<LiteralType> {
    match l.value.as_ref()? {
        literal::Value::Scalar(scalar) => scalar_type(scalar),
        literal::Value::Collection(collection) => {
            let inner = literal_type_of_all(collection.literals.iter().map(literal_type))?;
            Some(of(Type::CollectionType(Box::new(inner))))
        }
        literal::Value::Map(map) => {
            let inner = literal_type_of_all(map.literals.values().map(literal_type))?;
            Some(of(Type::MapValueType(Box::new(inner))))
        }
        literal::Value::OffloadedMetadata(offloaded) => offloaded.inferred_type.clone(),
    }
}

/// One type for all elements of a container: none if there are no elements, a union if they differ.
pub(crate) fn literal_type_of_all(types: impl Iterator<Item = Option<LiteralType>>) -> Option<LiteralType> {
    // Keyed by encoding: finds equal types fast and gives the union an order that does not depend on the elements'.
    let mut distinct = BTreeMap::new();
    for t in types {
        let t = t?;
        distinct.entry(t.encode_to_vec()).or_insert(t);
    }
    let mut distinct: Vec<LiteralType> = distinct.into_values().collect();
    match (distinct.pop(), distinct.is_empty()) {
        (None, _) => Some(simple(SimpleType::None)),
        (Some(only), true) => Some(only),
        (Some(last), false) => {
            distinct.push(last);
            Some(of(Type::UnionType(UnionType { variants: distinct })))
        }
    }
}

pub(crate) fn scalar_type(scalar: &Scalar) -> Option<LiteralType> {
    let t = match scalar.value.as_ref()? {
        scalar::Value::Primitive(primitive) => simple(match primitive.value.as_ref()? {
            primitive::Value::Integer(_) => SimpleType::Integer,
            primitive::Value::FloatValue(_) => SimpleType::Float,
            primitive::Value::StringValue(_) => SimpleType::String,
            primitive::Value::Boolean(_) => SimpleType::Boolean,
            primitive::Value::Datetime(_) => SimpleType::Datetime,
            primitive::Value::Duration(_) => SimpleType::Duration,
        }),
        scalar::Value::Blob(blob) => of(Type::Blob(blob.metadata.as_ref()?.r#type.clone()?)),
        scalar::Value::Binary(binary) if binary.tag == MSGPACK => simple(SimpleType::Struct),
        scalar::Value::Binary(_) => simple(SimpleType::Binary),
        scalar::Value::Schema(schema) => of(Type::Schema(schema.r#type.clone().unwrap_or_default())),
        scalar::Value::NoneType(_) => simple(SimpleType::None),
        scalar::Value::Error(_) => simple(SimpleType::Error),
        scalar::Value::Generic(_) => simple(SimpleType::Struct),
        scalar::Value::StructuredDataset(dataset) => {
            let metadata = dataset.metadata.clone().unwrap_or_default();
            of(Type::StructuredDatasetType(metadata.structured_dataset_type.unwrap_or_default()))
        }
        scalar::Value::Union(union) => {
            of(Type::UnionType(UnionType { variants: vec![union.r#type.clone()?] }))
        }
    };
    Some(t)
}

/// Whether a value may be given to a variable of that type: as [`castable`], and values of enums are allowed ones.
pub fn literal_matches(l: &Literal, t: &LiteralType) -> bool {
    match &l.value {
        None => false,
        Some(literal::Value::Scalar(scalar)) => scalar_matches(scalar, t),
        Some(literal::Value::OffloadedMetadata(offloaded)) => {
            offloaded.inferred_type.as_ref().is_some_and(|inferred| castable(inferred, t))
        }
        Some(literal::Value::Collection(collection)) => match (&t.r#type, variants(t)) {
            (_, Some(variants)) => matches_one(&variants, false, |variant| literal_matches(l, variant)),
            (Some(Type::CollectionType(inner)), None) => {
                collection.literals.iter().all(|element| literal_matches(element, inner))
            }
            _ => false,
        },
        Some(literal::Value::Map(map)) => match (&t.r#type, variants(t)) {
            (_, Some(variants)) => matches_one(&variants, false, |variant| literal_matches(l, variant)),
            (Some(Type::MapValueType(inner)), None) => {
                map.literals.values().all(|element| literal_matches(element, inner))
            }
            _ => false,
        },
    }
}

pub(crate) fn scalar_matches(scalar: &Scalar, t: &LiteralType) -> bool {
    if let Some(scalar::Value::Union(union)) = &scalar.value {
        let (Some(value), Some(stored)) = (&union.value, &union.r#type) else { return false };
        let fits = |t: &LiteralType| castable(stored, t) && literal_matches(value, t);
        return variants(t).map_or_else(|| fits(t), |variants| variants.into_iter().any(fits));
    }
    let Some(own) = scalar_type(scalar) else { return false };
    match (&t.r#type, variants(t)) {
        (_, Some(variants)) => {
            matches_one(&variants, is_none(&own), |variant| scalar_matches(scalar, variant))
        }
        (Some(Type::EnumType(allowed)), None) => is_allowed(scalar, allowed),
        _ => castable(&own, t),
    }
}

fn is_allowed(scalar: &Scalar, allowed: &EnumType) -> bool {
    let Some(scalar::Value::Primitive(primitive)) = &scalar.value else { return false };
    let Some(primitive::Value::StringValue(value)) = &primitive.value else { return false };
    allowed.values.contains(value)
}
