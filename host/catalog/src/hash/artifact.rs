//! Hashes the artifact ids and tags that variables may carry. Pure.

use proto::flyteidl::core;
use proto::flyteidl::core::artifact_binding_data::PartitionData;
use proto::flyteidl::core::label_value::Value;

use super::field::Message;
use super::objecthash::{self, Hash};
use super::{Result, value};

/// One artifact: key, version and partitions.
pub(crate) fn id(id: &core::ArtifactId) -> Result<Hash> {
    let mut out = Message::default();
    out.message("artifactKey", id.artifact_key.as_ref(), |it| Ok(key(it)))?;
    out.text("version", &id.version);
    out.message("partitions", id.partitions.as_ref(), |partitions| {
        let mut out = Message::default();
        out.map("value", partitions.value.iter(), label)?;
        Ok(out.hash())
    })?;
    out.message("timePartition", id.time_partition.as_ref(), |partition| {
        let mut out = Message::default();
        out.message("value", partition.value.as_ref(), label)?;
        let known = core::Granularity::try_from(partition.granularity).ok();
        let name = known.as_ref().map(core::Granularity::as_str_name);
        out.enumeration("granularity", partition.granularity, name);
        Ok(out.hash())
    })?;
    Ok(out.hash())
}

/// An artifact by tag.
pub(crate) fn tag(tag: &core::ArtifactTag) -> Result<Hash> {
    let mut out = Message::default();
    out.message("artifactKey", tag.artifact_key.as_ref(), |it| Ok(key(it)))?;
    out.message("value", tag.value.as_ref(), label)?;
    Ok(out.hash())
}

fn key(key: &core::ArtifactKey) -> Hash {
    let mut out = Message::default();
    out.text("project", &key.project);
    out.text("domain", &key.domain);
    out.text("name", &key.name);
    out.text("org", &key.org);
    out.hash()
}

fn label(label: &core::LabelValue) -> Result<Hash> {
    let mut out = Message::default();
    match &label.value {
        None => {}
        Some(Value::StaticValue(text)) => out.set("staticValue", objecthash::text(text)),
        Some(Value::TimeValue(time)) => out.set("timeValue", value::timestamp(time)?),
        Some(Value::TriggeredBinding(binding)) => out.set("triggeredBinding", triggered(binding)?),
        Some(Value::InputBinding(binding)) => {
            let mut input = Message::default();
            input.text("var", &binding.var);
            out.set("inputBinding", input.hash());
        }
        Some(Value::RuntimeBinding(core::RuntimeBinding {})) => {
            out.set("runtimeBinding", Message::default().hash());
        }
    }
    Ok(out.hash())
}

fn triggered(binding: &core::ArtifactBindingData) -> Result<Hash> {
    let mut out = Message::default();
    match &binding.partition_data {
        None => {}
        Some(PartitionData::PartitionKey(key)) => out.set("partitionKey", objecthash::text(key)),
        Some(PartitionData::BindToTimePartition(bind)) => {
            out.set("bindToTimePartition", objecthash::boolean(*bind));
        }
    }
    out.message("timeTransform", binding.time_transform.as_ref(), |transform| {
        let mut out = Message::default();
        out.text("transform", &transform.transform);
        let known = core::Operator::try_from(transform.op).ok();
        out.enumeration("op", transform.op, known.as_ref().map(core::Operator::as_str_name));
        Ok(out.hash())
    })?;
    Ok(out.hash())
}
