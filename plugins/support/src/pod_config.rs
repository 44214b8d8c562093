//! Settings that shape every pod, whatever task type makes it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// How pods are built and read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PodConfig {
    /// Requests of a container that states none, for example `cpu: 500m`. Kubernetes quantities.
    pub default_requests: Map<String, Value>,
    /// The same for eager tasks, before `default-requests`. They spend their time waiting for the executions that they
    /// start: what they hold is not there for those.
    pub eager_requests: Map<String, Value>,
    /// Labels put on every pod.
    pub default_labels: BTreeMap<String, String>,
    /// Annotations put on every pod.
    pub default_annotations: BTreeMap<String, String>,
    /// Environment variables set in every container, unless the task sets them itself.
    pub default_env: BTreeMap<String, String>,
    /// Pod templates by name: `metadata` and `spec` of a PodTemplate's `template`. A task names one with
    /// `pod_template_name`; containers called `default` and `primary` in it are the base of all and of the primary one.
    pub pod_templates: BTreeMap<String, Value>,
    /// The pod template of tasks that name none; empty for none.
    pub default_pod_template: String,
    /// Scheduler that places the pods; empty for the cluster's own.
    pub scheduler_name: String,
    /// Tolerations of interruptible tasks, as Kubernetes writes them.
    pub interruptible_tolerations: Vec<Value>,
    /// Node labels that interruptible tasks need.
    pub interruptible_node_selector: BTreeMap<String, String>,
    /// Seconds a pod may stay unable to create a container before the attempt fails.
    pub create_container_error_grace_period_seconds: i64,
    /// Seconds a pod may fail to pull its image before the attempt fails.
    pub image_pull_backoff_grace_period_seconds: i64,
    /// Seconds a pod may be pending before the attempt fails; 0 for no limit.
    pub pod_pending_timeout_seconds: i64,
    /// Delete the pod when its attempt is finalized. By default the cluster's garbage collection decides.
    pub delete_resource_on_finalize: bool,
}

impl Default for PodConfig {
    fn default() -> Self {
        let requests = [("cpu".to_owned(), Value::from("250m")), ("memory".to_owned(), Value::from("200Mi"))];
        Self {
            default_requests: requests.into_iter().collect(),
            eager_requests: [("cpu".to_owned(), Value::from("10m"))].into_iter().collect(),
            default_labels: BTreeMap::new(),
            default_annotations: BTreeMap::new(),
            default_env: BTreeMap::new(),
            pod_templates: BTreeMap::new(),
            default_pod_template: String::new(),
            scheduler_name: String::new(),
            interruptible_tolerations: Vec::new(),
            interruptible_node_selector: BTreeMap::new(),
            create_container_error_grace_period_seconds: 180,
            image_pull_backoff_grace_period_seconds: 180,
            pod_pending_timeout_seconds: 0,
            delete_resource_on_finalize: false,
        }
    }
}
