//! Hashes types and interfaces: whole, or without what does not count for the cache. Pure.

use proto::flyteidl::core;
use proto::flyteidl::core::literal_type::Type;
use proto::flyteidl::core::schema_type::schema_column::SchemaColumnType;

use super::field::{self, Message};
use super::objecthash::{self, Hash};
use super::{Result, artifact, value};

/// An annotation with this entry counts for the cache.
const CACHE_KEY_METADATA: &str = "cache-key-metadata";

/// Variables, without their descriptions and without what of their types does not count.
pub(crate) fn variables(map: Option<&core::VariableMap>) -> Result<Hash> {
    let mut out = Message::default();
    if let Some(map) = map {
        out.map("variables", map.variables.iter(), variable)?;
    }
    Ok(out.hash())
}

fn variable(variable: &core::Variable) -> Result<Hash> {
    let mut out = Message::default();
    out.message("type", variable.r#type.as_ref(), |ty| literal_type(ty, true))?;
    out.message("artifactPartialId", variable.artifact_partial_id.as_ref(), artifact::id)?;
    out.message("artifactTag", variable.artifact_tag.as_ref(), artifact::tag)?;
    Ok(out.hash())
}

/// A type with all it has.
pub(crate) fn whole_type(ty: &core::LiteralType) -> Result<Hash> {
    literal_type(ty, false)
}

fn literal_type(ty: &core::LiteralType, strip: bool) -> Result<Hash> {
    let mut out = Message::default();
    let nested = |ty: &core::LiteralType| literal_type(ty, strip);
    match &ty.r#type {
        None => {}
        Some(Type::Simple(simple)) => {
            let known = core::SimpleType::try_from(*simple).ok();
            let name = known.as_ref().map(core::SimpleType::as_str_name);
            out.set("simple", field::enumeration(*simple, name));
        }
        Some(Type::Schema(ty)) => out.set("schema", schema(ty)?),
        Some(Type::CollectionType(ty)) => out.set("collectionType", nested(ty)?),
        Some(Type::MapValueType(ty)) => out.set("mapValueType", nested(ty)?),
        Some(Type::Blob(ty)) => out.set("blob", blob(ty)),
        Some(Type::EnumType(ty)) => {
            let mut values = Message::default();
            values.list("values", &ty.values, |text| Ok(objecthash::text(text)))?;
            out.set("enumType", values.hash());
        }
        Some(Type::StructuredDatasetType(ty)) => {
            out.set("structuredDatasetType", structured_dataset(ty, strip)?);
        }
        Some(Type::UnionType(ty)) => {
            let mut union = Message::default();
            union.list("variants", &ty.variants, nested)?;
            out.set("unionType", union.hash());
        }
    }
    if !strip {
        out.message("metadata", ty.metadata.as_ref(), value::structure)?;
    }
    out.message("annotation", ty.annotation.as_ref().filter(|it| !strip || counts(it)), annotation)?;
    out.message("structure", ty.structure.as_ref(), |structure| {
        let mut out = Message::default();
        out.text("tag", &structure.tag);
        out.map("dataclassType", structure.dataclass_type.iter(), nested)?;
        Ok(out.hash())
    })?;
    Ok(out.hash())
}

fn counts(annotation: &core::TypeAnnotation) -> bool {
    annotation.annotations.as_ref().is_some_and(|fields| fields.fields.contains_key(CACHE_KEY_METADATA))
}

fn annotation(annotation: &core::TypeAnnotation) -> Result<Hash> {
    let mut out = Message::default();
    out.message("annotations", annotation.annotations.as_ref(), value::structure)?;
    Ok(out.hash())
}

/// A type of tabular data in the older form.
pub(crate) fn schema(ty: &core::SchemaType) -> Result<Hash> {
    let mut out = Message::default();
    out.list("columns", &ty.columns, |column| {
        let mut out = Message::default();
        out.text("name", &column.name);
        let known = SchemaColumnType::try_from(column.r#type).ok();
        out.enumeration("type", column.r#type, known.as_ref().map(SchemaColumnType::as_str_name));
        Ok(out.hash())
    })?;
    Ok(out.hash())
}

/// A type of files.
pub(crate) fn blob(ty: &core::BlobType) -> Hash {
    use core::blob_type::BlobDimensionality;
    let mut out = Message::default();
    out.text("format", &ty.format);
    let known = BlobDimensionality::try_from(ty.dimensionality).ok();
    let name = known.as_ref().map(BlobDimensionality::as_str_name);
    out.enumeration("dimensionality", ty.dimensionality, name);
    out.hash()
}

/// A type of tabular data. `strip` leaves out what of the columns' types does not count for the cache.
pub(crate) fn structured_dataset(ty: &core::StructuredDatasetType, strip: bool) -> Result<Hash> {
    let mut out = Message::default();
    out.list("columns", &ty.columns, |column| {
        let mut out = Message::default();
        out.text("name", &column.name);
        out.message("literalType", column.literal_type.as_ref(), |ty| literal_type(ty, strip))?;
        Ok(out.hash())
    })?;
    out.text("format", &ty.format);
    out.text("externalSchemaType", &ty.external_schema_type);
    out.bytes("externalSchemaBytes", &ty.external_schema_bytes);
    Ok(out.hash())
}
