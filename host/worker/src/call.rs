//! Calls a plugin's `handle` for one attempt and makes of its answer what the engine can use.
//!
//! Whatever the plugin does, there is an answer: a fault is a system failure of this attempt and of nothing else.

use std::sync::Arc;

use bytes::Bytes;
use model::Timestamp;
use proto::flyteidl::core::{ExecutionError, Identifier, execution_error::ErrorKind};
use proto::pinion::plugin::v1::{
    Action, HandleRequest, HandleResponse, Kind, Outputs, Phase, PhaseInfo, PluginState, Status,
};

use crate::cache::{Populate, Populated};
use crate::expansion::{self, Made, Source};
use crate::outcome::{self, Expected, Outcome, execution_error};
use crate::plugin::{Fault, Plugin, Unavailable};
use crate::program::TaskRef;
use crate::response::{self, Standing};
use crate::shared::Shared;
use crate::{backoff, clock, inputs};

/// gRPC code FAILED_PRECONDITION, with which a plugin refuses a state it cannot read.
const FAILED_PRECONDITION: u32 = 9;
const UNKNOWN_STATE_VERSION: &str = "UnknownStateVersion";

/// One call to make.
pub(crate) struct Call {
    pub(crate) plugin: Arc<dyn Plugin>,
    pub(crate) request: HandleRequest,
    pub(crate) standing: Standing,
    pub(crate) task: TaskRef,
    /// Where the inputs are; empty when the node has none.
    pub(crate) input_uri: String,
    /// Inputs that are still to be written.
    pub(crate) unwritten: Option<Bytes>,
    /// For an attempt of an earlier life: what its inputs are made of, should they not be written.
    pub(crate) origin: Option<inputs::Origin>,
    /// For a task whose outputs are cached: how to put them.
    pub(crate) populate: Option<Populate>,
    /// Name of the workflow it may make.
    pub(crate) workflow_id: Identifier,
    /// The state is of another version of the plugin.
    pub(crate) migrate: bool,
    /// Where a checkpoint to go on from may be, the best first.
    pub(crate) earlier_checkpoints: Vec<String>,
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Answer {
    /// When the plugin was asked.
    pub(crate) called: Timestamp,
    /// The state to keep; absent: the stored one stays.
    pub(crate) state: Option<PluginState>,
    /// Reports in order; the last is the standing one.
    pub(crate) reports: Vec<PhaseInfo>,
    pub(crate) actions: Vec<Action>,
    pub(crate) wake_after_ms: Option<u64>,
    pub(crate) verdict: Verdict,
    /// What became of outputs that are to be cached.
    pub(crate) populated: Option<Populated>,
}

/// Where the attempt stands after a call.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// There is no plugin to ask.
    Parked(Unavailable),
    Waiting,
    Running,
    Succeeded {
        output_uri: String,
        deck_uri: String,
    },
    /// It made a workflow.
    Expanded {
        made: Made,
        deck_uri: String,
    },
    Failed {
        error: ExecutionError,
        recoverable: bool,
        cleanup: bool,
    },
}

impl Answer {
    fn new(called: Timestamp, verdict: Verdict) -> Self {
        Self {
            called,
            state: None,
            reports: Vec::new(),
            actions: Vec::new(),
            wake_after_ms: None,
            verdict,
            populated: None,
        }
    }

    /// The host itself failed.
    pub(crate) fn panicked(called: Timestamp, what: &str) -> Self {
        Self::new(called, system_failure("HostPanicked", what.to_owned(), true))
    }
}

/// Makes the call.
pub(crate) async fn perform(shared: &Shared, mut call: Call) -> Answer {
    let called = shared.clock.now();
    let mut answer = Answer::new(called, Verdict::Waiting);
    if let Err(verdict) = prepare(shared, &mut call, &mut answer).await {
        answer.verdict = verdict;
        return answer;
    }
    call.request.now = Some(called.to_proto());
    let prefix =
        call.request.context.as_ref().map(|context| context.output_prefix.clone()).unwrap_or_default();
    let handled = tokio::time::timeout(
        shared.config.plugin_calls.backstop.get(),
        call.plugin.handle(std::mem::take(&mut call.request)),
    );
    let handled = handled.await.unwrap_or_else(|_| {
        let limit = shared.config.plugin_calls.backstop;
        Err(Fault::Broken {
            code: "PluginTimeout".to_owned(),
            message: format!("plugin {} did not answer within {limit}", call.plugin.id()),
        })
    });
    match handled {
        Ok(response) => judge(shared, &mut call, &prefix, response, &mut answer).await,
        Err(fault) => answer.verdict = of_fault(fault),
    }
    answer
}

