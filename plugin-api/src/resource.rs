//! Turns "build an object, read its phase" into a plugin: the layer for everything that runs on a cluster.
//!
//! A resource plugin does no I/O. The first round answers with the object to apply; the host commits that answer, then
//! applies, watches, and calls again with what it observed. The state keeps only the name of the object, so that abort
//! and finalize work from it alone.

use std::time::Duration;

use prost::Message;
use serde::de::DeserializeOwned;

use crate::context::TaskContext;
use crate::error::{Kind, PluginError};
use crate::host::Host;
use crate::object::Object;
use crate::phase::{self, PhaseInfoExt};
use crate::plugin::{Declaration, TaskPlugin};
use crate::response;
use crate::wire::{
    self, AbortRequest, AbortResponse, Diagnostic, FinalizeRequest, FinalizeResponse, HandleRequest,
    HandleResponse, ObjectError, ObjectRef, ObservedObject, Outputs, Phase, PhaseInfo, PluginProperties,
    PluginState, Reason, WatchedKind, observed_object::Observed,
};

const STATE_VERSION: u32 = 1;
/// `handle` does nothing outside, so the host may ask before it has committed that the task began.
const DESCRIBES_ONLY: &str = "describes-only";
/// The longest pause between two tries to apply an object.
const BACK_OFF_CAP: Duration = Duration::from_secs(20);

/// How a resource plugin wants to be treated.
#[derive(Debug, Clone, Default)]
pub struct ResourceProperties {
    /// Delete the object when the attempt is finalized. By default the cluster's own garbage collection decides.
    pub delete_on_finalize: bool,
    /// Report the events of the object as additional reasons.
    pub send_object_events: bool,
    /// Most characters in `generated_name`; 0 is the host's default.
    pub generated_name_max_length: u32,
    /// The plugin does its own caching.
    pub disable_node_level_caching: bool,
}

/// What to do with the object of an aborted attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum OnAbort {
    /// Delete it.
    Delete,
    /// Apply this changed form of it instead, for example with `spec.suspend`.
    Apply(Box<Object>),
    /// Leave it alone.
    Leave,
}

/// A plugin that describes one Kubernetes-shaped object per attempt and reads that object's phase.
///
/// Wrap it in [`Resource`] for `export_plugin!`. All methods are synchronous, free of side effects, and give the same
/// answer for the same arguments.
pub trait ResourcePlugin: Send + Sync + Sized + 'static {
    /// Read from the plugin's section of the host configuration. Use `#[serde(deny_unknown_fields)]`.
    type Config: DeserializeOwned + Send + 'static;

    /// Finds what is wrong with a configuration beyond its schema.
    fn validate_config(config: &Self::Config) -> Vec<Diagnostic> {
        let _ = config;
        Vec::new()
    }

    /// Creates the one instance of this process. An error quarantines the plugin.
    fn new(config: Self::Config, host: Host) -> Result<Self, PluginError>;

    /// The kinds of objects that `build` returns; the host watches them.
    fn watched_kinds(&self) -> Vec<WatchedKind>;

    /// How the plugin wants to be treated.
    fn properties(&self) -> ResourceProperties {
        ResourceProperties::default()
    }

    /// Whether `build` will look at [`TaskContext::inputs`]. If so the SDK fetches them when they did not come along.
    fn needs_inputs(&self, cx: &TaskContext) -> Result<bool, PluginError> {
        let _ = cx;
        Ok(false)
    }

    /// Describes the object. The SDK sets its name and namespace where empty, and merges the labels and annotations of
    /// the task execution into it. A USER error fails the attempt for good with the code of the error.
    ///
    /// It only describes: the host may ask before it has committed that the attempt began, and ask again after a crash.
    /// What it returns is applied after that commit.
    fn build(&self, cx: &TaskContext) -> Result<Object, PluginError>;

    /// Reads the phase from the object as the cluster reports it. Called with each change of the object.
    fn phase(&self, cx: &TaskContext, object: &Object) -> Result<PhaseInfo, PluginError>;

    /// Where the outputs of a succeeded object are. By default the task wrote them under the output prefix itself.
    fn outputs(&self, cx: &TaskContext, object: &Object) -> Result<Outputs, PluginError> {
        let _ = (cx, object);
        Ok(response::output_files())
    }

    /// What to do with the object on abort. The object is absent when the host has not observed it yet.
    fn on_abort(&self, cx: &TaskContext, object: Option<&Object>) -> OnAbort {
        let _ = (cx, object);
        OnAbort::Delete
    }
}

/// The adapter: a [`TaskPlugin`] made of a [`ResourcePlugin`].
#[derive(Debug)]
pub struct Resource<P> {
    plugin: P,
    host: Host,
}

/// What is kept between rounds.
#[derive(Clone, PartialEq, Message)]
struct State {
    #[prost(message, optional, tag = "1")]
    object: Option<ObjectRef>,
    /// Consecutive failed applies; sets the pause before the next one.
    #[prost(uint32, tag = "2")]
    failed_applies: u32,
}

