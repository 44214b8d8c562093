//! Lists entries and evicts them: by name, by what made them, by age.

use model::{ExecutionId, Timestamp};
use serde::{Deserialize, Serialize};
use store::{CatalogArtifactRow, CatalogFilter, CatalogPage};

use crate::catalog::Catalog;
use crate::config::limit_micros;
use crate::error::{Error, Result};
use crate::key::{DATASET_PREFIX, entry_of_cache_key};
use crate::metric;

/// Entries evicted in one transaction.
const BATCH: u32 = 500;
/// Evicted entries named in an answer; the others are counted.
const MAX_NAMED: u32 = 1_000;
/// An artifact without tag is one of a put that goes on, until it is this old.
const UNTAGGED_MICROS: i64 = 3_600_000_000;

/// Which entries; what is left out means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// Project of the task.
    pub project: String,
    /// Domain of the task.
    pub domain: String,
    /// Name of the task.
    pub task: String,
    /// Name of the dataset: `flyte_task-<task name>`, or whatever an engine outside says.
    pub dataset: String,
    /// Version of the dataset: cache version and interface hashes.
    pub version: String,
    /// Tag of the entry.
    pub tag: String,
    /// Id of the artifact.
    pub artifact: String,
    /// Key by which the cache service knows the entry.
    pub key: String,
    /// Name of the execution that made it; needs project and domain.
    pub execution: String,
    /// Node of that execution.
    pub node: String,
    /// Made longer than this many seconds ago.
    pub older_than: Option<u64>,
    /// Neither made nor used for this many seconds.
    pub unused_for: Option<u64>,
}

/// An entry as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Id of the artifact.
    pub artifact_id: String,
    /// Project of the task.
    pub project: String,
    /// Domain of the task.
    pub domain: String,
    /// Name of the dataset.
    pub dataset: String,
    /// Version of the dataset.
    pub version: String,
    /// Tags by which it is found.
    pub tags: Vec<String>,
    /// What made it, as `project/domain/execution/node`; empty where an engine outside did not say.
    pub made_by: String,
    /// The attempt that made it.
    pub attempt: u32,
    /// Version of the task that made it.
    pub task_version: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When its outputs were last replaced, RFC 3339.
    pub updated_at: String,
    /// When it was evicted, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evicted_at: Option<String>,
    /// Size of its outputs in bytes.
    pub size: i64,
    /// How many nodes took it.
    pub uses: u64,
    /// When a node took it last, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<String>,
}

/// A page of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entries {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Token of the next page; empty once a page was not full.
    pub token: String,
}

/// What was evicted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evicted {
    /// How many entries.
    pub count: u64,
    /// The first of them, oldest first.
    pub entries: Vec<Entry>,
}

impl Selection {
    /// Whether it selects everything.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    fn filter(&self, now: Timestamp) -> Result<CatalogFilter> {
        let before = |seconds: Option<u64>| {
            let micros = i64::try_from(seconds?.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
            Some(now.plus(micros.saturating_neg()))
        };
        let name = match (self.task.as_str(), self.dataset.as_str()) {
            ("", dataset) => dataset.to_owned(),
            (task, "") => format!("{DATASET_PREFIX}{task}"),
            (_, _) => return Err(Error::Invalid("give `task` or `dataset`, not both".to_owned())),
        };
        let source = match self.execution.as_str() {
            "" if !self.node.is_empty() => {
                return Err(Error::Invalid("`node` needs `execution`".to_owned()));
            }
            "" => None,
            _ if self.project.is_empty() || self.domain.is_empty() => {
                return Err(Error::Invalid("`execution` needs `project` and `domain`".to_owned()));
            }
            execution => Some(ExecutionId::new(&self.project, &self.domain, execution)),
        };
        // An execution may run a task of another project, so that the two are those of the execution then.
        let of_task = |text: &String| if source.is_some() { String::new() } else { text.clone() };
        Ok(CatalogFilter {
            project: of_task(&self.project),
            domain: of_task(&self.domain),
            name,
            version: self.version.clone(),
            org: None,
            artifact_id: self.artifact.clone(),
            tags: [&self.tag].into_iter().filter(|tag| !tag.is_empty()).cloned().collect(),
            key: if self.key.is_empty() { String::new() } else { entry_of_cache_key(&self.key) },
            partitions: Vec::new(),
            source,
            source_node: self.node.clone(),
            created_before: before(self.older_than),
            unused_since: before(self.unused_for),
            with_evicted: false,
        })
    }
}

/// RFC 3339.
pub(crate) fn shown(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.0).map(|time| time.to_string()).unwrap_or_default()
}

impl Catalog {
    /// Lists entries, newest first. The token is that of the page before, or empty.
    ///
    /// # Errors
    /// A selection that contradicts itself, a token that is none, or the database.
    pub async fn list(
        &self,
        selection: &Selection,
        limit: u32,
        token: &str,
        now: Timestamp,
    ) -> Result<Entries> {
        let offset = store::ListQuery::offset_of(token)?;
        let page = CatalogPage { limit: limit.clamp(1, 1_000), offset, ascending: false };
        let rows = self.store.catalog_artifact_list(&selection.filter(now)?, page, false).await?;
        let is_full = rows.len() as u64 >= u64::from(page.limit);
        let token = if is_full { (offset + rows.len() as u64).to_string() } else { String::new() };
        Ok(Entries { entries: self.entries(&rows).await?, token })
    }