/// What must be there before the plugin is asked: its state in its own version, and the inputs.
async fn prepare(shared: &Shared, call: &mut Call, answer: &mut Answer) -> Result<(), Verdict> {
    if call.migrate
        && let Some(state) = call.request.state.take()
    {
        let state = call.plugin.migrate_state(state).await.map_err(of_fault)?;
        call.request.state = Some(state.clone());
        answer.state = Some(state);
    }
    let unreadable = |error: &crate::files::Error| {
        let message = format!("the inputs cannot be handed over: {}", crate::clusters::with_causes(error));
        system_failure("InputsUnavailable", message, true)
    };
    if let Some(bytes) = call.unwritten.take() {
        retried(shared, || shared.files.write(&call.input_uri, bytes.clone()))
            .await
            .map_err(|e| unreadable(&e))?;
    }
    if let Some(origin) = call.origin.take() {
        let restored = inputs::restore(shared, &call.input_uri, &origin).await;
        restored.map_err(|error| Verdict::Failed { error: *error, recoverable: true, cleanup: true })?;
    }
    if let Some(context) = &mut call.request.context {
        context.prev_checkpoint_prefix = latest_checkpoint(shared, &call.earlier_checkpoints).await;
    }
    if call.plugin.inputs_inline() {
        let bytes =
            retried(shared, || shared.files.bytes(&call.input_uri)).await.map_err(|e| unreadable(&e))?;
        call.request.inputs = Some(bytes.to_vec());
    }
    Ok(())
}

/// The first place that holds something: clients take a checkpoint that is named but not there for a failure of the
/// task, and what an attempt left is not lost because the next one ended before it wrote.
async fn latest_checkpoint(shared: &Shared, places: &[String]) -> String {
    for place in places {
        match retried(shared, || shared.files.holds_any(place)).await {
            Ok(true) => return place.clone(),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%place, error = crate::clusters::with_causes(&error), "cannot look for a checkpoint");
            }
        }
    }
    String::new()
}

/// Tries a storage operation again while that may help.
pub(crate) async fn retried<T, F>(
    shared: &Shared,
    operation: impl Fn() -> F,
) -> Result<T, crate::files::Error>
where
    F: Future<Output = Result<T, crate::files::Error>>,
{
    let config = &shared.config.plugin_calls;
    let mut n_tried = 0;
    loop {
        match operation().await {
            Err(error) if error.is_transient() && n_tried + 1 < config.cleanup_tries => {
                let pause = backoff::pause(config, n_tried);
                shared.clock.sleep_until(clock::after(shared.clock.now(), pause)).await;
                n_tried += 1;
            }
            result => return result,
        }
    }
}

async fn judge(
    shared: &Shared,
    call: &mut Call,
    prefix: &str,
    response: HandleResponse,
    answer: &mut Answer,
) {
    let max_version = shared.config.plugin_calls.max_phase_version;
    let phase = match response::check(&response, call.standing, max_version) {
        Ok(phase) => phase.clone(),
        Err(illegal) => {
            let message = format!("plugin {}: {}", call.plugin.id(), illegal.message);
            answer.verdict = system_failure(illegal.code, message, illegal.recoverable);
            return;
        }
    };
    answer.state = response.state.or(answer.state.take());
    answer.actions = response.actions;
    answer.wake_after_ms = response.wake.map(|wake| wake.after_ms);
    answer.verdict = match phase.phase() {
        Phase::Succeeded => {
            let verdict = settled(shared, call, prefix, response.outputs).await;
            answer.populated = populate(shared, call, &verdict).await;
            verdict
        }
        Phase::RetryableFailure | Phase::PermanentFailure => Verdict::Failed {
            error: failure_of(&phase),
            recoverable: phase.phase() == Phase::RetryableFailure,
            cleanup: phase.cleanup_on_failure,
        },
        Phase::Running => Verdict::Running,
        Phase::Undefined
        | Phase::NotReady
        | Phase::WaitingForResources
        | Phase::WaitingForCache
        | Phase::Queued
        | Phase::Initializing
        | Phase::Aborted => Verdict::Waiting,
    };
    answer.reports = response.events;
    answer.reports.push(phase);
}

