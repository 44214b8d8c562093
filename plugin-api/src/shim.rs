//! Turns a `TaskPlugin` into "method number and bytes in, bytes out", catching every panic.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use prost::Message;

use crate::error::{PluginError, code};
use crate::host::{BoxFuture, Host};
use crate::plugin::TaskPlugin;
use crate::wire::{self, PluginMethod};

/// An encoded response, or an encoded `Status`.
pub type Reply = Result<Vec<u8>, Vec<u8>>;

/// A plugin behind numbers and bytes.
pub trait Dispatch: Send + Sync + 'static {
    /// Calls a `PluginMethod`. Dropping the future cancels the call.
    fn call(&self, method: u32, request: Vec<u8>) -> BoxFuture<Reply>;
}

/// Where the futures of a plugin run.
pub trait Driver: Send + Sync + 'static {
    /// Takes the future of one call, gives the one that the host polls.
    fn drive(future: BoxFuture<Reply>) -> BoxFuture<Reply>;
}

/// Has the host poll the plugin's futures: no thread, no runtime.
#[derive(Debug)]
pub struct Inline;

impl Driver for Inline {
    fn drive(future: BoxFuture<Reply>) -> BoxFuture<Reply> {
        future
    }
}

/// The one implementation of [`Dispatch`].
pub struct Shim<P, D> {
    inner: Arc<Inner<P>>,
    driver: PhantomData<D>,
}

struct Inner<P> {
    host: Host,
    plugin: OnceLock<P>,
}

impl<P: TaskPlugin, D: Driver> Shim<P, D> {
    /// A plugin that awaits its INIT.
    pub fn new(host: Host) -> Self {
        Self { inner: Arc::new(Inner { host, plugin: OnceLock::new() }), driver: PhantomData }
    }
}

impl<P: TaskPlugin, D: Driver> Dispatch for Shim<P, D> {
    fn call(&self, method: u32, request: Vec<u8>) -> BoxFuture<Reply> {
        let inner = Arc::clone(&self.inner);
        let answer = async move {
            let result = AssertUnwindSafe(inner.answer(method, &request)).catch_unwind().await;
            let result = result.unwrap_or_else(|payload| Err(panicked(payload.as_ref())));
            result.map_err(|error| error.to_status().encode_to_vec())
        };
        D::drive(Box::pin(answer))
    }
}

impl<P: TaskPlugin> Inner<P> {
    async fn answer(&self, method: u32, request: &[u8]) -> Result<Vec<u8>, PluginError> {
        let method = i32::try_from(method).ok().and_then(|number| PluginMethod::try_from(number).ok());
        match method {
            Some(PluginMethod::ValidateConfig) => validate::<P>(request),
            Some(PluginMethod::Init) => self.init(request).await,
            Some(PluginMethod::Handle) => {
                let request = wire::HandleRequest::decode(request)?;
                Ok(self.plugin()?.handle(request).await?.encode_to_vec())
            }
            Some(PluginMethod::Abort) => {
                let request = wire::AbortRequest::decode(request)?;
                Ok(self.plugin()?.abort(request).await?.encode_to_vec())
            }
            Some(PluginMethod::Finalize) => {
                let request = wire::FinalizeRequest::decode(request)?;
                Ok(self.plugin()?.finalize(request).await?.encode_to_vec())
            }
            Some(PluginMethod::MigrateState) => {
                let request = wire::MigrateStateRequest::decode(request)?;
                let state = self.plugin()?.migrate_state(request.state.unwrap_or_default())?;
                Ok(wire::MigrateStateResponse { state: Some(state) }.encode_to_vec())
            }
            Some(PluginMethod::Drain) => {
                let request = wire::DrainRequest::decode(request)?;
                if let Some(plugin) = self.plugin.get() {
                    plugin.drain(request.deadline_ms).await?;
                }
                Ok(wire::DrainResponse {}.encode_to_vec())
            }
            Some(PluginMethod::Ping) => Ok(wire::PingResponse {}.encode_to_vec()),
            Some(PluginMethod::Unspecified) | None => Err(PluginError::unimplemented("this method")),
        }
    }

    async fn init(&self, request: &[u8]) -> Result<Vec<u8>, PluginError> {
        let request = wire::InitRequest::decode(request)?;
        let plugin = match self.plugin.get() {
            Some(plugin) => plugin,
            None => {
                let config = parse::<P>(&request.config_json)
                    .map_err(|error| PluginError::user("BadPluginConfig", error.message))?;
                let plugin = P::new(config, self.host.clone()).await?;
                self.plugin.get_or_init(|| plugin)
            }
        };
        let declared = plugin.declare();
        let response = wire::InitResponse {
            capabilities: declared.capabilities,
            resource_pools: declared.resource_pools,
            watched_kinds: declared.watched_kinds,
            properties: Some(declared.properties),
        };
        Ok(response.encode_to_vec())
    }

    fn plugin(&self) -> Result<&P, PluginError> {
        self.plugin.get().ok_or_else(|| {
            PluginError::bug("a verb was called before INIT").with_status(code::FAILED_PRECONDITION)
        })
    }
}

fn validate<P: TaskPlugin>(request: &[u8]) -> Result<Vec<u8>, PluginError> {
    let request = wire::ValidateConfigRequest::decode(request)?;
    let diagnostics = match parse::<P>(&request.config_json) {
        Ok(config) => P::validate_config(&config),
        Err(diagnostic) => vec![diagnostic],
    };
    Ok(wire::ValidateConfigResponse { diagnostics }.encode_to_vec())
}

fn parse<P: TaskPlugin>(json: &[u8]) -> Result<P::Config, wire::Diagnostic> {
    let json = if json.is_empty() { b"{}" } else { json };
    serde_json::from_slice(json)
        .map_err(|error| wire::Diagnostic { json_pointer: String::new(), message: error.to_string() })
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps the place of a panic for the error message instead of printing it. The hook is that of this library alone,
/// because each plugin links its own standard library.
pub fn remember_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
        LAST_PANIC.with(|slot| *slot.borrow_mut() = place);
    }));
}

/// The error that a panic becomes: one SYSTEM failure of the attempt.
pub fn panicked(payload: &(dyn std::any::Any + Send)) -> PluginError {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    let place = LAST_PANIC.with(|slot| slot.borrow_mut().take()).unwrap_or_default();
    let message = format!("the plugin panicked{place}: {}", text.as_deref().unwrap_or("no message"));
    PluginError::system("PluginPanicked", message).with_status(code::INTERNAL)
}
