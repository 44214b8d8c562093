//! Answers `flyteidl.cacheservice.CacheService` over the same entries: outputs by one key.

use model::Timestamp;
use prost::Message;
use proto::flyteidl::cacheservice as cs;
use proto::flyteidl::core;
use store::{CatalogArtifactRow, CatalogDatasetId, CatalogFilter, CatalogPut};

use crate::catalog::Catalog;
use crate::datasets::text;
use crate::entry;
use crate::error::{Error, Result, decode};
use crate::key::{CacheKeyParts, DATASET_PREFIX, entry_of_cache_key};
use crate::metric;

/// Longest key.
const MAX_KEY: usize = 1024;
/// Under which the type of an entry's source is noted where it is no task.
const SOURCE_TYPE: &str = "source-type";

fn check_key(key: &str) -> Result<&str> {
    match key.len() {
        0 => Err(Error::Invalid("missing key".to_owned())),
        1..=MAX_KEY => Ok(key),
        n => Err(Error::Invalid(format!("key has {n} bytes; at most {MAX_KEY} are allowed"))),
    }
}

/// Where an entry belongs: dataset, tag, and whether it is one of a task that the key names.
fn place(key: &str, source: &core::Identifier) -> (CatalogDatasetId, String, bool) {
    let task = core::Identifier { resource_type: core::ResourceType::Task.into(), ..source.clone() };
    match CacheKeyParts::parse(key).filter(|parts| parts.is_of(&task) || parts.is_of(source)) {
        Some(parts) => {
            let (dataset, tag) = parts.dataset_and_tag(source);
            (dataset, tag, true)
        }
        None => {
            let dataset = CatalogDatasetId {
                project: source.project.clone(),
                domain: source.domain.clone(),
                name: source.name.clone(),
                version: source.version.clone(),
                org: source.org.clone(),
            };
            (dataset, key.to_owned(), false)
        }
    }
}

fn source_identifier(row: &CatalogArtifactRow, kind: Option<&String>) -> core::Identifier {
    let dataset = &row.dataset;
    let task = dataset.name.strip_prefix(DATASET_PREFIX).filter(|_| kind.is_none());
    let known = kind.and_then(|name| core::ResourceType::from_str_name(name));
    core::Identifier {
        resource_type: known.unwrap_or(core::ResourceType::Task).into(),
        project: dataset.project.clone(),
        domain: dataset.domain.clone(),
        name: task.unwrap_or(&dataset.name).to_owned(),
        version: if task.is_some() { row.task_version.clone() } else { dataset.version.clone() },
        org: dataset.org.clone(),
    }
}

impl Catalog {
    /// Reads the output under a key.
    ///
    /// # Errors
    /// A key that is none, nothing under it, or the database.
    pub async fn get_cached(&self, key: &str) -> Result<cs::CachedOutput> {
        let entry = entry_of_cache_key(check_key(key)?);
        let mut found = self.store.catalog_lookup(&[&entry]).await?;
        let row = found.remove(&entry).filter(|row| row.evicted_at.is_none());
        let Some(row) = row else {
            metrics::counter!(metric::MISSES, "cause" => "nothing").increment(1);
            return Err(Error::not_found("cached output", key));
        };
        metrics::counter!(metric::HITS).increment(1);
        let kept: proto::datacatalog::Artifact = decode(&row.message, "artifact", &row.artifact_id)?;
        let mut values = kept.metadata.map(|it| it.key_map).unwrap_or_default();
        let kind = values.remove(SOURCE_TYPE);
        if !row.task_version.is_empty() {
            values.entry("task-version".to_owned()).or_insert_with(|| row.task_version.clone());
        }
        let metadata = cs::Metadata {
            source_identifier: Some(source_identifier(&row, kind.as_ref())),
            key_map: Some(cs::KeyMapMetadata { values }),
            created_at: Some(row.created_at.to_proto()),
            last_updated_at: Some(row.updated_at.to_proto()),
        };
        let output = if row.outputs_uri.is_empty() {
            let outputs = decode(&row.outputs, "outputs", &row.artifact_id)?;
            cs::cached_output::Output::OutputLiterals(outputs)
        } else {
            cs::cached_output::Output::OutputUri(row.outputs_uri)
        };
        Ok(cs::CachedOutput { output: Some(output), metadata: Some(metadata) })
    }

