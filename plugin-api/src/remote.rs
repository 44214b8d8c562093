//! Turns "create, get, delete, status" of a web service into a plugin.
//!
//! The state machine: wait for a token if one is asked for, create, then poll by wake hints until the status is
//! terminal. A crash between create and commit repeats the create, so a service should get a client token made of
//! `generated_name`; one that takes none implements [`RemotePlugin::find`].

use std::future::Future;
use std::time::Duration;

use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::TaskContext;
use crate::error::{Kind, PluginError};
use crate::host::Host;
use crate::phase::{self, PhaseInfoExt};
use crate::plugin::{Declaration, TaskPlugin};
use crate::response;
use crate::wire::{
    AbortRequest, AbortResponse, Diagnostic, FinalizeRequest, FinalizeResponse, HandleRequest,
    HandleResponse, Outputs, PhaseInfo, PluginProperties, PluginState, ResourceConstraints, ResourcePool,
};

const STATE_VERSION: u32 = 1;

/// How a remote plugin wants to be treated.
#[derive(Debug, Clone)]
pub struct RemoteSettings {
    /// Pause before the first poll. Default 1 s; later pauses are a tenth of the time since the create.
    pub first_poll: Duration,
    /// Longest pause between two polls. Default 30 s.
    pub longest_poll: Duration,
    /// Consecutive failed polls that fail the task. Default 5.
    pub max_failed_polls: u32,
    /// Quotas that the plugin wants the host to keep.
    pub resource_pools: Vec<ResourcePool>,
    /// Most characters in `generated_name`; 0 is the host's default.
    pub generated_name_max_length: u32,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self {
            first_poll: Duration::from_secs(1),
            longest_poll: Duration::from_secs(30),
            max_failed_polls: 5,
            resource_pools: Vec::new(),
            generated_name_max_length: 0,
        }
    }
}

/// A token that must be granted before `create`.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenRequest {
    /// Name of the resource pool.
    pub resource_namespace: String,
    /// Caps on top of those of the pool.
    pub constraints: Option<ResourceConstraints>,
}

/// What `create` made.
#[derive(Debug, Clone)]
pub struct Created<Meta, Resource> {
    /// What names the resource from now on; kept in the state, never a secret.
    pub meta: Meta,
    /// The resource, if the service returned it; its status is read at once.
    pub resource: Option<Resource>,
}

/// What `create` of a plugin makes.
pub type CreatedBy<P> = Created<<P as RemotePlugin>::Meta, <P as RemotePlugin>::Resource>;

/// A report and where the outputs are.
#[derive(Debug, Clone)]
pub struct RemoteStatus {
    /// The report.
    pub phase: PhaseInfo,
    /// Outputs of a success; without any, the task wrote them under the output prefix itself.
    pub outputs: Option<Outputs>,
}

impl From<PhaseInfo> for RemoteStatus {
    fn from(phase: PhaseInfo) -> Self {
        Self { phase, outputs: None }
    }
}

/// A plugin whose task lives in a web service. Wrap it in [`Remote`] for `export_plugin!`.
pub trait RemotePlugin: Send + Sync + Sized + 'static {
    /// Read from the plugin's section of the host configuration. Use `#[serde(deny_unknown_fields)]`.
    type Config: DeserializeOwned + Send + 'static;
    /// What names a resource; kept in the state as JSON.
    type Meta: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// A resource as the service describes it.
    type Resource: Send + Sync + 'static;

    /// Finds what is wrong with a configuration beyond its schema.
    fn validate_config(config: &Self::Config) -> Vec<Diagnostic> {
        let _ = config;
        Vec::new()
    }

    /// Creates the one instance of this process. An error quarantines the plugin.
    fn new(config: Self::Config, host: Host) -> Result<Self, PluginError>;

    /// How the plugin wants to be treated.
    fn settings(&self) -> RemoteSettings {
        RemoteSettings::default()
    }

    /// The token to wait for before `create`; none by default.
    fn token(&self, cx: &TaskContext) -> Result<Option<TokenRequest>, PluginError> {
        let _ = cx;
        Ok(None)
    }

    /// Finds what an earlier `create` of the same attempt made, if the service takes no client token.
    fn find(
        &self,
        cx: &TaskContext,
    ) -> impl Future<Output = Result<Option<CreatedBy<Self>>, PluginError>> + Send {
        let _ = cx;
        std::future::ready(Ok(None))
    }

    /// Creates the resource. A retryable error is asked again; any other one fails the attempt.
    fn create(&self, cx: &TaskContext) -> impl Future<Output = Result<CreatedBy<Self>, PluginError>> + Send;

    /// Reads the resource.
    fn get(
        &self,
        cx: &TaskContext,
        meta: &Self::Meta,
    ) -> impl Future<Output = Result<Self::Resource, PluginError>> + Send;

    /// Ends the resource after an abort; one that is gone is fine. Called with request and state alone.
    fn delete(
        &self,
        cx: &TaskContext,
        meta: &Self::Meta,
        reason: &str,
    ) -> impl Future<Output = Result<(), PluginError>> + Send;

    /// Reads the phase, and the outputs of a success, from the resource.
    fn status(
        &self,
        cx: &TaskContext,
        resource: &Self::Resource,
    ) -> impl Future<Output = Result<RemoteStatus, PluginError>> + Send;
}

