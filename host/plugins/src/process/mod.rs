//! Calls a plugin that lives in a process of its own, and keeps such a process running.
//!
//! The process is started at the first call, initialised, and replaced after a crash: with growing pauses, and not at
//! all once it crashed too often. A call that outlives its deadline is cancelled; if the process does not even answer
//! that, a thread of it hangs in the plugin, and it is killed.

mod connection;
mod end;
mod output;
mod spawn;

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use proto::pinion::plugin::v1::PluginMethod;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::breaker::Breaker;
use crate::config::RunnerConfig;
use crate::fault::Fault;
use crate::services::Upstream;
use crate::transport::{Condition, Reply, Transport, fault_of};
use connection::Connection;
pub(crate) use connection::reply_frame;
pub(crate) use spawn::{Recipe, SOCKET_ARGUMENT};

/// Version of the frames between host and plugin process.
pub(crate) const PROTOCOL: u32 = 1;

/// What all processes of one plugin have in common.
pub(crate) struct Plan {
    pub(crate) recipe: Recipe,
    pub(crate) runtime: Handle,
    pub(crate) upstream: Arc<dyn Upstream>,
    pub(crate) message_limit: usize,
    pub(crate) start_timeout: Duration,
    pub(crate) cancel_grace: Duration,
    pub(crate) init_timeout: Duration,
    /// Encoded `ValidateConfigRequest`, sent to each new process first.
    pub(crate) validate: Vec<u8>,
    /// Encoded `InitRequest`, sent to each new process.
    pub(crate) init: Vec<u8>,
    /// Metadata that the process must report.
    pub(crate) metadata_json: serde_json::Value,
}

/// A plugin behind a process.
pub(crate) struct Process {
    plan: Plan,
    breaker: Breaker,
    /// The running process, if any; held while one is started.
    current: Mutex<Option<Arc<Connection>>>,
    /// Answer of the plugin to the last INIT.
    declared: StdMutex<Option<Vec<u8>>>,
}

impl Process {
    pub(crate) fn new(plan: Plan, config: &RunnerConfig) -> Self {
        let breaker = Breaker::new(
            config.max_crashes,
            config.crash_window.get(),
            config.restart_pause.get(),
            config.longest_restart_pause.get(),
        );
        Self { plan, breaker, current: Mutex::default(), declared: StdMutex::default() }
    }

    /// Starts the process if it does not run, and returns the plugin's answer to INIT.
    pub(crate) async fn declared(&self) -> Result<Vec<u8>, Fault> {
        let limit = self.plan.start_timeout + self.plan.init_timeout;
        timeout(limit, self.connection()).await.map_err(|_| Fault::Timeout(limit))??;
        let declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(declared.unwrap_or_default())
    }

    async fn connection(&self) -> Result<Arc<Connection>, Fault> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref() {
            match connection.ended() {
                None => return Ok(Arc::clone(connection)),
                Some(reason) => self.breaker.crashed(&reason.to_string(), Instant::now()),
            }
            *current = None;
        }
        if let Some(reason) = self.breaker.open(Instant::now()) {
            return Err(Fault::Quarantined(reason));
        }
        sleep(self.breaker.pause(Instant::now())).await;
        let connection = Arc::new(self.start().await?);
        *current = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Starts and initialises a process; one that fails here counts as a crash, one that says no does not.
    async fn start(&self) -> Result<Connection, Fault> {
        let started = Connection::open(&self.plan).await;
        let connection =
            started.inspect_err(|fault| self.breaker.crashed(&fault.to_string(), Instant::now()))?;
        let initialised = self.initialise(&connection).await;
        if matches!(initialised, Err(Fault::Timeout(_) | Fault::Crashed { .. } | Fault::Panicked(_))) {
            connection.kill();
            let reason = initialised.as_ref().err().map(ToString::to_string).unwrap_or_default();
            self.breaker.crashed(&reason, Instant::now());
        }
        initialised.map(|()| connection)
    }

    async fn initialise(&self, connection: &Connection) -> Result<(), Fault> {
        let limit = self.plan.init_timeout;
        let validate = self.plan.validate.clone();
        let diagnosed = connection.call(PluginMethod::ValidateConfig as u32, validate, limit).await?;
        crate::transport::diagnosed(diagnosed)?;
        let declared = connection.call(PluginMethod::Init as u32, self.plan.init.clone(), limit).await?;
        let declared = declared.map_err(|status| fault_of(&status))?;
        *self.declared.lock().unwrap_or_else(PoisonError::into_inner) = Some(declared);
        Ok(())
    }
}

impl Transport for Process {
    fn call(&self, method: u32, request: Vec<u8>, limit: Duration) -> BoxFuture<'_, Result<Reply, Fault>> {
        Box::pin(async move {
            let begun = Instant::now();
            let connection = timeout(limit, self.connection()).await.map_err(|_| Fault::Timeout(limit))??;
            let left = limit.saturating_sub(begun.elapsed());
            let reply = connection.call(method, request, left).await?;
            self.breaker.answered();
            Ok(reply)
        })
    }

    fn ping(&self, limit: Duration) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let connection = timeout(limit, self.connection()).await.map_err(|_| Fault::Timeout(limit))??;
            connection.ping(limit).await
        })
    }

    fn condition(&self) -> Condition {
        match self.breaker.open(Instant::now()) {
            Some(reason) => Condition::Quarantined(reason),
            None => Condition::Serving,
        }
    }

    fn reopens_in(&self) -> Option<Duration> {
        self.breaker.closes_in(Instant::now())
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(connection) = self.current.lock().await.take() {
                connection.kill();
            }
        })
    }
}
