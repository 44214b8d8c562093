//! Finds plugin files and decides, before any of them runs, which ones may be loaded.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use plugin_api::metadata::PluginMetadata;

use crate::config::{Config, Isolation, PluginConfig};
use crate::file::{self, FileId};
use crate::refusal::{Refusal, RefusalKind};
use crate::report::{PluginReport, PluginState};
use crate::{inspect, schema};

/// A file that may be a plugin.
#[derive(Debug, Clone)]
struct Candidate {
    path: PathBuf,
    /// Id under which the configuration names this file.
    configured: Option<String>,
}

/// A file that is a plugin.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) path: PathBuf,
    pub(crate) metadata: PluginMetadata,
    pub(crate) sha256: String,
    pub(crate) bytes: Vec<u8>,
    file_id: Option<FileId>,
    configured: Option<String>,
}

/// A plugin that may be loaded.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) file: Examined,
    pub(crate) config: PluginConfig,
    pub(crate) isolation: Isolation,
}

/// The files of the configuration, then those of the directories, each once and in a stable order.
fn find(config: &Config) -> Vec<Candidate> {
    let configured = config.plugins.iter().filter(|(_, plugin)| plugin.enabled);
    let mut candidates: Vec<Candidate> = configured
        .filter_map(|(id, plugin)| {
            Some(Candidate { path: plugin.path.clone()?, configured: Some(id.clone()) })
        })
        .collect();
    for dir in &config.dirs {
        let mut found: Vec<PathBuf> = match std::fs::read_dir(dir) {
            Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
            Err(error) => {
                tracing::debug!(dir = %dir.display(), %error, "plugin directory skipped");
                continue;
            }
        };
        found.retain(|path| path.extension().is_some_and(|extension| extension == "so"));
        found.sort();
        candidates.extend(found.into_iter().map(|path| Candidate { path, configured: None }));
    }
    let mut seen = std::collections::HashSet::new();
    candidates.retain(|candidate| seen.insert(candidate.path.clone()));
    candidates
}

/// Reads every candidate. Blocking; nothing of the files runs.
pub(crate) fn examine_all(config: &Config) -> (Vec<Examined>, Vec<PluginReport>) {
    let candidates = find(config);
    let (mut examined, mut reports) = (Vec::new(), Vec::new());
    for (candidate, result) in candidates.iter().zip(side_by_side(&candidates, |one| examine(one, config))) {
        match result {
            Ok(file) => examined.push(file),
            Err(refusal) => reports.push(PluginReport {
                id: candidate.configured.clone(),
                version: None,
                sha256: file::read(&candidate.path).ok().map(|bytes| file::digest(&bytes)),
                file: Some(candidate.path.clone()),
                task_types: Vec::new(),
                isolation: None,
                state: PluginState::Quarantined(refusal),
            }),
        }
    }
    (examined, reports)
}

/// Applies the function on a few threads; hashing large libraries is most of a start. Results keep their order.
fn side_by_side<T: Sync, R: Send>(items: &[T], function: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let n_threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(items.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else { return done };
            done.push((place, function(item)));
        }
    };
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..n_threads).map(|_| scope.spawn(work)).collect();
        let mut results = work();
        for other in others {
            // A panic in there goes on here.
            results.extend(other.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload)));
        }
        results
    });
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

fn examine(candidate: &Candidate, config: &Config) -> Result<Examined, Refusal> {
    let Candidate { path, configured } = candidate.clone();
    if !config.allow_world_writable {
        file::check_permissions(&path)?;
    }
    let bytes = file::read(&path)?;
    let sha256 = file::digest(&bytes);
    // A pin of this very path speaks before the content does: it names the cause of whatever else is wrong.
    let pin = configured.as_ref().and_then(|id| config.plugins.get(id)?.sha256.clone());
    if let (Some(id), Some(pin)) = (&configured, pin) {
        check_pin(id, &pin, &sha256)?;
    }
    let metadata = inspect::metadata(&bytes)?;
    Ok(Examined { file_id: FileId::of(&path), path, metadata, sha256, bytes, configured })
}

fn check_pin(id: &str, pin: &str, sha256: &str) -> Result<(), Refusal> {
    if pin.eq_ignore_ascii_case(sha256) {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalKind::WrongDigest,
        format!("sha256 {sha256}"),
        format!("sha256 {pin} as pinned for plugin {id}"),
        format!("restore the file, or correct `plugins.{id}.sha256` if the change was intended"),
    ))
}

/// Decides which of the plugins are loaded; the others get a report.
pub(crate) fn select(examined: Vec<Examined>, config: &Config) -> (Vec<Accepted>, Vec<PluginReport>) {
    let mut reports = missing(&examined, config);
    let mut accepted: Vec<Option<Accepted>> = Vec::new();
    let mut by_digest: HashMap<String, PathBuf> = HashMap::new();
    let mut by_file: HashMap<FileId, PathBuf> = HashMap::new();
    let mut by_version: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    let owners = owners(&examined);
    for file in examined {
        let id = file.metadata.id.clone();
        let plugin = config.plugin(&id);
        if !plugin.enabled {
            reports.push(report_of(&file, PluginState::Disabled));
            continue;
        }
        let twin: Option<&PathBuf> = by_digest.get(&file.sha256).or_else(|| by_file.get(&file.file_id?));
        let decision = match twin {
            Some(twin) => Err(duplicate(twin)),
            None => accept(&file, &plugin, config, owners.get(&id)),
        };
        match decision {
            Err(refusal) => reports.push(report_of(&file, PluginState::Quarantined(refusal))),
            Ok(isolation) => {
                by_digest.insert(file.sha256.clone(), file.path.clone());
                by_file.extend(file.file_id.map(|file_id| (file_id, file.path.clone())));
                by_version.entry((id, file.metadata.version.clone())).or_default().push(accepted.len());
                accepted.push(Some(Accepted { file, config: plugin, isolation }));
            }
        }
    }
    for ((id, version), places) in by_version.into_iter().filter(|(_, places)| places.len() > 1) {
        let group: Vec<Accepted> = places.into_iter().filter_map(|place| accepted[place].take()).collect();
        let paths: Vec<String> = group.iter().map(|one| one.file.path.display().to_string()).collect();
        for one in group {
            let refusal = Refusal::new(
                RefusalKind::Duplicate,
                format!("different files for plugin {id} {version}: {}", paths.join(", ")),
                "one file per plugin and version",
                format!("remove one, or choose by `plugins.{id}.path` or `plugins.{id}.sha256`"),
            );
            reports.push(report_of(&one.file, PluginState::Quarantined(refusal)));
        }
    }
    (accepted.into_iter().flatten().collect(), reports)
}