/// The adapter: a [`TaskPlugin`] made of a [`RemotePlugin`].
#[derive(Debug)]
pub struct Remote<P> {
    plugin: P,
}

/// What is kept between rounds.
#[derive(Clone, PartialEq, Message)]
struct State {
    /// Pool whose token is asked for or held; empty for none.
    #[prost(string, tag = "1")]
    resource_namespace: String,
    /// JSON of the meta; empty until the resource is created.
    #[prost(bytes = "vec", tag = "2")]
    meta: Vec<u8>,
    #[prost(int64, tag = "3")]
    created_ms: i64,
    #[prost(uint32, tag = "4")]
    failed_polls: u32,
}

impl State {
    fn decode_from(state: Option<&PluginState>) -> Result<Self, PluginError> {
        match state {
            None => Ok(Self::default()),
            Some(state) if state.version == STATE_VERSION => Ok(Self::decode(state.data.as_slice())?),
            Some(state) => Err(PluginError::unknown_state_version(state.version)),
        }
    }

    fn to_wire(&self) -> PluginState {
        PluginState { data: self.encode_to_vec(), version: STATE_VERSION }
    }

    fn meta<Meta: DeserializeOwned>(&self) -> Result<Option<Meta>, PluginError> {
        if self.meta.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&self.meta)
            .map(Some)
            .map_err(|error| PluginError::bug(format!("cannot read the stored resource name: {error}")))
    }
}

impl<P: RemotePlugin> Remote<P> {
    async fn start(&self, cx: &TaskContext, mut state: State) -> Result<HandleResponse, PluginError> {
        if let Some(token) = self.plugin.token(cx)? {
            let status =
                cx.tokens.iter().find(|status| status.resource_namespace == token.resource_namespace);
            if !status.is_some_and(|status| status.granted) {
                let reason = status.map(|status| status.message.clone()).filter(|text| !text.is_empty());
                let reason = reason
                    .unwrap_or_else(|| format!("waiting for a token of pool {}", token.resource_namespace));
                state.resource_namespace = token.resource_namespace;
                let acquire =
                    response::acquire_token(&state.resource_namespace, &cx.generated_name, token.constraints);
                return Ok(HandleResponse {
                    state: Some(state.to_wire()),
                    actions: vec![acquire],
                    ..response::report(next_version(cx, phase::waiting_for_resources(reason)))
                });
            }
        }
        let created = match self.plugin.find(cx).await? {
            Some(created) => Ok(created),
            None => self.plugin.create(cx).await,
        };
        match created {
            Ok(created) => self.created(cx, state, created).await,
            Err(error) if error.retryable => Err(error),
            Err(error) => {
                Ok(response::report(phase::permanent_failure(error.kind, error.code, error.message)))
            }
        }
    }

    async fn created(
        &self,
        cx: &TaskContext,
        mut state: State,
        created: CreatedBy<P>,
    ) -> Result<HandleResponse, PluginError> {
        state.meta = serde_json::to_vec(&created.meta)
            .map_err(|error| PluginError::bug(format!("cannot print the resource name: {error}")))?;
        state.created_ms = cx.now_ms;
        let mut answer = match &created.resource {
            Some(resource) => self.report(cx, resource, &state).await?,
            None => HandleResponse {
                wake: Some(response::wake_after(self.pause(cx, &state))),
                ..response::report(next_version(cx, phase::queued("job submitted")))
            },
        };
        answer.state = Some(state.to_wire());
        Ok(answer)
    }

