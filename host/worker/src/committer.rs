//! Writes what all executions changed, as many together as there are.
//!
//! While one commit is written the next ones gather, so that load makes commits larger and not more frequent, and an
//! execution alone waits for no one.

use std::sync::Arc;
use std::time::Instant;

use store::Store;
use store::row::{Batch, Lease};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::clusters::with_causes;
use crate::config::Config;
use crate::seam::{Fate, Seam};
use crate::shared::Heartbeat;
use crate::{Error, backoff, metric};

/// Why a batch is not stored.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// The worker stops.
    Stopped,
    /// The store will never take it.
    Rejected(String),
}

struct Job {
    batch: Batch,
    done: oneshot::Sender<Result<(), Refusal>>,
}

/// The way to the committer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Committer {
    jobs: mpsc::UnboundedSender<Job>,
}

/// The other end.
pub(crate) struct Jobs(mpsc::UnboundedReceiver<Job>);

impl Committer {
    pub(crate) fn new() -> (Self, Jobs) {
        let (jobs, receiver) = mpsc::unbounded_channel();
        (Self { jobs }, Jobs(receiver))
    }

    /// Asks the committer for a sign of life.
    pub(crate) fn beat(&self) {
        // Without anyone who listens it is not alive, which is what the silence says.
        let _ = self.jobs.send(Job { batch: Batch::default(), done: oneshot::channel().0 });
    }

    /// Returns once the batch is durable.
    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), Refusal> {
        let (done, answer) = oneshot::channel();
        self.jobs.send(Job { batch, done }).map_err(|_| Refusal::Stopped)?;
        answer.await.unwrap_or(Err(Refusal::Stopped))
    }
}

fn n_rows(batch: &Batch) -> usize {
    batch.executions.len() + batch.nodes.len() + batch.tasks.len()
}

/// Commits until it is stopped.
pub(crate) struct Loop {
    pub(crate) store: Store,
    pub(crate) lease: Lease,
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) seam: Arc<dyn Seam>,
    pub(crate) heartbeat: Heartbeat,
}

impl Loop {
    /// Runs until the lease is lost or everyone has gone.
    pub(crate) async fn run(self, Jobs(mut jobs): Jobs) -> Result<(), Error> {
        let mut n_commits = 0;
        while let Some(first) = jobs.recv().await {
            (self.heartbeat)("worker.committer");
            if !self.config.commit_linger.is_zero() {
                tokio::time::sleep(self.config.commit_linger.get()).await;
            }
            let mut rows = n_rows(&first.batch);
            let mut together = vec![first];
            while rows < self.config.commit_max_rows
                && let Ok(job) = jobs.try_recv()
            {
                rows += n_rows(&job.batch);
                together.push(job);
            }
            self.write(together, &mut n_commits).await?;
        }
        Ok(())
    }

    async fn write(&self, mut jobs: Vec<Job>, n_commits: &mut u64) -> Result<(), Error> {
        let mut batch = Batch::default();
        if let [only] = jobs.as_mut_slice() {
            batch = std::mem::take(&mut only.batch);
        } else {
            jobs.iter().for_each(|job| batch.append(&mut job.batch.clone()));
        }
        if !batch.is_empty()
            && let Err(rejected) = self.commit(&batch, n_commits).await?
        {
            if jobs.len() == 1 {
                tracing::error!(error = %rejected, rows = n_rows(&batch), "the store refuses a batch");
                answer(jobs, &Err(Refusal::Rejected(rejected)));
                return Ok(());
            }
            // One of them is not like the others: each for itself, so that only that one is refused.
            for job in jobs {
                Box::pin(self.write(vec![job], n_commits)).await?;
            }
            return Ok(());
        }
        answer(jobs, &Ok(()));
        Ok(())
    }

    /// One transaction, repeated while that may help. The inner error is a refusal for good.
    async fn commit(&self, batch: &Batch, n_commits: &mut u64) -> Result<Result<(), String>, Error> {
        let n = *n_commits;
        if self.seam.before_commit(n, batch).await == Fate::Crash {
            return Err(Error::Crashed(n));
        }
        let started = Instant::now();
        let mut n_tried = 0;
        loop {
            match self.store.commit(&self.lease, batch).await {
                Ok(()) => break,
                Err(store::Error::Fenced { host, .. }) => return Err(Error::Fenced { host }),
                Err(error) if error.is_transient() => {
                    tracing::warn!(error = %with_causes(&error), n_tried, "cannot commit, trying again");
                    metrics::counter!(metric::COMMIT_RETRIES).increment(1);
                    let pause = backoff::pause(&self.config.plugin_calls, n_tried);
                    self.clock.sleep_until(crate::clock::after(self.clock.now(), pause)).await;
                    n_tried = n_tried.saturating_add(1);
                }
                Err(error) => return Ok(Err(with_causes(&error))),
            }
        }
        metrics::histogram!(metric::COMMIT_SECONDS).record(started.elapsed().as_secs_f64());
        metrics::histogram!(metric::COMMIT_ROWS).record(n_rows(batch) as f64);
        *n_commits += 1;
        match self.seam.after_commit(n).await {
            Fate::Crash => Err(Error::Crashed(n)),
            Fate::Live => Ok(Ok(())),
        }
    }
}

fn answer(jobs: Vec<Job>, result: &Result<(), Refusal>) {
    for job in jobs {
        // Whoever asked may be gone; the batch is written all the same.
        let _ = job.done.send(result.clone());
    }
}
