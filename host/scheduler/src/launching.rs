//! Starts the execution of one tick, and says what became of it.

use async_trait::async_trait;
use model::{EntityId, ExecutionId, Timestamp};
use proto::flyteidl::core::{Literal, LiteralMap, Primitive, Scalar, literal, primitive, scalar};

use crate::{Error, Inner, Step};

/// Starts executions: [`launch::Launcher`], or a test's stand-in.
#[async_trait]
pub trait Launch: Send + Sync {
    /// As [`launch::Launcher::create`].
    async fn create(&self, request: launch::Request) -> Result<ExecutionId, launch::Error>;
}

#[async_trait]
impl Launch for launch::Launcher {
    async fn create(&self, request: launch::Request) -> Result<ExecutionId, launch::Error> {
        Box::pin(launch::Launcher::create(self, request)).await
    }
}

/// A tick to start.
pub(crate) struct Start {
    pub(crate) plan: EntityId,
    pub(crate) name: String,
    pub(crate) tick: Timestamp,
    /// Input that is given the time of the tick; empty: none.
    pub(crate) kickoff: String,
    pub(crate) tags: Vec<String>,
    pub(crate) principal: String,
}

/// What became of a start.
pub(crate) enum Outcome {
    /// The execution is there.
    Started,
    /// It was there before.
    Duplicate,
    /// It can't be started, now or later.
    Failed(String),
    /// It may be started later.
    PutOff(String),
    /// The launch plan's concurrency policy allows no further execution now.
    AtLimit {
        /// What the launch said.
        error: String,
        /// Whether the policy is to leave launches beyond the limit out.
        skip: bool,
    },
}

impl Inner {
    /// Starts a tick; a start that takes too long is put off.
    pub(crate) async fn start(&self, start: Start) -> Result<Outcome, Error> {
        self.step(Step::Decided).await?;
        let id = ExecutionId::new(&start.plan.project, &start.plan.domain, &start.name);
        let inputs = kickoff(&start.kickoff, start.tick);
        let request = launch::Request::scheduled(
            start.plan,
            start.name,
            start.tick,
            inputs,
            start.tags,
            &start.principal,
        );
        let limit = self.config.launch_timeout.get();
        let done = match request {
            Ok(request) => tokio::time::timeout(limit, self.deps.launch.create(request)).await,
            Err(error) => Ok(Err(error)),
        };
        let outcome = match done {
            Ok(Ok(_)) => Outcome::Started,
            Ok(Err(launch::Error::Exists(_))) => Outcome::Duplicate,
            Ok(Err(error @ launch::Error::AtLimit { skip, .. })) => {
                Outcome::AtLimit { error: chain(&error), skip }
            }
            Ok(Err(error)) if may_pass(&error) => Outcome::PutOff(chain(&error)),
            Ok(Err(error)) => Outcome::Failed(chain(&error)),
            Err(_) => Outcome::PutOff(format!("start took longer than {:?}", limit)),
        };
        match &outcome {
            Outcome::Started => tracing::debug!(execution = %id, "tick started"),
            Outcome::Duplicate => tracing::debug!(execution = %id, "tick had been started before"),
            Outcome::Failed(error) => tracing::warn!(execution = %id, %error, "tick can't be started"),
            Outcome::PutOff(error) => tracing::warn!(execution = %id, %error, "tick is started later"),
            Outcome::AtLimit { error, .. } => tracing::debug!(execution = %id, error, "tick is at its limit"),
        }
        self.step(Step::Launched).await?;
        Ok(outcome)
    }
}

/// Whether a start may succeed later, with nothing changed by anyone but the platform.
fn may_pass(error: &launch::Error) -> bool {
    matches!(error, launch::Error::Store(_) | launch::Error::Blob(_)) || error.is_transient()
}

/// The input that is given the time of the tick.
fn kickoff(name: &str, tick: Timestamp) -> LiteralMap {
    if name.is_empty() {
        return LiteralMap::default();
    }
    let primitive = Primitive { value: Some(primitive::Value::Datetime(tick.to_proto())) };
    let scalar = Scalar { value: Some(scalar::Value::Primitive(primitive)) };
    let literal = Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() };
    LiteralMap { literals: [(name.to_owned(), literal)].into() }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        out.push_str(": ");
        out.push_str(&inner.to_string());
        cause = inner.source();
    }
    out
}
