//! Settings of every shape that rooms use.

use std::{collections::BTreeMap, path::PathBuf};

use config::{Duration, Secret, Size};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Root {
    pub server: Server,
    pub storage: Storage,
    pub plugins: BTreeMap<String, Plugin>,
    pub labels: BTreeMap<String, String>,
    pub tls: Option<Tls>,
    pub hosts: Vec<String>,
    pub database: Database,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Server {
    pub http_port: u16,
    pub read_timeout: Duration,
    pub max_body: Size,
    pub verbose: bool,
    pub admin_password: Secret,
    pub version: String,
    pub ratio: f64,
    pub level: Level,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    #[default]
    Info,
    VeryVerbose,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    Memory,
    Local {
        #[serde(default)]
        base_dir: String,
        #[serde(default)]
        sync: bool,
    },
    Remote(Remote),
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Remote {
    pub url: String,
    pub access_key: Secret,
    pub retries: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plugin {
    pub path: String,
    pub enabled: bool,
    pub config: serde_json::Value,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tls {
    pub cert_file: PathBuf,
    pub min_version: u8,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Database {
    pub url: String,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            http_port: 8088,
            read_timeout: Duration::from_secs(30),
            max_body: Size::from_mib(4),
            verbose: false,
            admin_password: Secret::new("default-canary"),
            version: "1".into(),
            ratio: 0.5,
            level: Level::Info,
        }
    }
}

impl Default for Root {
    fn default() -> Self {
        Self {
            // Differs from what `Server` has by itself: a partial section in a file must not lose it.
            server: Server { http_port: 30080, ..Server::default() },
            storage: Storage::Local { base_dir: "data".into(), sync: false },
            plugins: BTreeMap::new(),
            labels: [("team".into(), "none".into())].into(),
            tls: None,
            hosts: vec!["localhost".into()],
            database: Database::default(),
        }
    }
}
