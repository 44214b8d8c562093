//! Puts outputs into the catalog, those of many tasks together.

use std::sync::Arc;

use catalog::{Catalog, Put, TaskKey};
use futures::future::BoxFuture;
use model::Timestamp;
use proto::flyteidl::core::{CatalogCacheStatus, CatalogMetadata, LiteralMap, TaskExecutionIdentifier};
use tokio::sync::{mpsc, oneshot};

use super::Policy;
use crate::array::InputsOf;
use crate::clock::Clock;
use crate::clusters::with_causes;
use crate::shared::Shared;

/// Puts in one transaction.
const MAX_TOGETHER: usize = 256;

/// What is to be put once a task has succeeded.
#[derive(Clone, Debug)]
pub(crate) struct Populate {
    pub(crate) policy: Policy,
    /// The key, or what it is made of.
    pub(crate) key: Option<Box<TaskKey>>,
    pub(crate) inputs: InputsOf,
    pub(crate) source: Box<TaskExecutionIdentifier>,
    pub(crate) overwrite: bool,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(crate) struct Populated {
    pub(crate) status: CatalogCacheStatus,
    pub(crate) metadata: Option<Box<CatalogMetadata>>,
    /// Why it was not put.
    pub(crate) obstacle: Option<String>,
}

impl Populated {
    pub(crate) fn failed(obstacle: String) -> Self {
        Self { status: CatalogCacheStatus::CachePutFailure, metadata: None, obstacle: Some(obstacle) }
    }
}

impl Populate {
    /// Puts outputs.
    pub(crate) async fn put(mut self, shared: &Shared, outputs: Arc<LiteralMap>) -> Populated {
        let key = match self.key.take() {
            Some(key) => key,
            None => match self.inputs.read(shared).await {
                Ok(inputs) => match self.policy.signature.key(&inputs) {
                    Ok(key) => Box::new(key),
                    Err(error) => return Populated::failed(with_causes(&error)),
                },
                Err(error) => return Populated::failed(error.message),
            },
        };
        shared.populator.put(key, self.source, outputs, self.overwrite).await
    }
}

struct Job {
    key: Box<TaskKey>,
    source: Box<TaskExecutionIdentifier>,
    outputs: Arc<LiteralMap>,
    overwrite: bool,
    done: oneshot::Sender<Populated>,
}

/// The way to the loop that puts. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Populator {
    jobs: mpsc::UnboundedSender<Job>,
}

/// The other end.
pub(crate) struct Jobs(mpsc::UnboundedReceiver<Job>);

impl Populator {
    pub(crate) fn new() -> (Self, Jobs) {
        let (jobs, receiver) = mpsc::unbounded_channel();
        (Self { jobs }, Jobs(receiver))
    }

    async fn put(
        &self,
        key: Box<TaskKey>,
        source: Box<TaskExecutionIdentifier>,
        outputs: Arc<LiteralMap>,
        overwrite: bool,
    ) -> Populated {
        let (done, answer) = oneshot::channel();
        let stopped = || Populated::failed("the host stops".to_owned());
        if self.jobs.send(Job { key, source, outputs, overwrite, done }).is_err() {
            return stopped();
        }
        answer.await.unwrap_or_else(|_| stopped())
    }
}

/// Puts what is handed over, as much together as there is, until nobody hands over any more.
pub(crate) async fn populate_all(catalog: Catalog, clock: Arc<dyn Clock>, Jobs(mut jobs): Jobs) {
    let mut together = Vec::new();
    while jobs.recv_many(&mut together, MAX_TOGETHER).await > 0 {
        put_together(&catalog, clock.as_ref(), std::mem::take(&mut together)).await;
    }
}

async fn put_together(catalog: &Catalog, clock: &dyn Clock, jobs: Vec<Job>) {
    match put(catalog, clock, &jobs).await {
        Ok(all) => {
            for (job, metadata) in jobs.into_iter().zip(all) {
                answer(job, Ok(metadata));
            }
        }
        Err(error) if jobs.len() == 1 => {
            for job in jobs {
                answer(job, Err(error.clone()));
            }
        }
        // One of them may be at fault: each for itself.
        Err(_) => {
            for job in jobs {
                let alone = put(catalog, clock, std::slice::from_ref(&job)).await;
                answer(job, alone.map(|mut all| all.pop().unwrap_or_default()));
            }
        }
    }
}

async fn put(catalog: &Catalog, clock: &dyn Clock, jobs: &[Job]) -> Result<Vec<CatalogMetadata>, String> {
    let puts: Vec<Put<'_>> = jobs
        .iter()
        .map(|job| Put {
            key: &job.key,
            source: &job.source,
            outputs: &job.outputs,
            overwrite: job.overwrite,
        })
        .collect();
    put_many(catalog, &puts, clock.now()).await.map_err(|error| with_causes(&error))
}

/// With a named type: the compiler does not find out by itself that the future may be sent.
fn put_many<'a>(
    catalog: &'a Catalog,
    puts: &'a [Put<'a>],
    now: Timestamp,
) -> BoxFuture<'a, Result<Vec<CatalogMetadata>, catalog::Error>> {
    Box::pin(catalog.put_many(puts, now))
}

fn answer(job: Job, result: Result<CatalogMetadata, String>) {
    let populated = match result {
        Ok(metadata) => Populated {
            status: CatalogCacheStatus::CachePopulated,
            metadata: Some(Box::new(metadata)),
            obstacle: None,
        },
        Err(error) => {
            tracing::warn!(tag = job.key.tag, error, "outputs cannot be cached");
            Populated::failed(error)
        }
    };
    // Whoever asked may be gone.
    let _ = job.done.send(populated);
}