    async fn poll(
        &self,
        cx: &TaskContext,
        mut state: State,
        meta: P::Meta,
    ) -> Result<HandleResponse, PluginError> {
        match self.plugin.get(cx, &meta).await {
            Ok(resource) => {
                let mut answer = self.report(cx, &resource, &state).await?;
                if state.failed_polls > 0 {
                    state.failed_polls = 0;
                    answer.state = Some(state.to_wire());
                }
                Ok(answer)
            }
            Err(error) => {
                state.failed_polls += 1;
                if state.failed_polls > self.plugin.settings().max_failed_polls {
                    let failure =
                        phase::permanent_failure(Kind::System, "AutoRefreshCacheFailed", error.to_string());
                    return Ok(response::report(failure.with_cleanup()));
                }
                let last = cx.last.clone().unwrap_or_else(|| phase::queued("job submitted"));
                Ok(HandleResponse {
                    state: Some(state.to_wire()),
                    wake: Some(response::wake_after(self.pause(cx, &state))),
                    ..response::report(last)
                })
            }
        }
    }

    async fn report(
        &self,
        cx: &TaskContext,
        resource: &P::Resource,
        state: &State,
    ) -> Result<HandleResponse, PluginError> {
        let status = self.plugin.status(cx, resource).await?;
        let report = next_version(cx, status.phase);
        let outputs = report.is_success().then(|| status.outputs.unwrap_or_else(response::output_files));
        let wake = (!report.is_terminal()).then(|| response::wake_after(self.pause(cx, state)));
        Ok(HandleResponse { outputs, wake, ..response::report(report) })
    }

    /// A tenth of the age of the resource within the limits, spread by up to a tenth so that polls do not march in step.
    fn pause(&self, cx: &TaskContext, state: &State) -> Duration {
        let settings = self.plugin.settings();
        let age = Duration::from_millis(u64::try_from(cx.now_ms - state.created_ms).unwrap_or_default());
        let pause = (age / 10).clamp(settings.first_poll, settings.longest_poll.max(settings.first_poll));
        let hash = cx.generated_name.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31) + u32::from(byte));
        pause + pause / 1000 * (hash % 100)
    }
}

impl<P: RemotePlugin> TaskPlugin for Remote<P> {
    type Config = P::Config;

    fn validate_config(config: &Self::Config) -> Vec<Diagnostic> {
        P::validate_config(config)
    }

    async fn new(config: Self::Config, host: Host) -> Result<Self, PluginError> {
        Ok(Self { plugin: P::new(config, host)? })
    }

    fn declare(&self) -> Declaration {
        let settings = self.plugin.settings();
        Declaration {
            resource_pools: settings.resource_pools,
            properties: PluginProperties {
                generated_name_max_length: settings.generated_name_max_length,
                ..PluginProperties::default()
            },
            ..Declaration::default()
        }
    }

    async fn handle(&self, request: HandleRequest) -> Result<HandleResponse, PluginError> {
        let (cx, state) = TaskContext::from_request(request)?;
        let state = State::decode_from(state.as_ref())?;
        match state.meta()? {
            None => self.start(&cx, state).await,
            Some(meta) => self.poll(&cx, state, meta).await,
        }
    }

    async fn abort(&self, request: AbortRequest) -> Result<AbortResponse, PluginError> {
        let cx = TaskContext::new(request.context.unwrap_or_default());
        // A state that can not be read must not block an abort: then `find` is the only way to the resource.
        let state = State::decode_from(request.state.as_ref()).unwrap_or_default();
        let found = match state.meta::<P::Meta>() {
            Ok(Some(meta)) => Some(meta),
            _ => self.plugin.find(&cx).await?.map(|created| created.meta),
        };
        if let Some(meta) = found {
            self.plugin.delete(&cx, &meta, &request.reason).await?;
        }
        Ok(AbortResponse::default())
    }

    async fn finalize(&self, request: FinalizeRequest) -> Result<FinalizeResponse, PluginError> {
        let cx = TaskContext::new(request.context.unwrap_or_default());
        let state = State::decode_from(request.state.as_ref()).unwrap_or_default();
        let mut actions = Vec::new();
        if !state.resource_namespace.is_empty() {
            actions.push(response::release_token(&state.resource_namespace, &cx.generated_name));
        }
        Ok(FinalizeResponse { actions })
    }
}

/// A changed reason within a phase is a new version, as is any higher version the plugin chose.
fn next_version(cx: &TaskContext, mut report: PhaseInfo) -> PhaseInfo {
    if let Some(last) = cx.last.as_ref().filter(|last| last.phase == report.phase) {
        let changed = u32::from(last.reason != report.reason);
        report.version = report.version.max(last.version.saturating_add(changed));
    }
    report
}

#[cfg(test)]
mod tests;
