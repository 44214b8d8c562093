//! Holds the settings of the local cluster; the field docs are the user docs.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::quantity::{Resources, cpu_milli, memory_bytes};
use crate::Error;

/// Settings of the cluster that runs containers as processes of this machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Name under which the cluster is known. Default: `local`.
    pub name: String,
    /// Directory for records, logs and work directories. Default: `local` in the data directory, which the
    /// application fills in.
    pub root: PathBuf,
    /// Which environment runs which image; the first match counts. Default: none, everything runs with the `PATH`
    /// of the host.
    pub images: Vec<ImageRule>,
    /// Processors to share out, such as `4` or `1500m`. Default: those of the machine.
    pub cpu: Option<String>,
    /// Memory to share out, such as `8Gi`. Default: that of the machine.
    pub memory: Option<String>,
    /// Most pods to run at once. Default: 16 per processor, at least 32.
    pub pods: Option<usize>,
    /// Processor share counted for a container that requests none. Default: `250m`.
    pub default_cpu: String,
    /// Memory counted for a container that requests none. Default: `0`.
    pub default_memory: String,
    /// Whether a container is killed when it uses more memory than its limit. Default: true.
    pub enforce_memory_limits: bool,
    /// Environment of every container; what the pod says wins. Default: none.
    pub env: BTreeMap<String, String>,
    /// Further variables that containers inherit from the host; a trailing `*` matches any rest. `PATH`, `HOME`,
    /// `USER`, the locale, time zone, proxy and certificate variables always are. Default: none.
    pub inherit_env: Vec<String>,
    /// Pre-imported Python parents.
    pub warm: Warm,
    /// The object store that tasks write to.
    pub s3: S3,
    /// Seconds that records, logs and (of failed pods) work directories are kept after the end. Default: 86400.
    pub keep_finished: u64,
    /// Whether work directories of succeeded pods are kept as long too. Default: false, they are removed at the end.
    pub keep_work: bool,
    /// Seconds between SIGTERM and SIGKILL where the pod does not say. Default: 5.
    pub termination_grace: u64,
    /// Executable that becomes the supervisor when started with `local-supervisor`. Default: the running one.
    pub supervisor: Option<PathBuf>,
}

/// Chooses the environment for an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ImageRule {
    /// The image, exactly or with `*` for any run of characters.
    #[serde(rename = "match")]
    pub pattern: String,
    /// What stands in for it.
    #[serde(default)]
    pub env: Environment,
}

/// What stands in for an image.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Environment {
    /// Directories (`:` between them) put before the host's `PATH`, such as the `bin` of a venv. Default: none.
    pub path: String,
    /// A Python interpreter; its directory is put before `PATH`. Default: none.
    pub python: Option<PathBuf>,
    /// Variables set for the image's containers; what the pod says wins. Default: none.
    pub vars: BTreeMap<String, String>,
}

/// Settings of the warm workers: parents that imported what Python tasks need, and fork one child per attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Warm {
    /// Whether to keep any. Default: true.
    pub enabled: bool,
    /// Most parents at once, over all environments. Default: 4.
    pub max_parents: usize,
    /// Seconds without work after which a parent is retired. Default: 900.
    pub idle_retire: u64,
    /// Modules to import besides what the entrypoint needs. Default: none.
    pub preload: Vec<String>,
    /// Whether parents learn from their children which installed modules tasks import. Default: true.
    pub learn: bool,
    /// Packages never to preload, for they do not survive a fork. Default: `jax`, `jaxlib`, `ray`, `tensorflow`.
    pub deny: Vec<String>,
    /// Seconds to wait for a parent that still imports before the start is done cold. Default: 10.
    pub wait: u64,
    /// Whether a parent in use keeps one forked child waiting for the next task while a processor is free: the fork is
    /// then not waited for, for some 20 MiB. Default: true.
    pub spare: bool,
}

