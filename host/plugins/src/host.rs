//! Is the room: loads what may be loaded, reports on the rest, and hands out plugins by task type.

use std::collections::BTreeMap;
use std::sync::Arc;

use semver::Version;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::candidate::{self, Accepted};
use crate::config::Config;
use crate::plugin::Plugin;
use crate::refusal::{Refusal, RefusalKind};
use crate::registry::{Claim, Registry, ResolveError};
use crate::report::{PluginReport, PluginState};
use crate::services::HostServices;
use crate::start::Room;

/// The plugins of this host.
#[derive(Debug)]
pub struct Host {
    /// By id; the newest version first.
    plugins: BTreeMap<String, Vec<Arc<Plugin>>>,
    registry: Registry,
    reports: Vec<PluginReport>,
    recovered: watch::Sender<u64>,
}

impl Host {
    /// Loads the plugins. A bad file never fails this: it is quarantined, and [`Host::report`] says why.
    pub async fn load(config: Config, services: Arc<dyn HostServices>) -> Self {
        let room = Room::new(config, services);
        let settings = Arc::clone(&room.config);
        let examined = tokio::task::spawn_blocking(move || {
            let (examined, mut reports) = candidate::examine_all(&settings);
            let (accepted, more) = candidate::select(examined, &settings);
            reports.extend(more);
            (accepted, reports)
        });
        // Reading files can not panic by itself; if it does, the host starts without plugins and says so.
        let (accepted, mut reports) = examined.await.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot look for plugins");
            Default::default()
        });
        let mut plugins: BTreeMap<String, Vec<Arc<Plugin>>> = BTreeMap::new();
        for (accepted, started) in start_all(&room, accepted).await {
            let mut report = candidate::report_of(&accepted.file, PluginState::Loaded);
            match started {
                Ok(plugin) => {
                    report.isolation = Some(accepted.isolation);
                    plugins.entry(plugin.meta().metadata.id.clone()).or_default().push(Arc::new(plugin));
                }
                Err(refusal) => report.state = PluginState::Quarantined(refusal),
            }
            reports.push(report);
        }
        for versions in plugins.values_mut() {
            versions.sort_by_key(|plugin| std::cmp::Reverse(version(&plugin.meta().metadata.version)));
        }
        reports.sort_by(|a, b| (&a.id, &a.version, &a.file).cmp(&(&b.id, &b.version, &b.file)));
        let registry = Registry::new(&claims(&plugins, &reports), &room.config.task_types);
        let host = Self { plugins, registry, reports, recovered: room.recovered.clone() };
        host.announce();
        host
    }

    /// What became of every file and every configured plugin, as of now.
    pub fn report(&self) -> Vec<PluginReport> {
        let mut reports = self.reports.clone();
        for report in reports.iter_mut().filter(|report| report.state == PluginState::Loaded) {
            let versions = report.id.as_ref().and_then(|id| self.plugins.get(id));
            let same = |plugin: &&Arc<Plugin>| Some(&plugin.meta().sha256) == report.sha256.as_ref();
            if let Some(reason) =
                versions.into_iter().flatten().find(same).and_then(|plugin| plugin.quarantined())
            {
                report.state = PluginState::Quarantined(unstable(reason));
            }
        }
        reports
    }

    /// What keeps a task type from being served: two claimants, a quarantined or misconfigured plugin.
    pub fn problems(&self) -> Vec<ResolveError> {
        self.registry.problems().cloned().collect()
    }

    /// The plugin that serves new attempts of a task type.
    ///
    /// # Errors
    /// Says why there is none.
    pub fn resolve(&self, task_type: &str) -> Result<Arc<Plugin>, ResolveError> {
        let id = self.registry.resolve(task_type)?;
        let newest = self.plugins.get(id).and_then(|versions| versions.first());
        newest
            .cloned()
            .ok_or_else(|| ResolveError::Unclaimed { task_type: task_type.into(), hint: String::new() })
    }

    /// The very plugin that an attempt was started with; the newest version when that one is gone.
    pub fn plugin(&self, id: &str, version: &str) -> Option<Arc<Plugin>> {
        let versions = self.plugins.get(id)?;
        let same = versions.iter().find(|plugin| plugin.meta().metadata.version == version);
        same.or_else(|| versions.first()).cloned()
    }

    /// Changes when a quarantined plugin may have recovered at a time that nobody could foretell: a thread that hung in
    /// it came back.
    pub fn recoveries(&self) -> watch::Receiver<u64> {
        self.recovered.subscribe()
    }

    /// All loaded plugins, old versions included.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.plugins.values().flatten()
    }

    /// Task types that are served, with the id of their plugin.
    pub fn task_types(&self) -> impl Iterator<Item = (&str, &str)> {
        self.registry.served()
    }

    /// Ends all plugins, at the same time. No call follows.
    pub async fn drain(&self) {
        futures::future::join_all(self.plugins().map(|plugin| plugin.drain())).await;
    }

    fn announce(&self) {
        for report in &self.reports {
            let id = report.id.as_deref().unwrap_or("?");
            let file = report.file.as_deref().map(std::path::Path::display).map(|path| path.to_string());
            let file = file.unwrap_or_default();
            match &report.state {
                PluginState::Loaded => {
                    let (version, isolation) = (report.version.as_deref(), report.isolation);
                    tracing::info!(plugin = id, version, ?isolation, file, "plugin loaded");
                }
                PluginState::Disabled => tracing::info!(plugin = id, file, "plugin disabled"),
                PluginState::Quarantined(refusal) => {
                    tracing::warn!(plugin = id, file, reason = %refusal, "plugin quarantined");
                }
            }
        }
        for problem in self.registry.problems() {
            tracing::warn!(reason = %problem, "task type not served");
        }
    }
}

