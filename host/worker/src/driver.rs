//! Drives one execution: takes in what happened, asks the engine what follows, commits, then acts.
//!
//! Invariant: nothing happens outside before the rows that say so are durable. Free steps write files under fixed
//! names and may run ahead of the commit; all else starts after it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use catalog::TaskKey;
use engine::{Execution, NodeIdx, Observation};
use futures::StreamExt;
use model::Timestamp;
use proto::flyteidl::core::{ExecutionError, LiteralMap};
use store::row::{Batch, ExecutionKey, ExecutionRow, SignalRow};
use tokio::task::JoinSet;

use crate::actions::Acted;
use crate::array::Arrays;
use crate::attempt::Attempt;
use crate::cache::{Cache, Found, Populated};
use crate::call::Answer;
use crate::child::{Children, Started};
use crate::cleanup::Cleaned;
use crate::clock::after;
use crate::committer::Refusal;
use crate::dirty::Dirty;
use crate::events::Events;
use crate::expansion::Made;
use crate::gate::{Gates, Looked};
use crate::info::Info;
use crate::inputs::Fetched;
use crate::mailbox::{AttemptKey, Mailbox};
use crate::metric;
use crate::program::Programs;
use crate::recall::Remembered;
use crate::rows::Scribe;
use crate::shared::Shared;

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
    Fetched {
        node: NodeIdx,
        fetched: Fetched,
    },
    Answered {
        key: AttemptKey,
        answer: Box<Answer>,
    },
    Acted {
        key: AttemptKey,
        acted: Box<Acted>,
    },
    Cleaned {
        key: AttemptKey,
        cleaned: Box<Cleaned>,
    },
    /// An execution was started for a node.
    Started {
        key: AttemptKey,
        started: Started,
    },
    /// Those of these executions that have ended.
    Ended {
        keys: Vec<ExecutionKey>,
        ended: Result<Vec<ExecutionRow>, String>,
    },
    /// An execution that a node started was told to end.
    ChildAborted {
        key: AttemptKey,
    },
    /// The signals of gates were looked at.
    Signals(Looked),
    /// The inputs of an array were read.
    Lists {
        array: NodeIdx,
        lists: Result<Arc<LiteralMap>, Box<ExecutionError>>,
    },
    /// Outputs were collected.
    Gathered {
        node: NodeIdx,
        result: Result<String, ExecutionError>,
        populated: Option<Populated>,
    },
    /// A workflow that a task made before was found.
    Loaded {
        node: NodeIdx,
        made: Result<Made, Box<ExecutionError>>,
    },
    /// Cached outputs were looked for.
    LookedUp(Vec<Found>),
    /// A reservation is held again.
    Held {
        node: NodeIdx,
        key: Option<Box<TaskKey>>,
    },
    /// A reservation was released.
    Released,
    /// Nothing follows.
    Nothing,
}

/// What is to be looked at when its time comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    Attempt(AttemptKey),
    /// An execution that could not be started.
    Child(AttemptKey),
    /// Executions that could not be read.
    Children,
    /// Signals that could not be read.
    Signals,
    /// Cached outputs that another execution computes.
    Cache,
    /// Reservations want a sign of life.
    Beat,
}

