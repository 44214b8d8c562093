//! Drives one execution: takes in what happened, asks the engine what follows, commits, then acts.
//!
//! Invariant: nothing happens outside before the rows that say so are durable. Free steps write files under fixed
//! names and may run ahead of the commit; all else starts after it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use engine::{Execution, NodeIdx, Observation};
use futures::StreamExt;
use model::Timestamp;
use store::row::Batch;
use tokio::task::JoinSet;

use crate::actions::Acted;
use crate::attempt::Attempt;
use crate::call::Answer;
use crate::cleanup::Cleaned;
use crate::clock::after;
use crate::committer::Refusal;
use crate::dirty::Dirty;
use crate::events::Events;
use crate::info::Info;
use crate::inputs::Fetched;
use crate::mailbox::{AttemptKey, Mailbox};
use crate::program::Program;
use crate::shared::Shared;
use crate::{metric, rows};

const WRITES_AT_ONCE: usize = 64;

/// Why a driver ended.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    /// The execution is over.
    Done,
    /// The host stops.
    Drained,
    /// Its rows can't be written.
    Refused(Refusal),
}

/// What comes back from work that was started.
pub(crate) enum Done {
    Fetched { node: NodeIdx, fetched: Fetched },
    Answered { key: AttemptKey, answer: Box<Answer> },
    Acted { key: AttemptKey, acted: Box<Acted> },
    Cleaned { key: AttemptKey, cleaned: Box<Cleaned> },
}

