//! Holds what is settled about an execution at its launch and needed for every task of it.

use std::collections::BTreeMap;

use blob::DataReference;
use engine::Settings;
use model::{EntityId, ExecutionId, LaunchSettings, Timestamp};
use prost::Message;
use proto::flyteidl::admin::{ExecutionSpec, TaskResourceSpec, execution_metadata::ExecutionMode};
use proto::flyteidl::core::{ResourceType, Resources, resources::ResourceEntry, resources::ResourceName};
use store::row::{ExecutionKey, ExecutionRow};

use crate::config::{ArrayParallelism, Config};

/// What every task of an execution shares.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) key: ExecutionKey,
    pub(crate) id: ExecutionId,
    pub(crate) workflow: EntityId,
    pub(crate) launch_plan: Option<EntityId>,
    pub(crate) namespace: String,
    pub(crate) cluster: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) env: BTreeMap<String, String>,
    /// `core.SecurityContext`.
    pub(crate) security_context: Vec<u8>,
    pub(crate) service_account: String,
    pub(crate) default_resources: Option<Resources>,
    pub(crate) limit_resources: Option<Resources>,
    pub(crate) metadata_root: DataReference,
    pub(crate) raw_root: DataReference,
    pub(crate) console_url: String,
    pub(crate) created_at: Timestamp,
    pub(crate) settings: Settings,
    /// What its place settled at launch and is not in its spec.
    pub(crate) launch: LaunchSettings,
    /// `admin.ExecutionSpec`, of which executions that nodes start inherit.
    pub(crate) spec: Vec<u8>,
    /// How many executions it is nested in.
    pub(crate) nesting: i32,
    /// Cached outputs are not looked up, but replaced.
    pub(crate) overwrite_cache: bool,
    /// The execution whose results it takes over, when it recovers one.
    pub(crate) recovers: Option<ExecutionId>,
}

impl Info {
    /// Reads the row of an execution; the error is a spec or prefix that cannot be read.
    pub(crate) fn read(
        row: &ExecutionRow,
        config: &Config,
        metadata_root: DataReference,
        raw_root: DataReference,
    ) -> Result<Self, String> {
        let spec = ExecutionSpec::decode(row.spec.as_slice())
            .map_err(|error| format!("the stored execution spec cannot be read: {error}"))?;
        let raw_prefix =
            spec.raw_output_data_config.as_ref().map(|raw| raw.output_location_prefix.trim_end_matches('/'));
        let raw_root = match raw_prefix.filter(|prefix| !prefix.is_empty()) {
            Some(prefix) => DataReference::parse(prefix).map_err(|error| error.to_string())?,
            None => raw_root,
        };
        let launch = LaunchSettings::decode(row.settings.as_slice())
            .map_err(|error| format!("the stored launch settings cannot be read: {error}"))?;
        let (default_resources, limit_resources) = match &launch.task_resources {
            Some(found) => (quantities(found.defaults.as_ref()), quantities(found.limits.as_ref())),
            None => (config.tasks.default_resources.clone(), config.tasks.limit_resources.clone()),
        };
        let (project, domain) = (&row.id.project, &row.id.domain);
        Ok(Self {
            key: row.key,
            id: row.id.clone(),
            workflow: row.workflow.clone(),
            launch_plan: launch_plan(row, &spec),
            namespace: format!("{project}-{domain}"),
            cluster: row.cluster.clone(),
            labels: over(&config.tasks.labels, spec.labels.as_ref().map(|labels| &labels.values)),
            annotations: over(
                &config.tasks.annotations,
                spec.annotations.as_ref().map(|annotations| &annotations.values),
            ),
            env: env(config, &spec),
            security_context: spec.security_context.as_ref().map(Message::encode_to_vec).unwrap_or_default(),
            service_account: service_account(config, &spec),
            default_resources: resources(&default_resources, false),
            limit_resources: resources(&limit_resources, true),
            metadata_root,
            raw_root,
            console_url: config.console_url.trim_end_matches('/').to_owned(),
            created_at: row.created_at,
            settings: settings(row, config, &spec),
            launch,
            spec: row.spec.clone(),
            nesting: row.nesting,
            overwrite_cache: spec.overwrite_cache,
            recovers: row.source.clone().filter(|_| row.mode == ExecutionMode::Recovered as i32),
        })
    }

    /// A file or directory of the execution's metadata, by its key from [`model::layout`].
    pub(crate) fn metadata_uri(&self, key: &str) -> String {
        self.metadata_root.join(key).as_str().to_owned()
    }
}

/// The launch plan, or the task that stands in for one.
fn launch_plan(row: &ExecutionRow, spec: &ExecutionSpec) -> Option<EntityId> {
    let named = spec.launch_plan.as_ref().filter(|id| id.resource_type() == ResourceType::LaunchPlan);
    row.launch_plan.clone().or_else(|| EntityId::from_proto(model::EntityKind::LaunchPlan, named?).ok())
}