    /// Stores an output under a key.
    ///
    /// # Errors
    /// An incomplete output, one that is there unless `overwrite`, the database or the object store.
    pub async fn put_cached(
        &self,
        key: &str,
        output: Option<&cs::CachedOutput>,
        overwrite: bool,
        now: Timestamp,
    ) -> Result<()> {
        use cs::cached_output::Output;
        let missing = |what: &str| Error::Invalid(format!("missing {what}"));
        let cached = output.ok_or_else(|| missing("output"))?;
        let output = cached.output.as_ref().ok_or_else(|| missing("output.output"))?;
        let metadata = cached.metadata.clone().unwrap_or_default();
        let source =
            metadata.source_identifier.ok_or_else(|| missing("output.metadata.source_identifier"))?;
        let (dataset, tag, is_task) = place(check_key(key)?, &source);
        for (part, name) in [
            (&dataset.project, "source_identifier.project"),
            (&dataset.domain, "source_identifier.domain"),
            (&dataset.name, "source_identifier.name"),
        ] {
            text(part, name)?;
        }
        let mut values = metadata.key_map.map(|it| it.values).unwrap_or_default();
        let (made_by, mut task_version) = entry::source_in(&dataset, &Default::default(), &values);
        if task_version.is_empty() {
            task_version.clone_from(&source.version);
        }
        if !is_task {
            values.insert(SOURCE_TYPE.to_owned(), source.resource_type().as_str_name().to_owned());
        }
        let content = match output {
            Output::OutputLiterals(outputs) => outputs.encode_to_vec(),
            Output::OutputUri(uri) => uri.clone().into_bytes(),
        };
        let entry_name = entry_of_cache_key(key);
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&content));
        let artifact_id = entry::stable_uuid(&[&entry_name, &now.0.to_string(), &digest]);
        let dataset_message = entry::dataset_message(entry::dataset_metadata(&task_version));
        let mut artifact = entry::row(dataset, artifact_id.clone(), made_by, task_version, now);
        artifact.message = entry::artifact_message(proto::datacatalog::Metadata { key_map: values });
        if let Some(created_at) = &metadata.created_at {
            artifact.created_at = Timestamp::from_proto(created_at).min(now);
        }
        match output {
            Output::OutputLiterals(outputs) => self.outputs.place(&mut artifact, outputs).await?,
            Output::OutputUri(uri) => {
                blob::DataReference::parse(uri.as_str())
                    .map_err(|error| Error::Invalid(format!("output_uri: {error}")))?;
                artifact.outputs_uri.clone_from(uri);
            }
        }
        let written = CatalogArtifactRow { outputs: Vec::new(), ..artifact.clone() };
        let put = CatalogPut {
            key: entry_name,
            tag,
            overwrite,
            dataset_uuid: entry::dataset_uuid(&artifact.dataset),
            dataset_message,
            artifact,
        };
        let stale_before = crate::config::limit_micros(self.config.max_age).map(|max| now.plus(-max));
        let stored = self.store.catalog_put(vec![put], stale_before, now).await?;
        self.outputs.remove(&stored.dropped.iter().collect::<Vec<_>>()).await;
        if stored.artifacts.first().is_some_and(|row| row.artifact_id != artifact_id) {
            self.outputs.remove(&[&written]).await;
            metrics::counter!(metric::PUTS, "outcome" => "kept").increment(1);
            return Err(store::Error::Exists { what: "cached output", id: key.to_owned() }.into());
        }
        metrics::counter!(metric::PUTS, "outcome" => "stored").increment(1);
        Ok(())
    }

    /// Removes the output under a key. It is no error when there is none.
    ///
    /// # Errors
    /// A key that is none, or the database.
    pub async fn delete_cached(&self, key: &str, now: Timestamp) -> Result<()> {
        let filter = CatalogFilter { key: entry_of_cache_key(check_key(key)?), ..CatalogFilter::default() };
        self.evict_filtered(&filter, now).await.map(drop)
    }

    /// Takes or prolongs the reservation of a key, or says who has it.
    ///
    /// # Errors
    /// An incomplete request, or the database.
    pub async fn reserve_cached(
        &self,
        request: &cs::GetOrExtendReservationRequest,
        now: Timestamp,
    ) -> Result<cs::Reservation> {
        let entry = entry_of_cache_key(check_key(&request.key)?);
        let owner = text(&request.owner_id, "owner_id")?;
        let heartbeat = self.outside_heartbeat(request.heartbeat_interval.as_ref());
        let row = self.reserve_entry(&entry, owner, heartbeat, now, None).await?;
        Ok(cs::Reservation {
            key: request.key.clone(),
            owner_id: row.owner,
            heartbeat_interval: Some(model::time::duration_to_proto(row.heartbeat)),
            expires_at: Some(row.expires_at.to_proto()),
        })
    }

    /// Gives the reservation of a key back. It is no error when it is not held.
    ///
    /// # Errors
    /// An incomplete request, or the database.
    pub async fn release_cached(&self, key: &str, owner: &str) -> Result<()> {
        let entry = entry_of_cache_key(check_key(key)?);
        self.release_entry(&entry, text(owner, "owner_id")?).await
    }
}
