//! Gives a plugin its view of one task attempt.

use std::ops::Deref;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use prost::Message;
use proto::flyteidl::core::{
    Container, LiteralMap, SecurityContext, TaskNodeOverrides, TaskTemplate, task_template,
};

use crate::error::PluginError;
use crate::wire::{HandleRequest, ObservedObject, PhaseInfo, TaskExecutionContext, TokenStatus, WakeReason};
use crate::{json, wire};

/// One task attempt, as a plugin sees it in one round.
///
/// Dereferences to the wire message, so every plain field is read directly: `cx.generated_name`, `cx.labels`,
/// `cx.output_prefix`. What arrived as bytes is decoded at first use.
#[derive(Debug)]
pub struct TaskContext {
    wire: Box<TaskExecutionContext>,
    task_template_uri: String,
    template_uri_used: AtomicBool,
    template: OnceLock<Result<Box<TaskTemplate>, PluginError>>,
    inputs: Option<LiteralMap>,
    /// The last stored report; none in the first round.
    pub last: Option<PhaseInfo>,
    /// What the host knows about the objects this attempt asked for.
    pub observed: Vec<ObservedObject>,
    /// How the tokens this attempt asked for stand.
    pub tokens: Vec<TokenStatus>,
    /// Why this round happens.
    pub wake_reason: WakeReason,
    /// Clock of the host at this round, in milliseconds since 1970; the same in a replay of the round.
    pub now_ms: i64,
}

impl TaskContext {
    /// A context without inputs and observations, as abort and finalize have it.
    pub fn new(mut wire: TaskExecutionContext) -> Self {
        Self {
            task_template_uri: std::mem::take(&mut wire.task_template_uri),
            wire: Box::new(wire),
            template_uri_used: AtomicBool::new(false),
            template: OnceLock::new(),
            inputs: None,
            last: None,
            observed: Vec::new(),
            tokens: Vec::new(),
            wake_reason: WakeReason::Unspecified,
            now_ms: 0,
        }
    }

    /// The context of a handle request, with the state taken out.
    pub fn from_request(request: HandleRequest) -> Result<(Self, Option<wire::PluginState>), PluginError> {
        let wake_reason = request.wake_reason();
        let inputs = request.inputs.as_deref().map(LiteralMap::decode).transpose()?;
        let now = request.now.unwrap_or_default();
        let context = Self {
            inputs,
            last: request.last,
            observed: request.observed,
            tokens: request.tokens,
            wake_reason,
            now_ms: now.seconds * 1000 + i64::from(now.nanos) / 1_000_000,
            ..Self::new(request.context.unwrap_or_default())
        };
        Ok((context, request.state))
    }

    /// The task template. An unreadable one is an error of every call, never a panic.
    pub fn template(&self) -> Result<&TaskTemplate, PluginError> {
        let decode = || {
            TaskTemplate::decode(self.wire.task_template.as_slice()).map(Box::new).map_err(|error| {
                PluginError::user("BadTaskSpecification", format!("cannot read the task template: {error}"))
            })
        };
        self.template.get_or_init(decode).as_deref().map_err(Clone::clone)
    }

    /// The container of the template; a template without one is an error.
    pub fn container(&self) -> Result<&Container, PluginError> {
        match &self.template()?.target {
            Some(task_template::Target::Container(container)) => Ok(container),
            _ => Err(PluginError::user("BadTaskSpecification", "the task template has no container")),
        }
    }

    /// `custom` of the template as JSON; an empty object when it has none.
    pub fn custom(&self) -> Result<serde_json::Value, PluginError> {
        let empty = || serde_json::Value::Object(serde_json::Map::new());
        Ok(self.template()?.custom.as_ref().map_or_else(empty, json::from_struct))
    }

    /// What the node overrides; default when it overrides nothing.
    pub fn overrides(&self) -> Result<TaskNodeOverrides, PluginError> {
        Ok(TaskNodeOverrides::decode(self.wire.overrides.as_slice())?)
    }

    /// The security context of the execution (not that of the template).
    pub fn security_context(&self) -> Result<SecurityContext, PluginError> {
        Ok(SecurityContext::decode(self.wire.security_context.as_slice())?)
    }

    /// The inputs, if they came with the request or were fetched: see `needs_inputs` of the author traits.
    pub fn inputs(&self) -> Option<&LiteralMap> {
        self.inputs.as_ref()
    }

    /// Where `task.pb` will be. Asking has the host upload it before any object of this round is applied.
    pub fn task_template_uri(&self) -> &str {
        self.template_uri_used.store(true, Ordering::Relaxed);
        &self.task_template_uri
    }

    /// Whether [`Self::task_template_uri`] was asked for in this round.
    pub fn needs_template_upload(&self) -> bool {
        self.template_uri_used.load(Ordering::Relaxed)
    }

    /// Sets the inputs, for adapters that fetched them and for tests.
    pub fn set_inputs(&mut self, inputs: LiteralMap) {
        self.inputs = Some(inputs);
    }

    /// The wire message.
    pub fn wire(&self) -> &TaskExecutionContext {
        &self.wire
    }
}

impl Deref for TaskContext {
    type Target = TaskExecutionContext;

    fn deref(&self) -> &Self::Target {
        &self.wire
    }
}