/// Starts plugins side by side; the order is that of the argument.
async fn start_all(room: &Room, accepted: Vec<Accepted>) -> Vec<(Accepted, Result<Plugin, Refusal>)> {
    let mut starts = JoinSet::new();
    for (place, accepted) in accepted.into_iter().enumerate() {
        let room = room.clone();
        starts.spawn(async move {
            let started = room.start(&accepted).await;
            (place, accepted, started)
        });
    }
    let mut results = Vec::new();
    while let Some(joined) = starts.join_next().await {
        match joined {
            Ok(result) => results.push(result),
            Err(error) => tracing::error!(%error, "a plugin was lost while it started"),
        }
    }
    results.sort_by_key(|(place, ..)| *place);
    results.into_iter().map(|(_, accepted, started)| (accepted, started)).collect()
}

fn claims(plugins: &BTreeMap<String, Vec<Arc<Plugin>>>, reports: &[PluginReport]) -> Vec<Claim> {
    let loaded = plugins.iter().filter_map(|(id, versions)| {
        let metadata = &versions.first()?.meta().metadata;
        Some(Claim {
            id: id.clone(),
            task_types: metadata.task_types.clone(),
            default_for: metadata.default_for.clone(),
            quarantined: None,
        })
    });
    let mut claims: Vec<Claim> = loaded.collect();
    for report in reports {
        let (Some(id), PluginState::Quarantined(refusal)) = (&report.id, &report.state) else { continue };
        if claims.iter().all(|claim| claim.id != *id) {
            claims.push(Claim {
                id: id.clone(),
                task_types: report.task_types.clone(),
                default_for: Vec::new(),
                quarantined: Some(refusal.to_string()),
            });
        }
    }
    claims
}

fn unstable(reason: String) -> Refusal {
    Refusal::new(
        RefusalKind::Unstable,
        reason,
        "a plugin that answers",
        "it is tried again by itself; look at its log, or go back to its last version",
    )
}

fn version(text: &str) -> Option<Version> {
    Version::parse(text).ok()
}