impl State {
    fn decode_from(state: &PluginState) -> Result<Self, PluginError> {
        if state.version != STATE_VERSION {
            return Err(PluginError::unknown_state_version(state.version));
        }
        Ok(Self::decode(state.data.as_slice())?)
    }

    fn to_wire(&self) -> PluginState {
        PluginState { data: self.encode_to_vec(), version: STATE_VERSION }
    }
}

impl<P: ResourcePlugin> Resource<P> {
    async fn start(&self, mut cx: TaskContext, state: State) -> Result<HandleResponse, PluginError> {
        if cx.inputs().is_none() && self.plugin.needs_inputs(&cx)? {
            let inputs = self.host.inputs(&cx).await?;
            cx.set_inputs(inputs);
        }
        let object = match self.plugin.build(&cx) {
            Ok(object) => prepare(&cx, object)?,
            Err(error) if error.retryable => return Err(error),
            Err(error) => {
                return Ok(response::report(phase::permanent_failure(error.kind, error.code, error.message)));
            }
        };
        let reference = object.reference(&cx.cluster);
        let mut actions = Vec::with_capacity(2);
        if cx.needs_template_upload() {
            actions.push(response::upload_task_template());
        }
        actions.push(response::apply(reference.clone(), &object));
        let state = State { object: Some(reference), ..state };
        let reason = if state.failed_applies == 0 { "task submitted" } else { "task submitted again" };
        let report = with_version(cx.last.as_ref(), phase::queued(reason));
        Ok(HandleResponse { state: Some(state.to_wire()), actions, ..response::report(report) })
    }

    async fn follow(&self, cx: TaskContext, state: State) -> Result<HandleResponse, PluginError> {
        let Some(entry) = find(&cx.observed, state.object.as_ref()) else {
            return Ok(response::report(unchanged(&cx)));
        };
        match &entry.observed {
            None => Ok(response::report(unchanged(&cx))),
            Some(Observed::Gone(_)) => Ok(response::report(phase::retryable_failure(
                Kind::System,
                "ResourceDeletedExternally",
                format!("{} was deleted by somebody else", name_of(state.object.as_ref())),
            ))),
            Some(Observed::Error(error)) => {
                let error = error.clone();
                self.apply_failed(cx, state, &error).await
            }
            Some(Observed::Json(json)) => self.read(&cx, &Object::from_slice(json)?, entry),
        }
    }

    fn read(
        &self,
        cx: &TaskContext,
        object: &Object,
        entry: &ObservedObject,
    ) -> Result<HandleResponse, PluginError> {
        let mut report = self.plugin.phase(cx, object)?;
        if !report.is_terminal() && object.is_being_deleted() {
            report = phase::retryable_failure(
                Kind::System,
                "UnexpectedObjectDeletion",
                format!("{} {} is being deleted by somebody else", object.kind(), object.name()),
            );
        }
        if self.plugin.properties().send_object_events {
            report.additional_reasons.extend(entry.events.iter().map(|event| Reason {
                text: format!("{}: {}", event.reason, event.message),
                occurred_at: event.occurred_at,
            }));
        }
        let outputs = if report.is_success() { Some(self.plugin.outputs(cx, object)?) } else { None };
        let report = with_version(cx.last.as_ref(), report);
        Ok(HandleResponse { outputs, ..response::report(report) })
    }

    /// Decides what a refused apply means; what may pass is tried again with growing pauses.
    async fn apply_failed(
        &self,
        cx: TaskContext,
        state: State,
        error: &ObjectError,
    ) -> Result<HandleResponse, PluginError> {
        let last = cx.last.clone();
        let failure = |info: PhaseInfo| Ok(response::report(with_version(last.as_ref(), info)));
        let message = error.message.clone();
        match error.code {
            _ if error.exceeds_limit => {
                failure(phase::permanent_failure(Kind::User, "ResourceRequestsExceedLimits", message))
            }
            403 if !error.backing_off => {
                failure(phase::retryable_failure(Kind::System, "RuntimeFailure", message))
            }
            400 | 422 => failure(phase::permanent_failure(Kind::User, "BadTaskFormat", message)),
            413 => failure(phase::permanent_failure(Kind::User, "EntityTooLarge", message)),
            code => {
                let waits_for_quota = error.backing_off || code == 429;
                let pause = pause(state.failed_applies);
                let state = State { failed_applies: state.failed_applies.saturating_add(1), ..state };
                let response = Box::pin(self.start(cx, state)).await?;
                if response.actions.is_empty() {
                    return Ok(response);
                }
                let report = if waits_for_quota {
                    phase::waiting_for_resources(message)
                } else {
                    phase::queued(message)
                };
                Ok(HandleResponse {
                    phase: Some(with_version(last.as_ref(), report)),
                    wake: Some(response::wake_after(pause)),
                    ..response
                })
            }
        }
    }

    fn delete(object: ObjectRef) -> wire::Action {
        response::delete(object)
    }

