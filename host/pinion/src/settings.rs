//! Gathers the settings of all rooms into one configuration, and fills in what follows from the data directory and
//! the ports.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

/// What `pinion dev` knows beyond the defaults: settings for this machine that name plugins.
const DEV: &str = include_str!("../../../config/dev.yaml");

/// Stands for `server.public-url` in the settings of plugins.
const PUBLIC_URL: &str = "${server.public-url}";

/// Command line of the servers.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// YAML file, directory or pattern with settings; may be given several times, later ones override.
    #[arg(short, long = "config", value_name = "FILE", env = "PINION_CONFIG", value_delimiter = ',')]
    pub(crate) config: Vec<PathBuf>,
    /// Directory of the database, objects, logs and work files [default: ~/.pinion].
    #[arg(long, value_name = "DIR", env = "PINION_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) bind: Option<IpAddr>,
    /// Port of API, signed URLs, health and metrics [default: 30080 for dev, 8088 for serve].
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Port of the embedded S3 endpoint [default: 30002].
    #[arg(long)]
    pub(crate) s3_port: Option<u16>,
    /// One more directory of plugin files; may be given several times.
    #[arg(long, value_name = "DIR")]
    pub(crate) plugin_dir: Vec<PathBuf>,
    /// Any setting, as `section.key=value`; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// All settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// Directory of the database, objects, logs and work files. Default `~/.pinion`.
    pub(crate) data_dir: PathBuf,
    /// Where the host listens.
    pub(crate) server: Server,
    /// Logs.
    pub(crate) log: telemetry::Config,
    /// The database. An empty `url` is a SQLite file in the data directory.
    pub(crate) store: store::Config,
    /// The object store.
    pub(crate) blob: blob::Config,
    /// The cluster that runs containers as processes of this machine.
    pub(crate) local_cluster: cluster::local::Config,
    /// How plugins are found, verified, isolated and called.
    pub(crate) plugin_host: plugins::Config,
    /// Settings of each plugin, by its id.
    pub(crate) plugins: BTreeMap<String, plugins::PluginConfig>,
    /// Starting executions.
    pub(crate) launch: launch::Config,
    /// Driving executions.
    pub(crate) worker: worker::Config,
    /// Schedules and backfills.
    pub(crate) scheduler: scheduler::Config,
    /// Events and notifications.
    pub(crate) notify: notify::Config,
    /// Cached outputs.
    pub(crate) catalog: catalog::Config,
    /// The Flyte API.
    pub(crate) api: api::Config,
}

/// Where the host listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Server {
    /// Address to listen on. Loopback unless told otherwise: without authentication, whoever reaches the port may
    /// run anything.
    pub(crate) bind: IpAddr,
    /// Port of API, signed URLs, health and metrics.
    pub(crate) port: u16,
    /// Port of the embedded S3 endpoint; used when objects are local.
    pub(crate) s3_port: u16,
    /// How clients reach `port`. Empty: `http://localhost:<port>`.
    pub(crate) public_url: String,
    /// Projects that exist from the start.
    pub(crate) projects: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        Self {
            data_dir: home.join(".pinion"),
            server: Server::default(),
            log: telemetry::Config::default(),
            store: store::Config { url: config::Secret::default(), ..store::Config::default() },
            blob: blob::Config {
                public_url: String::new(),
                local: blob::LocalConfig { dir: PathBuf::new(), ..blob::LocalConfig::default() },
                ..blob::Config::default()
            },
            local_cluster: cluster::local::Config::default(),
            plugin_host: plugins::Config { cache_dir: PathBuf::new(), ..plugins::Config::default() },
            plugins: BTreeMap::new(),
            launch: launch::Config::default(),
            worker: worker::Config { console_url: String::new(), ..worker::Config::default() },
            scheduler: scheduler::Config::default(),
            notify: notify::Config::default(),
            catalog: catalog::Config::default(),
            api: api::Config::default(),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 30080,
            s3_port: 30002,
            public_url: String::new(),
            projects: vec!["flytesnacks".to_owned()],
        }
    }
}

/// Settings as loaded, with the origin of each.
pub(crate) type Loaded = config::Loaded<Settings>;

/// Reads and completes the settings. `is_dev` puts the settings of `pinion dev` beneath the files.
pub(crate) fn load(options: &Options, is_dev: bool) -> Result<Loaded> {
    let mut sources = config::Sources {
        files: options.config.clone(),
        env: std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        flags: flags(options)?,
        ..config::Sources::default()
    };
    if is_dev {
        sources.base.push(("config/dev.yaml (built in)".to_owned(), DEV.to_owned()));
    } else {
        sources.base.push(("defaults of `pinion serve`".to_owned(), "server:\n  port: 8088\n".to_owned()));
    }
    let mut loaded: Loaded = config::load(&sources)?;
    complete(&mut loaded.value)?;
    Ok(loaded)
}

