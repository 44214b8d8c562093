//! Looks up and stores cached outputs, and notes who used them.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use blob::Blob;
use futures::{StreamExt as _, stream};
use model::{ExecutionId, Timestamp};
use proto::flyteidl::core;
use store::{CatalogArtifactRow, CatalogDatasetId, CatalogFilter, CatalogPut, CatalogUseRow, Store};

use crate::config::{Config, limit_micros};
use crate::entry::{self, Outputs};
use crate::error::{Error, Result};
use crate::explanation::{Cause, Explanation, Other};
use crate::key::{TaskKey, dataset_id};
use crate::{fields, metric};

/// Entries of the same task that a miss is compared with.
const MAX_OTHERS: u32 = 20;
/// Other versions of the task, when the one at hand has no entries.
const MAX_VERSIONS: u32 = 5;
/// Outputs read or written at once.
const CONCURRENCY: usize = 32;

/// The catalog. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub(crate) store: Store,
    pub(crate) outputs: Outputs,
    pub(crate) config: Config,
}

/// What a lookup found.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// Outputs that can be taken.
    Hit(Box<Hit>),
    /// Nothing, and why.
    Miss(Explanation),
}

impl Lookup {
    /// Why it found what it found.
    pub fn explanation(&self) -> &Explanation {
        match self {
            Self::Hit(hit) => &hit.explanation,
            Self::Miss(explanation) => explanation,
        }
    }
}

/// Cached outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The outputs.
    pub outputs: core::LiteralMap,
    /// Where they are from, as clients read it.
    pub metadata: core::CatalogMetadata,
    /// Where they are from, as people read it.
    pub explanation: Explanation,
}

/// Outputs to store.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// The key.
    pub key: &'a TaskKey,
    /// What made them.
    pub source: &'a core::TaskExecutionIdentifier,
    /// The outputs.
    pub outputs: &'a core::LiteralMap,
    /// Whether they take the place of an entry that is there.
    pub overwrite: bool,
}

impl Catalog {
    /// A catalog with the default settings. Opens nothing and starts nothing.
    pub fn new(store: Store, blob: Blob) -> Self {
        Self::with_config(Config::default(), store, blob)
    }

    /// A catalog. Opens nothing and starts nothing.
    pub fn with_config(config: Config, store: Store, blob: Blob) -> Self {
        let max_inline = usize::try_from(config.max_inline_size.bytes()).unwrap_or(usize::MAX);
        let outputs = Outputs { blob, prefix: config.outputs_prefix.clone(), max_inline };
        Self { store, outputs, config }
    }

    /// The settings this catalog was made from.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Looks for the outputs of a call. `max_age_micros` is how old they may be, besides what the settings say.
    ///
    /// # Errors
    /// The database or the object store.
    pub async fn lookup(&self, key: &TaskKey, max_age_micros: Option<i64>, now: Timestamp) -> Result<Lookup> {
        let found = self.lookup_many(std::slice::from_ref(key), max_age_micros, now).await?;
        found.into_iter().next().ok_or_else(|| Error::not_found("lookup of", &key.tag))
    }

    /// Looks for the outputs of many calls with one statement; the answers are in the order of the keys.
    ///
    /// # Errors
    /// The database or the object store.
    pub async fn lookup_many(
        &self,
        keys: &[TaskKey],
        max_age_micros: Option<i64>,
        now: Timestamp,
    ) -> Result<Vec<Lookup>> {
        let start = Instant::now();
        let max_age = [limit_micros(self.config.max_age), max_age_micros].into_iter().flatten().min();
        let names: Vec<&str> = keys.iter().map(TaskKey::cache_key).collect();
        let rows = self.store.catalog_lookup(&names).await?;
        // Gathered first: a closure kept while they are awaited would hide that the future may be sent.
        let reads: Vec<_> =
            keys.iter().map(|key| self.read_hit(key, rows.get(key.cache_key()), max_age, now)).collect();
        let mut reads = stream::iter(reads).buffered(CONCURRENCY);
        let mut found = Vec::with_capacity(keys.len());
        while let Some(lookup) = reads.next().await {
            found.push(lookup?);
        }
        drop(reads);
        let mut others: HashMap<CatalogDatasetId, Vec<Other>> = HashMap::new();
        let mut lookups = Vec::with_capacity(keys.len());
        let mut n_hits = 0;
        for (key, lookup) in keys.iter().zip(found) {
            let lookup = match lookup {
                Some(lookup) => lookup,
                None => {
                    let dataset = key.dataset_id();
                    if !others.contains_key(&dataset) {
                        let rows = self.others(&dataset).await?;
                        others.insert(dataset.clone(), rows);
                    }
                    let others = others.get(&dataset).map(Vec::as_slice).unwrap_or_default();
                    Lookup::Miss(Explanation::of_miss(key, others, now))
                }
            };
            match &lookup {
                Lookup::Hit(_) => n_hits += 1,
                Lookup::Miss(why) => {
                    metrics::counter!(metric::MISSES, "cause" => why.cause.word()).increment(1);
                }
            }
            lookups.push(lookup);
        }
        metrics::counter!(metric::HITS).increment(n_hits);
        metrics::histogram!(metric::LOOKUP_SECONDS).record(start.elapsed());
        Ok(lookups)
    }

