//! Starts one accepted plugin, in this process or in one of its own, up to its answer to INIT.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plugin_api::metadata::PluginMetadata;
use prost::Message;
use proto::pinion::plugin::v1::{InitRequest, InitResponse, PluginMethod, ValidateConfigRequest};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::candidate::Accepted;
use crate::config::{Config, Interface, Isolation, PluginConfig};
use crate::fault::Fault;
use crate::guard::{Cut, Guard};
use crate::lanes::Lanes;
use crate::plugin::{Plugin, PluginMeta};
use crate::process::{Plan, Process, Recipe};
use crate::refusal::{Refusal, RefusalKind};
use crate::runner::{INTERFACE_ARGUMENT, MESSAGE_LIMIT_ARGUMENT, PATH_ARGUMENT};
use crate::services::{HostServices, Services};
use crate::transport::{BAD_CONFIG, InProcess, Transport, diagnosed, fault_of};
use crate::watchdog::Watchdog;
use crate::{file, library, schema};

/// What all plugins of one room share.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) config: Arc<Config>,
    pub(crate) services: Arc<dyn HostServices>,
    pub(crate) runtime: Handle,
    pub(crate) watchdog: Watchdog,
    /// Told when a plugin may be out of quarantine before its time.
    pub(crate) recovered: watch::Sender<u64>,
}

impl Room {
    pub(crate) fn new(config: Config, services: Arc<dyn HostServices>) -> Self {
        let runtime = Handle::current();
        let watchdog = Watchdog::of(&runtime);
        Self { config: Arc::new(config), services, runtime, watchdog, recovered: watch::channel(0).0 }
    }

    /// Starts a plugin.
    pub(crate) async fn start(&self, accepted: &Accepted) -> Result<Plugin, Refusal> {
        let Accepted { file, config, isolation } = accepted;
        let path = file::private_copy(&self.config.cache_dir, &file.sha256, &file.bytes)?;
        let (transport, declared): (Box<dyn Transport>, InitResponse) = match isolation {
            Isolation::InProcess => {
                let (plugin, declared) = self.start_here(path, &file.metadata, config).await?;
                (Box::new(plugin), declared)
            }
            Isolation::Process => {
                let process = self.process(&path, &file.metadata, config)?;
                let declared = process.declared().await;
                let declared = declared.and_then(|bytes| decode(&bytes));
                let declared = declared.map_err(|fault| init_failed(&file.metadata, &fault))?;
                (Box::new(process), declared)
            }
        };
        let meta = PluginMeta {
            metadata: file.metadata.clone(),
            declared,
            file: file.path.clone(),
            sha256: file.sha256.clone(),
            isolation: *isolation,
        };
        Ok(Plugin::new(meta, transport, &self.config.deadlines, &self.config.limits))
    }

    async fn start_here(
        &self,
        path: PathBuf,
        metadata: &PluginMetadata,
        config: &PluginConfig,
    ) -> Result<(InProcess, InitResponse), Refusal> {
        let limits = &self.config.limits;
        let lanes = Lanes::telling(
            format!("plugin {}", metadata.id),
            usize::try_from(limits.threads).unwrap_or(1).max(1),
            self.recovered.clone(),
        );
        let services = self.services(metadata, lanes.clone());
        let limit = self.config.deadlines.init.get();
        // Opening runs initialisers of the library, which may hang like any other code of it.
        let guard = Guard::new(self.runtime.clone(), lanes.clone(), &self.watchdog, limits.poll_budget.get());
        let (known, interface) = (metadata.clone(), config.interface);
        let open = async move { library::open(&path, &known, interface, Arc::new(services)) };
        let library = guard.on_lane(limit, Box::pin(open)).await.map_err(|cut| {
            let fault = match cut {
                Cut::Timeout => Fault::Timeout(limit),
                Cut::Panicked(text) => Fault::Panicked(text),
            };
            init_failed(metadata, &fault)
        })??;
        let plugin = InProcess::new(library, guard, usize::try_from(limits.lost_threads).unwrap_or(1).max(1));
        let declared = self.initialise(&plugin, metadata, config).await;
        Ok((plugin, declared.map_err(|fault| init_failed(metadata, &fault))?))
    }

    async fn initialise(
        &self,
        plugin: &InProcess,
        metadata: &PluginMetadata,
        config: &PluginConfig,
    ) -> Result<InitResponse, Fault> {
        let limit = self.config.deadlines.init.get();
        let validate = validate_request(config);
        diagnosed(plugin.call(PluginMethod::ValidateConfig as u32, validate, limit).await?)?;
        let init = self.init_request(metadata, config);
        let declared = plugin.call(PluginMethod::Init as u32, init, limit).await?;
        decode(&declared.map_err(|status| fault_of(&status))?)
    }

