//! Explains to people, from what is stored, why a node found its outputs in the cache or not.

use std::collections::BTreeMap;

use model::{EntityId, EntityKind, ExecutionId, Timestamp};
use proto::flyteidl::admin::node_execution_closure::TargetMetadata;
use proto::flyteidl::admin::{NodeExecutionClosure, TaskClosure};
use proto::flyteidl::core::{
    ArrayNode, CatalogCacheStatus, Identifier, Literal, LiteralMap, Node, TaskTemplate, literal, node,
    task_node,
};
use serde::{Deserialize, Serialize};
use store::{CatalogArtifactRow, CatalogFilter, CatalogPage};

use crate::caching::Caching;
use crate::catalog::{Catalog, Lookup};
use crate::error::{Error, Result, decode};
use crate::explanation::{Cause, Explanation, Other};
use crate::key::{Signature, TaskKey};
use crate::lineage::{NodeRef, Place, Walk};
use crate::value;

/// Entries of before a node that it is compared with.
const MAX_BEFORE: u32 = 200;

/// Why a node found its outputs in the cache or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// `project/domain/execution/node`.
    pub node: String,
    /// `name@version` of its task.
    pub task: String,
    /// Whether its outputs are to be cached, by task and node.
    pub is_cached: bool,
    /// What the engine noted: `CACHE_HIT`, `CACHE_MISS`, ...
    pub recorded: String,
    /// Name of the dataset.
    pub dataset: String,
    /// Version of the dataset: cache version and interface hashes.
    pub version: String,
    /// Tag of the entry.
    pub tag: String,
    /// Key by which the cache service knows the entry.
    pub key: String,
    /// What there was when the node began, as far as it is still known.
    pub then: Report,
    /// What there is now.
    pub now: Report,
    /// Its inputs.
    pub inputs: Vec<InputReport>,
}

/// An explanation, and the same in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// In words.
    pub text: String,
    /// Field by field.
    pub explanation: Explanation,
}

/// An input of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputReport {
    /// Its name.
    pub name: String,
    /// Its value in short.
    pub value: String,
    /// Whether it counts; some are ignored.
    pub counts: bool,
    /// The hash that the value brings along and that counts in its place; empty when it brings none.
    pub own_hash: String,
    /// Its hash in the key; empty when it does not count.
    pub hash: String,
    /// The value in short that it had for the nearest entry; empty when that is not known.
    pub nearest: String,
}

impl Report {
    fn of(explanation: Explanation) -> Self {
        Self { text: explanation.to_string(), explanation }
    }
}

/// The inputs of one element of a map.
fn element(mut inputs: LiteralMap, array: &ArrayNode, index: usize) -> LiteralMap {
    for (name, value) in &mut inputs.literals {
        if array.bound_inputs.contains(name) {
            continue;
        }
        if let Some(literal::Value::Collection(items)) = &value.value
            && let Some(item) = items.literals.get(index)
        {
            *value = item.clone();
        }
    }
    inputs
}

fn task_id(node: &Node) -> Option<&Identifier> {
    match &node.target {
        Some(node::Target::TaskNode(task)) => match &task.reference {
            Some(task_node::Reference::ReferenceId(id)) => Some(id),
            None => None,
        },
        _ => None,
    }
}

impl Catalog {
    /// Explains why a node found its outputs in the cache or not, from its stored inputs and template.
    ///
    /// # Errors
    /// No such node, a node that runs no task or has no inputs yet, a task without cache version, the database or the
    /// object store.
    pub async fn explain(
        &self,
        execution: &ExecutionId,
        node_id: &str,
        now: Timestamp,
    ) -> Result<NodeReport> {
        let id = NodeRef::new(execution, node_id);
        let name = format!("{}/{}/{}/{node_id}", execution.project, execution.domain, execution.name);
        let mut walk = Walk::new(self, 1);
        let place = walk.place(&id).await?.ok_or_else(|| Error::not_found("node", &name))?;
        let task = task_id(&place.node).ok_or_else(|| Error::Invalid(format!("node {name} runs no task")))?;
        let template = self.template(task).await?;
        let caching = Caching::of(&template, place.node.metadata.as_ref());
        let signature = Signature::of_version(&template, &caching.cache_version)?;
        let inputs = self.inputs_of(&mut walk, &place, &name).await?;
        let key = signature.key(&inputs)?;
        let closure: NodeExecutionClosure = decode(&place.row.extra, "closure", &name)?;
        let recorded = match closure.target_metadata {
            Some(TargetMetadata::TaskNodeMetadata(task)) => task.cache_status(),
            _ => CatalogCacheStatus::CacheDisabled,
        };
        let began = place.row.queued_at.unwrap_or(place.row.created_at);
        let then = self.as_of(&key, &id, began).await?;
        let lookup = self.lookup(&key, None, now).await?;
        let nearest = self.values_of_nearest(&then).await;
        Ok(NodeReport {
            node: name,
            task: format!("{}@{}", task.name, task.version),
            is_cached: caching.is_on,
            recorded: recorded.as_str_name().to_owned(),
            dataset: key.dataset.name.clone(),
            version: key.dataset.version.clone(),
            tag: key.tag.clone(),
            key: key.cache_key().to_owned(),
            then: Report::of(then),
            now: Report::of(match lookup {
                Lookup::Hit(hit) => hit.explanation,
                Lookup::Miss(why) => why,
            }),
            inputs: inputs.literals.iter().map(|input| report(input, &key, &nearest)).collect(),
        })
    }