/// One execution in memory.
pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) info: Arc<Info>,
    pub(crate) program: Arc<Program>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) engine: Execution,
    pub(crate) attempts: HashMap<AttemptKey, Attempt>,
    pub(crate) dirty: Dirty,
    /// What was told of it.
    pub(crate) events: Events,
    /// Attempts for which something may be started after the next commit.
    pub(crate) ready: BTreeSet<AttemptKey>,
    pub(crate) work: JoinSet<Done>,
    /// When to look at an attempt again.
    pub(crate) alarms: BinaryHeap<Reverse<(Timestamp, AttemptKey)>>,
    /// Inputs that were read or written and are to be gone on with.
    pub(crate) arrived: Vec<(NodeIdx, Fetched)>,
    /// Inputs to write beside the next commit.
    pub(crate) writes: Vec<(NodeIdx, String, Bytes)>,
    /// Inputs that could not be written yet.
    pub(crate) unwritten: HashMap<NodeIdx, Bytes>,
    /// Attempts whose closing is in the next commit.
    pub(crate) closed: Vec<AttemptKey>,
    pub(crate) any_call: bool,
    pub(crate) draining: bool,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        mailbox: Arc<Mailbox>,
        info: Info,
        program: Arc<Program>,
        engine: Execution,
        attempts: HashMap<AttemptKey, Attempt>,
    ) -> Self {
        let any_call = engine.started_at().is_some();
        Self {
            shared,
            info: Arc::new(info),
            program,
            mailbox,
            engine,
            attempts,
            dirty: Dirty::default(),
            events: Events::default(),
            ready: BTreeSet::new(),
            work: JoinSet::new(),
            alarms: BinaryHeap::new(),
            arrived: Vec::new(),
            writes: Vec::new(),
            unwritten: HashMap::new(),
            closed: Vec::new(),
            any_call,
            draining: false,
        }
    }

    /// Runs until the execution is over or the host stops.
    pub(crate) async fn run(mut self) -> Ended {
        let now = self.shared.clock.now();
        self.apply(Observation::Start, now);
        loop {
            self.round().await;
            if self.must_commit()
                && let Err(refusal) = self.commit().await
            {
                return Ended::Refused(refusal);
            }
            if self.engine.is_done() && !self.dirty.any() {
                return Ended::Done;
            }
            if self.draining {
                if self.work.is_empty() && !self.dirty.any() {
                    return Ended::Drained;
                }
            } else {
                self.start_ready();
            }
            self.wait().await;
        }
    }

    /// Takes in all that happened and lets the engine say what follows.
    async fn round(&mut self) {
        let now = self.shared.clock.now();
        metrics::counter!(metric::ROUNDS).increment(1);
        while let Some(done) = self.work.try_join_next() {
            self.take_done(done, now);
        }
        let mail = self.mailbox.take();
        self.take_mail(mail, now);
        self.ring_alarms(now);
        if self.engine.next_deadline().is_some_and(|at| at <= now) {
            self.apply(Observation::DeadlinePassed, now);
        }
        self.plan(now).await;
    }

    fn take_done(&mut self, done: Result<Done, tokio::task::JoinError>, now: Timestamp) {
        match done {
            Ok(done) => self.absorb(done, now),
            // Work catches its own panics; what is left is a runtime that shuts down.
            Err(error) => tracing::debug!(%error, "work ended without an answer"),
        }
    }

    /// Changes that nobody waits for go with others, if others come soon.
    fn must_commit(&self) -> bool {
        let lingered = self.dirty.since().is_some_and(|since| {
            after(since, self.shared.config.close_linger.get()) <= self.shared.clock.now()
        });
        self.dirty.urgent() || self.dirty.any() && (lingered || self.draining || self.engine.is_done())
    }

    async fn commit(&mut self) -> Result<(), Refusal> {
        let batch = self.batch(self.shared.clock.now());
        metrics::counter!(metric::TRANSITIONS).increment((batch.nodes.len() + batch.tasks.len()) as u64);
        let writes = std::mem::take(&mut self.writes);
        let (committed, unwritten) =
            futures::join!(self.shared.committer.commit(batch), write_all(&self.shared, writes));
        committed?;
        self.unwritten.extend(unwritten);
        for key in std::mem::take(&mut self.closed) {
            if let Some(attempt) = self.attempts.remove(&key) {
                self.shared.routes.remove(&attempt.record.objects);
            }
            if self.engine.node(key.node).phase.is_terminal() {
                self.unwritten.remove(&key.node);
            }
        }
        Ok(())
    }

    fn batch(&mut self, now: Timestamp) -> Batch {
        let dirty = std::mem::take(&mut self.dirty);
        let mut batch = Batch::default();
        if dirty.execution {
            batch.executions.push(rows::execution_update(&self.info, &self.engine, now));
        }
        let node =
            |node: &NodeIdx| rows::node_row(&self.info, &self.program, *node, self.engine.node(*node), now);
        batch.nodes = dirty.nodes.iter().map(node).collect();
        let attempts = dirty.attempts.iter().filter_map(|key| self.attempts.get(key));
        batch.tasks = attempts.map(|attempt| attempt.record.to_row()).collect();
        batch.events = self.events.of_batch(&self.info, &batch);
        batch
    }

    /// Returns when there is something to do.
    async fn wait(&mut self) {
        let linger = self.dirty.since().map(|since| after(since, self.shared.config.close_linger.get()));
        let alarm = self.alarms.peek().map(|Reverse((at, _))| *at);
        let deadline = [self.engine.next_deadline(), alarm, linger].into_iter().flatten().min();
        let clock = Arc::clone(&self.shared.clock);
        let sleep = async {
            match deadline {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let done = tokio::select! {
            Some(done) = self.work.join_next() => Some(done),
            () = self.mailbox.arrived() => None,
            () = sleep => None,
        };
        if let Some(done) = done {
            let now = self.shared.clock.now();
            self.take_done(done, now);
        }
    }
}

/// Writes files; those that failed come back.
async fn write_all(shared: &Shared, writes: Vec<(NodeIdx, String, Bytes)>) -> Vec<(NodeIdx, Bytes)> {
    let written = futures::stream::iter(writes).map(|(node, uri, bytes)| async move {
        let result = shared.files.write(&uri, bytes.clone()).await;
        if let Err(error) = &result {
            tracing::warn!(%error, "cannot write inputs, trying again before the task starts");
        }
        result.err().map(|_| (node, bytes))
    });
    written.buffer_unordered(WRITES_AT_ONCE).filter_map(|failed| async { failed }).collect().await
}