fn settings(row: &ExecutionRow, config: &Config, spec: &ExecutionSpec) -> Settings {
    let micros = |limit: config::Duration| i64::try_from(limit.as_micros()).unwrap_or(i64::MAX);
    Settings {
        max_parallelism: match u32::try_from(spec.max_parallelism) {
            Ok(0) | Err(_) => config.tasks.max_parallelism,
            Ok(asked) => asked,
        },
        interruptible: spec.interruptible.unwrap_or(false),
        default_max_attempts: config.tasks.max_attempts,
        max_system_failures: config.tasks.system_retries,
        interruptible_failure_threshold: config.tasks.interruptible_failure_threshold,
        default_execution_timeout_micros: micros(config.tasks.execution_timeout),
        default_active_timeout_micros: micros(config.tasks.active_timeout),
        array_parallelism: match config.array_parallelism {
            ArrayParallelism::Unlimited => engine::ArrayParallelism::Unlimited,
            ArrayParallelism::Workflow => engine::ArrayParallelism::Workflow,
            ArrayParallelism::Hybrid => engine::ArrayParallelism::Hybrid,
        },
        max_elements_in_flight: config.max_elements_in_flight,
        max_nodes: config.max_execution_nodes,
        inputs_uri: row.inputs_uri.as_str().into(),
        ..Settings::default()
    }
}

fn over(
    defaults: &BTreeMap<String, String>,
    own: Option<&BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let mut all = defaults.clone();
    all.extend(own.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
    all
}

/// What tasks find in their environment: how to reach the platform, then what the configuration says, then what the
/// execution says.
fn env(config: &Config, spec: &ExecutionSpec) -> BTreeMap<String, String> {
    let mut env = platform_env(config);
    env.extend(config.tasks.env.clone());
    let own = spec.envs.iter().flat_map(|envs| &envs.values);
    env.extend(own.map(|pair| (pair.key.clone(), pair.value.clone())));
    env
}

fn platform_env(config: &Config) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let url = config.tasks.platform_url.trim_end_matches('/');
    if let Some((scheme, address)) = url.split_once("://") {
        env.insert("FLYTE_PLATFORM_URL".to_owned(), address.to_owned());
        env.insert("FLYTE_PLATFORM_INSECURE".to_owned(), (scheme != "https").to_string());
    }
    let offloading = &config.literal_offloading;
    if offloading.enabled {
        let whole_mib = |size: config::Size| (size.bytes() >> 20).max(1).to_string();
        env.insert("_F_L_MIN_SIZE_MB".to_owned(), whole_mib(offloading.min_size));
        env.insert("_F_L_MAX_SIZE_MB".to_owned(), whole_mib(offloading.max_size));
    }
    env
}

#[allow(deprecated, reason = "clients of old versions still name their service account there")]
fn service_account(config: &Config, spec: &ExecutionSpec) -> String {
    let run_as = spec.security_context.as_ref().and_then(|context| context.run_as.as_ref());
    let named = run_as.map(|identity| identity.k8s_service_account.as_str()).filter(|name| !name.is_empty());
    let role = spec.auth_role.as_ref().map(|role| role.kubernetes_service_account.as_str());
    named.or(role.filter(|name| !name.is_empty())).unwrap_or(&config.tasks.service_account).to_owned()
}

/// Quantities of attributes by the names that the configuration has for them.
fn quantities(spec: Option<&TaskResourceSpec>) -> BTreeMap<String, String> {
    let Some(spec) = spec else { return BTreeMap::new() };
    let named = [
        ("cpu", &spec.cpu),
        ("gpu", &spec.gpu),
        ("memory", &spec.memory),
        ("storage", &spec.storage),
        ("ephemeral-storage", &spec.ephemeral_storage),
    ];
    let given = named.into_iter().filter(|(_, quantity)| !quantity.is_empty());
    given.map(|(name, quantity)| (name.to_owned(), quantity.clone())).collect()
}

fn resources(quantities: &BTreeMap<String, String>, limits: bool) -> Option<Resources> {
    let entry = |(name, value): (&String, &String)| {
        let name = match name.as_str() {
            "cpu" => ResourceName::Cpu,
            "gpu" => ResourceName::Gpu,
            "memory" => ResourceName::Memory,
            "storage" => ResourceName::Storage,
            "ephemeral-storage" => ResourceName::EphemeralStorage,
            _ => return None,
        };
        Some(ResourceEntry { name: name.into(), value: value.clone() })
    };
    let entries: Vec<_> = quantities.iter().filter_map(entry).collect();
    match (entries.is_empty(), limits) {
        (true, _) => None,
        (false, true) => Some(Resources { limits: entries, ..Resources::default() }),
        (false, false) => Some(Resources { requests: entries, ..Resources::default() }),
    }
}
