//! Keeps one attempt's row: what a client reads of it and what its plugin kept.
//!
//! The plugin's phase is stored negated once the attempt has ended and the plugin asked to be aborted first, so that a
//! restarted host knows which clean-up is due.

use model::{EntityId, Timestamp};
use prost::Message;
use proto::flyteidl::admin::{Reason, TaskExecutionClosure, task_execution_closure::OutputResult};
use proto::flyteidl::core::{ExecutionError, task_execution};
use proto::flyteidl::event::task_execution_metadata::InstanceClass;
use proto::flyteidl::event::{ExternalResourceInfo, TaskExecutionMetadata};
use proto::pinion::plugin::v1::{Action, ExternalResource, ObjectRef, Phase, PhaseInfo, PluginState};
use store::row::{ExecutionKey, TaskExecutionRow};

use crate::wire::{Actions, ObjectRefs};

const MAX_REASONS: usize = 200;

/// What a new attempt is about.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) execution: ExecutionKey,
    pub(crate) node_id: &'a str,
    pub(crate) attempt: u32,
    pub(crate) task: &'a EntityId,
    pub(crate) task_type: &'a str,
    pub(crate) generated_name: String,
    pub(crate) interruptible: bool,
    pub(crate) at: Timestamp,
}

/// The row of an attempt, its closure decoded.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) row: TaskExecutionRow,
    pub(crate) closure: TaskExecutionClosure,
    pub(crate) objects: Vec<ObjectRef>,
    /// Whether the row tells why nothing happens instead of what the plugin said last.
    waits: bool,
}

impl Record {
    /// The row of an attempt that no plugin has seen.
    pub(crate) fn open(opening: Opening<'_>) -> Self {
        let instance_class =
            if opening.interruptible { InstanceClass::Interruptible } else { InstanceClass::Default };
        let closure = TaskExecutionClosure {
            task_type: opening.task_type.to_owned(),
            event_version: 1,
            metadata: Some(TaskExecutionMetadata {
                generated_name: opening.generated_name,
                instance_class: instance_class.into(),
                ..TaskExecutionMetadata::default()
            }),
            ..TaskExecutionClosure::default()
        };
        let row = TaskExecutionRow {
            execution: opening.execution,
            node_id: opening.node_id.to_owned(),
            attempt: i32::try_from(opening.attempt).unwrap_or(i32::MAX),
            task: opening.task.clone(),
            task_type: opening.task_type.to_owned(),
            phase: task_execution::Phase::Queued.into(),
            phase_version: 0,
            plugin_phase: 0,
            closure: Vec::new(),
            output_uri: String::new(),
            reason: String::new(),
            plugin: String::new(),
            plugin_state: Vec::new(),
            state_version: 0,
            intent: Vec::new(),
            objects: Vec::new(),
            open: true,
            wake_at: None,
            created_at: opening.at,
            updated_at: opening.at,
            started_at: None,
            duration: None,
        };
        Self { row, closure, objects: Vec::new(), waits: false }
    }

    /// Reads a stored row.
    pub(crate) fn from_row(row: TaskExecutionRow) -> Result<Self, prost::DecodeError> {
        let closure = TaskExecutionClosure::decode(row.closure.as_slice())?;
        let objects = ObjectRefs::decode(row.objects.as_slice())?.objects;
        let waits = row.phase == i32::from(task_execution::Phase::WaitingForResources);
        Ok(Self { row, closure, objects, waits })
    }

    /// The row as it is stored.
    pub(crate) fn to_row(&self) -> TaskExecutionRow {
        let mut row = self.row.clone();
        row.closure = self.closure.encode_to_vec();
        row.objects = ObjectRefs { objects: self.objects.clone() }.encode_to_vec();
        row
    }

    /// The last report, for the plugin; absent before its first.
    pub(crate) fn last(&self) -> Option<PhaseInfo> {
        let phase = i32::from(self.row.plugin_phase.abs());
        (phase != 0).then(|| PhaseInfo {
            phase,
            version: u32::try_from(self.row.phase_version).unwrap_or_default(),
            reason: self.row.reason.clone(),
            logs: self.closure.logs.clone(),
            custom_info: self.closure.custom_info.clone(),
            ..PhaseInfo::default()
        })
    }

