//! Checks that a plugin keeps the contract, through any transport.

use std::future::Future;
use std::sync::Arc;

use prost::Message;

use super::FakeHost;
use crate::error::code;
use crate::plugin::TaskPlugin;
use crate::shim::{Dispatch, Inline, Shim};
use crate::wire::{
    AbortRequest, FinalizeRequest, HandleRequest, InitRequest, MigrateStateRequest, PingRequest,
    PluginMethod, PluginState, Status, ValidateConfigRequest,
};

/// A way to call a plugin: in this test, in process, or in another one.
pub trait Transport: Send {
    /// Calls a method by number.
    fn call(&mut self, method: u32, request: Vec<u8>)
    -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
}

/// Calls a plugin of this same program, without any library.
pub struct Direct(Arc<dyn Dispatch>);

impl Direct {
    /// A plugin before its INIT, on a fake host.
    pub fn new<P: TaskPlugin>(host: &FakeHost) -> Self {
        Self(Arc::new(Shim::<P, Inline>::new(host.host())))
    }
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

impl Transport for Direct {
    async fn call(&mut self, method: u32, request: Vec<u8>) -> Result<Vec<u8>, Status> {
        let reply = self.0.call(method, request).await;
        reply.map_err(|status| Status::decode(status.as_slice()).unwrap_or_default())
    }
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// What was seen instead.
    pub found: String,
}

/// What the suite needs to know about a plugin.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// A valid configuration as JSON; empty is `{}`.
    pub config_json: Vec<u8>,
    /// A request that starts an attempt.
    pub start: HandleRequest,
}

/// Runs every check and returns the broken rules; an empty list is a conforming plugin.
///
/// The suite initialises the plugin itself; one that is initialised already must take a second INIT.
pub async fn conformance(transport: &mut impl Transport, sample: &Sample) -> Vec<Violation> {
    let mut suite = Suite { transport, violations: Vec::new() };
    suite.life_cycle(sample).await;
    suite.verbs(sample).await;
    suite.hostile_input(sample).await;
    suite.violations
}

/// Runs the checks that start no attempt: safe for a plugin whose `handle` costs money.
pub async fn handshake(transport: &mut impl Transport, sample: &Sample) -> Vec<Violation> {
    let mut suite = Suite { transport, violations: Vec::new() };
    suite.life_cycle(sample).await;
    suite.violations
}

struct Suite<'a, T> {
    transport: &'a mut T,
    violations: Vec<Violation>,
}

impl<T: Transport> Suite<'_, T> {
    async fn call(&mut self, method: PluginMethod, request: &impl Message) -> Result<Vec<u8>, Status> {
        self.transport.call(number(method), request.encode_to_vec()).await
    }

    fn expect(&mut self, rule: &'static str, holds: bool, found: impl std::fmt::Debug) {
        if !holds {
            self.violations.push(Violation { rule, found: format!("{found:?}") });
        }
    }

    async fn twice(&mut self, rule: &'static str, method: PluginMethod, request: &impl Message) {
        let first = self.call(method, request).await;
        let second = self.call(method, request).await;
        self.expect(rule, first.is_ok() && first == second, (&first, &second));
    }

    async fn life_cycle(&mut self, sample: &Sample) {
        let pong = self.call(PluginMethod::Ping, &PingRequest {}).await;
        self.expect("ping is answered", pong.is_ok(), &pong);
        let unknown = self.transport.call(9999, Vec::new()).await;
        let is_unimplemented = unknown.as_ref().is_err_and(|status| status.code == code::UNIMPLEMENTED);
        self.expect("an unknown method is UNIMPLEMENTED (12)", is_unimplemented, &unknown);
        let validate = ValidateConfigRequest { config_json: sample.config_json.clone() };
        self.twice("the same config gets the same diagnostics", PluginMethod::ValidateConfig, &validate)
            .await;
        let init = InitRequest { config_json: sample.config_json.clone(), ..InitRequest::default() };
        self.twice("a second init gives the same answer", PluginMethod::Init, &init).await;
    }

    async fn verbs(&mut self, sample: &Sample) {
        let context = sample.start.context.clone();
        let abort =
            AbortRequest { context: context.clone(), reason: "test".into(), ..AbortRequest::default() };
        self.twice("abort before handle works, twice", PluginMethod::Abort, &abort).await;
        self.twice("handle gives the same answer twice", PluginMethod::Handle, &sample.start).await;
        let state = match self.call(PluginMethod::Handle, &sample.start).await {
            Ok(bytes) => crate::wire::HandleResponse::decode(bytes.as_slice()).unwrap_or_default().state,
            Err(_) => None,
        };
        if state.is_some() {
            // After an upgrade every running attempt goes through this, whether its version has changed or not.
            let migrate = MigrateStateRequest { state: state.clone() };
            let answer = self.call(PluginMethod::MigrateState, &migrate).await;
            self.expect("a new build takes over the state that the plugin writes", answer.is_ok(), &answer);
        }
        let abort = AbortRequest { state: state.clone(), ..abort };
        self.twice("abort after handle works, twice", PluginMethod::Abort, &abort).await;
        let finalize = FinalizeRequest { context, state, ..FinalizeRequest::default() };
        self.twice("finalize after all works, twice", PluginMethod::Finalize, &finalize).await;
    }

    async fn hostile_input(&mut self, sample: &Sample) {
        let unknown = PluginState { data: vec![0xff; 64], version: u32::MAX };
        let handle = HandleRequest { state: Some(unknown.clone()), ..sample.start.clone() };
        let answer = self.call(PluginMethod::Handle, &handle).await;
        self.expect("an unknown state version is no panic", !is_bug(&answer), &answer);
        let abort = AbortRequest {
            context: sample.start.context.clone(),
            state: Some(unknown.clone()),
            ..AbortRequest::default()
        };
        let answer = self.call(PluginMethod::Abort, &abort).await;
        self.expect("abort works with an unknown state version", answer.is_ok(), &answer);
        let migrate = MigrateStateRequest { state: Some(unknown) };
        let answer = self.call(PluginMethod::MigrateState, &migrate).await;
        self.expect("migrating an unknown state version is no panic", !is_bug(&answer), &answer);
        let garbage = self.transport.call(number(PluginMethod::Handle), vec![0xff; 100]).await;
        self.expect("unreadable bytes are refused", garbage.is_err() && !is_bug(&garbage), &garbage);
        let mut oversized = sample.start.clone();
        let context = oversized.context.get_or_insert_default();
        context.annotations.insert("big".into(), "x".repeat(4 << 20));
        let answer = self.call(PluginMethod::Handle, &oversized).await;
        self.expect("an oversized request is no panic", !is_bug(&answer), answer.as_ref().map(Vec::len));
        let empty = self.call(PluginMethod::Handle, &HandleRequest::default()).await;
        self.expect("an empty request is no panic", !is_bug(&empty), &empty);
    }
}

fn number(method: PluginMethod) -> u32 {
    method as u32
}

fn is_bug(answer: &Result<Vec<u8>, Status>) -> bool {
    answer.as_ref().is_err_and(|status| status.error_code == "PluginPanicked")
}