    /// Evicts entries: what they held is gone, and the next call of their task computes again.
    ///
    /// # Errors
    /// A selection that contradicts itself, or the database; entries evicted until then stay so.
    pub async fn evict(&self, selection: &Selection, now: Timestamp) -> Result<Evicted> {
        self.evict_filtered(&selection.filter(now)?, now).await
    }

    /// What [`Self::evict`] would evict.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn evictable(&self, selection: &Selection, now: Timestamp) -> Result<Evicted> {
        let filter = selection.filter(now)?;
        let count = self.store.catalog_artifact_count(&filter).await?;
        let page = CatalogPage { limit: MAX_NAMED, offset: 0, ascending: true };
        let rows = self.store.catalog_artifact_list(&filter, page, false).await?;
        Ok(Evicted { count, entries: self.entries(&rows).await? })
    }

    pub(crate) async fn evict_filtered(&self, filter: &CatalogFilter, now: Timestamp) -> Result<Evicted> {
        let mut evicted = Evicted::default();
        loop {
            let rows = self.store.catalog_evict(filter, BATCH, now).await?;
            metrics::counter!(metric::EVICTIONS).increment(rows.len() as u64);
            self.outputs.remove(&rows.iter().collect::<Vec<_>>()).await;
            evicted.count += rows.len() as u64;
            let room = (MAX_NAMED as usize).saturating_sub(evicted.entries.len());
            evicted.entries.extend(self.entries(rows.get(..room.min(rows.len())).unwrap_or_default()).await?);
            if rows.is_empty() {
                return Ok(evicted);
            }
        }
    }

    /// Evicts and forgets what the settings say is too old, and ends reservations whose owners are silent.
    ///
    /// # Errors
    /// The database.
    pub async fn sweep(&self, now: Timestamp) -> Result<()> {
        let limits = [
            limit_micros(self.config.evict_after).map(|age| CatalogFilter {
                created_before: Some(now.plus(-age)),
                ..CatalogFilter::default()
            }),
            limit_micros(self.config.evict_unused_after)
                .map(|age| CatalogFilter { unused_since: Some(now.plus(-age)), ..CatalogFilter::default() }),
        ];
        for filter in limits.iter().flatten() {
            let count = self.evict_filtered(filter, now).await?.count;
            if count > 0 {
                tracing::info!(count, "old cache entries evicted");
            }
        }
        let dropped = self.store.catalog_evict_untagged(now.plus(-UNTAGGED_MICROS), now).await?;
        self.outputs.remove(&dropped.iter().collect::<Vec<_>>()).await;
        let keep = limit_micros(self.config.keep_evicted).unwrap_or_default();
        while self.store.catalog_forget(now.plus(-keep), BATCH).await? >= BATCH as usize {}
        self.store.catalog_reservation_sweep(now).await?;
        Ok(())
    }

    /// Sweeps now and then, until it is dropped.
    pub async fn run(&self) {
        loop {
            if let Err(error) = self.sweep(Timestamp::now()).await {
                tracing::warn!(%error, "cannot evict old cache entries");
            }
            tokio::time::sleep(self.config.sweep_interval.get()).await;
        }
    }

    pub(crate) async fn entries(&self, rows: &[CatalogArtifactRow]) -> Result<Vec<Entry>> {
        let tags = self.store.catalog_tags(rows).await?;
        let uses = self.store.catalog_use_counts(rows).await?;
        let entry = |row: &CatalogArtifactRow| {
            let is_of =
                |dataset: i64, artifact: &str| dataset == row.dataset_key && artifact == row.artifact_id;
            let uses = uses.iter().find(|uses| is_of(uses.dataset_key, &uses.artifact_id));
            let execution = &row.source.execution;
            let made_by = if execution.name.is_empty() {
                String::new()
            } else {
                let (project, domain, name) = (&execution.project, &execution.domain, &execution.name);
                format!("{project}/{domain}/{name}/{}", row.source.node_id)
            };
            Entry {
                artifact_id: row.artifact_id.clone(),
                project: row.dataset.project.clone(),
                domain: row.dataset.domain.clone(),
                dataset: row.dataset.name.clone(),
                version: row.dataset.version.clone(),
                tags: tags
                    .iter()
                    .filter(|tag| is_of(tag.dataset_key, &tag.artifact_id))
                    .map(|tag| tag.name.clone())
                    .collect(),
                made_by,
                attempt: row.source.attempt,
                task_version: row.task_version.clone(),
                created_at: shown(row.created_at),
                updated_at: shown(row.updated_at),
                evicted_at: row.evicted_at.map(shown),
                size: row.outputs_size,
                uses: uses.map_or(0, |uses| uses.n_uses),
                used_at: uses.map(|uses| shown(uses.last)),
            }
        };
        Ok(rows.iter().map(entry).collect())
    }
}