/// One execution in memory.
pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) info: Arc<Info>,
    pub(crate) programs: Programs,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) engine: Execution,
    /// Boxed: a map keeps room for several more than it holds.
    pub(crate) attempts: HashMap<AttemptKey, Box<Attempt>>,
    /// Nodes with open attempts, by the name the outside knows.
    pub(crate) names: HashMap<Box<str>, NodeIdx>,
    pub(crate) children: Children,
    pub(crate) gates: Gates,
    pub(crate) arrays: Arrays,
    pub(crate) cache: Cache,
    /// What a recovery knows of the execution it recovers.
    pub(crate) remembered: Remembered,
    pub(crate) dirty: Dirty,
    /// What was told of it.
    pub(crate) events: Events,
    /// Attempts for which something may be started after the next commit.
    pub(crate) ready: BTreeSet<AttemptKey>,
    pub(crate) work: JoinSet<Done>,
    /// When to look at something again.
    pub(crate) alarms: BinaryHeap<Reverse<(Timestamp, Alarm)>>,
    /// Inputs that were read or written and are to be gone on with.
    pub(crate) arrived: Vec<(NodeIdx, Fetched)>,
    /// Inputs to write beside the next commit.
    pub(crate) writes: Vec<(NodeIdx, String, Bytes)>,
    /// Inputs that could not be written yet.
    pub(crate) unwritten: HashMap<NodeIdx, Bytes>,
    /// Attempts whose closing is in the next commit.
    pub(crate) closed: Vec<AttemptKey>,
    /// Nodes whose end is in the next commit.
    pub(crate) ended: Vec<NodeIdx>,
    /// Signals to make with the next commit.
    pub(crate) signals: Vec<SignalRow>,
    /// Who asked for the abort, once somebody has.
    pub(crate) aborted_by: String,
    pub(crate) abort_forced: bool,
    pub(crate) any_call: bool,
    pub(crate) draining: bool,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        mailbox: Arc<Mailbox>,
        info: Info,
        programs: Programs,
        engine: Execution,
    ) -> Self {
        let any_call = engine.started_at().is_some();
        Self {
            shared,
            info: Arc::new(info),
            programs,
            mailbox,
            engine,
            attempts: HashMap::new(),
            names: HashMap::new(),
            children: Children::default(),
            gates: Gates::default(),
            arrays: Arrays::default(),
            cache: Cache::default(),
            remembered: Remembered::default(),
            dirty: Dirty::default(),
            events: Events::default(),
            ready: BTreeSet::new(),
            work: JoinSet::new(),
            alarms: BinaryHeap::new(),
            arrived: Vec::new(),
            writes: Vec::new(),
            unwritten: HashMap::new(),
            closed: Vec::new(),
            ended: Vec::new(),
            signals: Vec::new(),
            aborted_by: String::new(),
            abort_forced: false,
            any_call,
            draining: false,
        }
    }

    /// Runs until the execution is over or the host stops.
    pub(crate) async fn run(mut self) -> Ended {
        let ended = self.drive().await;
        self.disown_children();
        ended
    }

    async fn drive(&mut self) -> Ended {
        let now = self.shared.clock.now();
        self.apply(Observation::Start, now);
        let mut done = None;
        loop {
            // Boxed: between two turns, which is nearly always, an execution takes no room for what a turn needs.
            if let Err(refusal) = Box::pin(self.turn(done.take())).await {
                return Ended::Refused(refusal);
            }
            let is_clean = !self.dirty.any() && !self.cache.is_busy();
            if self.engine.is_done() && is_clean {
                return Ended::Done;
            }
            if self.draining {
                if self.work.is_empty() && is_clean {
                    return Ended::Drained;
                }
            } else {
                self.start_ready();
            }
            done = self.wait().await;
        }
    }

    /// Lets follow what follows from what happened, up to the commit that says so.
    async fn turn(&mut self, done: Option<Result<Done, tokio::task::JoinError>>) -> Result<(), Refusal> {
        if let Some(done) = done {
            let now = self.shared.clock.now();
            self.take_done(done, now).await;
        }
        self.round().await;
        self.ask_ahead().await;
        if self.must_commit() { self.commit().await } else { Ok(()) }
    }

    /// Takes in all that happened and lets the engine say what follows.
    async fn round(&mut self) {
        let now = self.shared.clock.now();
        metrics::counter!(metric::ROUNDS).increment(1);
        while let Some(done) = self.work.try_join_next() {
            self.take_done(done, now).await;
        }
        let mail = self.mailbox.take();
        self.take_mail(mail, now);
        self.ring_alarms(now);
        if self.engine.next_deadline().is_some_and(|at| at <= now) {
            self.apply(Observation::DeadlinePassed, now);
        }
        self.plan(now).await;
    }

    pub(crate) async fn take_done(&mut self, done: Result<Done, tokio::task::JoinError>, now: Timestamp) {
        match done {
            Ok(done) => self.absorb(done, now).await,
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
        let writing = async {
            if !writes.is_empty() {
                // The commit sets out first: the files, which block this thread, are written while the disk is busy.
                tokio::task::yield_now().await;
            }
            write_all(&self.shared, writes).await
        };
        let (committed, unwritten) = futures::join!(self.shared.committer.commit(batch), writing);
        committed?;
        self.shared.troubles.clear(self.info.key);
        self.unwritten.extend(unwritten);
        self.forget_what_ended();
        Ok(())
    }

    /// Frees what is kept of attempts and nodes whose end is durable.
    fn forget_what_ended(&mut self) {
        for key in std::mem::take(&mut self.closed) {
            if let Some(attempt) = self.attempts.remove(&key) {
                self.names.remove(attempt.record.row.node_id.as_str());
                self.shared.routes.remove(&attempt.record.objects);
            }
            if self.engine.node(key.node).phase.is_terminal() {
                self.unwritten.remove(&key.node);
            }
        }
        for node in std::mem::take(&mut self.ended) {
            self.cache.forget(node);
            self.arrays.forget(node);
        }
        self.release_ended();
        self.release();
        if self.attempts.is_empty() {
            // What a burst of work needed is not kept for the rest of a long life.
            self.attempts.shrink_to_fit();
            self.names.shrink_to_fit();
        }
    }

    fn batch(&mut self, now: Timestamp) -> Batch {
        let dirty = std::mem::take(&mut self.dirty);
        let mut batch = Batch::default();
        let scribe = Scribe {
            info: &self.info,
            engine: &self.engine,
            programs: &self.programs,
            cache: &self.cache,
            remembered: &self.remembered,
            now,
        };
        if dirty.execution {
            batch.executions.push(scribe.execution());
        }
        batch.nodes = dirty.nodes.iter().map(|node| scribe.node(*node)).collect();
        let attempts = dirty.attempts.iter().filter_map(|key| self.attempts.get(key));
        batch.tasks = attempts.map(|attempt| attempt.record.to_row()).collect();
        batch.tasks.extend(dirty.nodes.iter().filter_map(|node| scribe.array_task(*node)));
        batch.signals = std::mem::take(&mut self.signals);
        batch.events = self.events.of_batch(&self.info, &batch);
        batch
    }

    /// Has something looked at when its time comes.
    pub(crate) fn alarm(&mut self, at: Timestamp, alarm: Alarm) {
        self.alarms.push(Reverse((at, alarm)));
    }

    /// Returns when there is something to do, with what was done, if that is it.
    async fn wait(&mut self) -> Option<Result<Done, tokio::task::JoinError>> {
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
        tokio::select! {
            Some(done) = self.work.join_next() => Some(done),
            () = self.mailbox.arrived() => None,
            () = sleep => None,
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