    /// Turns a row into an answer; `None` when there is no row.
    async fn read_hit(
        &self,
        key: &TaskKey,
        row: Option<&CatalogArtifactRow>,
        max_age: Option<i64>,
        now: Timestamp,
    ) -> Result<Option<Lookup>> {
        let Some(row) = row else { return Ok(None) };
        let miss = |cause| Ok(Some(Lookup::Miss(Explanation::of_entry(key, cause, row, now))));
        if let Some(at) = row.evicted_at {
            return miss(Cause::Evicted { ago_micros: now.since(at) });
        }
        if let Some(max_age_micros) = max_age.filter(|max| now.since(row.updated_at) > *max) {
            return miss(Cause::TooOld { max_age_micros });
        }
        let outputs = match self.outputs.read(row).await {
            Ok(Some(outputs)) => outputs,
            Ok(None) => return miss(Cause::Lost),
            Err(error @ Error::Decode { .. }) => {
                tracing::warn!(artifact = row.artifact_id, %error, "cached outputs can't be read");
                return miss(Cause::Lost);
            }
            Err(error) => return Err(error),
        };
        Ok(Some(Lookup::Hit(Box::new(Hit {
            outputs,
            metadata: entry::metadata_of(row, &key.tag),
            explanation: Explanation::of_entry(key, Cause::Found, row, now),
        }))))
    }

    /// Entries of the same task to explain a miss by: those of the same dataset, or else those of other
    /// versions of it.
    pub(crate) async fn others(&self, dataset: &CatalogDatasetId) -> Result<Vec<Other>> {
        let rows = self.store.catalog_newest(dataset, MAX_OTHERS).await?;
        if !rows.is_empty() {
            return Ok(rows.into_iter().map(Other::new).collect());
        }
        let mut others = Vec::new();
        for version in self.store.catalog_versions(dataset, MAX_VERSIONS).await? {
            if version.id != *dataset {
                let rows = self.store.catalog_newest(&version.id, MAX_OTHERS).await?;
                others.extend(rows.into_iter().map(Other::new));
            }
        }
        Ok(others)
    }

    /// Stores the outputs of a call. An entry that is there stays unless `overwrite`, or it is evicted or older than
    /// the settings allow; the answer is the entry that is found from now on.
    ///
    /// # Errors
    /// The database or the object store.
    pub async fn put(
        &self,
        key: &TaskKey,
        source: &core::TaskExecutionIdentifier,
        outputs: &core::LiteralMap,
        overwrite: bool,
        now: Timestamp,
    ) -> Result<core::CatalogMetadata> {
        let stored = self.put_many(&[Put { key, source, outputs, overwrite }], now).await?;
        stored.into_iter().next().ok_or_else(|| Error::not_found("entry", &key.tag))
    }