    /// Whether its plugin said that it ended.
    pub(crate) fn has_ended(&self) -> bool {
        let phase = Phase::try_from(i32::from(self.row.plugin_phase.abs()));
        matches!(phase, Ok(Phase::Succeeded | Phase::RetryableFailure | Phase::PermanentFailure))
    }

    /// What the plugin keeps; absent before its first answer with a state.
    pub(crate) fn state(&self) -> Option<PluginState> {
        let version = u32::try_from(self.row.state_version).unwrap_or_default();
        let absent = self.row.plugin_state.is_empty() && version == 0;
        (!absent).then(|| PluginState { data: self.row.plugin_state.clone(), version })
    }

    /// Keeps a state.
    pub(crate) fn set_state(&mut self, state: PluginState) {
        self.row.plugin_state = state.data;
        self.row.state_version = i32::try_from(state.version).unwrap_or(i32::MAX);
    }

    /// The plugin that drives the attempt from now on.
    pub(crate) fn set_plugin(&mut self, id: &str, identity: &str) {
        identity.clone_into(&mut self.row.plugin);
        id.clone_into(&mut self.closure.metadata.get_or_insert_default().plugin_identifier);
    }

    /// Promises actions.
    pub(crate) fn set_intent(&mut self, actions: &[Action]) {
        self.row.intent = if actions.is_empty() {
            Vec::new()
        } else {
            Actions { actions: actions.to_vec() }.encode_to_vec()
        };
    }

    /// Notes an object made for the attempt.
    pub(crate) fn add_object(&mut self, object: &ObjectRef) {
        if !self.objects.contains(object) {
            self.objects.push(object.clone());
        }
    }

    /// Notes a report; says whether it says anything new.
    pub(crate) fn report(&mut self, info: &PhaseInfo, now: Timestamp) -> bool {
        let phase = i16::try_from(info.phase).unwrap_or_default();
        let version = i32::try_from(info.version).unwrap_or(i32::MAX);
        let waited = std::mem::take(&mut self.waits) && info.phase() != Phase::WaitingForResources;
        if self.row.plugin_phase == phase && self.row.phase_version == version && !waited {
            return false;
        }
        let at = info.occurred_at.as_ref().map_or(now, Timestamp::from_proto);
        self.row.plugin_phase = phase;
        self.row.phase_version = version;
        self.row.phase = wire_phase(info.phase()).into();
        self.row.updated_at = now;
        for reason in &info.additional_reasons {
            self.reason(&reason.text, reason.occurred_at.as_ref().map_or(at, Timestamp::from_proto));
        }
        self.reason(&info.reason, at);
        info.reason.clone_into(&mut self.row.reason);
        if !info.logs.is_empty() {
            self.closure.logs.clone_from(&info.logs);
        }
        if info.custom_info.is_some() {
            self.closure.custom_info.clone_from(&info.custom_info);
        }
        if !info.external_resources.is_empty() {
            let metadata = self.closure.metadata.get_or_insert_default();
            merge_resources(&mut metadata.external_resources, &info.external_resources);
        }
        if info.phase() == Phase::Running && self.row.started_at.is_none() {
            self.row.started_at = Some(at.max(self.row.created_at).min(now));
        }
        true
    }

    /// Says why nothing happens, without a word from a plugin. Says whether that is new.
    pub(crate) fn wait(&mut self, reason: &str, now: Timestamp) -> bool {
        let phase = task_execution::Phase::WaitingForResources.into();
        if self.row.phase == phase && self.row.reason == reason {
            return false;
        }
        self.waits = true;
        self.row.phase = phase;
        self.row.updated_at = now;
        self.reason(reason, now);
        reason.clone_into(&mut self.row.reason);
        true
    }

    fn reason(&mut self, text: &str, at: Timestamp) {
        if text.is_empty() || self.closure.reasons.last().is_some_and(|last| last.message == text) {
            return;
        }
        if self.closure.reasons.len() >= MAX_REASONS {
            // The first tell how it began, the last how it stands.
            self.closure.reasons.remove(MAX_REASONS / 2);
        }
        self.closure.reasons.push(Reason { occurred_at: Some(at.to_proto()), message: text.to_owned() });
    }

    /// Says what was known before its plugin was asked.
    pub(crate) fn explain(&mut self, text: &str, now: Timestamp) {
        self.reason(text, now);
    }

