//! Is one loaded plugin: typed calls with deadlines, limits and checks of what comes back.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use plugin_api::metadata::PluginMetadata;
use prost::Message;
use proto::pinion::plugin::v1::{
    AbortRequest, AbortResponse, DrainRequest, DrainResponse, FinalizeRequest, FinalizeResponse,
    HandleRequest, HandleResponse, InitResponse, MigrateStateRequest, MigrateStateResponse, Phase, PhaseInfo,
    PluginMethod, PluginState,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::config::{Deadlines, Isolation, Limits};
use crate::fault::Fault;
use crate::transport::{Condition, Transport, fault_of};

/// What is known about a loaded plugin.
#[derive(Debug, Clone)]
pub struct PluginMeta {
    /// What the plugin says about itself in its file.
    pub metadata: PluginMetadata,
    /// What it said when it was initialised: pools, watched kinds, properties, capabilities.
    pub declared: InitResponse,
    /// The file it came from.
    pub file: PathBuf,
    /// SHA-256 of that file.
    pub sha256: String,
    /// Where it runs.
    pub isolation: Isolation,
}

impl PluginMeta {
    /// Whether the plugin has a capability, by file or by declaration.
    pub fn has(&self, capability: &str) -> bool {
        let mut all = self.metadata.capabilities.iter().chain(&self.declared.capabilities);
        all.any(|found| found == capability)
    }
}

/// One loaded plugin.
pub struct Plugin {
    meta: PluginMeta,
    transport: Box<dyn Transport>,
    turns: Semaphore,
    deadlines: Deadlines,
    max_state: u64,
    max_message: u64,
    seconds: metrics::Histogram,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl Plugin {
    pub(crate) fn new(
        meta: PluginMeta,
        transport: Box<dyn Transport>,
        deadlines: &Deadlines,
        limits: &Limits,
    ) -> Self {
        Self {
            turns: Semaphore::new(usize::try_from(limits.concurrent_calls).unwrap_or(1).max(1)),
            deadlines: deadlines.clone(),
            max_state: limits.state.bytes(),
            max_message: limits.message.bytes(),
            seconds: metrics::histogram!("plugin_call_seconds", "plugin" => meta.metadata.id.clone()),
            meta,
            transport,
        }
    }

    /// What is known about it.
    pub fn meta(&self) -> &PluginMeta {
        &self.meta
    }

    /// Why it is not called any more, if so.
    pub fn quarantined(&self) -> Option<String> {
        match self.transport.condition() {
            Condition::Serving => None,
            Condition::Quarantined(reason) => Some(reason),
        }
    }

    /// How long until it is called again once it is quarantined, where that is known.
    pub fn quarantine_ends_in(&self) -> Option<Duration> {
        self.transport.reopens_in()
    }

    /// Advances one attempt.
    ///
    /// # Errors
    /// The plugin gave no usable answer. An answer whose phase is a failure is no error.
    pub async fn handle(&self, request: HandleRequest) -> Result<HandleResponse, Fault> {
        let response: HandleResponse =
            self.call(PluginMethod::Handle, &request, self.deadlines.handle.get()).await?;
        check_phase(response.phase.as_ref())?;
        response.events.iter().try_for_each(|event| check_phase(Some(event)))?;
        self.check_state(response.state.as_ref())?;
        Ok(response)
    }

    /// Ends what an attempt started.
    ///
    /// # Errors
    /// The plugin gave no usable answer; the abort must be repeated.
    pub async fn abort(&self, request: AbortRequest) -> Result<AbortResponse, Fault> {
        let response: AbortResponse =
            self.call(PluginMethod::Abort, &request, self.deadlines.abort.get()).await?;
        if response.phase.is_some() {
            check_phase(response.phase.as_ref())?;
        }
        Ok(response)
    }

    /// Releases what an ended attempt holds.
    ///
    /// # Errors
    /// The plugin gave no usable answer; the call must be repeated.
    pub async fn finalize(&self, request: FinalizeRequest) -> Result<FinalizeResponse, Fault> {
        self.call(PluginMethod::Finalize, &request, self.deadlines.finalize.get()).await
    }

    /// Brings a stored state to the version that this plugin writes.
    ///
    /// # Errors
    /// The plugin does not know that version (code FAILED_PRECONDITION), or gave no usable answer.
    pub async fn migrate_state(&self, state: PluginState) -> Result<PluginState, Fault> {
        let request = MigrateStateRequest { state: Some(state) };
        let limit = self.deadlines.handle.get();
        let response: MigrateStateResponse = self.call(PluginMethod::MigrateState, &request, limit).await?;
        self.check_state(response.state.as_ref())?;
        response.state.ok_or_else(|| Fault::Incompatible("a migration without a state".into()))
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// There was none.
    pub async fn ping(&self) -> Result<(), Fault> {
        self.transport.ping(self.deadlines.init.get()).await
    }

    /// Ends the plugin's background work, and its process. No call follows.
    pub async fn drain(&self) {
        let limit = self.deadlines.drain.get();
        let deadline_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        // A plugin that was never called has nothing to drain; a fault here changes nothing.
        if self.quarantined().is_none() {
            let request = DrainRequest { deadline_ms };
            let _: Result<DrainResponse, Fault> = self.call(PluginMethod::Drain, &request, limit).await;
        }
        self.transport.shutdown().await;
    }

    async fn call<Response: Message + Default>(
        &self,
        method: PluginMethod,
        request: &impl Message,
        limit: Duration,
    ) -> Result<Response, Fault> {
        let begun = Instant::now();
        let result = self.exchange(method, request.encode_to_vec(), limit).await;
        self.seconds.record(begun.elapsed().as_secs_f64());
        if let Err(fault) = &result {
            let (plugin, code) = (self.meta.metadata.id.clone(), fault.code().to_owned());
            metrics::counter!("plugin_faults_total", "plugin" => plugin, "code" => code).increment(1);
        }
        let bytes = result?;
        Response::decode(bytes.as_slice()).map_err(|error| {
            Fault::Incompatible(format!("the answer to {method:?} can not be read ({error})"))
        })
    }

    async fn exchange(
        &self,
        method: PluginMethod,
        request: Vec<u8>,
        limit: Duration,
    ) -> Result<Vec<u8>, Fault> {
        if let Condition::Quarantined(reason) = self.transport.condition() {
            return Err(Fault::Quarantined(reason));
        }
        if request.len() as u64 > self.max_message {
            return Err(Fault::Incompatible(format!(
                "a request of {} bytes is over the limit of {}",
                request.len(),
                self.max_message
            )));
        }
        let _turn = self.turn(limit).await?;
        let reply = self.transport.call(method as u32, request, limit).await?;
        let response = reply.map_err(|status| fault_of(&status))?;
        if response.len() as u64 > self.max_message {
            return Err(Fault::Incompatible(format!(
                "an answer of {} bytes is over the limit of {}",
                response.len(),
                self.max_message
            )));
        }
        Ok(response)
    }

    async fn turn(&self, limit: Duration) -> Result<SemaphorePermit<'_>, Fault> {
        if let Ok(turn) = self.turns.try_acquire() {
            return Ok(turn);
        }
        match timeout(limit, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Fault::Timeout(limit)),
        }
    }

    fn check_state(&self, state: Option<&PluginState>) -> Result<(), Fault> {
        let size = state.map_or(0, |state| state.data.len() as u64);
        if size > self.max_state {
            let limit = self.max_state;
            return Err(Fault::Incompatible(format!("a state of {size} bytes is over the limit of {limit}")));
        }
        Ok(())
    }
}

/// An unknown phase is an error, never a guess.
fn check_phase(report: Option<&PhaseInfo>) -> Result<(), Fault> {
    let report = report.ok_or_else(|| Fault::Incompatible("an answer without a phase".into()))?;
    match Phase::try_from(report.phase) {
        Ok(Phase::Undefined) => Err(Fault::Incompatible("phase UNDEFINED is not an answer".into())),
        Ok(Phase::RetryableFailure | Phase::PermanentFailure) if report.error.is_none() => {
            Err(Fault::Incompatible("a failure phase without an error".into()))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::Incompatible(format!("phase number {} is unknown to this host", report.phase))),
    }
}
