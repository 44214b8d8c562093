//! Answers `datacatalog.DataCatalog` over the same entries: datasets, artifacts and tags by their names.

use std::collections::BTreeMap;

use model::Timestamp;
use prost::Message;
use proto::datacatalog as dc;
use proto::flyteidl::core::{Literal, LiteralMap};
use store::{
    CatalogArtifactRow, CatalogDatasetId, CatalogDatasetRow, CatalogFilter, CatalogPage, CatalogTagRow,
    CatalogTagging,
};

use crate::catalog::Catalog;
use crate::dataset_query::{artifact_filter, dataset_filter, next_token, page};
use crate::entry;
use crate::error::{Error, Result, decode};
use crate::key::entry_of_tag;
use crate::metric;

/// Longest part of a name.
const MAX_TEXT: usize = 512;

/// By what an artifact is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handle<'a> {
    /// Its id.
    Id(&'a str),
    /// A tag of it.
    Tag(&'a str),
}

/// Refuses an empty text and one that no index could hold.
pub(crate) fn text<'a>(value: &'a str, field: &str) -> Result<&'a str> {
    match value.len() {
        0 => Err(Error::Invalid(format!("missing {field}"))),
        1..=MAX_TEXT => Ok(value),
        n => Err(Error::Invalid(format!("{field} has {n} bytes; at most {MAX_TEXT} are allowed"))),
    }
}

/// Reads the name of a dataset.
pub(crate) fn dataset_id(id: Option<&dc::DatasetId>) -> Result<CatalogDatasetId> {
    let id = id.ok_or_else(|| Error::Invalid("missing dataset".to_owned()))?;
    if id.org.len() > MAX_TEXT {
        return Err(Error::Invalid(format!("org has more than {MAX_TEXT} bytes")));
    }
    Ok(CatalogDatasetId {
        project: text(&id.project, "dataset.project")?.to_owned(),
        domain: text(&id.domain, "dataset.domain")?.to_owned(),
        name: text(&id.name, "dataset.name")?.to_owned(),
        version: text(&id.version, "dataset.version")?.to_owned(),
        org: id.org.clone(),
    })
}

fn id_to_proto(id: &CatalogDatasetId) -> dc::DatasetId {
    dc::DatasetId {
        project: id.project.clone(),
        domain: id.domain.clone(),
        name: id.name.clone(),
        version: id.version.clone(),
        org: id.org.clone(),
        uuid: entry::dataset_uuid(id),
    }
}

fn dataset_to_proto(row: &CatalogDatasetRow) -> Result<dc::Dataset> {
    let kept: dc::Dataset = decode(&row.message, "dataset", &row.id)?;
    Ok(dc::Dataset { id: Some(id_to_proto(&row.id)), ..kept })
}

fn check_partitions(keys: &[String], partitions: &[dc::Partition]) -> Result<()> {
    let mut given: Vec<&str> = partitions.iter().map(|partition| partition.key.as_str()).collect();
    let mut wanted: Vec<&str> = keys.iter().map(String::as_str).collect();
    given.sort_unstable();
    wanted.sort_unstable();
    if given != wanted {
        return Err(Error::Invalid(format!(
            "partitions {given:?} do not match the partition keys {wanted:?} of the dataset"
        )));
    }
    for partition in partitions {
        text(&partition.value, "the value of a partition")?;
    }
    Ok(())
}

fn literals(data: &[dc::ArtifactData]) -> Result<LiteralMap> {
    if data.is_empty() {
        return Err(Error::Invalid("missing artifact data".to_owned()));
    }
    let literals = data.iter().map(|data| (data.name.clone(), data.value.clone().unwrap_or_default()));
    Ok(LiteralMap { literals: literals.collect() })
}