    /// Notes that the attempt ended well; `called` is when the plugin was asked.
    pub(crate) fn succeed(&mut self, output_uri: &str, called: Timestamp, now: Timestamp) {
        output_uri.clone_into(&mut self.row.output_uri);
        self.finish(task_execution::Phase::Succeeded.into(), called, now);
    }

    /// Notes that the attempt failed.
    pub(crate) fn fail(&mut self, error: &ExecutionError, cleanup: bool, called: Timestamp, now: Timestamp) {
        if !matches!(Phase::try_from(i32::from(self.row.plugin_phase)), Ok(Phase::PermanentFailure)) {
            self.row.plugin_phase = Phase::RetryableFailure as i16;
        }
        if cleanup {
            self.row.plugin_phase = -self.row.plugin_phase;
        }
        self.reason(&error.message, now);
        error.message.clone_into(&mut self.row.reason);
        self.closure.output_result = Some(OutputResult::Error(error.clone()));
        self.finish(task_execution::Phase::Failed.into(), called, now);
    }

    /// Notes that the engine ended the attempt.
    pub(crate) fn end(&mut self, phase: i32, reason: &str, error: Option<&ExecutionError>, at: Timestamp) {
        self.reason(reason, at);
        reason.clone_into(&mut self.row.reason);
        if let Some(error) = error.filter(|_| phase == i32::from(task_execution::Phase::Failed)) {
            self.closure.output_result = Some(OutputResult::Error(error.clone()));
        }
        self.finish(phase, at, at);
    }

    /// Adds a word to an attempt that has ended.
    pub(crate) fn remark(&mut self, text: &str, now: Timestamp) {
        self.reason(text, now);
        text.clone_into(&mut self.row.reason);
        self.row.updated_at = now;
    }

    /// Notes what a plugin has to say about an attempt it aborted.
    pub(crate) fn last_word(&mut self, info: &PhaseInfo, now: Timestamp) {
        if !info.logs.is_empty() {
            self.closure.logs.clone_from(&info.logs);
        }
        if info.custom_info.is_some() {
            self.closure.custom_info.clone_from(&info.custom_info);
        }
        if !info.reason.is_empty() {
            self.remark(&info.reason, now);
        }
    }

    fn finish(&mut self, phase: i32, called: Timestamp, now: Timestamp) {
        self.row.phase = phase;
        self.row.updated_at = now;
        self.row.wake_at = None;
        let started = *self.row.started_at.get_or_insert(called.max(self.row.created_at).min(now));
        self.row.duration = Some(now.since(started));
    }

    /// Notes that nothing more is to be done for the attempt.
    pub(crate) fn close(&mut self, now: Timestamp) {
        self.row.open = false;
        self.row.intent.clear();
        self.row.plugin_state.clear();
        self.row.wake_at = None;
        self.row.updated_at = now;
    }
}

/// The phase that clients see (execution.md B2).
pub(crate) fn wire_phase(phase: Phase) -> task_execution::Phase {
    use task_execution::Phase as Wire;
    match phase {
        Phase::Undefined | Phase::NotReady | Phase::WaitingForCache => Wire::Undefined,
        Phase::WaitingForResources => Wire::WaitingForResources,
        Phase::Queued => Wire::Queued,
        Phase::Initializing => Wire::Initializing,
        Phase::Running => Wire::Running,
        Phase::Succeeded => Wire::Succeeded,
        Phase::RetryableFailure | Phase::PermanentFailure => Wire::Failed,
        Phase::Aborted => Wire::Aborted,
    }
}

fn merge_resources(known: &mut Vec<ExternalResourceInfo>, news: &[ExternalResource]) {
    for resource in news {
        let info = ExternalResourceInfo {
            external_id: resource.external_id.clone(),
            index: resource.index,
            retry_attempt: resource.retry_attempt,
            phase: wire_phase(resource.phase()).into(),
            cache_status: resource.cache_status,
            logs: resource.logs.clone(),
            custom_info: resource.custom_info.clone(),
            ..ExternalResourceInfo::default()
        };
        let same = |old: &&mut ExternalResourceInfo| {
            old.index == info.index
                && old.external_id == info.external_id
                && old.retry_attempt == info.retry_attempt
        };
        match known.iter_mut().find(same) {
            Some(old) => *old = info,
            None => known.push(info),
        }
    }
}