fn flags(options: &Options) -> Result<Vec<(String, String)>> {
    let mut flags = Vec::new();
    for text in &options.set {
        let pair = config::Sources::parse_set(text)
            .with_context(|| format!("--set {text}: write it as section.key=value"))?;
        flags.push(pair);
    }
    let mut flag = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            flags.push((key.to_owned(), value));
        }
    };
    flag("data-dir", options.data_dir.as_ref().map(|dir| dir.display().to_string()));
    flag("server.bind", options.bind.map(|address| address.to_string()));
    flag("server.port", options.port.map(|port| port.to_string()));
    flag("server.s3-port", options.s3_port.map(|port| port.to_string()));
    Ok(flags)
}

/// Fills in what follows from other settings.
fn complete(settings: &mut Settings) -> Result<()> {
    settings.data_dir = std::path::absolute(&settings.data_dir)
        .with_context(|| format!("data-dir `{}` is no path", settings.data_dir.display()))?;
    let data = settings.data_dir.clone();
    let fill = |path: &mut PathBuf, tail: &str| {
        if path.as_os_str().is_empty() {
            *path = data.join(tail);
        }
    };
    if settings.store.url.expose().is_empty() {
        settings.store.url = config::Secret::new(format!("sqlite:{}", data.join("pinion.db").display()));
    }
    fill(&mut settings.blob.local.dir, "s3");
    fill(&mut settings.local_cluster.root, "local");
    fill(&mut settings.plugin_host.cache_dir, "plugins");
    if settings.server.public_url.is_empty() {
        settings.server.public_url = format!("http://localhost:{}", settings.server.port);
    }
    let public_url = settings.server.public_url.trim_end_matches('/').to_owned();
    if settings.blob.public_url.is_empty() {
        settings.blob.public_url.clone_from(&public_url);
    }
    if settings.worker.console_url.is_empty() {
        settings.worker.console_url = format!("{public_url}/console");
    }
    if settings.notify.source.is_empty() {
        settings.notify.source.clone_from(&public_url);
    }
    if settings.notify.console_url.is_empty() {
        settings.notify.console_url = settings.worker.console_url.trim_end_matches('/').to_owned();
    }
    if settings.blob.s3.is_none() {
        complete_local_s3(settings);
    }
    if settings.worker.tasks.platform_url.is_empty() {
        settings.worker.tasks.platform_url.clone_from(&public_url);
    }
    if !settings.plugin_host.plugins.is_empty() {
        bail!("`plugin-host.plugins` is not a setting: write plugins under `plugins`");
    }
    for plugin in settings.plugins.values_mut() {
        replace(&mut plugin.config, PUBLIC_URL, &public_url);
    }
    settings.plugin_host.plugins.clone_from(&settings.plugins);
    validate(settings)
}

/// Replaces a word in every text of a JSON value.
fn replace(value: &mut serde_json::Value, word: &str, by: &str) {
    match value {
        serde_json::Value::String(text) => {
            if text.contains(word) {
                *text = text.replace(word, by);
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| replace(item, word, by)),
        serde_json::Value::Object(map) => map.values_mut().for_each(|item| replace(item, word, by)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

/// Tasks on this machine reach local objects through the embedded endpoint, or, when warm, as files.
fn complete_local_s3(settings: &mut Settings) {
    let local = &settings.blob.local;
    let s3 = &mut settings.local_cluster.s3;
    if s3.endpoint.is_empty() {
        s3.endpoint = format!("http://localhost:{}", settings.server.s3_port);
        s3.access_key.clone_from(&local.access_key);
        s3.secret_key = local.secret_key.expose().to_owned();
        let bucket = settings.blob.bucket.clone();
        let dir = local.dir.join(&bucket);
        s3.bucket_dirs.entry(bucket).or_insert(dir);
    }
}

fn validate(settings: &Settings) -> Result<()> {
    settings.blob.validate().context("blob")?;
    settings.local_cluster.validate().context("local-cluster")?;
    settings.worker.validate().context("worker")?;
    settings.launch.validate().map_err(anyhow::Error::msg).context("launch")?;
    settings.scheduler.validate().map_err(anyhow::Error::msg).context("scheduler")?;
    settings.notify.validate().context("notify")?;
    settings.catalog.validate().map_err(anyhow::Error::msg).context("catalog")?;
    settings.api.validate().map_err(anyhow::Error::msg).context("api")?;
    Ok(())
}

/// Adds the plugin directories of the command line, and those where a development build leaves its plugins.
pub(crate) fn plugin_dirs(settings: &mut Settings, options: &Options) {
    let dirs = &mut settings.plugin_host.dirs;
    for dir in options.plugin_dir.iter().rev() {
        dirs.insert(0, dir.clone());
    }
}

/// Makes the data directory, for this user alone.
pub(crate) fn make_data_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot create the data directory {}", dir.display()))
}