/// Where tasks find the object store.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct S3 {
    /// URL of the S3 endpoint, handed to every container as `FLYTE_AWS_ENDPOINT`. Default: none.
    pub endpoint: String,
    /// Handed to every container as `FLYTE_AWS_ACCESS_KEY_ID`. Default: none.
    pub access_key: String,
    /// Handed to every container as `FLYTE_AWS_SECRET_ACCESS_KEY`. Default: none.
    pub secret_key: String,
    /// Directories of the buckets that the endpoint serves from this machine, by bucket name: warm workers use them
    /// without going through HTTP. An object is the file named by its key. Default: none.
    pub bucket_dirs: BTreeMap<String, PathBuf>,
    /// Where objects are written before they are renamed into place; same filesystem as the buckets. Default:
    /// `.tmp` two levels above the bucket, beside the directory that holds the buckets.
    pub temp_dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            name: "local".to_owned(),
            root: PathBuf::new(),
            images: Vec::new(),
            cpu: None,
            memory: None,
            pods: None,
            default_cpu: "250m".to_owned(),
            default_memory: "0".to_owned(),
            enforce_memory_limits: true,
            env: BTreeMap::new(),
            inherit_env: Vec::new(),
            warm: Warm::default(),
            s3: S3::default(),
            keep_finished: 86_400,
            keep_work: false,
            termination_grace: 5,
            supervisor: None,
        }
    }
}

impl Default for Warm {
    fn default() -> Warm {
        Warm {
            enabled: true,
            max_parents: 4,
            idle_retire: 900,
            preload: Vec::new(),
            learn: true,
            deny: ["jax", "jaxlib", "ray", "tensorflow"].map(str::to_owned).to_vec(),
            wait: 10,
            spare: true,
        }
    }
}

impl Config {
    /// Checks what can be checked without touching the machine.
    pub fn validate(&self) -> Result<(), Error> {
        if self.root.as_os_str().is_empty() {
            return Err(config_error("root", "is empty; name a directory".to_owned()));
        }
        if self.pods == Some(0) {
            return Err(config_error("pods", "is 0, so that nothing could ever run".to_owned()));
        }
        self.capacity(Resources { cpu_milli: 1000, memory: 1 << 30 })?;
        self.default_request()?;
        Ok(())
    }

    /// What there is to share out, given what the machine has.
    pub(crate) fn capacity(&self, machine: Resources) -> Result<Resources, Error> {
        let cpu = self.cpu.as_deref().map(|text| quantity("cpu", text, cpu_milli)).transpose()?;
        let memory = self.memory.as_deref().map(|text| quantity("memory", text, memory_bytes)).transpose()?;
        Ok(Resources {
            cpu_milli: cpu.unwrap_or(machine.cpu_milli),
            memory: memory.unwrap_or(machine.memory),
        })
    }

    /// What a container counts for that requests nothing.
    pub(crate) fn default_request(&self) -> Result<Resources, Error> {
        Ok(Resources {
            cpu_milli: quantity("default-cpu", &self.default_cpu, cpu_milli)?,
            memory: quantity("default-memory", &self.default_memory, memory_bytes)?,
        })
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(self.termination_grace)
    }
}

fn quantity(key: &'static str, text: &str, read: fn(&str) -> Option<u64>) -> Result<u64, Error> {
    read(text).ok_or_else(|| config_error(key, format!("{text:?} is no quantity such as 2, 500m or 4Gi")))
}

fn config_error(key: &'static str, reason: String) -> Error {
    Error::Config { key, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kebab_case_and_unknown_ones_refused() {
        let text = r#"{"root": "/d", "images": [{"match": "a*", "env": {"path": "/v/bin"}}], "keep-finished": 5,
                       "warm": {"max-parents": 2}, "s3": {"bucket-dirs": {"b": "/d/s3/b"}}}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!((config.keep_finished, config.warm.max_parents, config.warm.enabled), (5, 2, true));
        assert!(config.validate().is_ok());
        assert!(serde_json::from_str::<Config>(r#"{"keep_finished": 5}"#).is_err());
    }

    #[test]
    fn a_wrong_quantity_names_its_key() {
        let config = Config { root: "/d".into(), cpu: Some("many".into()), ..Config::default() };
        assert!(config.validate().unwrap_err().to_string().contains("setting cpu: \"many\""));
    }
}
