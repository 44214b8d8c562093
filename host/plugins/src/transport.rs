//! Is the one way in which the room calls a plugin, whichever side of a process border it is on.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use plugin_api::code;
use prost::Message;
use proto::pinion::plugin::v1::{Diagnostic, PluginMethod, Status, ValidateConfigResponse};

use crate::fault::Fault;
use crate::guard::{Cut, Guard};
use crate::library::Library;

/// An encoded response, or an encoded `Status`.
pub(crate) type Reply = Result<Vec<u8>, Vec<u8>>;

/// Whether a plugin is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Serving,
    Quarantined(String),
}

/// A way to a plugin.
pub(crate) trait Transport: Send + Sync {
    /// Calls a method and waits for the answer, at most for `limit`.
    fn call(&self, method: u32, request: Vec<u8>, limit: Duration) -> BoxFuture<'_, Result<Reply, Fault>>;

    /// Asks for a sign of life that needs no code of the plugin where there is a process for that.
    fn ping(&self, limit: Duration) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move { self.call(PluginMethod::Ping as u32, Vec::new(), limit).await.map(drop) })
    }

    /// Whether the plugin is called at all.
    fn condition(&self) -> Condition;

    /// How long until a quarantined plugin is called again, where that is known.
    fn reopens_in(&self) -> Option<Duration> {
        None
    }

    /// Ends the other side; no call follows.
    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A plugin in this process.
pub(crate) struct InProcess {
    library: Arc<dyn Library>,
    guard: Guard,
    max_lost: usize,
}

impl InProcess {
    pub(crate) fn new(library: Arc<dyn Library>, guard: Guard, max_lost: usize) -> Self {
        Self { library, guard, max_lost }
    }

    /// Threads that hang in the plugin past a deadline.
    pub(crate) fn lost(&self) -> usize {
        self.guard.lost()
    }
}

impl Transport for InProcess {
    fn call(&self, method: u32, request: Vec<u8>, limit: Duration) -> BoxFuture<'_, Result<Reply, Fault>> {
        let library = Arc::clone(&self.library);
        // The call itself runs code of the plugin, so it belongs inside.
        let answer = Box::pin(async move { library.call(method, request).await });
        // Rare calls are not worth a risk to the workers of the host.
        let often = [PluginMethod::Handle, PluginMethod::Abort, PluginMethod::Finalize, PluginMethod::Ping];
        let inline = often.iter().any(|often| *often as u32 == method);
        Box::pin(async move {
            let answer = if inline {
                self.guard.run(limit, answer).await
            } else {
                self.guard.on_lane(limit, answer).await
            };
            answer.map_err(|cut| match cut {
                Cut::Timeout => Fault::Timeout(limit),
                Cut::Panicked(text) => Fault::Panicked(format!("the plugin panicked: {text}")),
            })
        })
    }

    fn condition(&self) -> Condition {
        let lost = self.guard.lost();
        if lost < self.max_lost {
            return Condition::Serving;
        }
        Condition::Quarantined(format!(
            "{lost} threads of the host hang in it; they come back when it lets go"
        ))
    }
}

/// The fault that an encoded `Status` stands for.
pub(crate) fn fault_of(status: &[u8]) -> Fault {
    match Status::decode(status) {
        Ok(status) if status.code == code::INTERNAL && status.error_code == "PluginPanicked" => {
            Fault::Panicked(status.message)
        }
        Ok(status) => Fault::Status(status),
        Err(error) => Fault::Incompatible(format!("an error that can not be read ({error})")),
    }
}

/// Turns diagnostics about a configuration into the fault of a wrong one.
pub(crate) fn diagnosed(reply: Reply) -> Result<(), Fault> {
    let response = match reply {
        Ok(response) => ValidateConfigResponse::decode(response.as_slice())
            .map_err(|error| Fault::Incompatible(format!("diagnostics that can not be read ({error})")))?,
        // A plugin need not check its configuration.
        Err(status) => {
            return match fault_of(&status) {
                Fault::Status(status) if status.code == code::UNIMPLEMENTED => Ok(()),
                fault => Err(fault),
            };
        }
    };
    if response.diagnostics.is_empty() {
        return Ok(());
    }
    let line = |found: &Diagnostic| {
        let pointer = if found.json_pointer.is_empty() { "/" } else { &found.json_pointer };
        format!("{pointer}: {}", found.message)
    };
    let message = response.diagnostics.iter().map(line).collect::<Vec<_>>().join("; ");
    Err(Fault::Status(Status {
        code: code::INVALID_ARGUMENT,
        error_code: BAD_CONFIG.into(),
        message,
        ..Status::default()
    }))
}

/// Error code of a configuration that the plugin does not accept.
pub(crate) const BAD_CONFIG: &str = "BadPluginConfig";
