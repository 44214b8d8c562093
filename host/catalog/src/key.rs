//! Makes the keys under which outputs are cached, bit for bit as Flyte makes them (execution.md A17). Pure.
//!
//! An entry has three names for the same thing: dataset and tag, by which `datacatalog` knows it; one long key, by
//! which the cache service knows it; and the hashes of each field, by which people are told what differs.

use proto::flyteidl::core;
use serde::{Deserialize, Serialize};
use store::CatalogDatasetId;

use crate::hash::{self, HashError};

/// The name of a task's dataset begins with this.
pub(crate) const DATASET_PREFIX: &str = "flyte_task-";
/// The tag of an entry begins with this.
pub(crate) const TAG_PREFIX: &str = "flyte_cached-";
/// How much of the hash of an interface is part of the dataset's version.
const INTERFACE_LEN: usize = 8;
/// How much of the hash of an input is kept to tell what differs.
const INPUT_LEN: usize = 16;

/// Why a task has no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The template has no id.
    #[error("the task has no id")]
    NoId,
    /// The task is to be cached, but under no version.
    #[error("task {task} is to be cached but has no cache version; set `cache_version`")]
    NoVersion {
        /// Name of the task.
        task: String,
    },
    /// The interface can't be hashed.
    #[error("cannot hash the interface of task {task}")]
    Interface {
        /// Name of the task.
        task: String,
        /// The cause.
        #[source]
        source: HashError,
    },
    /// An input can't be hashed.
    #[error("cannot hash the inputs of task {task}")]
    Inputs {
        /// Name of the task.
        task: String,
        /// The cause.
        #[source]
        source: HashError,
    },
}

/// What of an entry's key can be told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFields {
    /// The task's cache version.
    pub cache_version: String,
    /// Hash of the input interface.
    pub input_interface: String,
    /// Hash of the output interface.
    pub output_interface: String,
    /// Hash of each input that counts, by name.
    pub inputs: Vec<(String, String)>,
    /// Inputs that do not count.
    pub ignored: Vec<String>,
}

/// The key of one call of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskKey {
    /// The dataset: project, domain, `flyte_task-<task name>`, and cache version with interface hashes.
    pub dataset: core::Identifier,
    /// `flyte_cached-<hash of the inputs>`.
    pub tag: String,
    /// The same field by field.
    pub fields: KeyFields,
    /// The cache service's name of the entry.
    pub(crate) entry: String,
}

impl TaskKey {
    /// The key by which the cache service knows the entry.
    pub fn cache_key(&self) -> &str {
        &self.entry
    }

    pub(crate) fn dataset_id(&self) -> CatalogDatasetId {
        dataset_id(&self.dataset)
    }
}

/// The part of the key that all calls of a task share. For a fan-out, make it once.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    task: String,
    dataset: core::Identifier,
    /// Hash of the task's name.
    identifier: String,
    cache_version: String,
    input_interface: String,
    output_interface: String,
    ignored: Vec<String>,
    has_inputs: bool,
}

impl Signature {
    /// Reads what counts of a template.
    ///
    /// # Errors
    /// A template without id or cache version, or with a type that has no JSON form.
    pub fn of(template: &core::TaskTemplate) -> Result<Self, KeyError> {
        let version = template.metadata.as_ref().map(|it| it.discovery_version.as_str());
        Self::of_version(template, version.unwrap_or_default())
    }

