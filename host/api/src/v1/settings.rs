//! Shows what attributes and configuration settled about an execution at its launch, beside what its spec says.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use model::{ExecutionId, LaunchSettings};
use proto::flyteidl::admin::{PluginOverride, TaskResourceSpec, plugin_override::MissingPluginBehavior};
use serde::Serialize;

use super::Answer;
use crate::context::{Context, decode};

#[derive(Serialize)]
pub(super) struct Settings {
    /// Cluster that was chosen; empty leaves it to the worker.
    cluster: String,
    /// Queue that batch services run the tasks in; empty leaves it to them.
    queue: String,
    /// Values for the templates of cluster resources.
    cluster_resources: BTreeMap<String, String>,
    /// How many seconds the execution may wait before it runs; `null` is any time.
    queueing_budget_seconds: Option<f64>,
    /// Resources of tasks that ask for none, where the configuration's are not taken.
    default_resources: BTreeMap<&'static str, String>,
    /// The most that tasks may ask for.
    resource_limits: BTreeMap<&'static str, String>,
    plugin_overrides: Vec<Override>,
}

#[derive(Serialize)]
struct Override {
    task_type: String,
    plugins: Vec<String>,
    /// Whether tasks fail, or take the usual plugin, when none of these is there.
    if_missing: &'static str,
}

/// The settings of an execution as they were at its launch.
pub(super) async fn show(
    State(cx): State<Arc<Context>>,
    Path((project, domain, name)): Path<(String, String, String)>,
) -> Answer<Settings> {
    let row = cx.execution(&ExecutionId::new(&project, &domain, &name)).await?;
    let found: LaunchSettings = decode(&row.settings, "settings", &row.id)?;
    let resources = found.task_resources.unwrap_or_default();
    Ok(Json(Settings {
        cluster: row.cluster,
        queue: found.queue,
        cluster_resources: found.cluster_resources,
        queueing_budget_seconds: found
            .queueing_budget
            .map(|budget| budget.seconds as f64 + f64::from(budget.nanos) / 1e9),
        default_resources: quantities(resources.defaults),
        resource_limits: quantities(resources.limits),
        plugin_overrides: found.plugin_overrides.into_iter().map(plugin_override).collect(),
    }))
}

/// Those that are set.
fn quantities(spec: Option<TaskResourceSpec>) -> BTreeMap<&'static str, String> {
    let Some(spec) = spec else { return BTreeMap::new() };
    let all = [
        ("cpu", spec.cpu),
        ("gpu", spec.gpu),
        ("memory", spec.memory),
        ("storage", spec.storage),
        ("ephemeral_storage", spec.ephemeral_storage),
    ];
    all.into_iter().filter(|(_, quantity)| !quantity.is_empty()).collect()
}

fn plugin_override(found: PluginOverride) -> Override {
    let if_missing = match found.missing_plugin_behavior() {
        MissingPluginBehavior::Fail => "fail",
        MissingPluginBehavior::UseDefault => "use default",
    };
    Override { task_type: found.task_type, plugins: found.plugin_id, if_missing }
}