    /// The objects of an attempt. A state that can not be read must not block an abort: then the name is derived.
    fn objects(&self, cx: &TaskContext, state: Option<&PluginState>) -> Vec<ObjectRef> {
        let Some(state) = state else { return Vec::new() };
        if let Ok(State { object: Some(object), .. }) = State::decode_from(state) {
            return vec![object];
        }
        let derive = |kind: WatchedKind| ObjectRef {
            api_version: kind.api_version,
            kind: kind.kind,
            namespace: cx.namespace.clone(),
            name: cx.generated_name.clone(),
            cluster: cx.cluster.clone(),
        };
        self.plugin.watched_kinds().into_iter().map(derive).collect()
    }
}

impl<P: ResourcePlugin> TaskPlugin for Resource<P> {
    type Config = P::Config;

    fn validate_config(config: &Self::Config) -> Vec<Diagnostic> {
        P::validate_config(config)
    }

    async fn new(config: Self::Config, host: Host) -> Result<Self, PluginError> {
        Ok(Self { plugin: P::new(config, host.clone())?, host })
    }

    fn declare(&self) -> Declaration {
        let properties = self.plugin.properties();
        Declaration {
            watched_kinds: self.plugin.watched_kinds(),
            properties: PluginProperties {
                disable_node_level_caching: properties.disable_node_level_caching,
                generated_name_max_length: properties.generated_name_max_length,
            },
            capabilities: vec![DESCRIBES_ONLY.to_owned()],
            ..Declaration::default()
        }
    }

    async fn handle(&self, request: HandleRequest) -> Result<HandleResponse, PluginError> {
        let (cx, state) = TaskContext::from_request(request)?;
        match state {
            None => self.start(cx, State::default()).await,
            Some(state) => self.follow(cx, State::decode_from(&state)?).await,
        }
    }

    async fn abort(&self, request: AbortRequest) -> Result<AbortResponse, PluginError> {
        let cx = TaskContext::new(request.context.unwrap_or_default());
        let mut actions = Vec::new();
        for reference in self.objects(&cx, request.state.as_ref()) {
            let object =
                match find(&request.observed, Some(&reference)).and_then(|entry| entry.observed.as_ref()) {
                    Some(Observed::Json(json)) => Object::from_slice(json).ok(),
                    _ => None,
                };
            match self.plugin.on_abort(&cx, object.as_ref()) {
                OnAbort::Delete => actions.push(Self::delete(reference)),
                OnAbort::Apply(object) => actions.push(response::apply(reference, &object)),
                OnAbort::Leave => {}
            }
        }
        Ok(AbortResponse { actions, phase: None })
    }

    async fn finalize(&self, request: FinalizeRequest) -> Result<FinalizeResponse, PluginError> {
        let cx = TaskContext::new(request.context.unwrap_or_default());
        if !self.plugin.properties().delete_on_finalize {
            return Ok(FinalizeResponse::default());
        }
        let actions = self.objects(&cx, request.state.as_ref()).into_iter().map(Self::delete).collect();
        Ok(FinalizeResponse { actions })
    }
}

fn prepare(cx: &TaskContext, mut object: Object) -> Result<Object, PluginError> {
    if object.kind().is_empty() || object.api_version().is_empty() {
        return Err(PluginError::bug("the plugin built an object without kind or apiVersion"));
    }
    object.default_metadata("name", &cx.generated_name);
    object.default_metadata("namespace", &cx.namespace);
    object.merge_metadata("labels", &cx.labels);
    object.merge_metadata("annotations", &cx.annotations);
    Ok(object)
}

fn find<'a>(observed: &'a [ObservedObject], reference: Option<&ObjectRef>) -> Option<&'a ObservedObject> {
    let same = |object: &ObjectRef, other: &ObjectRef| {
        object.kind == other.kind && object.name == other.name && object.namespace == other.namespace
    };
    let reference = reference?;
    observed.iter().find(|entry| entry.object.as_ref().is_some_and(|object| same(object, reference)))
}

fn name_of(reference: Option<&ObjectRef>) -> String {
    reference
        .map(|object| format!("{} {}/{}", object.kind, object.namespace, object.name))
        .unwrap_or_default()
}

fn unchanged(cx: &TaskContext) -> PhaseInfo {
    cx.last.clone().unwrap_or_else(|| phase::queued("task submitted"))
}

/// A changed reason within a phase is a new version; versions of Running belong to the plugin.
fn with_version(last: Option<&PhaseInfo>, mut report: PhaseInfo) -> PhaseInfo {
    if let Some(last) = last.filter(|last| last.phase == report.phase) {
        let is_running = report.phase() == Phase::Running;
        report.version = if !is_running && last.reason != report.reason {
            last.version.max(report.version).saturating_add(1)
        } else {
            last.version.max(report.version)
        };
    }
    report
}

fn pause(failed_applies: u32) -> Duration {
    Duration::from_secs(1 << failed_applies.min(5)).min(BACK_OFF_CAP)
}

#[cfg(test)]
mod tests;