async fn settled(shared: &Shared, call: &Call, prefix: &str, outputs: Option<Outputs>) -> Verdict {
    let declared = call.task.declared();
    let expected =
        Expected { prefix, declared: declared.as_deref(), generates_deck: call.task.task().generates_deck };
    match retried(shared, || outcome::settle(&shared.files, expected, outputs.clone())).await {
        Ok(Outcome::Succeeded { output_uri, deck_uri }) => Verdict::Succeeded { output_uri, deck_uri },
        Ok(Outcome::Expanded { spec_uri, deck_uri }) => expand(shared, call, spec_uri, deck_uri).await,
        Ok(Outcome::Failed { error, recoverable }) => Verdict::Failed { error, recoverable, cleanup: false },
        Err(error) => {
            let message =
                format!("the outputs cannot be read or written: {}", crate::clusters::with_causes(&error));
            system_failure("OutputsUnavailable", message, true)
        }
    }
}

/// Makes the workflow that the task wrote.
async fn expand(shared: &Shared, call: &Call, spec_uri: String, deck_uri: String) -> Verdict {
    let parent = call.task.task().template.clone();
    let source = Source { spec_uri, id: call.workflow_id.clone(), parent };
    match expansion::make(shared, &source).await {
        Ok(made) => Verdict::Expanded { made, deck_uri },
        Err(expansion::Failure::Bad(error)) => {
            Verdict::Failed { error: *error, recoverable: false, cleanup: false }
        }
        Err(expansion::Failure::Unknown(text)) => {
            let message = format!("the workflow that the task made cannot be compiled now: {text}");
            system_failure("DynamicWorkflowBuildFailed", message, true)
        }
    }
}

/// Puts the outputs of a task that may be cached.
async fn populate(shared: &Shared, call: &mut Call, verdict: &Verdict) -> Option<Populated> {
    let Verdict::Succeeded { output_uri, .. } = verdict else { return None };
    let populate = call.populate.take()?;
    match retried(shared, || shared.files.map(output_uri)).await {
        Ok(outputs) => Some(populate.put(shared, outputs).await),
        Err(error) => Some(Populated::failed(crate::clusters::with_causes(&error))),
    }
}

fn failure_of(phase: &PhaseInfo) -> ExecutionError {
    let mut error = phase.error.clone().unwrap_or_else(|| {
        execution_error(
            ErrorKind::System,
            "UnknownError",
            "the plugin reported a failure without an error".to_owned(),
        )
    });
    if error.message.is_empty() {
        error.message.clone_from(&phase.reason);
    }
    error.message = outcome::cut(error.message);
    error
}

fn system_failure(code: &str, message: String, recoverable: bool) -> Verdict {
    Verdict::Failed { error: execution_error(ErrorKind::System, code, message), recoverable, cleanup: true }
}

/// What a fault means for the attempt.
fn of_fault(fault: Fault) -> Verdict {
    match fault {
        Fault::Unavailable(unavailable) => Verdict::Parked(unavailable),
        Fault::Status(status) if is_unknown_state(&status) => {
            // Another version of the plugin may read it; nothing else will.
            Verdict::Parked(Unavailable { reason: status.message, gone: false, again_in: None })
        }
        Fault::Status(status) => {
            let kind = match status.kind() {
                Kind::User => ErrorKind::User,
                Kind::System | Kind::Unspecified => ErrorKind::System,
            };
            let code = if status.error_code.is_empty() { "PluginError" } else { &status.error_code };
            let error = execution_error(kind, code, status.message);
            Verdict::Failed { error, recoverable: status.retryable, cleanup: true }
        }
        Fault::Broken { code, message } => system_failure(&code, message, true),
    }
}

fn is_unknown_state(status: &Status) -> bool {
    status.code == FAILED_PRECONDITION && status.error_code == UNKNOWN_STATE_VERSION
}