impl Catalog {
    /// Makes a dataset.
    ///
    /// # Errors
    /// An incomplete id, partition keys that come twice, a dataset that is there, or the database.
    pub async fn create_dataset(&self, dataset: Option<&dc::Dataset>, now: Timestamp) -> Result<()> {
        let dataset = dataset.ok_or_else(|| Error::Invalid("missing dataset".to_owned()))?;
        let id = dataset_id(dataset.id.as_ref())?;
        let mut keys = dataset.partition_keys.clone();
        keys.sort_unstable();
        if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Invalid(format!("partition key `{}` comes twice", twice[0])));
        }
        let kept = dc::Dataset { id: None, ..dataset.clone() };
        let row = CatalogDatasetRow {
            uuid: entry::dataset_uuid(&id),
            key: 0,
            created_at: now,
            message: kept.encode_to_vec(),
            id,
        };
        let name = row.id.to_string();
        if self.store.catalog_dataset_insert(row).await? {
            return Ok(());
        }
        Err(store::Error::Exists { what: "dataset", id: name }.into())
    }

    /// Reads a dataset.
    ///
    /// # Errors
    /// An incomplete id, no such dataset, or the database.
    pub async fn get_dataset(&self, id: Option<&dc::DatasetId>) -> Result<dc::Dataset> {
        dataset_to_proto(&self.dataset(&dataset_id(id)?).await?)
    }

    async fn dataset(&self, id: &CatalogDatasetId) -> Result<CatalogDatasetRow> {
        let row = self.store.catalog_dataset_get(id).await?;
        row.ok_or_else(|| Error::not_found("dataset", id))
    }

    /// Makes an artifact.
    ///
    /// # Errors
    /// An incomplete artifact, partitions that do not fit, no such dataset, an artifact that is there, the database or
    /// the object store.
    pub async fn create_artifact(&self, artifact: Option<&dc::Artifact>, now: Timestamp) -> Result<()> {
        let artifact = artifact.ok_or_else(|| Error::Invalid("missing artifact".to_owned()))?;
        let id = dataset_id(artifact.dataset.as_ref())?;
        let artifact_id = text(&artifact.id, "artifact.id")?;
        let outputs = literals(&artifact.data)?;
        let dataset = dataset_to_proto(&self.dataset(&id).await?)?;
        check_partitions(&dataset.partition_keys, &artifact.partitions)?;
        let map = |metadata: &Option<dc::Metadata>| {
            metadata.as_ref().map(|it| it.key_map.clone()).unwrap_or_default()
        };
        let (source, task_version) = entry::source_in(&id, &map(&dataset.metadata), &map(&artifact.metadata));
        let mut row = entry::row(id, artifact_id.to_owned(), source, task_version, now);
        row.message = dc::Artifact {
            metadata: artifact.metadata.clone(),
            partitions: artifact.partitions.clone(),
            ..dc::Artifact::default()
        }
        .encode_to_vec();
        self.outputs.place(&mut row, &outputs).await?;
        let partitions = artifact.partitions.iter().map(|it| (it.key.clone(), it.value.clone())).collect();
        self.store.catalog_artifact_insert(row, partitions).await?;
        metrics::counter!(metric::PUTS, "outcome" => "stored").increment(1);
        Ok(())
    }

    /// Reads an artifact with its outputs. By its id, the dataset may be left out.
    ///
    /// # Errors
    /// An incomplete handle, no such artifact, the database or the object store.
    pub async fn get_artifact(
        &self,
        dataset: Option<&dc::DatasetId>,
        handle: Handle<'_>,
    ) -> Result<dc::Artifact> {
        let row = self.find(dataset, handle).await?;
        let row = self.with_outputs(row).await?;
        let mut found = self.artifacts_to_proto(vec![row]).await?;
        let mut artifact = found.pop().ok_or_else(|| Error::not_found("artifact", "that was asked for"))?;
        if let Handle::Tag(name) = handle {
            // Flyte's engine takes the first tag for the one that was asked for.
            artifact.tags.sort_by_key(|tag| tag.name != name);
        }
        Ok(artifact)
    }

    async fn find(&self, dataset: Option<&dc::DatasetId>, handle: Handle<'_>) -> Result<CatalogArtifactRow> {
        let dataset = dataset.map(|id| dataset_id(Some(id))).transpose()?;
        match (handle, dataset) {
            (Handle::Tag(_), None) => Err(Error::Invalid("missing dataset".to_owned())),
            (Handle::Tag(name), Some(dataset)) => {
                let key = entry_of_tag(&dataset, text(name, "tag_name")?);
                let mut found = self.store.catalog_lookup(&[&key]).await?;
                let row = found.remove(&key).filter(|row| row.evicted_at.is_none());
                row.ok_or_else(|| Error::not_found("artifact with tag", name))
            }
            (Handle::Id(id), dataset) => {
                let dataset = dataset.unwrap_or_default();
                let filter = CatalogFilter {
                    project: dataset.project,
                    domain: dataset.domain,
                    name: dataset.name,
                    version: dataset.version,
                    artifact_id: text(id, "artifact_id")?.to_owned(),
                    ..CatalogFilter::default()
                };
                let page = CatalogPage { limit: 1, ..CatalogPage::default() };
                let found = self.store.catalog_artifact_list(&filter, page, true).await?;
                found.into_iter().next().ok_or_else(|| Error::not_found("artifact", id))
            }
        }
    }

    /// The row with its outputs in it, wherever they were.
    async fn with_outputs(&self, mut row: CatalogArtifactRow) -> Result<CatalogArtifactRow> {
        if !row.outputs_uri.is_empty() {
            let outputs = self.outputs.read(&row).await?;
            let outputs = outputs.ok_or_else(|| Error::not_found("outputs of artifact", &row.artifact_id))?;
            row.outputs = outputs.encode_to_vec();
        }
        Ok(row)
    }

    async fn artifacts_to_proto(&self, rows: Vec<CatalogArtifactRow>) -> Result<Vec<dc::Artifact>> {
        let tags = self.store.catalog_tags(&rows).await?;
        rows.iter().map(|row| artifact_to_proto(row, &tags)).collect()
    }

    /// Gives an artifact a tag.
    ///
    /// # Errors
    /// An incomplete tag, no such artifact, a tag that another has, or the database.
    pub async fn add_tag(&self, tag: Option<&dc::Tag>, now: Timestamp) -> Result<()> {
        let tag = tag.ok_or_else(|| Error::Invalid("missing tag".to_owned()))?;
        let dataset = dataset_id(tag.dataset.as_ref())?;
        let name = text(&tag.name, "tag.name")?;
        let tagging = CatalogTagging {
            key: entry_of_tag(&dataset, name),
            artifact_id: text(&tag.artifact_id, "tag.artifact_id")?.to_owned(),
            name: name.to_owned(),
            dataset,
            now,
        };
        Ok(self.store.catalog_tag_insert(tagging).await?)
    }

    /// Lists the artifacts of a dataset with their outputs, and the token of the next page.
    ///
    /// # Errors
    /// A filter or page that makes no sense, no such dataset, the database or the object store.
    pub async fn list_artifacts(
        &self,
        request: &dc::ListArtifactsRequest,
    ) -> Result<dc::ListArtifactsResponse> {
        let id = dataset_id(request.dataset.as_ref())?;
        self.dataset(&id).await?;
        let page = page(request.pagination.as_ref())?;
        let filter = artifact_filter(id, request.filter.as_ref())?;
        let rows = self.store.catalog_artifact_list(&filter, page, true).await?;
        let next_token = next_token(page, rows.len());
        let mut whole = Vec::with_capacity(rows.len());
        for row in rows {
            whole.push(self.with_outputs(row).await?);
        }
        Ok(dc::ListArtifactsResponse { artifacts: self.artifacts_to_proto(whole).await?, next_token })
    }

    /// Lists datasets, and the token of the next page.
    ///
    /// # Errors
    /// A filter or page that makes no sense, or the database.
    pub async fn list_datasets(&self, request: &dc::ListDatasetsRequest) -> Result<dc::ListDatasetsResponse> {
        let page = page(request.pagination.as_ref())?;
        let filter = dataset_filter(request.filter.as_ref())?;
        let rows = self.store.catalog_dataset_list(&filter, page).await?;
        let datasets = rows.iter().map(dataset_to_proto).collect::<Result<_>>()?;
        Ok(dc::ListDatasetsResponse { datasets, next_token: next_token(page, rows.len()) })
    }

    /// Replaces the outputs of an artifact, and its metadata where new ones are given. Says which artifact it was.
    ///
    /// # Errors
    /// An incomplete request, no such artifact, the database or the object store.
    pub async fn update_artifact(
        &self,
        dataset: Option<&dc::DatasetId>,
        handle: Handle<'_>,
        data: &[dc::ArtifactData],
        metadata: Option<&dc::Metadata>,
        now: Timestamp,
    ) -> Result<String> {
        let outputs = literals(data)?;
        let mut row = self.find(dataset, handle).await?;
        row.updated_at = now;
        if let Some(metadata) = metadata {
            let kept: dc::Artifact = decode(&row.message, "artifact", &row.artifact_id)?;
            row.message = dc::Artifact { metadata: Some(metadata.clone()), ..kept }.encode_to_vec();
            let of_task = BTreeMap::from([("task-version".to_owned(), row.task_version.clone())]);
            (row.source, row.task_version) = entry::source_in(&row.dataset, &of_task, &metadata.key_map);
        }
        self.outputs.place(&mut row, &outputs).await?;
        let (artifact_id, outputs_uri) = (row.artifact_id.clone(), row.outputs_uri.clone());
        let old = self.store.catalog_artifact_replace(row).await?;
        if old.outputs_uri != outputs_uri {
            self.outputs.remove(&[&old]).await;
        }
        Ok(artifact_id)
    }
}

fn artifact_to_proto(row: &CatalogArtifactRow, tags: &[CatalogTagRow]) -> Result<dc::Artifact> {
    let kept: dc::Artifact = decode(&row.message, "artifact", &row.artifact_id)?;
    let outputs: LiteralMap = decode(&row.outputs, "outputs", &row.artifact_id)?;
    let dataset = id_to_proto(&row.dataset);
    let is_of =
        |tag: &&CatalogTagRow| tag.dataset_key == row.dataset_key && tag.artifact_id == row.artifact_id;
    let tags = tags.iter().filter(is_of).map(|tag| dc::Tag {
        name: tag.name.clone(),
        artifact_id: row.artifact_id.clone(),
        dataset: Some(dataset.clone()),
    });
    let data = |(name, value): (String, Literal)| dc::ArtifactData { name, value: Some(value) };
    Ok(dc::Artifact {
        id: row.artifact_id.clone(),
        data: outputs.literals.into_iter().map(data).collect(),
        tags: tags.collect(),
        dataset: Some(dataset),
        created_at: Some(row.created_at.to_proto()),
        ..kept
    })
}