    /// A plugin behind a process that is not started yet.
    pub(crate) fn process(
        &self,
        path: &Path,
        metadata: &PluginMetadata,
        config: &PluginConfig,
    ) -> Result<Process, Refusal> {
        let runner = &self.config.runner;
        let executable = match &runner.executable {
            Some(executable) => executable.clone(),
            None => std::env::current_exe().map_err(|error| {
                init_failed(metadata, &Fault::Incompatible(format!("this executable has no path: {error}")))
            })?,
        };
        let mut arguments: Vec<OsString> = runner.arguments.iter().map(OsString::from).collect();
        arguments.extend([PATH_ARGUMENT.into(), path.into()]);
        arguments.extend([MESSAGE_LIMIT_ARGUMENT.into(), self.message_limit().to_string().into()]);
        if let Some(interface) = config.interface {
            let name = match interface {
                Interface::AbiStable => "abi-stable",
                Interface::C => "c",
            };
            arguments.extend([INTERFACE_ARGUMENT.into(), name.into()]);
        }
        let recipe = Recipe {
            executable,
            arguments,
            environment: config.pass_env.clone(),
            memory_limit: runner.memory_limit.bytes(),
        };
        // Completions of calls in C run in the plugin process; these lanes stay empty.
        let services = self.services(metadata, Lanes::new(format!("plugin {}", metadata.id), 1));
        let plan = Plan {
            recipe,
            runtime: self.runtime.clone(),
            upstream: Arc::new(services),
            message_limit: self.message_limit(),
            start_timeout: runner.start_timeout.get(),
            cancel_grace: runner.cancel_grace.get(),
            init_timeout: self.config.deadlines.init.get(),
            validate: validate_request(config),
            init: self.init_request(metadata, config),
            metadata_json: serde_json::to_value(metadata).unwrap_or_default(),
        };
        Ok(Process::new(plan, runner))
    }

    /// Room for the frame around the largest message.
    fn message_limit(&self) -> usize {
        usize::try_from(self.config.limits.message.bytes()).unwrap_or(usize::MAX).saturating_add(1024)
    }

    fn services(&self, metadata: &PluginMetadata, lanes: Lanes) -> Services {
        let limit = self.config.deadlines.host_call.get();
        Services::new(&metadata.id, Arc::clone(&self.services), self.runtime.clone(), lanes, limit)
    }

    fn init_request(&self, metadata: &PluginMetadata, config: &PluginConfig) -> Vec<u8> {
        let request = InitRequest {
            config_json: json_of(config),
            host_capabilities: self.services.capabilities(),
            host_version: env!("CARGO_PKG_VERSION").into(),
            plugin_id: metadata.id.clone(),
        };
        request.encode_to_vec()
    }
}

fn validate_request(config: &PluginConfig) -> Vec<u8> {
    ValidateConfigRequest { config_json: json_of(config) }.encode_to_vec()
}

fn json_of(config: &PluginConfig) -> Vec<u8> {
    if config.config.is_null() { b"{}".to_vec() } else { config.config.to_string().into_bytes() }
}

fn decode(bytes: &[u8]) -> Result<InitResponse, Fault> {
    InitResponse::decode(bytes)
        .map_err(|error| Fault::Incompatible(format!("the answer to INIT can not be read ({error})")))
}

/// The refusal of a plugin that did not come up.
pub(crate) fn init_failed(metadata: &PluginMetadata, fault: &Fault) -> Refusal {
    let id = &metadata.id;
    if let Fault::Status(status) = fault
        && status.error_code == BAD_CONFIG
    {
        return schema::refuse(id, std::slice::from_ref(&status.message));
    }
    let remedy = match fault {
        Fault::Status(_) => {
            format!("correct what it complains about (often `plugins.{id}.config`), then restart")
        }
        Fault::Timeout(_) => "look at its log; raise `deadlines.init` if it only is slow".to_owned(),
        Fault::Crashed { .. } | Fault::Panicked(_) | Fault::Quarantined(_) => {
            format!(
                "report this to the maker of plugin {id} {}, or go back to its last version",
                metadata.version
            )
        }
        Fault::Incompatible(_) => {
            "rebuild the plugin with the plugin-api of this host's major version".to_owned()
        }
    };
    Refusal::new(RefusalKind::InitFailed, fault.to_string(), format!("plugin {id} to start"), remedy)
}