    /// Stores the outputs of many calls in one transaction; the answers are in the order of the calls.
    ///
    /// # Errors
    /// The database or the object store; then none is stored.
    pub async fn put_many(&self, puts: &[Put<'_>], now: Timestamp) -> Result<Vec<core::CatalogMetadata>> {
        let preparing: Vec<_> = puts.iter().map(|put| self.prepare(put, now)).collect();
        let mut rows = stream::iter(preparing).buffered(CONCURRENCY);
        let mut prepared = Vec::with_capacity(puts.len());
        while let Some(row) = rows.next().await {
            prepared.push(row?);
        }
        drop(rows);
        let written: Vec<CatalogArtifactRow> = prepared
            .iter()
            .map(|put| &put.artifact)
            .filter(|row| !row.outputs_uri.is_empty())
            .map(|row| CatalogArtifactRow { outputs: Vec::new(), ..row.clone() })
            .collect();
        let stale_before = limit_micros(self.config.max_age).map(|max| now.plus(-max));
        let stored = self.store.catalog_put(prepared, stale_before, now).await?;
        // What lost against an entry that was there, and what was replaced.
        let kept: HashSet<&str> = stored.artifacts.iter().map(|row| row.outputs_uri.as_str()).collect();
        let mut dropped: Vec<&CatalogArtifactRow> = written.iter().chain(&stored.dropped).collect();
        dropped.retain(|row| !kept.contains(row.outputs_uri.as_str()));
        self.outputs.remove(&dropped).await;
        Ok(puts
            .iter()
            .zip(&stored.artifacts)
            .map(|(put, row)| {
                let is_new = row.artifact_id == artifact_id(put);
                let outcome = if is_new { "stored" } else { "kept" };
                metrics::counter!(metric::PUTS, "outcome" => outcome).increment(1);
                entry::metadata_of(row, &put.key.tag)
            })
            .collect())
    }

    async fn prepare(&self, put: &Put<'_>, now: Timestamp) -> Result<CatalogPut> {
        let dataset = put.key.dataset_id();
        let source = entry::source_of(put.source);
        let task_version = entry::task_version_of(put.source);
        let dataset_message = entry::dataset_message(entry::dataset_metadata(&task_version));
        let mut artifact = entry::row(dataset, artifact_id(put), source, task_version, now);
        artifact.fields = fields::encode(&put.key.fields);
        self.outputs.place(&mut artifact, put.outputs).await?;
        Ok(CatalogPut {
            key: put.key.cache_key().to_owned(),
            tag: put.key.tag.clone(),
            overwrite: put.overwrite,
            dataset_uuid: entry::dataset_uuid(&artifact.dataset),
            dataset_message,
            artifact,
        })
    }

    /// Notes that a node took cached outputs: lineage, and the age by which unused entries are evicted.
    ///
    /// # Errors
    /// The database.
    pub async fn used(
        &self,
        artifact: &core::CatalogMetadata,
        by: &core::NodeExecutionIdentifier,
        now: Timestamp,
    ) -> Result<()> {
        self.used_many(&[(artifact, by)], now).await
    }

    /// The same for many nodes in one transaction.
    ///
    /// # Errors
    /// The database.
    pub async fn used_many(
        &self,
        uses: &[(&core::CatalogMetadata, &core::NodeExecutionIdentifier)],
        now: Timestamp,
    ) -> Result<()> {
        let row = |(artifact, by): &(&core::CatalogMetadata, &core::NodeExecutionIdentifier)| {
            let execution = by.execution_id.as_ref()?;
            Some(CatalogUseRow {
                dataset: dataset_id(artifact.dataset_id.as_ref()?),
                artifact_id: artifact.artifact_tag.as_ref()?.artifact_id.clone(),
                execution: ExecutionId::new(&execution.project, &execution.domain, &execution.name),
                node_id: by.node_id.clone(),
                used_at: now,
            })
        };
        let rows: Vec<CatalogUseRow> = uses.iter().filter_map(row).collect();
        if rows.is_empty() { Ok(()) } else { Ok(self.store.catalog_use_insert(rows).await?) }
    }

    /// The row of an artifact by its id, in whatever dataset.
    pub(crate) async fn artifact(&self, artifact_id: &str) -> Result<Option<CatalogArtifactRow>> {
        let filter = CatalogFilter {
            artifact_id: artifact_id.to_owned(),
            with_evicted: true,
            ..CatalogFilter::default()
        };
        let page = store::CatalogPage { limit: 1, ..store::CatalogPage::default() };
        Ok(self.store.catalog_artifact_list(&filter, page, false).await?.into_iter().next())
    }
}

fn artifact_id(put: &Put<'_>) -> String {
    entry::artifact_id(put.key.cache_key(), &entry::source_of(put.source))
}
