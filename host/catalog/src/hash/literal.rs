//! Hashes literals: inputs without what does not count for the cache, and values as they are. Pure.

use std::collections::BTreeMap;

use proto::flyteidl::core;
use proto::flyteidl::core::{literal as lit, primitive as prim, scalar as sca};

use super::field::Message;
use super::objecthash::{self, Dict, Hash};
use super::{Result, interface, value};

/// The hash of each input that counts, and of all together.
///
/// A literal with a hash of its own counts by that alone, also within lists and maps; the metadata of lists and maps
/// does not count.
pub(crate) fn hashed_inputs(
    inputs: &BTreeMap<String, core::Literal>,
    ignored: &[String],
) -> Result<(Vec<(String, Hash)>, Hash)> {
    let mut each = Vec::with_capacity(inputs.len());
    let mut literals = Dict::default();
    for (name, value) in inputs.iter().filter(|(name, _)| !ignored.contains(name)) {
        let hash = input(value)?;
        literals.put(name, hash);
        each.push((name.clone(), hash));
    }
    let mut map = Message::default();
    if !each.is_empty() {
        map.set("literals", literals.hash());
    }
    Ok((each, map.hash()))
}

fn input(value: &core::Literal) -> Result<Hash> {
    let mut out = Message::default();
    if !value.hash.is_empty() {
        out.text("hash", &value.hash);
        return Ok(out.hash());
    }
    match &value.value {
        Some(lit::Value::Collection(items)) => {
            let mut collection = Message::default();
            collection.list("literals", &items.literals, input)?;
            out.set("collection", collection.hash());
        }
        Some(lit::Value::Map(entries)) => {
            let mut map = Message::default();
            map.map("literals", entries.literals.iter(), input)?;
            out.set("map", map.hash());
        }
        Some(lit::Value::Scalar(_) | lit::Value::OffloadedMetadata(_)) | None => return literal(value),
    }
    Ok(out.hash())
}

/// A literal as it is.
pub(crate) fn literal(value: &core::Literal) -> Result<Hash> {
    let mut out = Message::default();
    match &value.value {
        None => {}
        Some(lit::Value::Scalar(value)) => out.set("scalar", scalar(value)?),
        Some(lit::Value::Collection(items)) => {
            let mut collection = Message::default();
            collection.list("literals", &items.literals, literal)?;
            out.set("collection", collection.hash());
        }
        Some(lit::Value::Map(entries)) => {
            let mut map = Message::default();
            map.map("literals", entries.literals.iter(), literal)?;
            out.set("map", map.hash());
        }
        Some(lit::Value::OffloadedMetadata(offloaded)) => {
            let mut metadata = Message::default();
            metadata.text("uri", &offloaded.uri);
            if offloaded.size_bytes != 0 {
                metadata.text("sizeBytes", &offloaded.size_bytes.to_string());
            }
            metadata.message("inferredType", offloaded.inferred_type.as_ref(), interface::whole_type)?;
            out.set("offloadedMetadata", metadata.hash());
        }
    }
    out.text("hash", &value.hash);
    out.map("metadata", value.metadata.iter(), |text| Ok(objecthash::text(text)))?;
    Ok(out.hash())
}

fn scalar(value: &core::Scalar) -> Result<Hash> {
    let mut out = Message::default();
    match &value.value {
        None => {}
        Some(sca::Value::Primitive(value)) => out.set("primitive", primitive(value)?),
        Some(sca::Value::Blob(value)) => out.set("blob", blob(value)?),
        Some(sca::Value::Binary(value)) => {
            let mut binary = Message::default();
            binary.bytes("value", &value.value);
            binary.text("tag", &value.tag);
            out.set("binary", binary.hash());
        }
        Some(sca::Value::Schema(value)) => {
            let mut schema = Message::default();
            schema.text("uri", &value.uri);
            schema.message("type", value.r#type.as_ref(), interface::schema)?;
            out.set("schema", schema.hash());
        }
        Some(sca::Value::NoneType(core::Void {})) => out.set("noneType", Message::default().hash()),
        Some(sca::Value::Error(value)) => {
            let mut error = Message::default();
            error.text("failedNodeId", &value.failed_node_id);
            error.text("message", &value.message);
            out.set("error", error.hash());
        }
        Some(sca::Value::Generic(generic)) => out.set("generic", value::structure(generic)?),
        Some(sca::Value::StructuredDataset(value)) => {
            out.set("structuredDataset", structured_dataset(value)?);
        }
        Some(sca::Value::Union(value)) => {
            let mut union = Message::default();
            union.message("value", value.value.as_deref(), literal)?;
            union.message("type", value.r#type.as_ref(), interface::whole_type)?;
            out.set("union", union.hash());
        }
    }
    Ok(out.hash())
}

fn primitive(value: &core::Primitive) -> Result<Hash> {
    let mut out = Message::default();
    match &value.value {
        None => {}
        Some(prim::Value::Integer(value)) => out.set("integer", objecthash::text(&value.to_string())),
        Some(prim::Value::FloatValue(value)) => out.set("floatValue", objecthash::number(*value)),
        Some(prim::Value::StringValue(value)) => out.set("stringValue", objecthash::text(value)),
        Some(prim::Value::Boolean(value)) => out.set("boolean", objecthash::boolean(*value)),
        Some(prim::Value::Datetime(value)) => out.set("datetime", value::timestamp(value)?),
        Some(prim::Value::Duration(value)) => out.set("duration", value::duration(value)?),
    }
    Ok(out.hash())
}

fn blob(value: &core::Blob) -> Result<Hash> {
    let mut out = Message::default();
    out.message("metadata", value.metadata.as_ref(), |metadata| {
        let mut out = Message::default();
        out.message("type", metadata.r#type.as_ref(), |ty| Ok(interface::blob(ty)))?;
        Ok(out.hash())
    })?;
    out.text("uri", &value.uri);
    Ok(out.hash())
}

fn structured_dataset(value: &core::StructuredDataset) -> Result<Hash> {
    let mut out = Message::default();
    out.text("uri", &value.uri);
    out.message("metadata", value.metadata.as_ref(), |metadata| {
        let mut out = Message::default();
        let whole = |ty: &core::StructuredDatasetType| interface::structured_dataset(ty, false);
        out.message("structuredDatasetType", metadata.structured_dataset_type.as_ref(), whole)?;
        Ok(out.hash())
    })?;
    Ok(out.hash())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_differs_from_an_empty_map() {
        let of = |value| literal(&core::Literal { value: Some(value), ..core::Literal::default() });
        let list = of(lit::Value::Collection(core::LiteralCollection::default()));
        let map = of(lit::Value::Map(core::LiteralMap::default()));
        assert_ne!(list, map);
    }
}
