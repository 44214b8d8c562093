//! Ends what an attempt started: `abort` when it has not ended by itself, then `finalize`.
//!
//! Invariant: clean-up always converges. A plugin that cannot do it is tried for a while; then the host deletes the
//! objects it knows of and closes the attempt with a word about it.

use std::sync::Arc;

use proto::pinion::plugin::v1::{
    AbortRequest, FinalizeRequest, ObjectRef, ObservedObject, PhaseInfo, PluginState, TaskExecutionContext,
};

use crate::actions::{self, Act};
use crate::plugin::Fault;
use crate::shared::Shared;
use crate::{backoff, clock, metric};

/// One clean-up to do.
pub(crate) struct Cleanup {
    /// The attempt, with no actions: what the plugin asks for is added.
    pub(crate) act: Act,
    pub(crate) task_type: String,
    /// The plugin that drives it; empty when none ever did.
    pub(crate) pin: String,
    /// Why it is aborted; absent when it has ended by itself.
    pub(crate) abort: Option<String>,
    pub(crate) state: Option<PluginState>,
    pub(crate) observed: Vec<ObservedObject>,
    /// Objects made for the attempt.
    pub(crate) objects: Vec<ObjectRef>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Cleaned {
    /// The plugin's last word about an abort.
    pub(crate) phase: Option<PhaseInfo>,
    /// Why the plugin could not do it.
    pub(crate) debt: Option<String>,
}

/// Which verb failed, and how.
struct Failure {
    text: String,
    gone: bool,
}

impl Failure {
    fn plain(text: String) -> Self {
        Self { text, gone: false }
    }
}

/// Cleans up.
pub(crate) async fn perform(shared: &Shared, mut cleanup: Cleanup) -> Cleaned {
    let mut cleaned = Cleaned::default();
    if cleanup.pin.is_empty() {
        return cleaned;
    }
    let config = &shared.config.plugin_calls;
    let mut last = String::new();
    for n in 0..config.cleanup_tries {
        match once(shared, &mut cleanup, &mut cleaned).await {
            Ok(()) => return cleaned,
            Err(failure) => {
                last = failure.text;
                if failure.gone {
                    break;
                }
            }
        }
        tracing::warn!(attempt = %cleanup.act.context.generated_name, error = %last, "clean-up failed, trying again");
        shared.clock.sleep_until(clock::after(shared.clock.now(), backoff::pause(config, n))).await;
    }
    without_plugin(shared, &cleanup).await;
    metrics::counter!(metric::CLEANUP_DEBT).increment(1);
    tracing::error!(
        attempt = %cleanup.act.context.generated_name,
        error = %last,
        objects = cleanup.objects.len(),
        "the plugin cannot clean up, its objects were deleted by the host"
    );
    cleaned.debt =
        Some(format!("the plugin could not clean up ({last}); the host deleted the objects it knows of"));
    cleaned
}

async fn once(shared: &Shared, cleanup: &mut Cleanup, cleaned: &mut Cleaned) -> Result<(), Failure> {
    let _permit = shared.permits.acquire().await;
    let plugin = shared
        .plugins
        .resolve(&cleanup.task_type, &cleanup.pin)
        .map_err(|unavailable| Failure { text: unavailable.reason, gone: unavailable.gone })?;
    let context = TaskExecutionContext::clone(&cleanup.act.context);
    if let Some(reason) = &cleanup.abort {
        let request = AbortRequest {
            context: Some(context.clone()),
            state: cleanup.state.clone(),
            reason: reason.clone(),
            observed: cleanup.observed.clone(),
        };
        let response = limited(shared, "abort", plugin.abort(request)).await?;
        act(shared, &cleanup.act, response.actions).await?;
        cleaned.phase = response.phase;
        cleanup.abort = None;
    }
    let request = FinalizeRequest {
        context: Some(context),
        state: cleanup.state.clone(),
        observed: cleanup.observed.clone(),
    };
    let response = limited(shared, "finalize", plugin.finalize(request)).await?;
    act(shared, &cleanup.act, response.actions).await
}

async fn limited<T>(
    shared: &Shared,
    verb: &'static str,
    call: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Failure> {
    let limit = shared.config.plugin_calls.backstop;
    match tokio::time::timeout(limit.get(), call).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(Fault::Unavailable(unavailable))) => {
            Err(Failure { text: unavailable.reason, gone: unavailable.gone })
        }
        Ok(Err(fault)) => Err(Failure::plain(format!("{verb}: {}", fault.text()))),
        Err(_) => Err(Failure::plain(format!("{verb}: no answer within {limit}"))),
    }
}

async fn act(
    shared: &Shared,
    template: &Act,
    actions: Vec<proto::pinion::plugin::v1::Action>,
) -> Result<(), Failure> {
    if actions.is_empty() {
        return Ok(());
    }
    let act = Act {
        execution: template.execution.clone(),
        context: Arc::clone(&template.context),
        mailbox: Arc::clone(&template.mailbox),
        attempt: template.attempt,
        actions,
        refresh: Vec::new(),
    };
    match actions::perform(shared, act).await.obstacle {
        None => Ok(()),
        Some(obstacle) => Err(Failure::plain(obstacle)),
    }
}

async fn without_plugin(shared: &Shared, cleanup: &Cleanup) {
    let config = &shared.config.plugin_calls;
    for object in &cleanup.objects {
        for n in 0..config.cleanup_tries {
            if actions::delete_object(shared, object.clone()).await.is_none() {
                break;
            }
            shared.clock.sleep_until(clock::after(shared.clock.now(), backoff::pause(config, n))).await;
        }
    }
}