    /// The same under a cache version that a node of its own gives the task.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn of_version(template: &core::TaskTemplate, cache_version: &str) -> Result<Self, KeyError> {
        let id = template.id.as_ref().ok_or(KeyError::NoId)?;
        let task = id.name.clone();
        let metadata = template.metadata.as_ref();
        let cache_version = cache_version.trim_matches(' ').to_owned();
        if cache_version.is_empty() {
            return Err(KeyError::NoVersion { task });
        }
        let interface = template.interface.as_ref();
        let short = |map: Option<&core::VariableMap>| {
            let hash =
                hash::variables(map).map_err(|source| KeyError::Interface { task: task.clone(), source })?;
            Ok(hash::url_text(&hash).chars().take(INTERFACE_LEN).collect::<String>())
        };
        let inputs = interface.and_then(|it| it.inputs.as_ref());
        let input_interface = short(inputs)?;
        let output_interface = short(interface.and_then(|it| it.outputs.as_ref()))?;
        let dataset = core::Identifier {
            resource_type: core::ResourceType::Dataset.into(),
            org: id.org.clone(),
            project: id.project.clone(),
            domain: id.domain.clone(),
            name: format!("{DATASET_PREFIX}{task}"),
            version: format!("{cache_version}-{input_interface}-{output_interface}"),
        };
        Ok(Self {
            identifier: task_text(&dataset_id(&dataset), &task),
            ignored: metadata.map(|it| it.cache_ignore_input_vars.clone()).unwrap_or_default(),
            has_inputs: inputs.is_some_and(|it| !it.variables.is_empty()),
            task,
            dataset,
            cache_version,
            input_interface,
            output_interface,
        })
    }

    /// The key of a call with these inputs.
    ///
    /// # Errors
    /// An input that has no JSON form.
    pub fn key(&self, inputs: &core::LiteralMap) -> Result<TaskKey, KeyError> {
        let none = Default::default();
        let literals = if self.has_inputs { &inputs.literals } else { &none };
        let (each, all) = hash::hashed_inputs(literals, &self.ignored)
            .map_err(|source| KeyError::Inputs { task: self.task.clone(), source })?;
        let all = hash::url_text(&all);
        let short = |hash| hash::url_text(hash).chars().take(INPUT_LEN).collect();
        let Self { identifier, cache_version, input_interface, output_interface, .. } = self;
        Ok(TaskKey {
            dataset: self.dataset.clone(),
            entry: format!("{identifier}-{input_interface}-{output_interface}-{all}-{cache_version}"),
            tag: format!("{TAG_PREFIX}{all}"),
            fields: KeyFields {
                cache_version: cache_version.clone(),
                input_interface: input_interface.clone(),
                output_interface: output_interface.clone(),
                inputs: each.iter().map(|(name, hash)| (name.clone(), short(hash))).collect(),
                ignored: self.ignored.clone(),
            },
        })
    }
}

/// The key under which the outputs of a task with these inputs are cached.
///
/// # Errors
/// A template without id or cache version, or a type or value that has no JSON form.
pub fn task_key(template: &core::TaskTemplate, inputs: &core::LiteralMap) -> Result<TaskKey, KeyError> {
    Signature::of(template)?.key(inputs)
}

/// The hash that Flyte gives a literal when it is moved to the object store.
///
/// # Errors
/// A value that has no JSON form.
pub fn literal_hash(literal: &core::Literal) -> Result<String, HashError> {
    Ok(hash::url_text(&hash::literal(literal)?))
}

/// The store's name of a dataset.
pub(crate) fn dataset_id(dataset: &core::Identifier) -> CatalogDatasetId {
    CatalogDatasetId {
        org: dataset.org.clone(),
        project: dataset.project.clone(),
        domain: dataset.domain.clone(),
        name: dataset.name.clone(),
        version: dataset.version.clone(),
    }
}

fn task_text(dataset: &CatalogDatasetId, task: &str) -> String {
    hash::identifier_text(&core::Identifier {
        resource_type: core::ResourceType::Task.into(),
        org: dataset.org.clone(),
        project: dataset.project.clone(),
        domain: dataset.domain.clone(),
        name: task.to_owned(),
        version: String::new(),
    })
}

/// A dataset's version, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VersionParts<'a> {
    pub(crate) cache_version: &'a str,
    pub(crate) input_interface: &'a str,
    pub(crate) output_interface: &'a str,
}

/// Takes a dataset's version apart; `None` when it is not one of a task.
pub(crate) fn version_parts(version: &str) -> Option<VersionParts<'_>> {
    let (rest, output_interface) = split_hash(version, INTERFACE_LEN)?;
    let (cache_version, input_interface) = split_hash(rest, INTERFACE_LEN)?;
    (!cache_version.is_empty()).then_some(VersionParts { cache_version, input_interface, output_interface })
}

