//! Holds the settings of the launch room: defaults of executions and limits of requests.

use std::collections::BTreeMap;

use config::{Duration, Size};
use proto::flyteidl::admin::{Annotations, Envs, Labels, RawOutputDataConfig, WorkflowExecutionConfig};
use proto::flyteidl::core::{Identity, KeyValuePair, SecurityContext};
use serde::{Deserialize, Serialize};

/// Defaults of executions and limits of requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Domains that every project has. Default `development`, `staging`, `production`.
    pub domains: Vec<String>,
    /// How many nodes of one execution run at once, unless its launch plan or the request says so. 0 is no limit.
    /// Default 25.
    pub max_parallelism: i32,
    /// Largest input literal map, encoded. Default 16 MiB.
    pub max_inputs_size: Size,
    /// Most labels, and most annotations, of one execution. Default 16.
    pub max_label_entries: usize,
    /// How deep executions may start executions. Default 32.
    pub max_nesting: i32,
    /// Cluster named in executions that no rule assigned to one. Default empty: the worker's choice.
    pub cluster: String,
    /// Clusters by the label that executions or attributes ask for: for each label its clusters with their weights.
    /// An execution's name decides between them. Default none.
    pub cluster_labels: BTreeMap<String, BTreeMap<String, u32>>,
    /// Clusters in which another engine drives the executions and reports events; this host's workers leave those
    /// executions alone. Default none.
    pub external_clusters: Vec<String>,
    /// Cluster pool that all executions of a domain are assigned to, unless an attribute says so. Default none.
    pub cluster_pools: BTreeMap<String, String>,
    /// Queues that batch services run tasks in, each with the tags that attributes and domains ask for. Default none.
    pub queues: BTreeMap<String, Vec<String>>,
    /// Tags of the queue for executions of a domain, unless an attribute says so; the empty domain stands for all
    /// others. Default none.
    pub domain_queue_tags: BTreeMap<String, Vec<String>>,
    /// Quality of service (`HIGH`, `MEDIUM`, `LOW`) of the executions of a domain, unless the request, the launch
    /// plan, the workflow or an attribute says so. Default none.
    pub domain_quality_of_service: BTreeMap<String, String>,
    /// How long executions of a quality of service may wait before they run. Default none: any time.
    pub queueing_budgets: BTreeMap<String, Duration>,
    /// What executions get where nothing else says so.
    pub defaults: Defaults,
}

/// What executions get where neither the request nor the launch plan nor an attribute says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Defaults {
    /// Whether tasks may run on machines that can be taken away. Default false.
    pub interruptible: bool,
    /// Whether cached outputs are computed anew. Default false.
    pub overwrite_cache: bool,
    /// Where tasks write their data. Default empty: the place of the blob room.
    pub raw_output_prefix: String,
    /// Kubernetes service account of the tasks. Default empty: the worker's choice.
    pub service_account: String,
    /// IAM role of the tasks. Default empty.
    pub iam_role: String,
    /// Labels. Default none.
    pub labels: BTreeMap<String, String>,
    /// Annotations. Default none.
    pub annotations: BTreeMap<String, String>,
    /// Environment variables of the tasks. Default none.
    pub envs: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            domains: ["development", "staging", "production"].map(str::to_owned).to_vec(),
            max_parallelism: 25,
            max_inputs_size: Size::from_mib(16),
            max_label_entries: 16,
            max_nesting: 32,
            cluster: String::new(),
            cluster_labels: BTreeMap::new(),
            external_clusters: Vec::new(),
            cluster_pools: BTreeMap::new(),
            queues: BTreeMap::new(),
            domain_queue_tags: BTreeMap::new(),
            domain_quality_of_service: BTreeMap::new(),
            queueing_budgets: BTreeMap::new(),
            defaults: Defaults::default(),
        }
    }
}

impl Config {
    /// Refuses settings under which nothing can be launched.
    ///
    /// # Errors
    /// A sentence about the first contradiction.
    pub fn validate(&self) -> Result<(), String> {
        if self.domains.is_empty() || self.domains.iter().any(String::is_empty) {
            return Err("domains: at least one is needed, and none may be empty".to_owned());
        }
        if self.max_parallelism < 0 {
            return Err(format!("max-parallelism: {} is negative; 0 is no limit", self.max_parallelism));
        }
        if self.max_inputs_size.bytes() == 0 {
            return Err("max-inputs-size: 0 would refuse every request".to_owned());
        }
        for (label, clusters) in &self.cluster_labels {
            if clusters.values().all(|weight| *weight == 0) {
                return Err(format!("cluster-labels: `{label}` needs a cluster with a weight above 0"));
            }
        }
        for domain in self.cluster_pools.keys().chain(self.domain_quality_of_service.keys()) {
            if !self.domains.contains(domain) {
                return Err(format!("domain `{domain}` is none of domains: {}", self.domains.join(", ")));
            }
        }
        for tier in self.domain_quality_of_service.values().chain(self.queueing_budgets.keys()) {
            if crate::quality::tier(tier).is_none() {
                return Err(format!("quality of service `{tier}` is none of HIGH, MEDIUM, LOW"));
            }
        }
        Ok(())
    }

    /// What executions get where nothing else says so, in the form that attributes have.
    pub fn execution_config(&self) -> WorkflowExecutionConfig {
        let Defaults { service_account, iam_role, labels, annotations, envs, .. } = &self.defaults;
        let run_as = Identity {
            iam_role: iam_role.clone(),
            k8s_service_account: service_account.clone(),
            ..Identity::default()
        };
        let security = SecurityContext { run_as: Some(run_as), ..SecurityContext::default() };
        let pair = |(key, value): (&String, &String)| KeyValuePair { key: key.clone(), value: value.clone() };
        let prefix = &self.defaults.raw_output_prefix;
        WorkflowExecutionConfig {
            max_parallelism: self.max_parallelism,
            security_context: (!iam_role.is_empty() || !service_account.is_empty()).then_some(security),
            raw_output_data_config: (!prefix.is_empty())
                .then(|| RawOutputDataConfig { output_location_prefix: prefix.clone() }),
            labels: (!labels.is_empty()).then(|| Labels { values: labels.clone() }),
            annotations: (!annotations.is_empty()).then(|| Annotations { values: annotations.clone() }),
            interruptible: self.defaults.interruptible.then_some(true),
            overwrite_cache: self.defaults.overwrite_cache,
            envs: (!envs.is_empty()).then(|| Envs { values: envs.iter().map(pair).collect() }),
            execution_env_assignments: Vec::new(),
        }
    }
}