    async fn template(&self, id: &Identifier) -> Result<TaskTemplate> {
        let id =
            EntityId::from_proto(EntityKind::Task, id).map_err(|error| Error::Invalid(error.to_string()))?;
        let row = self.store.entity_get(&id).await?.ok_or_else(|| Error::not_found("task", &id))?;
        let closure: TaskClosure = decode(&row.closure, "closure", &id)?;
        let template = closure.compiled_task.and_then(|task| task.template);
        template.ok_or_else(|| Error::not_found("template of task", &id))
    }

    async fn inputs_of(&self, walk: &mut Walk<'_>, place: &Place, name: &str) -> Result<LiteralMap> {
        let uri = &place.row.input_uri;
        let declares = !place.bound.inputs.is_empty();
        if uri.is_empty() && declares {
            return Err(Error::Invalid(format!("node {name} has no inputs yet")));
        }
        if uri.is_empty() {
            return Ok(LiteralMap::default());
        }
        let bytes = self.outputs.blob.get(&blob::DataReference::parse(uri.as_str())?).await?;
        let inputs: LiteralMap = decode(&bytes, "inputs", name)?;
        if place.row.parent_id.is_empty() {
            return Ok(inputs);
        }
        let parent = NodeRef::new(&place.site.run.row.id, &place.row.parent_id);
        let index = place.row.node_id.rsplit_once("-n").and_then(|(_, index)| index.parse().ok());
        let around = walk.place(&parent).await?;
        Ok(match (around.and_then(|around| around.node.target.clone()), index) {
            (Some(node::Target::ArrayNode(array)), Some(index)) => element(inputs, &array, index),
            _ => inputs,
        })
    }

    /// What a lookup would have found at a time, before the node itself made something.
    async fn as_of(&self, key: &TaskKey, own: &NodeRef, at: Timestamp) -> Result<Explanation> {
        let dataset = key.dataset_id();
        let filter = CatalogFilter {
            project: dataset.project.clone(),
            domain: dataset.domain.clone(),
            name: dataset.name.clone(),
            version: dataset.version.clone(),
            org: Some(dataset.org.clone()),
            created_before: Some(at.plus(1)),
            with_evicted: true,
            ..CatalogFilter::default()
        };
        let page = CatalogPage { limit: MAX_BEFORE, ..CatalogPage::default() };
        let is_other = |row: &CatalogArtifactRow| {
            row.source.execution != own.execution || row.source.node_id != own.node_id
        };
        let mut rows = self.store.catalog_artifact_list(&filter, page, false).await?;
        rows.retain(is_other);
        // By its tag, an entry is found however many came after it; by its fields, also once the tag is another's.
        let tagged = self.store.catalog_lookup(&[key.cache_key()]).await?;
        let tagged = tagged.into_values().find(|row| row.updated_at <= at && is_other(row));
        let is_gone = |row: &CatalogArtifactRow| row.evicted_at.is_some_and(|evicted| evicted <= at);
        let mut others: Vec<Other> = rows.into_iter().map(Other::new).collect();
        let same = others.iter().filter(|other| other.is_same(&key.fields)).map(|other| &other.row);
        if let Some(row) = same.chain(&tagged).min_by_key(|row| is_gone(row)) {
            let cause = match row.evicted_at.filter(|evicted| *evicted <= at) {
                Some(evicted) => Cause::Evicted { ago_micros: at.since(evicted) },
                None => Cause::Found,
            };
            return Ok(Explanation::of_entry(key, cause, row, at));
        }
        others.retain(|other| !is_gone(&other.row));
        if others.is_empty() {
            others = self.others(&dataset).await?;
            others.retain(|other| other.row.updated_at <= at && is_other(&other.row));
        }
        Ok(Explanation::of_miss(key, &others, at))
    }

    /// The inputs of the node that made the nearest entry; none when they can't be read any more.
    async fn values_of_nearest(&self, explanation: &Explanation) -> BTreeMap<String, Literal> {
        let Some(entry) = &explanation.entry else { return BTreeMap::new() };
        let execution = ExecutionId::new(&entry.project, &entry.domain, &entry.execution);
        let run = self.store.execution_get(&execution).await.ok().flatten();
        let Some(run) = run else { return BTreeMap::new() };
        let row = self.store.node_execution_get(run.key, &entry.node).await.ok().flatten();
        let Some(row) = row else { return BTreeMap::new() };
        self.literals(&row.input_uri).await.literals
    }
}

fn report(
    (name, value): (&String, &Literal),
    key: &TaskKey,
    nearest: &BTreeMap<String, Literal>,
) -> InputReport {
    let hash = key.fields.inputs.iter().find(|(other, _)| other == name).map(|(_, hash)| hash.clone());
    InputReport {
        name: name.clone(),
        value: value::short(value),
        counts: hash.is_some(),
        own_hash: value.hash.clone(),
        hash: hash.unwrap_or_default(),
        nearest: nearest.get(name).map(value::short).unwrap_or_default(),
    }
}