fn split_hash(text: &str, len: usize) -> Option<(&str, &str)> {
    let at = text.len().checked_sub(len)?;
    let (rest, hash) = (text.get(..at)?, text.get(at..)?);
    Some((rest.strip_suffix('-')?, hash)).filter(|(_, hash)| hash.bytes().all(is_hash_byte))
}

fn is_hash_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// A key of the cache service, taken apart; those of engines other than Flyte's have another form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheKeyParts<'a> {
    pub(crate) identifier: &'a str,
    pub(crate) input_interface: &'a str,
    pub(crate) output_interface: &'a str,
    pub(crate) inputs: &'a str,
    pub(crate) cache_version: &'a str,
}

impl<'a> CacheKeyParts<'a> {
    /// Hash of the name, hashes of the interface, hash of the inputs, cache version.
    pub(crate) fn parse(key: &'a str) -> Option<Self> {
        let (identifier, rest) = (key.get(..44)?, key.get(44..)?.strip_prefix('-')?);
        let (input_interface, rest) = (rest.get(..8)?, rest.get(8..)?.strip_prefix('-')?);
        let (output_interface, rest) = (rest.get(..8)?, rest.get(8..)?.strip_prefix('-')?);
        let (inputs, rest) = (rest.get(..43)?, rest.get(43..)?.strip_prefix('-')?);
        let cache_version = rest.trim_matches(' ');
        let is_identifier = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        let sound = identifier.bytes().all(is_identifier)
            && [input_interface, output_interface, inputs].iter().all(|it| it.bytes().all(is_hash_byte))
            && !cache_version.is_empty();
        sound.then_some(Self { identifier, input_interface, output_interface, inputs, cache_version })
    }

    /// Whether the key is one of this task.
    pub(crate) fn is_of(&self, task: &core::Identifier) -> bool {
        hash::identifier_text(task) == self.identifier
    }

    /// Dataset and tag of the same entry.
    pub(crate) fn dataset_and_tag(&self, task: &core::Identifier) -> (CatalogDatasetId, String) {
        let dataset = CatalogDatasetId {
            org: task.org.clone(),
            project: task.project.clone(),
            domain: task.domain.clone(),
            name: format!("{DATASET_PREFIX}{}", task.name),
            version: format!("{}-{}-{}", self.cache_version, self.input_interface, self.output_interface),
        };
        (dataset, format!("{TAG_PREFIX}{}", self.inputs))
    }

    fn text(&self) -> String {
        let Self { identifier, input_interface, output_interface, inputs, cache_version } = self;
        format!("{identifier}-{input_interface}-{output_interface}-{inputs}-{cache_version}")
    }
}

/// The name in the store of the entry that has this tag in this dataset. Where a key of the cache service means the
/// same entry, it is that key.
pub(crate) fn entry_of_tag(dataset: &CatalogDatasetId, tag: &str) -> String {
    let task = dataset.name.strip_prefix(DATASET_PREFIX);
    let inputs = tag.strip_prefix(TAG_PREFIX).filter(|it| it.len() == 43);
    if let (Some(task), Some(inputs), Some(version)) = (task, inputs, version_parts(&dataset.version)) {
        let parts = CacheKeyParts {
            identifier: &task_text(dataset, task),
            input_interface: version.input_interface,
            output_interface: version.output_interface,
            inputs,
            cache_version: version.cache_version,
        };
        return parts.text();
    }
    let CatalogDatasetId { org, project, domain, name, version } = dataset;
    named("tag", &serde_json::json!([org, project, domain, name, version, tag]).to_string())
}

/// The name in the store of the entry that the cache service knows by this key.
pub(crate) fn entry_of_cache_key(key: &str) -> String {
    CacheKeyParts::parse(key).map_or_else(|| named("key", key), |parts| parts.text())
}

/// A name that can't be one of Flyte's, and is not too long for an index.
fn named(kind: &str, text: &str) -> String {
    const MAX: usize = 1024;
    if text.len() <= MAX {
        return format!("{kind}:{text}");
    }
    format!("{kind}:sha256:{}", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(text)))
}