/// The configured file of each plugin that has one.
fn owners(examined: &[Examined]) -> HashMap<String, PathBuf> {
    let configured = examined.iter().filter(|file| file.configured.as_ref() == Some(&file.metadata.id));
    configured.map(|file| (file.metadata.id.clone(), file.path.clone())).collect()
}

fn duplicate(twin: &Path) -> Refusal {
    Refusal::new(
        RefusalKind::Duplicate,
        format!("the same library as {}", twin.display()),
        "each plugin once",
        "remove one of the two files",
    )
}

fn accept(
    file: &Examined,
    plugin: &PluginConfig,
    config: &Config,
    owner: Option<&PathBuf>,
) -> Result<Isolation, Refusal> {
    let id = &file.metadata.id;
    if let Some(configured) = file.configured.as_ref().filter(|configured| *configured != id) {
        return Err(Refusal::new(
            RefusalKind::BadConfig,
            format!("plugin {id} in the file that `plugins.{configured}.path` names"),
            format!("plugin {configured}"),
            format!("correct the path, or move the section to `plugins.{id}`"),
        ));
    }
    if let Some(owner) = owner.filter(|owner| **owner != file.path) {
        return Err(Refusal::new(
            RefusalKind::Duplicate,
            format!("another file for plugin {id}"),
            format!("only {}, which `plugins.{id}.path` names", owner.display()),
            "remove one of the two files",
        ));
    }
    if let Some(pin) = &plugin.sha256 {
        check_pin(id, pin, &file.sha256)?;
    }
    let trusted = is_trusted(&file.path, config);
    let pinned = plugin.sha256.is_some();
    if !trusted && !pinned && !config.allow_unpinned {
        return Err(Refusal::new(
            RefusalKind::NotPinned,
            format!("a file outside of `trusted-dirs` with sha256 {}", file.sha256),
            "a pinned digest, because `allow-unpinned` is off",
            format!("set `plugins.{id}.sha256` to this digest if you trust the file"),
        ));
    }
    schema::check(&file.metadata, &plugin.config)?;
    isolation(&file.metadata, plugin, trusted || pinned)
}

fn is_trusted(path: &Path, config: &Config) -> bool {
    let Ok(path) = std::fs::canonicalize(path) else { return false };
    let dirs = config.trusted_dirs.iter().filter_map(|dir| std::fs::canonicalize(dir).ok());
    dirs.into_iter().any(|dir| path.parent() == Some(&dir))
}

fn isolation(metadata: &PluginMetadata, plugin: &PluginConfig, trusted: bool) -> Result<Isolation, Refusal> {
    let aborts = metadata.panic == "abort";
    match plugin.isolation {
        Some(Isolation::InProcess) if aborts => Err(Refusal::new(
            RefusalKind::IncompatibleIsolation,
            "a library built with panic=abort, where any panic would end the host",
            "panic=unwind for a plugin in the host process",
            format!("set `plugins.{}.isolation: process`, or rebuild with panic=unwind", metadata.id),
        )),
        Some(isolation) => Ok(isolation),
        None if aborts || !trusted || metadata.isolation == "process" => Ok(Isolation::Process),
        None => Ok(Isolation::InProcess),
    }
}

/// Plugins that the configuration names and no file is.
fn missing(examined: &[Examined], config: &Config) -> Vec<PluginReport> {
    let known: Vec<&str> = examined.iter().map(|file| file.metadata.id.as_str()).collect();
    let wanted = config
        .plugins
        .iter()
        .filter(|(id, plugin)| plugin.enabled && plugin.path.is_none() && !known.contains(&id.as_str()));
    let report = |id: &String| {
        let hint =
            schema::closest(id, &known).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        let dirs: Vec<String> = config.dirs.iter().map(|dir| dir.display().to_string()).collect();
        let refusal = Refusal::new(
            RefusalKind::Unreadable,
            format!("no usable file with plugin {id} in {}{hint}", dirs.join(", ")),
            "a file for every enabled plugin of the configuration",
            format!("install it, set `plugins.{id}.path`, or remove `plugins.{id}`"),
        );
        PluginReport {
            id: Some(id.clone()),
            version: None,
            file: None,
            sha256: None,
            task_types: Vec::new(),
            isolation: None,
            state: PluginState::Quarantined(refusal),
        }
    };
    wanted.map(|(id, _)| report(id)).collect()
}

/// The report of a file that is a plugin.
pub(crate) fn report_of(file: &Examined, state: PluginState) -> PluginReport {
    PluginReport {
        id: Some(file.metadata.id.clone()),
        version: Some(file.metadata.version.clone()),
        file: Some(file.path.clone()),
        sha256: Some(file.sha256.clone()),
        task_types: file.metadata.task_types.clone(),
        isolation: None,
        state,
    }
}
